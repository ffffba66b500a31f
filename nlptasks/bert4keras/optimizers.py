"""`bert4keras.optimizers`: Adam, AdaFactor, Lion, and the functions that extend an optimizer's class.

Names over `nlptasks.train`: Adam is its `PaperAdam`, Lion is Keras' with other betas, and an extended class its
`Extended` (see `nlptasks.bert4keras.extended`, which says what bert4keras has otherwise). AdaFactor alone has an update
of its own (`nlptasks.bert4keras.factored`).
"""

from collections.abc import Callable
from typing import Any

import keras as _keras

from nlptasks.bert4keras import extended, keras
from nlptasks.bert4keras.backend import K, is_tf_keras, piecewise_linear
from nlptasks.bert4keras.backend import root_mean_square as rms
from nlptasks.bert4keras.factored import AdaFactorBase
from nlptasks.bert4keras.keras.optimizers import old_arguments
from nlptasks.bert4keras.snippets import insert_arguments, is_one_of, is_string, string_matching
from nlptasks.train.optimizers import PaperAdam

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


@_keras.saving.register_keras_serializable("nlptasks.bert4keras")
class Adam(PaperAdam):
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
        given = old_arguments({"learning_rate": learning_rate} | kwargs | {"name": kwargs.get("name") or "Adam"})
        epsilon = epsilon or _keras.config.epsilon()
        super().__init__(beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, bias_correction=bias_correction, **given)


@_keras.saving.register_keras_serializable("nlptasks.bert4keras")
class LionV2(_keras.optimizers.Lion):
    """Lion (arXiv 2302.06675) with bert4keras' betas."""

    def __init__(self, learning_rate: Any = 3e-4, beta_1: float = 0.95, beta_2: float = 0.98, **kwargs: Any) -> None:
        given = old_arguments({"learning_rate": learning_rate} | kwargs | {"name": kwargs.get("name") or "Lion"})
        super().__init__(beta_1=beta_1, beta_2=beta_2, **given)


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


@export_to_custom_objects
def extend_with_weight_decay(BaseOptimizer: Any) -> Any:
    """Weight decay of its own (`weight_decay_rate`, `exclude_from_weight_decay`)."""
    return extended.extended_with(BaseOptimizer, extended.WEIGHT_DECAY)


@export_to_custom_objects
def extend_with_layer_adaptation(BaseOptimizer: Any) -> Any:
    """A step as long as the weight (LAMB, arXiv 1904.00962; `exclude_from_layer_adaptation`)."""
    return extended.extended_with(BaseOptimizer, extended.LAYER_ADAPTATION)


@export_to_custom_objects
def extend_with_piecewise_linear_lr(BaseOptimizer: Any) -> Any:
    """A rate that is linear between the points of `lr_schedule`."""
    return extended.extended_with(BaseOptimizer, extended.PIECEWISE_LINEAR_LR)


@export_to_custom_objects
def extend_with_gradient_accumulation(BaseOptimizer: Any) -> Any:
    """Gradients averaged over `grad_accum_steps` batches; schedules count updates, not batches."""
    return extended.extended_with(BaseOptimizer, extended.GRADIENT_ACCUMULATION)


@export_to_custom_objects
def extend_with_lookahead(BaseOptimizer: Any) -> Any:
    """Lookahead (arXiv 1907.08610): `steps_per_slow_update`, `slow_step_size`; slow weights start as the weights."""
    return extended.extended_with(BaseOptimizer, extended.LOOKAHEAD)


@export_to_custom_objects
def extend_with_lazy_optimization(BaseOptimizer: Any) -> Any:
    """Weights named in `include_in_lazy_optimization` keep the rows whose gradient is zero."""
    return extended.extended_with(BaseOptimizer, extended.LAZY_OPTIMIZATION)


@export_to_custom_objects
def extend_with_exponential_moving_average(BaseOptimizer: Any) -> Any:
    """An average of the weights: `ema_momentum`, `apply_ema_weights()`, `reset_old_weights()`."""
    return extended.extended_with(BaseOptimizer, extended.EXPONENTIAL_MOVING_AVERAGE)


@export_to_custom_objects
def extend_with_parameter_wise_lr(BaseOptimizer: Any) -> Any:
    """A factor of the rate for weights whose name holds a key of `paramwise_lr_schedule`."""
    return extended.extended_with(BaseOptimizer, extended.PARAMETER_WISE_LR)


for _name in [name for name in globals() if name.startswith("extend_with_")]:
    globals()[f"{_name}_v2"] = globals()[_name]
    __all__ += [_name, f"{_name}_v2"]
custom_objects = {"Adam": Adam, "AdaFactor": AdaFactor}
