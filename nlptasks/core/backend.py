"""The one file that names a backend: compiled functions and compiled training steps on TensorFlow and JAX."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence

_START_UP_NOTES = re.compile(
    rb"absl::InitializeLog|port\.cc:\d+\] oneDNN|cpu_feature_guard|^To enable the following"
    rb"|cudart_stub|cuda_platform\.cc:\d+\] failed call to cuInit"
)


@contextlib.contextmanager
def _without_start_up_notes() -> Iterator[None]:
    """Drops the notes that TensorFlow's libraries write to standard error while they load; anything else is passed on.

    They are written before any log level is read, so no setting silences them.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    try:
        saved = os.dup(2)
    except OSError:  # no standard error
        yield
        return
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            captured.seek(0)
            for line in captured:
                if not _START_UP_NOTES.search(line):
                    sys.stderr.write(line.decode(errors="replace"))


def _load_backend() -> None:
    """Imports Keras and lets TensorFlow look for a GPU, without their notes."""
    with _without_start_up_notes():
        import keras

        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            tf.config.list_physical_devices()


_load_backend()

import keras  # noqa: E402


def compile_function(function: Callable, model: keras.Model | None, jit: bool | None = None) -> Callable:
    """`function(*arrays)` as one compiled program a set of shapes; arrays may stand in dicts, lists and NamedTuples.

    Args:
        model: whose weights the function may use.
        jit: TensorFlow only: compile with XLA. None: only where a GPU is present.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        compiled = tf.function(function, jit_compile=_use_xla(jit), autograph=False)

        def run(*arrays):
            # asked for by shape, so that TensorFlow does not warn of the programs that new shapes need
            shapes = tf.nest.map_structure(lambda array: tf.TensorSpec(array.shape, array.dtype), arrays)
            return compiled.get_concrete_function(*shapes)(*arrays)

        return run
    import jax

    variables = list(model.variables) if model is not None else []

    @jax.jit
    def pure(values, *arrays):
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return function(*arrays)

    return lambda *arrays: pure([v.value for v in variables], *arrays)


def compile_train_step(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, loss_function: Callable, jit: bool | None = None
) -> Callable:
    """A compiled `step(batch) -> loss` that also updates `model` and `optimizer`.

    Args:
        loss_function: `loss_function(batch)` calls `model` and returns a scalar tensor.
    """
    optimizer.build(model.trainable_variables)
    if keras.backend.backend() == "tensorflow":
        return _tensorflow_step(model, optimizer, loss_function, _use_xla(jit))
    return _jax_step(model, optimizer, loss_function)


def _tensorflow_step(model, optimizer, loss_function, jit):
    import tensorflow as tf

    def step(batch):
        with tf.GradientTape() as tape:
            loss = loss_function(batch)
            scaled = optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, [v.value for v in model.trainable_variables])
        # Embedding gradients come as slices with repeated rows; Adam must square their sum, not sum their squares.
        optimizer.apply([None if g is None else tf.convert_to_tensor(g) for g in gradients])
        return loss

    compiled = tf.function(step, jit_compile=jit, autograph=False)
    if jit:
        return compiled

    def run(batch):
        # One program for all shapes from the first step on. With `reduce_retracing` a step's program, and so its last
        # bits, depend on the shapes before it, and a resumed run does not end as an uninterrupted one.
        any_shape = tf.nest.map_structure(lambda array: tf.TensorSpec([None] * array.ndim, array.dtype), batch)
        return compiled.get_concrete_function(any_shape)(batch)

    return run


def _jax_step(model, optimizer, loss_function):
    import jax

    trainable, others = list(model.trainable_variables), list(model.non_trainable_variables)

    def loss_and_state(trainable_values, other_values, batch):
        mapping = list(zip(trainable + others, trainable_values + other_values, strict=True))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            loss = loss_function(batch)
        return loss, [_current(scope, variable, value) for variable, value in zip(others, other_values, strict=True)]

    def update(trainable_values, other_values, optimizer_values, batch):
        gradient = jax.value_and_grad(loss_and_state, has_aux=True)
        (loss, other_values), gradients = gradient(trainable_values, other_values, batch)
        trainable_values, optimizer_values = optimizer.stateless_apply(optimizer_values, gradients, trainable_values)
        return loss, trainable_values, other_values, optimizer_values

    compiled = jax.jit(update, donate_argnums=(0, 1, 2))

    def step(batch):
        state = ([v.value for v in group] for group in (trainable, others, optimizer.variables))
        loss, *updated = compiled(*state, batch)
        for group, values in zip((trainable, others, optimizer.variables), updated, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)
        return loss

    return step


def _current(scope, variable, value):
    current = scope.get_current_value(variable)
    return value if current is None else current


def run_one(predicate, first: Callable, second: Callable, random_state: Sequence[keras.Variable]):
    """What `first()` returns where `predicate` is true, else what `second()` does; in a compiled program the other one
    is not computed.

    Args:
        predicate: bool, a scalar.
        first, second: return tensors of the same shapes, in tuples or alone; their layers are built.
        random_state: variables that they change (seeds of dropout).
    """
    if keras.backend.backend() == "tensorflow":
        return keras.ops.cond(predicate, first, second)

    def returning_state(function):
        def run():  # JAX: a value made in a branch leaves it as a result, never through a variable
            before = [variable.value for variable in random_state]
            result = function()
            after = [variable.value for variable in random_state]
            for variable, value in zip(random_state, before, strict=True):
                variable.assign(value)
            return result, after

        return run

    result, after = keras.ops.cond(predicate, returning_state(first), returning_state(second))
    for variable, value in zip(random_state, after, strict=True):
        variable.assign(value)
    return result


def _use_xla(jit: bool | None) -> bool:
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU")) if jit is None else jit
