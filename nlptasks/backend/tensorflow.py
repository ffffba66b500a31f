"""The programs on TensorFlow."""

import contextlib
import contextvars
import functools
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.ops import gradient_registry

from nlptasks.backend.programs import (
    Batch,
    LossFunction,
    StepParts,
    Tensor,
    TrainStep,
    moved_along,
    recomputed_by,
    train_step,
)

fused_attention: Callable[..., Tensor] | None = None
"""None: TensorFlow has no attention that keeps no scores in memory"""

recomputed = functools.partial(recomputed_by, tf.recompute_grad)
"""`recomputed(function, layer)`, see `recomputed_by`"""


def set_seed(seed: int) -> None:
    """Seeds Python, NumPy, Keras and TensorFlow."""
    keras.utils.set_random_seed(seed)


def compile_function(function: Callable, model: keras.Model | None, jit: bool | None = None) -> Callable:
    """`function(*arrays)`, compiled once for each set of shapes; arrays may stand in dicts, lists and NamedTuples.

    Args:
        model: whose weights the function may use.
        jit: compile with XLA; None: only where a GPU is present.
    """
    xla = _use_xla(jit)
    compiled = _program(function, xla)

    def run(*arrays: Batch) -> Batch:
        free = _one_program.get() and not xla

        def shape_of(array: Tensor) -> tf.TensorSpec:
            return tf.TensorSpec([None] * array.ndim if free else array.shape, array.dtype)

        # asked for by shape, so that TensorFlow does not warn of the programs that new shapes need
        shapes = tf.nest.map_structure(shape_of, arrays)
        return compiled.get_concrete_function(*shapes)(*arrays)

    return run


_one_program: contextvars.ContextVar[bool] = contextvars.ContextVar("one_program", default=False)


@contextlib.contextmanager
def one_program() -> Iterator[bool]:
    """Inside, a function of `compile_function` is compiled once for arrays of any size, where XLA does not compile it.

    It must take its sizes from its arrays as tensors. Such a program is as fast as one for fixed sizes.

    Yields:
        Whether it is so here; otherwise every set of shapes has a program of its own, as outside.
    """
    token = _one_program.set(True)
    try:
        yield not _use_xla(None)
    finally:
        _one_program.reset(token)


def compile_train_step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    loss_function: LossFunction,
    jit: bool | None = None,
    perturbed: keras.Variable | None = None,
    perturbation: float = 0.0,
) -> TrainStep:
    """A compiled `step(batch, shares=None) -> loss` that updates `model` and `optimizer`; see `TrainStep`.

    Args:
        loss_function: `loss_function(batch)` calls `model` and returns a scalar tensor.
        jit: compile with XLA; None: only where a GPU is present.
        perturbed: a trainable weight; the gradient is taken where it is moved along its own gradient (fast gradient
            method, arXiv 1605.07725; bert4keras' `adversarial_training`), each batch for itself.
        perturbation: by how much, in the Euclidean norm of the whole weight.
    """
    variables = model.trainable_variables
    optimizer.build(variables)

    takes_rows = getattr(optimizer, "takes_rows", lambda variable: False)
    jit = _use_xla(jit)

    def gradients(batch: Batch, share: Tensor) -> tuple[Tensor, list[Tensor | None]]:
        return found_gradients(batch, share, dense=True)  # those of several batches are added up

    def found_gradients(batch: Batch, share: Tensor | float, dense: bool) -> tuple[Tensor, list[Tensor | None]]:
        former = None if perturbed is None else _move(perturbed, perturbation, loss_function, batch)
        with tf.GradientTape() as tape:
            loss = share * loss_function(batch)
            scaled = optimizer.scale_loss(loss)
        found = tape.gradient(scaled, [v.value for v in variables])
        if perturbed is not None:
            perturbed.assign(former)
        # Embedding gradients come as slices with repeated rows; Adam must square their sum, not sum their squares.
        kept = [not dense and takes_rows(v) for v in variables]
        pairs = zip(found, kept, strict=True)
        return loss, [g if g is None or as_rows else tf.convert_to_tensor(g) for g, as_rows in pairs]

    def update(batch: Batch) -> Tensor:
        loss, found = found_gradients(batch, 1.0, dense=jit)  # XLA has no rows of unknown number
        optimizer.apply(found)
        return loss

    # other names than those of the functions: `update` calls the plain `gradients`, not a program inside its own
    updating, differentiating, applying = (_program(f, jit) for f in (update, gradients, optimizer.apply))
    if jit:
        return train_step(StepParts(updating, differentiating, applying))
    return train_step(StepParts(_for_any_shape(updating), _for_any_shape(differentiating), applying))


_registered: dict[str, Any] = getattr(gradient_registry, "_registry", {})
"""gradients of operations by name; those of `tf.custom_gradient` have a name for each place in a graph"""
_tracing = threading.RLock()
"""held while names are registered, so that no program takes those of another thread's along"""


def _program(function: Callable, jit: bool) -> tf.types.experimental.PolymorphicFunction:
    """The function as a program that, when it goes, takes along the gradients that were registered for it.

    TensorFlow keeps these for good, and with each its graph and the memory of all variables that the graph reads: every
    training would leave its weights and the optimizer's moments behind.
    """
    names: set[str] = set()

    @functools.wraps(function)
    def traced(*arguments: Batch) -> Batch:
        with _tracing:
            known = set(_registered)
            try:
                return function(*arguments)
            finally:
                names.update(set(_registered) - known)

    program = tf.function(traced, jit_compile=jit, autograph=False)
    weakref.finalize(program, _forget, names)
    return program


def _forget(names: set[str]) -> None:
    for name in names:
        _registered.pop(name, None)


def _move(variable: keras.Variable, perturbation: float, loss_function: LossFunction, batch: Batch) -> Tensor:
    """Moves a weight along its gradient, and returns what it was."""
    with tf.GradientTape() as tape:
        loss = loss_function(batch)
    gradient = tf.convert_to_tensor(tape.gradient(loss, variable.value))
    former = tf.identity(variable.value)
    variable.assign(moved_along(former, gradient, perturbation))
    return former


def _for_any_shape(function: tf.types.experimental.PolymorphicFunction) -> Callable:
    """The function as one program for all shapes from the first step on.

    With `reduce_retracing` a step's program, and so its last bits, depend on the shapes before it, and a resumed run
    does not end as an uninterrupted one.
    """

    def run(batch: Batch, *shares: Tensor) -> Batch:
        shapes = tf.nest.map_structure(lambda array: tf.TensorSpec([None] * array.ndim, array.dtype), batch)
        program = function.get_concrete_function(shapes, *(tf.TensorSpec([], "float32") for _ in shares))
        return program(batch, *shares)

    return run


def run_one(
    predicate: Tensor,
    first: Callable[[], Batch],
    second: Callable[[], Batch],
    random_state: Sequence[keras.Variable],
) -> Batch:
    """The result of `first()` where `predicate` is true, else of `second()`; in a compiled program the other one is not
    computed.

    Args:
        predicate: bool, a scalar.
        first, second: return tensors of the same shapes, in tuples or alone; their layers are built.
        random_state: variables that they change (seeds of dropout).
    """
    return keras.ops.cond(predicate, first, second)


def apply_adam(
    variable: keras.Variable,
    momentum: keras.Variable,
    velocity: keras.Variable,
    gradient: Tensor,
    rate: Tensor,
    betas: tuple[Tensor, Tensor],
    powers: tuple[Tensor, Tensor],
    epsilon: Tensor,
) -> None:
    """One update of Adam as one operation; all numbers are scalars of the gradient's type.

    Args:
        powers: each of `betas` to the power of the update's number, counted from 1.
    """
    values = (v.value if isinstance(v, keras.Variable) else v for v in (variable, momentum, velocity))
    tf.raw_ops.ResourceApplyAdam(
        **{name: value.handle for name, value in zip(("var", "m", "v"), values, strict=True)},
        **dict(zip(("beta1_power", "beta2_power"), powers, strict=True)),
        **dict(zip(("beta1", "beta2"), betas, strict=True)),
        lr=rate,
        epsilon=epsilon,
        grad=gradient,
    )


def value_and_gradient(function: Callable[[Batch], Tensor], x: Batch) -> tuple[Tensor, Batch]:
    """The value of a function, a scalar, and its gradient at `x`; both can be differentiated again.

    Args:
        function: a pure one: it changes no variable.
        x: a tensor, or a list of them, which the function takes as it is.
    """
    x = tf.nest.map_structure(tf.convert_to_tensor, x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
    pairs = zip(tape.gradient(value, tf.nest.flatten(x)), tf.nest.flatten(x), strict=True)
    found = [tf.zeros_like(part) if g is None else tf.convert_to_tensor(g) for g, part in pairs]
    return value, tf.nest.pack_sequence_as(x, found)


def update_if(predicate: Tensor, function: Callable[[], None], variables: Sequence[keras.Variable]) -> None:
    """Calls `function()` where `predicate` is true, in a compiled program, too.

    Args:
        predicate: bool, a scalar.
        function: changes variables.
        variables: all that it reads or changes.
    """

    def run() -> Tensor:
        function()
        return tf.constant(0)

    tf.cond(predicate, run, lambda: tf.constant(0))


def gradient_rows(gradient: Tensor) -> tuple[Tensor, Tensor] | None:
    """The rows that a gradient has, each once, and their gradients; None where it has all of them."""
    if not isinstance(gradient, tf.IndexedSlices):
        return None
    rows, places = tf.unique(gradient.indices)
    return rows, tf.math.unsorted_segment_sum(gradient.values, places, tf.size(rows))


def dense(gradient: Tensor) -> Tensor:
    """A gradient with all of its rows."""
    return tf.convert_to_tensor(gradient)


def read(variable: keras.Variable) -> Tensor:
    """The value of a variable as it is now; later changes leave it as it is."""
    return tf.convert_to_tensor(variable.value if isinstance(variable, keras.Variable) else variable)


def take_rows(variable: keras.Variable, rows: Tensor) -> Tensor:
    """Some rows of a variable, without reading the others."""
    return (variable.value if isinstance(variable, keras.Variable) else variable).sparse_read(rows)


def put_rows(variable: keras.Variable, rows: Tensor, values: Tensor) -> None:
    """Sets some rows of a variable; the others are not touched."""
    (variable.value if isinstance(variable, keras.Variable) else variable).scatter_update(
        tf.IndexedSlices(values, rows)
    )


def draw_shorts(shape: Sequence[int | Tensor], seed_generator: keras.random.SeedGenerator) -> Tensor:
    """Random whole numbers from 0 to 65535, uint16 of a shape, all equally probable."""
    seed = tf.cast(tf.math.floormod(seed_generator.next(), tf.int32.max - 1), "int32")  # as Keras does for its own
    count = tf.reduce_prod(tf.stack(shape))
    words = tf.random.stateless_uniform([(count + 1) // 2], seed, minval=None, maxval=None, dtype="uint32")
    return tf.reshape(tf.reshape(tf.bitcast(words, "uint16"), [-1])[:count], shape)


def _use_xla(jit: bool | None) -> bool:
    return bool(tf.config.list_physical_devices("GPU")) if jit is None else jit
