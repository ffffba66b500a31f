"""The programs on JAX."""

import contextlib
import functools
import random
from collections.abc import Callable, Sequence
from typing import Literal

import jax
import keras
import numpy as np
from keras import ops

from nlptasks.backend.mesh import over_devices
from nlptasks.backend.programs import (
    Batch,
    LossFunction,
    StepParts,
    Tensor,
    TrainStep,
    assign_all,
    current_values,
    moved_along,
    recomputed_by,
    train_step,
)

Values = list[Tensor]
"""the values of variables, in their order"""

apply_adam: Callable[..., None] | None = None
"""None: XLA makes one operation of Keras' own update of Adam"""

recomputed = functools.partial(recomputed_by, jax.checkpoint)
"""`recomputed(function, layer)`, see `recomputed_by`"""


def set_seed(seed: int) -> None:
    """Seeds Python and NumPy.

    Keras takes the seed of every layer from Python's generator, and once in a process the one for unseeded draws.
    `keras.utils.set_random_seed` imports TensorFlow, which takes seconds and the memory of every GPU.
    """
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries draw from it


def compile_function(function: Callable, model: keras.Model | None, jit: bool | None = None) -> Callable:
    """`function(*arrays)`, compiled once for each set of shapes; arrays may stand in dicts, lists and NamedTuples.

    Args:
        model: whose weights the function may use.
        jit: ignored; JAX always compiles with XLA.
    """
    variables = list(model.variables) if model is not None else []

    @jax.jit
    def pure(values: Values, *arrays: Batch) -> Batch:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return function(*arrays)

    return lambda *arrays: pure(_values(variables), *arrays)


def one_program() -> contextlib.AbstractContextManager[bool]:
    """Yields False: every set of shapes has a program of its own."""
    return contextlib.nullcontext(False)


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
        jit: ignored; JAX always compiles with XLA.
        perturbed: a trainable weight; the gradient is taken where it is moved along its own gradient (fast gradient
            method, arXiv 1605.07725; bert4keras' `adversarial_training`), each batch for itself.
        perturbation: by how much, in the Euclidean norm of the whole weight.
    """
    trainable, others = list(model.trainable_variables), list(model.non_trainable_variables)
    optimizer.build(trainable)
    slots = optimizer.variables
    scale = float(optimizer.loss_scale_factor or 1.0)
    gradients_of = _gradients_of(trainable, others, loss_function, perturbed, perturbation, scale)

    def update_of(trainable_values: Values, other_values: Values, slot_values: Values, batch: Batch) -> tuple:
        loss, other_values, found = gradients_of(trainable_values, other_values, batch, 1.0)
        return loss, other_values, *optimizer.stateless_apply(slot_values, found, trainable_values)

    def application_of(trainable_values: Values, slot_values: Values, found: Values) -> tuple[Values, Values]:
        return optimizer.stateless_apply(slot_values, found, trainable_values)

    update_of = jax.jit(update_of, donate_argnums=(0, 1, 2))
    gradients_of = jax.jit(gradients_of, donate_argnums=1)
    application_of = jax.jit(application_of, donate_argnums=(0, 1))

    def update(batch: Batch) -> Tensor:
        loss, *new = update_of(_values(trainable), _values(others), _values(slots), over_devices(batch))
        for variables, values in zip((others, trainable, slots), new, strict=True):
            assign_all(variables, values)
        return loss

    def gradients(batch: Batch, share: Tensor) -> tuple[Tensor, Values]:
        loss, other_values, found = gradients_of(_values(trainable), _values(others), over_devices(batch), share)
        assign_all(others, other_values)
        return loss, found

    def apply(found: Values) -> None:
        new = application_of(_values(trainable), _values(slots), found)
        for variables, values in zip((trainable, slots), new, strict=True):
            assign_all(variables, values)

    return train_step(StepParts(update, gradients, apply))


def _gradients_of(
    trainable: list[keras.Variable],
    others: list[keras.Variable],
    loss_function: LossFunction,
    perturbed: keras.Variable | None,
    perturbation: float,
    scale: float,
) -> Callable[[Values, Values, Batch, Tensor | float], tuple[Tensor, Values, Values]]:
    """A function of the values of trainable and other variables, a batch and its share. It returns the loss times the
    share, the new values of the others, and the gradients; these are `scale` times as large, as the optimizer takes
    them.
    """
    moved = next((i for i, variable in enumerate(trainable) if variable is perturbed), None)

    def loss_and_state(trainable_values: Values, other_values: Values, batch: Batch, share: Tensor | float) -> tuple:
        mapping = list(zip(trainable + others, trainable_values + other_values, strict=True))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            loss = share * loss_function(batch)
        return scale * loss, (loss, list(current_values(scope, others, other_values)))

    differentiated = jax.value_and_grad(loss_and_state, has_aux=True)

    def at_moved_weights(
        moved: int, trainable_values: Values, other_values: Values, batch: Batch
    ) -> tuple[Values, Values]:
        def with_moved(value: Tensor) -> tuple:
            values = [*trainable_values[:moved], value, *trainable_values[moved + 1 :]]
            return loss_and_state(values, other_values, batch, 1.0)

        gradient, (_, other_values) = jax.grad(with_moved, has_aux=True)(trainable_values[moved])
        value = moved_along(trainable_values[moved], gradient, perturbation)
        return [*trainable_values[:moved], value, *trainable_values[moved + 1 :]], other_values

    def gradients_of(
        trainable_values: Values, other_values: Values, batch: Batch, share: Tensor | float
    ) -> tuple[Tensor, Values, Values]:
        if moved is not None:
            trainable_values, other_values = at_moved_weights(moved, trainable_values, other_values, batch)
        (_, (loss, other_values)), found = differentiated(trainable_values, other_values, batch, share)
        return loss, other_values, found

    return gradients_of


def _values(variables: Sequence[keras.Variable]) -> Values:
    return [variable.value for variable in variables]


def fused_attention(query_BTNH: Tensor, key_BSNH: Tensor, value_BSNH: Tensor, mask_BTS: Tensor) -> Tensor:
    """softmax(query key^T under the mask) value, `(B, T, N, H)`, without scores in memory where the device can.

    On a GPU it runs cuDNN's, which takes 16-bit numbers; elsewhere the plain products.

    Args:
        query_BTNH: scaled already.
        mask_BTS: bool, True where position T may look at position S; T may be 1.
    """
    mask_BTS = ops.broadcast_to(mask_BTS, (query_BTNH.shape[0], query_BTNH.shape[1], key_BSNH.shape[1]))
    implementation: Literal["cudnn", "xla"] = "cudnn" if jax.default_backend() == "gpu" else "xla"
    return jax.nn.dot_product_attention(
        query_BTNH, key_BSNH, value_BSNH, mask=mask_BTS[:, None], scale=1.0, implementation=implementation
    )


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

    def returning_state(function: Callable[[], Batch]) -> Callable[[], tuple[Batch, Values]]:
        def run() -> tuple[Batch, Values]:  # a value made in a branch leaves it as a result, never through a variable
            before = _values(random_state)
            result = function()
            after = _values(random_state)
            assign_all(random_state, before)
            return result, after

        return run

    result, after = keras.ops.cond(predicate, returning_state(first), returning_state(second))
    assign_all(random_state, after)
    return result


def value_and_gradient(function: Callable[[Batch], Tensor], x: Batch) -> tuple[Tensor, Batch]:
    """The value of a function, a scalar, and its gradient at `x`; both can be differentiated again.

    Args:
        function: a pure one: it changes no variable.
        x: a tensor, or a list of them, which the function takes as it is.
    """
    return jax.value_and_grad(function)(jax.tree.map(ops.convert_to_tensor, x))


def update_if(predicate: Tensor, function: Callable[[], None], variables: Sequence[keras.Variable]) -> None:
    """Calls `function()` where `predicate` is true, in a compiled program, too.

    Args:
        predicate: bool, a scalar.
        function: changes variables.
        variables: all that it reads or changes.
    """
    before = _values(variables)

    def run() -> Values:
        with keras.StatelessScope(state_mapping=list(zip(variables, before, strict=True))) as scope:
            function()
        return list(current_values(scope, variables, before))

    assign_all(variables, jax.lax.cond(predicate, run, lambda: before))


def gradient_rows(gradient: Tensor) -> tuple[Tensor, Tensor] | None:
    """None: gradients have all of their rows."""
    return None


def dense(gradient: Tensor) -> Tensor:
    """The gradient itself, which has all of its rows."""
    return gradient


def read(variable: keras.Variable) -> Tensor:
    """The value of a variable as it is now; later changes leave it as it is."""
    return variable.value


def take_rows(variable: keras.Variable, rows: Tensor) -> Tensor:
    """Some rows of a variable."""
    return ops.take(variable.value, rows, axis=0)


def put_rows(variable: keras.Variable, rows: Tensor, values: Tensor) -> None:
    """Sets some rows of a variable."""
    variable.assign(variable.value.at[rows].set(values))


def draw_shorts(shape: Sequence[int], seed_generator: keras.random.SeedGenerator) -> Tensor:
    """Random whole numbers from 0 to 65535, uint16 of a shape, all equally probable."""
    return jax.random.bits(seed_generator.next(), shape, "uint16")
