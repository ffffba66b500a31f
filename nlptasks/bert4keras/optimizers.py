"""`bert4keras.optimizers`: Adam, AdaFactor, Lion, and the functions that extend an optimizer's class.

An extended class changes what the base class did to a weight in a step. Regular expressions and names of weights are
looked for in bert4keras' names (`Transformer-0-FeedForward-Norm/gamma`).
"""

from collections.abc import Callable
from typing import Any

import keras as _keras
import numpy as np
from keras import ops

from nlptasks.bert4keras import keras
from nlptasks.bert4keras.backend import K, is_tf_keras, piecewise_linear
from nlptasks.bert4keras.backend import root_mean_square as rms
from nlptasks.bert4keras.factored import AdaFactorBase, dense_gradient
from nlptasks.bert4keras.keras.optimizers import old_arguments
from nlptasks.bert4keras.naming import old_name
from nlptasks.bert4keras.snippets import insert_arguments, is_one_of, is_string, string_matching
from nlptasks.train.toolbox.extended import trust_ratio

__all__ = [
    "AdaFactor",
    "AdaFactorBase",
    "AdaFactorV1",
    "AdaFactorV2",
    "Adam",
    "K",
    "Lion",
    "LionV2",
    "custom_objects",
    "export_to_custom_objects",
    "insert_arguments",
    "is_one_of",
    "is_string",
    "is_tf_keras",
    "keras",
    "piecewise_linear",
    "rms",
    "string_matching",
]


class _Base(_keras.optimizers.Optimizer):
    """Keras' Optimizer, with dense gradients and the old names of weights."""

    def __init__(self, learning_rate: Any, **kwargs: Any) -> None:
        super().__init__(**old_arguments({"learning_rate": learning_rate} | kwargs))

    def slots(self, variables: Any, names: list[str]) -> None:
        """Makes the variables that the optimizer keeps for each weight."""
        for name in names:
            setattr(self, f"_{name}", self.add_optimizer_variables(variables, [name])[0])

    def slot(self, name: str, variable: Any) -> Any:
        """That of a weight."""
        return getattr(self, f"_{name}")[self._get_variable_index(variable)]


@_keras.saving.register_keras_serializable("nlptasks.bert4keras")
class Adam(_Base):
    """Adam (arXiv 1412.6980) with bert4keras' epsilon, 1e-6, and its `bias_correction`."""

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        bias_correction: bool = True,
        **kwargs: Any,
    ) -> None:
        kwargs["name"] = kwargs.get("name") or "Adam"
        super().__init__(learning_rate, **kwargs)
        self.beta_1, self.beta_2, self.bias_correction = beta_1, beta_2, bias_correction
        self.epsilon = epsilon or _keras.config.epsilon()

    def build(self, variables: Any) -> None:
        if self.built:
            return
        super().build(variables)
        self.slots(variables, ["m", "v"])

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate, gradient = ops.cast(learning_rate, variable.dtype), dense_gradient(gradient, variable)
        m, v = self.slot("m", variable), self.slot("v", variable)
        new_m = self.beta_1 * m + (1.0 - self.beta_1) * gradient
        new_v = self.beta_2 * v + (1.0 - self.beta_2) * ops.square(gradient)
        self.assign(m, new_m)
        self.assign(v, new_v)
        if self.bias_correction:
            step = ops.cast(self.iterations + 1, variable.dtype)
            new_m = new_m / (1.0 - ops.power(ops.cast(self.beta_1, variable.dtype), step))
            new_v = new_v / (1.0 - ops.power(ops.cast(self.beta_2, variable.dtype), step))
        self.assign_sub(variable, rate * new_m / (ops.sqrt(new_v) + self.epsilon))

    def get_config(self) -> dict[str, Any]:
        names = ("beta_1", "beta_2", "epsilon", "bias_correction")
        return super().get_config() | {name: getattr(self, name) for name in names}


@_keras.saving.register_keras_serializable("nlptasks.bert4keras")
class LionV2(_Base):
    """Lion (arXiv 2302.06675)."""

    def __init__(self, learning_rate: Any = 3e-4, beta_1: float = 0.95, beta_2: float = 0.98, **kwargs: Any) -> None:
        kwargs["name"] = kwargs.get("name") or "Lion"
        super().__init__(learning_rate, **kwargs)
        self.beta_1, self.beta_2 = beta_1, beta_2

    def build(self, variables: Any) -> None:
        if self.built:
            return
        super().build(variables)
        self.slots(variables, ["m"])

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate, gradient = ops.cast(learning_rate, variable.dtype), dense_gradient(gradient, variable)
        m = self.slot("m", variable)
        self.assign_sub(variable, rate * ops.sign(self.beta_1 * m + (1.0 - self.beta_1) * gradient))
        self.assign(m, self.beta_2 * m + (1.0 - self.beta_2) * gradient)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"beta_1": self.beta_1, "beta_2": self.beta_2}


Lion = LionV2
AdaFactor = AdaFactorV1 = AdaFactorV2 = AdaFactorBase


def export_to_custom_objects(base_extend_with: Callable) -> Callable:
    """A decorator of functions that extend an optimizer's class: they take a name, and Keras finds the class by it."""

    def extend(BaseOptimizer: Any, name: str | None = None) -> Any:
        made = base_extend_with(BaseOptimizer)
        made.__name__ = name or made.__name__
        _keras.saving.get_custom_objects()[made.__name__] = made
        return made

    extend.__name__, extend.__doc__ = base_extend_with.__name__, base_extend_with.__doc__
    return extend


def _extended(base: Any, defaults: dict[str, Any], members: dict[str, Callable]) -> Any:
    """A subclass whose `__init__` takes further arguments and keeps them, under `get_config` too."""

    class NewOptimizer(base):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            given = {name: kwargs.pop(name, value) for name, value in defaults.items()}
            super().__init__(*args, **kwargs)
            for name, value in given.items():
                setattr(self, name, value)

        def get_config(self) -> dict[str, Any]:
            return super().get_config() | {name: getattr(self, name) for name in defaults}

        def named(self, variable: Any) -> str:
            """bert4keras' name of a weight."""
            return old_name(self._trainable_variables[self._get_variable_index(variable)])

    for name, member in members.items():
        setattr(NewOptimizer, name, member)
    return NewOptimizer


def _changing(base: Any, defaults: dict[str, Any], change: Callable) -> Any:
    """An extension that puts `change(optimizer, before, after, variable, rate)` in the place of what the base did."""

    def update_step(self: Any, gradient: Any, variable: Any, learning_rate: Any) -> None:
        before = ops.convert_to_tensor(variable) + 0.0
        base.update_step(self, gradient, variable, learning_rate)
        rate = ops.cast(learning_rate, variable.dtype)
        after = change(self, before, ops.convert_to_tensor(variable), variable, rate)
        if after is not None:
            self.assign(variable, after)

    return _extended(base, defaults, {"update_step": update_step})


@export_to_custom_objects
def extend_with_weight_decay(BaseOptimizer: Any) -> Any:
    """Weight decay of its own (`weight_decay_rate`, `exclude_from_weight_decay`)."""

    def change(self: Any, before: Any, after: Any, variable: Any, rate: Any) -> Any:
        if string_matching(self.named(variable), self.exclude_from_weight_decay):
            return None
        return after - rate * self.weight_decay_rate * before

    return _changing(BaseOptimizer, {"weight_decay_rate": 0.01, "exclude_from_weight_decay": []}, change)


@export_to_custom_objects
def extend_with_layer_adaptation(BaseOptimizer: Any) -> Any:
    """A step as long as the weight (LAMB, arXiv 1904.00962; `exclude_from_layer_adaptation`)."""

    def change(self: Any, before: Any, after: Any, variable: Any, rate: Any) -> Any:
        if string_matching(self.named(variable), self.exclude_from_layer_adaptation):
            return None
        moved = after - before
        return before + moved * trust_ratio(before, moved, rate)

    return _changing(BaseOptimizer, {"exclude_from_layer_adaptation": []}, change)


@export_to_custom_objects
def extend_with_piecewise_linear_lr(BaseOptimizer: Any) -> Any:
    """A rate that is linear between the points of `lr_schedule`."""

    def update_step(self: Any, gradient: Any, variable: Any, learning_rate: Any) -> None:
        schedule = {int(step): value for step, value in self.lr_schedule.items()}
        factor = piecewise_linear(self.iterations, schedule)
        BaseOptimizer.update_step(self, gradient, variable, ops.cast(learning_rate, "float32") * factor)

    return _extended(BaseOptimizer, {"lr_schedule": {0: 1}}, {"update_step": update_step})


@export_to_custom_objects
def extend_with_gradient_accumulation(BaseOptimizer: Any) -> Any:
    """Gradients averaged over `grad_accum_steps` batches; schedules count updates, not batches."""

    class NewOptimizer(BaseOptimizer):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            steps = kwargs.pop("grad_accum_steps", 1)
            super().__init__(*args, **({"gradient_accumulation_steps": steps if steps > 1 else None} | kwargs))
            self.grad_accum_steps = steps

        def get_config(self) -> dict[str, Any]:
            return super().get_config() | {"grad_accum_steps": self.grad_accum_steps}

    return NewOptimizer


def _with_slot(base: Any, defaults: dict[str, Any], slot: str, members: dict[str, Callable]) -> Any:
    """An extension that keeps a further variable for each weight, which starts as `slot_start(weight)` says."""

    def build(self: Any, variables: Any) -> None:
        if self.built:
            return
        base.build(self, variables)
        setattr(self, f"_{slot}", self.add_optimizer_variables(variables, [slot])[0])
        if slot == "slow":
            for mine, weight in zip(self._slow, variables, strict=True):
                mine.assign(weight)

    return _extended(base, defaults, members | {"build": build})


@export_to_custom_objects
def extend_with_lookahead(BaseOptimizer: Any) -> Any:
    """Lookahead (arXiv 1907.08610): `steps_per_slow_update`, `slow_step_size`; slow weights start as the weights."""

    def update_step(self: Any, gradient: Any, variable: Any, learning_rate: Any) -> None:
        BaseOptimizer.update_step(self, gradient, variable, learning_rate)
        slow = self._slow[self._get_variable_index(variable)]
        due = ops.equal((self.iterations + 1) % self.steps_per_slow_update, 0)
        fast = ops.convert_to_tensor(variable)
        moved = slow + self.slow_step_size * (fast - slow)
        new = ops.where(due, moved, fast)
        self.assign(slow, ops.where(due, moved, slow))
        self.assign(variable, new)

    defaults = {"steps_per_slow_update": 5, "slow_step_size": 0.5}
    return _with_slot(BaseOptimizer, defaults, "slow", {"update_step": update_step})


@export_to_custom_objects
def extend_with_lazy_optimization(BaseOptimizer: Any) -> Any:
    """Weights named in `include_in_lazy_optimization` keep the rows whose gradient is zero."""

    def update_step(self: Any, gradient: Any, variable: Any, learning_rate: Any) -> None:
        before = ops.convert_to_tensor(variable) + 0.0
        BaseOptimizer.update_step(self, gradient, variable, learning_rate)
        names = self.include_in_lazy_optimization
        if names and string_matching(self.named(variable), names):
            axes = tuple(range(1, len(variable.shape)))
            moves = ops.any(ops.not_equal(dense_gradient(gradient, variable), 0), axis=axes, keepdims=True)
            self.assign(variable, ops.where(moves, ops.convert_to_tensor(variable), before))

    return _extended(BaseOptimizer, {"include_in_lazy_optimization": []}, {"update_step": update_step})


@export_to_custom_objects
def extend_with_exponential_moving_average(BaseOptimizer: Any) -> Any:
    """An average of the weights: `ema_momentum`, `apply_ema_weights()`, `reset_old_weights()`."""

    def update_step(self: Any, gradient: Any, variable: Any, learning_rate: Any) -> None:
        BaseOptimizer.update_step(self, gradient, variable, learning_rate)
        average = self._average[self._get_variable_index(variable)]
        momentum = self.average_momentum
        self.assign(average, average * momentum + ops.convert_to_tensor(variable) * (1.0 - momentum))

    def apply_ema_weights(self: Any, bias_correction: bool = True) -> None:
        """Keeps the weights and puts their average in their place."""
        if not self.built:
            return
        self.old_weights = [np.array(ops.convert_to_numpy(v)) for v in self._trainable_variables]
        share = 1.0 - self.average_momentum ** int(self.iterations.value) if bias_correction else 1.0
        for variable, average in zip(self._trainable_variables, self._average, strict=True):
            variable.assign(ops.convert_to_numpy(average) / (share or 1.0))

    def reset_old_weights(self: Any) -> None:
        """Puts the weights back."""
        for variable, value in zip(self._trainable_variables, self.old_weights, strict=True):
            variable.assign(value)

    members: dict[str, Any] = {"update_step": update_step, "apply_ema_weights": apply_ema_weights}
    made: Any = _with_slot(BaseOptimizer, {}, "average", members | {"reset_old_weights": reset_old_weights})

    class NewOptimizer(made):
        old_weights: list[np.ndarray]

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            momentum = kwargs.pop("ema_momentum", 0.999)
            super().__init__(*args, **kwargs)
            self.average_momentum, self.old_weights = momentum, []

        def get_config(self) -> dict[str, Any]:
            return super().get_config() | {"ema_momentum": self.average_momentum}

    return NewOptimizer


@export_to_custom_objects
def extend_with_parameter_wise_lr(BaseOptimizer: Any) -> Any:
    """A factor of the rate for weights whose name holds a key of `paramwise_lr_schedule`."""

    def change(self: Any, before: Any, after: Any, variable: Any, rate: Any) -> Any:
        factor, name = 1.0, self.named(variable)
        for key, value in self.paramwise_lr_schedule.items():
            factor *= value if key in name else 1.0
        return None if factor == 1.0 else before + (after - before) * factor

    return _changing(BaseOptimizer, {"paramwise_lr_schedule": {}}, change)


for _name in [name for name in globals() if name.startswith("extend_with_")]:
    globals()[f"{_name}_v2"] = globals()[_name]
    __all__ += [_name, f"{_name}_v2"]
custom_objects = {"Adam": Adam, "AdaFactor": AdaFactor}
