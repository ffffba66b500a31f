"""Optimizers by name: Keras' own where it has them right, and Tiger, which it lacks."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from nlptasks.backend import Tensor
from nlptasks.train.adam import Adam


@keras.saving.register_keras_serializable("nlptasks")
class Tiger(keras.optimizers.Optimizer):
    """Tiger: the sign of one moving average of the gradients (Su Jianlin, "Tight-fisted Optimizer").

    `m = beta m + (1 - beta) g`, and the weight moves by `-rate * sign(m)`: Lion (arXiv 2302.06675) with one beta. It
    keeps one number for each weight, as SGD with momentum does.

        optimizer = Tiger(1e-3)

    Args:
        beta: of the moving average.
        relative: the step of a matrix is multiplied by the root mean square of the matrix, and that of a vector (bias
            or norm) by 0.5, as in the article's own code; then 1e-3 suits most models.
        **kwargs: those of `keras.optimizers.Optimizer`.

    Raises:
        ValueError: `beta` is outside of [0, 1).
    """

    def __init__(
        self, learning_rate: Any = 1e-3, beta: float = 0.965, relative: bool = False, name: str = "tiger", **kwargs: Any
    ) -> None:
        if not 0 <= beta < 1:
            raise ValueError(f"beta must lie in [0, 1). Received: {beta=}.")
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.beta, self.relative = beta, relative

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self._momentums = self.add_optimizer_variables(variables, "momentum")

    def update_step(self, gradient: Tensor, variable: Tensor, learning_rate: Tensor) -> None:
        rate, gradient = ops.cast(learning_rate, variable.dtype), ops.cast(gradient, variable.dtype)
        m = self._momentums[self._get_variable_index(variable)]
        new_m = self.beta * m + (1.0 - self.beta) * gradient
        self.assign(m, new_m)
        if self.relative:
            size = ops.sqrt(ops.mean(ops.square(variable)))
            rate = rate * (0.5 if len(variable.shape) < 2 else size)
        self.assign_sub(variable, rate * ops.sign(new_m))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"beta": self.beta, "relative": self.relative}


KINDS: dict[str, type[keras.optimizers.Optimizer]] = {
    "adam": Adam,
    "lion": keras.optimizers.Lion,
    "tiger": Tiger,
    "adafactor": keras.optimizers.Adafactor,
}
"""the optimizers of the training options; Keras' Lion and Adafactor follow their papers' equations (a test compares)"""
