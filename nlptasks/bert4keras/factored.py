"""AdaFactor (arXiv 1804.04235) as bert4keras has it.

No name over Keras' Adafactor, whose arithmetic is another one: that factors every matrix, this one only from
`min_dim_size_to_factor` on and over the two longest axes; it bounds the given rate by 1 / sqrt(step), where this one
takes the given rate as it is; and it has no average of the updates (`beta1`), no given `beta2`, no weights whose step
does not depend on their size (`exclude_from_parameter_scale`), and no rate of its own (`learning_rate=None`).
"""

from collections.abc import Sequence
from typing import Any

import keras as _keras
import numpy as np
from keras import ops

from nlptasks.backend import dense
from nlptasks.bert4keras.naming import old_name
from nlptasks.bert4keras.snippets import string_matching


@_keras.saving.register_keras_serializable("nlptasks.bert4keras", "AdaFactor")
class AdaFactorBase(_keras.optimizers.Optimizer):
    """AdaFactor: the second moments of a large matrix as those of its rows and columns.

    Args:
        learning_rate: None: the smaller of 0.01 and 1 / sqrt(step).
        beta1: of the averaged updates; 0: none.
        beta2: of the second moments; None: it rises with the steps.
        min_dim_size_to_factor: the smaller side of a matrix from which on it is factored.
        exclude_from_parameter_scale: names of weights whose step does not depend on their size.
    """

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        beta1: float = 0.0,
        beta2: float | None = None,
        epsilon1: float = 1e-30,
        epsilon2: float = 1e-3,
        multiply_by_parameter_scale: bool = True,
        clipping_threshold: float | None = 1.0,
        min_dim_size_to_factor: int = 128,
        exclude_from_parameter_scale: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs["name"] = kwargs.get("name") or "AdaFactor"
        super().__init__(learning_rate=1.0 if learning_rate is None else learning_rate, **kwargs)
        self._given_rate, self.beta1, self._beta2 = learning_rate, beta1, beta2
        self.epsilon1, self.epsilon2 = epsilon1, epsilon2
        self.multiply_by_parameter_scale, self.clipping_threshold = multiply_by_parameter_scale, clipping_threshold
        self.min_dim_size_to_factor = min_dim_size_to_factor
        self.exclude_from_parameter_scale = list(exclude_from_parameter_scale or ())

    @property
    def beta2(self) -> Any:
        """Of this step."""
        if self._beta2 is not None:
            return self._beta2
        return 1.0 - ops.power(ops.cast(self.iterations + 1, "float32"), -0.8)

    def factored_shape(self, shape: Sequence[int]) -> tuple[Any, int, Any, int] | None:
        """The shapes of row and column moments and the axes that they leave out; None: the weight is not factored."""
        if len(shape) < 2:
            return None
        order = np.array(shape).argpartition(-2)
        large, small = int(order[-1]), int(order[-2])
        if shape[small] < self.min_dim_size_to_factor:
            return None
        rows, columns = list(shape), list(shape)
        rows[large], columns[small] = 1, 1
        return rows, large, columns, small

    def build(self, variables: Any) -> None:
        if self.built:
            return
        super().build(variables)
        self._slots: list[dict[str, Any]] = []
        for variable in variables:
            factored = self.factored_shape(variable.shape)
            shapes = {"v": variable.shape} if factored is None else {"vr": factored[0], "vc": factored[2]}
            shapes |= {"m": variable.shape} if self.beta1 > 0 else {}
            made = {name: self._slot(tuple(shape), name, variable) for name, shape in shapes.items()}
            self._slots.append(made)

    def _slot(self, shape: tuple[int, ...], name: str, variable: Any) -> Any:
        path = variable.path.replace("/", "_")
        return self.add_variable(shape, initializer="zeros", dtype=variable.dtype, name=f"{path}_{name}")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        gradient = ops.cast(dense(gradient), variable.dtype)
        index = self._get_variable_index(variable)
        slots, factored = self._slots[index], self.factored_shape(variable.shape)
        squared, beta2 = ops.square(gradient) + self.epsilon1, self.beta2
        if factored is None:
            moment = beta2 * slots["v"] + (1.0 - beta2) * squared
            self.assign(slots["v"], moment)
        else:
            _, large, _, small = factored
            rows = beta2 * slots["vr"] + (1.0 - beta2) * ops.mean(squared, axis=large, keepdims=True)
            columns = beta2 * slots["vc"] + (1.0 - beta2) * ops.mean(squared, axis=small, keepdims=True)
            self.assign(slots["vr"], rows)
            self.assign(slots["vc"], columns)
            moment = rows * columns / ops.mean(rows, axis=small, keepdims=True)
        update = gradient / ops.sqrt(moment + self.epsilon1)
        if self.clipping_threshold is not None:
            update = update / ops.maximum(1.0, _rms(update) / self.clipping_threshold)
        if self.beta1 > 0:
            update = self.beta1 * slots["m"] + (1.0 - self.beta1) * update
            self.assign(slots["m"], update)
        name = old_name(self._trainable_variables[index])
        if self.multiply_by_parameter_scale and not string_matching(name, self.exclude_from_parameter_scale):
            update = update * ops.maximum(_rms(variable), self.epsilon2)
        self.assign_sub(variable, self._rate(learning_rate) * update)

    def _rate(self, learning_rate: Any) -> Any:
        if self._given_rate is not None:
            return ops.cast(learning_rate, "float32")
        rate = ops.minimum(ops.rsqrt(ops.cast(self.iterations + 1, "float32")), 0.01)
        return rate if self.multiply_by_parameter_scale else rate * 0.05

    def get_config(self) -> dict[str, Any]:
        names = (
            *("beta1", "epsilon1", "epsilon2", "multiply_by_parameter_scale", "clipping_threshold"),
            *("min_dim_size_to_factor", "exclude_from_parameter_scale"),
        )
        config = super().get_config() | {name: getattr(self, name) for name in names} | {"beta2": self._beta2}
        return config | ({"learning_rate": None} if self._given_rate is None else {})


def _rms(x: Any) -> Any:
    return ops.sqrt(ops.mean(ops.square(x)))
