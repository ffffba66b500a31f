"""Gradient descent on the unit sphere, for embeddings of any Keras model."""

from typing import Any

import keras
from keras import ops

from nlptasks.backend import Tensor, dense

SMALLEST = 1e-12
"""length that is divided by in place of 0"""


@keras.saving.register_keras_serializable("nlptasks")
class RiemannianSGD(keras.optimizers.Optimizer):
    """Moves the rows of each weight along the unit sphere (JoSE, Meng et al., arXiv 1911.01196).

    A row x with the gradient g moves by `-rate (1 + x.g / |g|) (I - x x^T) g`: along the sphere, and the further, the
    less it points against the gradient; then it is normalized. A row without a gradient rests.

        optimizer = RiemannianSGD(0.1)

    With `extend(RiemannianSGD(0.1), lazy=["embeddings"])` only the rows of a batch are touched on TensorFlow.

    Args:
        learning_rate: a number or a schedule.
        **kwargs: those of `keras.optimizers.Optimizer`. Every weight that the optimizer is given is kept on the sphere,
            so that weights that are none of vectors need another one.
    """

    def __init__(self, learning_rate: Any = 0.1, name: str = "riemannian_sgd", **kwargs: Any) -> None:
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)

    def update_step(self, gradient: Tensor, variable: Tensor, learning_rate: Tensor) -> None:
        rate, gradient = ops.cast(learning_rate, variable.dtype), ops.cast(dense(gradient), variable.dtype)
        value = variable * 1.0
        x, length = _normalized(value), _length(gradient)  # weights that have not moved yet may have any length
        along = ops.sum(x * gradient, axis=-1, keepdims=True)
        moved = x - rate * (1.0 + along / ops.maximum(length, SMALLEST)) * (gradient - along * x)
        self.assign(variable, ops.where(length > 0, _normalized(moved), value))


def _normalized(rows: Tensor) -> Tensor:
    return rows / ops.maximum(_length(rows), SMALLEST)


def _length(rows: Tensor) -> Tensor:
    return ops.sqrt(ops.sum(ops.square(rows), axis=-1, keepdims=True))
