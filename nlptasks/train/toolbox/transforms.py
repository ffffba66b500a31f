"""Changes of the gradients before an optimizer uses them: functions of a gradient and its weight.

    optimizer = extend(Adam(1e-4), transforms=[centralized, clipped(0.1), frozen_until({"embeddings/*": 500})])

Any function `(gradient, variable) -> gradient` is one. Those that need the number of the update are `AtUpdate`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from nlptasks.backend import Tensor
from nlptasks.train.toolbox.patterns import fits

Transform = Callable[[Tensor, keras.Variable], Tensor]


def clipped(most: float) -> Transform:
    """Each number of a gradient is kept within `[-most, most]`.

    transform = clipped(0.1)
    """

    def clip(gradient: Tensor, variable: keras.Variable) -> Tensor:
        return ops.clip(gradient, -most, most)

    return clip


def centralized(gradient: Tensor, variable: keras.Variable) -> Tensor:
    """The gradient of a matrix without the mean over its inputs (gradient centralization, arXiv 2004.01461).

    gradient = centralized(gradient, variable)
    """
    if len(gradient.shape) < 2:
        return gradient
    axes = tuple(range(len(gradient.shape) - 1))  # Keras' kernels have their outputs last
    return gradient - ops.mean(gradient, axis=axes, keepdims=True)


def normalized(gradient: Tensor, variable: keras.Variable) -> Tensor:
    """The gradient of each weight with Euclidean norm 1; one that is 0 stays so.

    gradient = normalized(gradient, variable)
    """
    norm = ops.sqrt(ops.sum(ops.square(gradient)))
    return gradient / ops.where(norm > 0, norm, ops.ones_like(norm))


class AtUpdate:
    """A transform that knows how many updates were made before this one."""

    variables: tuple[keras.Variable, ...] = ()
    """what it keeps; the optimizer saves it"""

    def at(self, update: Tensor, gradient: Tensor, variable: keras.Variable) -> Tensor:
        """The changed gradient."""
        raise NotImplementedError


class noisy(AtUpdate):
    """Adds normal noise of variance `scale / (1 + update) ** decay` (arXiv 1511.06807).

        transform = noisy(0.01)

    Args:
        scale: variance at the first update.
        decay: how fast it falls.
        seed: of the noise, which is saved with the optimizer.
    """

    def __init__(self, scale: float = 0.01, decay: float = 0.55, seed: int = 0) -> None:
        self.scale, self.decay, self._seeds = scale, decay, keras.random.SeedGenerator(seed)
        self.variables = (self._seeds.state,)

    def at(self, update: Tensor, gradient: Tensor, variable: keras.Variable) -> Tensor:
        """The gradient with noise."""
        deviation = ops.sqrt(self.scale / ops.power(1.0 + ops.cast(update, "float32"), self.decay))
        drawn = keras.random.normal(gradient.shape, dtype="float32", seed=self._seeds)
        return gradient + ops.cast(deviation * drawn, gradient.dtype)


class frozen_until(AtUpdate):
    """Weights have no gradient before a given update.

        transform = frozen_until({"embeddings/*": 500})

    Args:
        updates: patterns (see `patterns.fits`), and how many updates a weight waits; the longest wait counts.
    """

    def __init__(self, updates: Mapping[str, int]) -> None:
        self.updates = dict(updates)

    def at(self, update: Tensor, gradient: Tensor, variable: keras.Variable) -> Tensor:
        """The gradient, or 0."""
        waits = [wait for pattern, wait in self.updates.items() if fits(variable.path, pattern)]
        if not waits:
            return gradient
        return gradient * ops.cast(update >= max(waits), gradient.dtype)


def transformed(transform: Any, update: Tensor, gradient: Tensor, variable: keras.Variable) -> Tensor:
    """The gradient that a transform makes of one."""
    if isinstance(transform, AtUpdate):
        return transform.at(update, gradient, variable)
    return transform(gradient, variable)
