"""Changes of a weight's step: functions of what an optimizer would move the weight by.

A change takes `(moved, before, rate, gradient)`: the step so far, the weight before it, the learning rate, and the
gradient; it returns the changed step. `Extended` applies those of a weight in their order.
"""

from collections.abc import Callable

from keras import ops

from nlptasks.backend import Tensor

Change = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def decayed(share: float) -> Change:
    """The weight loses `rate * share` of itself, too (decoupled weight decay, arXiv 1711.05101).

    change = decayed(0.01)
    """

    def change(moved: Tensor, before: Tensor, rate: Tensor, gradient: Tensor) -> Tensor:
        return moved - rate * share * before

    return change


def scaled(factor: float) -> Change:
    """The step is so many times as long.

    change = scaled(0.1)
    """

    def change(moved: Tensor, before: Tensor, rate: Tensor, gradient: Tensor) -> Tensor:
        return moved * factor

    return change


def adapted(moved: Tensor, before: Tensor, rate: Tensor, gradient: Tensor) -> Tensor:
    """The step is as long as its weight times the rate (LAMB).

    moved = adapted(moved, before, rate, gradient)
    """
    return moved * trust_ratio(before, moved, rate)


def trust_ratio(weight: Tensor, moved: Tensor, rate: Tensor) -> Tensor:
    """LAMB's ratio (arXiv 1904.00962): how much longer a weight is than its update; 1 where one of them is 0.

    Args:
        moved: the update times the rate.
    """
    length = ops.sqrt(ops.sum(ops.square(weight)))
    step = ops.sqrt(ops.sum(ops.square(moved))) / ops.maximum(rate, 1e-30)
    usable = ops.logical_and(length > 0, step > 0)
    return ops.where(usable, length / ops.where(usable, step, 1.0), 1.0)
