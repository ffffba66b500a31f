"""What every invertible map of this folder offers, and the networks inside them.

Legend: B batch, D size of a vector, H size of a hidden layer.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from nlptasks.backend import Tensor


class Series(NamedTuple):
    """How a log-determinant is estimated where it is a power series (see `residual.py`).

    Attributes:
        noise: `(B, D)`, independent entries of mean 0 and variance 1, for example signs.
        weights: `(K,)` or `(K, B)`, what the K first terms are multiplied by.
    """

    noise: Tensor
    weights: Tensor


class Bijection(keras.layers.Layer):
    """A map of vectors that can be undone.

        y, log_det = bijection(x)
        bijection.inverse(y)  # x

    Call arguments:
        x_BD: float.
        series: how a log-determinant is estimated that is not a closed form; None: it is computed. Maps with a closed
            form do not read it.

    Returns:
        y, of the shape of x, and log |det dy/dx| of each row, `(B,)`.
    """

    built: bool

    def call(self, x_BD: Tensor, series: Series | None = None) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def inverse(self, y_BD: Tensor) -> Tensor:
        """The x whose y this is."""
        raise NotImplementedError

    def initialize(self, x_BD: Tensor) -> None:
        """Starts from data what does so (see `ActNorm`); most maps have nothing of the kind."""


class Perceptron(keras.layers.Layer):
    """Dense layers with relu between them. The last starts at zero: a coupling then starts as the identity.

    Args:
        hidden_sizes: widths of the layers before the last.
        size: width of the last.
    """

    built: bool

    def __init__(self, hidden_sizes: Sequence[int], size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner = [
            keras.layers.Dense(width, activation="relu", name=f"inner_{i}") for i, width in enumerate(hidden_sizes)
        ]
        self.outer = keras.layers.Dense(size, kernel_initializer="zeros", name="outer")

    def build(self, input_shape: Sequence[int | None]) -> None:
        if self.built:
            return
        width = input_shape[-1]
        for layer in (*self.inner, self.outer):
            layer.build((None, width))
            width = layer.units
        self.built = True

    def call(self, x_BD: Tensor) -> Tensor:
        for layer in self.inner:
            x_BD = layer(x_BD)
        return self.outer(x_BD)


def zeros_of(x: Tensor) -> Tensor:
    """0 for each row of x, `(B,)`: the log-determinant of a map that keeps volume."""
    return ops.zeros(ops.shape(x)[:1], x.dtype)


def places_of(x: Tensor) -> float | Tensor:
    """How many vectors stand in each row of x: 1 of `(B, D)`, height times width of `(B, height, width, D)`."""
    count: Any = 1.0
    for size in ops.shape(x)[1:-1]:
        count = count * ops.cast(size, x.dtype)
    return count
