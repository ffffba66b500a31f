"""What the programs of both backends share: types, the step over several batches, and recomputation."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import keras
from keras import ops

Tensor = Any
"""an array of the backend, as `keras.ops` takes and returns it"""
Batch = Any
"""arrays, in dicts, lists, tuples and NamedTuples"""
LossFunction = Callable[[Batch], Tensor]
"""calls a model on a batch and returns a scalar"""


class TrainStep(Protocol):
    """A compiled step of training."""

    def __call__(self, batch: Batch, shares: Sequence[float] | None = None) -> Tensor:
        """Makes one update of model and optimizer and returns the loss, a float32 scalar.

        Args:
            batch: what the loss function takes; with `shares`, a list of such batches.
            shares: the loss is the sum of each batch's loss times its share; one batch's activations are held at a
                time.
        """


class StepParts(NamedTuple):
    """The compiled programs that a step is made of."""

    update: Callable[[Batch], Tensor]
    """updates model and optimizer by one batch; returns its loss"""
    gradients: Callable[[Batch, Tensor], tuple[Tensor, list[Tensor | None]]]
    """takes a batch and its share; returns the loss times the share, and the gradients of that"""
    apply: Callable[[list[Tensor | None]], object]
    """updates model and optimizer by gradients"""


def train_step(parts: StepParts) -> TrainStep:
    """The step, as `TrainStep` describes it, made of these programs."""

    def step(batch: Batch, shares: Sequence[float] | None = None) -> Tensor:
        """See `TrainStep`."""
        if shares is None:
            return parts.update(batch)
        total: Tensor = 0.0
        sums: list[Tensor | None] = []
        for part, share in zip(batch, shares, strict=True):
            loss, found = parts.gradients(part, ops.convert_to_tensor(share, "float32"))
            total = total + loss
            sums = found if not sums else [a if b is None else a + b for a, b in zip(sums, found, strict=True)]
        parts.apply(sums)
        return total

    return step


def recomputed_by(
    checkpoint: Callable[[Callable], Callable], function: Callable, layer: keras.layers.Layer
) -> Callable:
    """`function(*arrays)`, which uses the weights of `layer`, keeping nothing for the gradient but its arguments.

    It draws the same again from the layer's random state (dropout). Arrays may stand in lists, tuples and NamedTuples;
    None stays None. The modules of the backends offer it as `recomputed(function, layer)`.

    Args:
        checkpoint: takes a pure function from floating tensors to a list of tensors, and returns one that is computed
            again for the gradient.
    """
    trainable, others = list(layer.trainable_variables), list(layer.non_trainable_variables)

    def run(*arrays: Batch) -> Batch:
        leaves = keras.tree.flatten(arrays)
        # only what has a gradient is an argument: TensorFlow takes no other
        floats = [leaf is not None and "float" in keras.backend.standardize_dtype(leaf.dtype) for leaf in leaves]
        state = [ops.copy(v.value) for v in others]
        form: list[Batch] = []

        def pure(*flat: Tensor) -> tuple[Tensor, ...]:
            weights, rest = flat[: len(trainable)], iter(flat[len(trainable) :])
            again = [next(rest) if is_float else leaf for leaf, is_float in zip(leaves, floats, strict=True)]
            mapping = list(zip(trainable + others, [*weights, *state], strict=True))
            with keras.StatelessScope(state_mapping=mapping) as scope:
                result = function(*keras.tree.pack_sequence_as(arrays, again))
            form[:] = [result]
            return *keras.tree.flatten(result), *current_values(scope, others, state)

        given = [leaf for leaf, is_float in zip(leaves, floats, strict=True) if is_float]
        found = checkpoint(pure)(*(ops.convert_to_tensor(v) for v in trainable), *given)
        count = len(found) - len(others)
        assign_all(others, found[count:])
        return keras.tree.pack_sequence_as(form[0], list(found[:count]))

    return run


def moved_along(value: Tensor, gradient: Tensor, distance: float) -> Tensor:
    """A weight moved along its gradient, by a distance in Euclidean norm (fast gradient method, arXiv 1605.07725)."""
    return value + distance * gradient / (ops.norm(ops.reshape(gradient, (-1,))) + 1e-8)


def current_values(
    scope: keras.StatelessScope, variables: Sequence[keras.Variable], values: Sequence[Tensor]
) -> Iterator[Tensor]:
    """The values of variables at the end of a stateless scope that they entered with `values`."""
    for variable, value in zip(variables, values, strict=True):
        current = scope.get_current_value(variable)
        yield value if current is None else current


def assign_all(variables: Sequence[keras.Variable], values: Sequence[Tensor]) -> None:
    """Gives each variable its value."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
