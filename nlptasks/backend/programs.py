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
from keras import ops  # noqa: E402


@contextlib.contextmanager
def other_backends_hidden() -> Iterator[None]:
    """Inside, backends that are not in use cannot be imported.

    Keras imports all that are installed to seed them: seconds, and with TensorFlow the memory of every GPU.
    """
    hidden = [n for n in ("tensorflow", "torch") if n != keras.backend.backend() and n not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


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
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    loss_function: Callable,
    jit: bool | None = None,
    perturbed: keras.Variable | None = None,
    perturbation: float = 0.0,
) -> Callable:
    """A compiled `step(batch) -> loss` that also updates `model` and `optimizer`.

    `step(batches, shares)` makes one update of several batches: the loss is the sum of each one's loss times its
    share, and one batch's activations are held at a time.

    Args:
        loss_function: `loss_function(batch)` calls `model` and returns a scalar tensor.
        perturbed: a trainable weight; the gradient is taken where it is moved along its own gradient (fast gradient
            method, arXiv 1605.07725; bert4keras' `adversarial_training`), each batch for itself.
        perturbation: by how much, in the Euclidean norm of the whole weight.
    """
    optimizer.build(model.trainable_variables)
    if keras.backend.backend() == "tensorflow":
        made = _tensorflow_step(model, optimizer, loss_function, _use_xla(jit), perturbed, perturbation)
    else:
        made = _jax_step(model, optimizer, loss_function, perturbed, perturbation)
    one, gradients, apply = made

    def step(batch, shares=None):
        if shares is None:
            return one(batch)
        total, sums = 0.0, None
        for part, share in zip(batch, shares, strict=True):
            loss, found = gradients(part, ops.convert_to_tensor(share, "float32"))
            total = total + loss
            sums = found if sums is None else [a if b is None else a + b for a, b in zip(sums, found, strict=True)]
        apply(sums)
        return total

    return step


def _tensorflow_step(model, optimizer, loss_function, jit, perturbed, perturbation):
    import tensorflow as tf

    variables = model.trainable_variables

    def at_moved_weights(batch):
        """Moves the perturbed weight, and returns what it was."""
        with tf.GradientTape() as tape:
            loss = loss_function(batch)
        gradient = tf.convert_to_tensor(tape.gradient(loss, perturbed.value))
        former = tf.identity(perturbed.value)
        perturbed.assign(former + perturbation * gradient / (tf.norm(gradient) + 1e-8))
        return former

    def gradients(batch, share):
        former = None if perturbed is None else at_moved_weights(batch)
        with tf.GradientTape() as tape:
            loss = share * loss_function(batch)
            scaled = optimizer.scale_loss(loss)
        found = tape.gradient(scaled, [v.value for v in variables])
        if former is not None:
            perturbed.assign(former)
        # Embedding gradients come as slices with repeated rows; Adam must square their sum, not sum their squares.
        return loss, [None if g is None else tf.convert_to_tensor(g) for g in found]

    def one(batch):
        loss, found = gradients(batch, 1.0)
        optimizer.apply(found)
        return loss

    compiled = (tf.function(f, jit_compile=jit, autograph=False) for f in (one, gradients, optimizer.apply))
    if jit:
        return tuple(compiled)

    def for_any_shape(function):
        # One program for all shapes from the first step on. With `reduce_retracing` a step's program, and so its last
        # bits, depend on the shapes before it, and a resumed run does not end as an uninterrupted one.
        def run(batch, *shares):
            shapes = tf.nest.map_structure(lambda array: tf.TensorSpec([None] * array.ndim, array.dtype), batch)
            return function.get_concrete_function(shapes, *(tf.TensorSpec([], "float32") for _ in shares))(
                batch, *shares
            )

        return run

    first, second, apply = compiled
    return for_any_shape(first), for_any_shape(second), apply


def _jax_step(model, optimizer, loss_function, perturbed, perturbation):
    import jax

    trainable, others = list(model.trainable_variables), list(model.non_trainable_variables)
    moved = next((i for i, variable in enumerate(trainable) if variable is perturbed), None)

    def loss_and_state(trainable_values, other_values, batch, share):
        mapping = list(zip(trainable + others, trainable_values + other_values, strict=True))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            loss = share * loss_function(batch)
        return loss, [_current(scope, variable, value) for variable, value in zip(others, other_values, strict=True)]

    differentiated = jax.value_and_grad(loss_and_state, has_aux=True)

    def at_moved_weights(trainable_values, other_values, batch):
        def of_moved(value):
            values = [*trainable_values[:moved], value, *trainable_values[moved + 1 :]]
            return loss_and_state(values, other_values, batch, 1.0)

        gradient, other_values = jax.grad(of_moved, has_aux=True)(trainable_values[moved])
        norm = jax.numpy.linalg.norm(gradient.ravel())
        value = trainable_values[moved] + perturbation * gradient / (norm + 1e-8)
        return [*trainable_values[:moved], value, *trainable_values[moved + 1 :]], other_values

    def gradients_of(trainable_values, other_values, batch, share):
        if moved is not None:
            trainable_values, other_values = at_moved_weights(trainable_values, other_values, batch)
        (loss, other_values), found = differentiated(trainable_values, other_values, batch, share)
        return loss, other_values, found

    def update(trainable_values, other_values, optimizer_values, batch):
        loss, other_values, found = gradients_of(trainable_values, other_values, batch, 1.0)
        return loss, other_values, *optimizer.stateless_apply(optimizer_values, found, trainable_values)

    def apply_to(trainable_values, optimizer_values, found):
        return optimizer.stateless_apply(optimizer_values, found, trainable_values)

    update, gradients_of = jax.jit(update, donate_argnums=(0, 1, 2)), jax.jit(gradients_of, donate_argnums=1)
    apply_to = jax.jit(apply_to, donate_argnums=(0, 1))

    def values(group):
        return [v.value for v in group]

    def assign(group, new):
        for variable, value in zip(group, new, strict=True):
            variable.assign(value)

    def one(batch):
        loss, *new = update(values(trainable), values(others), values(optimizer.variables), over_devices(batch))
        for group, of in zip((others, trainable, optimizer.variables), new, strict=True):
            assign(group, of)
        return loss

    def gradients(batch, share):
        loss, other_values, found = gradients_of(values(trainable), values(others), over_devices(batch), share)
        assign(others, other_values)
        return loss, found

    def apply(found):
        new = apply_to(values(trainable), values(optimizer.variables), found)
        for group, of in zip((trainable, optimizer.variables), new, strict=True):
            assign(group, of)

    return one, gradients, apply


def fused_attention(query_BTNH, key_BSNH, value_BSNH, mask_BTS):
    """softmax(query key^T under the mask) value, `(B, T, N, H)`, without scores in memory where the device can (JAX).

    On a GPU it is cuDNN's, which takes 16-bit numbers; elsewhere the plain products.

    Args:
        query_BTNH: scaled already.
        mask_BTS: bool, True where position T may look at position S; T may be 1.
    """
    import jax

    mask_BTS = ops.broadcast_to(mask_BTS, (query_BTNH.shape[0], query_BTNH.shape[1], key_BSNH.shape[1]))
    implementation = "cudnn" if jax.default_backend() == "gpu" else "xla"
    return jax.nn.dot_product_attention(
        query_BTNH, key_BSNH, value_BSNH, mask=mask_BTS[:, None], scale=1.0, implementation=implementation
    )


def over_devices(batch):
    """A batch's arrays, their first axes cut over the devices of the mesh in use, if there is one (backend/mesh.py).

    An array whose first axis the mesh does not divide is put on every device whole: the same numbers, no less time.
    """
    distribution = keras.distribution.distribution()
    if distribution is None:
        return batch

    def cut(array):
        array = ops.convert_to_numpy(array)
        return keras.distribution.distribute_tensor(array, distribution.get_data_layout(array.shape))

    return keras.tree.map_structure(cut, batch)


def recomputed(function: Callable, layer: keras.layers.Layer) -> Callable:
    """`function(*arrays)`, which uses the weights of `layer`, keeping nothing for the gradient but its arguments.

    The random state that the layer draws from (dropout) is an argument too, so that it draws the same again. Arrays
    may stand in lists, tuples and NamedTuples; None stays None.
    """
    trainable, others = list(layer.trainable_variables), list(layer.non_trainable_variables)

    def run(*arrays):
        leaves = keras.tree.flatten(arrays)
        # only what has a gradient is an argument: TensorFlow takes no other
        floats = [leaf is not None and "float" in keras.backend.standardize_dtype(leaf.dtype) for leaf in leaves]
        state, form = [ops.copy(v.value) for v in others], []

        def pure(*flat):
            weights, rest = flat[: len(trainable)], iter(flat[len(trainable) :])
            again = [next(rest) if is_float else leaf for leaf, is_float in zip(leaves, floats, strict=True)]
            mapping = list(zip(trainable + others, [*weights, *state], strict=True))
            with keras.StatelessScope(state_mapping=mapping) as scope:
                result = function(*keras.tree.pack_sequence_as(arrays, again))
            form[:] = [result]
            new = [_current(scope, variable, value) for variable, value in zip(others, state, strict=True)]
            return *keras.tree.flatten(result), *new

        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            once_more = tf.recompute_grad(pure)
        else:
            import jax

            once_more = jax.checkpoint(pure)
        given = [leaf for leaf, is_float in zip(leaves, floats, strict=True) if is_float]
        found = once_more(*(ops.convert_to_tensor(v) for v in trainable), *given)
        count = len(found) - len(others)
        for variable, value in zip(others, found[count:], strict=True):
            variable.assign(value)
        return keras.tree.pack_sequence_as(form[0], list(found[:count]))

    return run


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


def apply_adam(variable, momentum, velocity, gradient, rate, betas, powers, epsilon) -> bool:
    """One update of Adam as one operation, where the backend has it; False: nothing was done.

    Args:
        powers: each of `betas` to the power of the update's number, counted from 1.
    """
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    values = (v.value if isinstance(v, keras.Variable) else v for v in (variable, momentum, velocity))
    tf.raw_ops.ResourceApplyAdam(
        **{name: value.handle for name, value in zip(("var", "m", "v"), values, strict=True)},
        **dict(zip(("beta1_power", "beta2_power"), powers, strict=True)),
        **dict(zip(("beta1", "beta2"), (tf.cast(beta, gradient.dtype) for beta in betas), strict=True)),
        lr=rate,
        epsilon=tf.cast(epsilon, gradient.dtype),
        grad=gradient,
    )
    return True


def draw_shorts(shape: Sequence, seed_generator: keras.random.SeedGenerator):
    """Random whole numbers from 0 to 65535, uint16, all equally probable."""
    seed = seed_generator.next()
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        seed = tf.cast(tf.math.floormod(seed, tf.int32.max - 1), "int32")  # as Keras does for its own
        count = tf.reduce_prod(tf.stack(shape))
        words = tf.random.stateless_uniform([(count + 1) // 2], seed, minval=None, maxval=None, dtype="uint32")
        return tf.reshape(tf.reshape(tf.bitcast(words, "uint16"), [-1])[:count], shape)
    import jax

    return jax.random.bits(seed, shape, "uint16")


def _use_xla(jit: bool | None) -> bool:
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU")) if jit is None else jit
