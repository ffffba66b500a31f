"""Optimizers and learning-rate schedules."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import keras
import numpy as np
from keras import ops

from nlptasks.backend import Tensor, dense
from nlptasks.train.adam import Adam


@keras.saving.register_keras_serializable("nlptasks")
class WarmupLinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to `peak` over `warmup_steps`, then falls linearly to 0 at `total_steps`; steps count updates.

    Args:
        first_step: the update with which the schedule begins; those before it are not counted.
    """

    def __init__(self, peak: float, warmup_steps: int, total_steps: int, first_step: int = 0) -> None:
        if not 0 <= warmup_steps <= total_steps:
            raise ValueError(f"warmup_steps must lie in [0, total_steps]. Received: {warmup_steps=}, {total_steps=}.")
        self.peak, self.warmup_steps, self.total_steps = peak, warmup_steps, total_steps
        self.first_step = first_step

    def __call__(self, step: Tensor) -> Tensor:
        step = ops.cast(step, "float32") - self.first_step
        rising = (step + 1.0) / max(1, self.warmup_steps)
        falling = (self.total_steps - step) / max(1, self.total_steps - self.warmup_steps)
        return self.peak * ops.clip(ops.minimum(rising, falling), 0.0, 1.0)

    def get_config(self) -> dict[str, Any]:
        steps = {"warmup_steps": self.warmup_steps, "total_steps": self.total_steps, "first_step": self.first_step}
        return {"peak": self.peak} | steps


def make_adam(
    learning_rate: float,
    total_steps: int,
    warmup_share: float = 0.0,
    decay: bool = True,
    clip_norm: float | None = None,
    ema: float | None = None,
    first_step: int = 0,
) -> Adam:
    """Adam (arXiv 1412.6980), constant or with warm-up and linear decay.

    Args:
        learning_rate: the highest rate of the run.
        total_steps: updates of the whole run, or of the part of it that has this schedule.
        warmup_share: share of `total_steps` in which the rate rises.
        decay: fall linearly to 0 after the warm-up; else the rate is constant from the first step.
        clip_norm: bound of the gradients' global norm; None for none.
        ema: momentum of the weights' exponential moving average; None: none is kept.
        first_step: the update with which the schedule begins.

    Raises:
        ValueError: a rate or bound that is not positive, or a share outside [0, 1], or a warm-up without decay.
    """
    if clip_norm is not None and not clip_norm > 0:
        raise ValueError(f"clip_norm must be positive. Received: {clip_norm=}.")
    averages = {} if ema is None else {"use_ema": True, "ema_momentum": ema}
    rate = make_rate(learning_rate, total_steps, warmup_share, decay, first_step)
    return Adam(rate, global_clipnorm=clip_norm, **averages)


def make_rate(
    learning_rate: float, total_steps: int, warmup_share: float = 0.0, decay: bool = True, first_step: int = 0
) -> float | WarmupLinearDecay:
    """A learning rate, constant or with warm-up and linear decay; arguments as in `make_adam`.

    Raises:
        ValueError: a rate that is not positive, or a share outside [0, 1], or a warm-up without decay.
    """
    if not learning_rate > 0:
        raise ValueError(f"learning_rate must be positive. Received: {learning_rate=}.")
    if not 0 <= warmup_share <= 1:
        raise ValueError(f"warmup_share must lie in [0, 1]. Received: warmup_share={warmup_share}.")
    if warmup_share and not decay:
        raise ValueError(f"a warm-up goes with decay. Received: warmup_share={warmup_share}, decay=False.")
    if not decay:
        return learning_rate
    return WarmupLinearDecay(learning_rate, int(total_steps * warmup_share), total_steps, first_step)


@keras.saving.register_keras_serializable("nlptasks")
class PiecewiseLinear(keras.optimizers.schedules.LearningRateSchedule):
    """A rate times a multiplier that is linear between given steps (bert4keras' `lr_schedule`).

    Args:
        rate: what a multiplier of 1 means.
        multipliers: step to multiplier; 0 at step 0 unless that is given, and after the last step it stays.

    Raises:
        ValueError: no step, a negative one, or a multiplier that is negative or not a number.
    """

    def __init__(self, rate: float, multipliers: Mapping[int, float]) -> None:
        points = {int(step): float(value) for step, value in multipliers.items()}
        if not points or min(points) < 0 or not all(0 <= value < float("inf") for value in points.values()):
            raise ValueError(
                f"a schedule maps steps from 0 on to multipliers from 0 on. Received: {dict(multipliers)}."
            )
        self.rate, self.multipliers = rate, dict(sorted(points.items()))

    def __call__(self, step: Tensor) -> Tensor:
        step = ops.cast(step, "float32")
        points = list(({0: 0.0} | self.multipliers).items())
        multiplier = ops.full_like(step, points[-1][1])
        for (first, low), (last, high) in reversed(list(pairwise(points))):
            risen = low + (step - first) * ((high - low) / (last - first))
            multiplier = ops.where(step < last, risen, multiplier)
        return self.rate * multiplier

    def at(self, step: int) -> float:
        """The rate at a step, computed without a device."""
        points = {0: 0.0} | self.multipliers
        return self.rate * float(np.interp(step, list(points), list(points.values())))

    def get_config(self) -> dict[str, Any]:
        return {"rate": self.rate, "multipliers": self.multipliers}


@keras.saving.register_keras_serializable("nlptasks")
class PaperAdam(keras.optimizers.Optimizer):
    """Adam as its paper writes it (arXiv 1412.6980, algorithm 1): epsilon stands beside the corrected root.

    Keras has it beside the uncorrected one, which makes first steps on small gradients shorter. bert4keras' Adam is
    this one.

        optimizer = PaperAdam(1e-4)

    Args:
        bias_correction: moments are corrected for their start at 0.
        **kwargs: those of `keras.optimizers.Optimizer`.
    """

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        bias_correction: bool = True,
        name: str = "adam",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.beta_1, self.beta_2, self.epsilon, self.bias_correction = beta_1, beta_2, epsilon, bias_correction

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self._momentums, self._velocities = self.add_optimizer_variables(variables, ["momentum", "velocity"])

    def update_step(self, gradient: Tensor, variable: Tensor, learning_rate: Tensor) -> None:
        update = self.update_of(ops.cast(dense(gradient), variable.dtype), variable)
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * update)

    def update_of(self, gradient: Tensor, variable: Tensor) -> Tensor:
        """What a weight moves by at a rate of -1; the moments are those after this step."""
        index = self._get_variable_index(variable)
        m, v = self._momentums[index], self._velocities[index]
        new_m = self.beta_1 * m + (1 - self.beta_1) * gradient
        new_v = self.beta_2 * v + (1 - self.beta_2) * ops.square(gradient)
        self.assign(m, new_m)
        self.assign(v, new_v)
        if self.bias_correction:
            step = ops.cast(self.iterations + 1, variable.dtype)
            new_m = new_m / (1 - ops.power(ops.cast(self.beta_1, variable.dtype), step))
            new_v = new_v / (1 - ops.power(ops.cast(self.beta_2, variable.dtype), step))
        return new_m / (ops.sqrt(new_v) + self.epsilon)

    def get_config(self) -> dict[str, Any]:
        names = ("beta_1", "beta_2", "epsilon", "bias_correction")
        return super().get_config() | {name: getattr(self, name) for name in names}


UNDECAYED = (r"bias$", r"gamma$", r"beta$")
"""patterns of the weights that are usually neither decayed nor adapted: biases and norms"""


@keras.saving.register_keras_serializable("nlptasks")
class Lamb(PaperAdam):
    """LAMB (arXiv 1904.00962): Adam whose step on each weight is as long as the weight itself.

    With w a weight, m and v Adam's corrected moments: `u = m / (sqrt(v) + epsilon) + weight_decay_rate w`, and
    `w -= rate * |w| / |u| * u`; the ratio is 1 where one of the norms is 0. The decay is inside of the ratio. Updates
    are those of bert4keras' `extend_with_weight_decay` and `extend_with_layer_adaptation` on its Adam
    (`keras.optimizers.Lamb` has no decay in the ratio and adapts every weight).

    Args:
        weight_decay_rate: share of the weight that is added to its update.
        exclude_from_weight_decay, exclude_from_layer_adaptation: regular expressions searched for in a weight's path.
        **kwargs: those of `keras.optimizers.Optimizer`: `global_clipnorm`, `use_ema`, ...
    """

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        weight_decay_rate: float = 0.01,
        exclude_from_weight_decay: Sequence[str] = UNDECAYED,
        exclude_from_layer_adaptation: Sequence[str] = UNDECAYED,
        name: str = "lamb",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, name=name, **kwargs)
        self.weight_decay_rate = weight_decay_rate
        self.undecayed, self.unadapted = tuple(exclude_from_weight_decay), tuple(exclude_from_layer_adaptation)

    def update_of(self, gradient: Tensor, variable: Tensor) -> Tensor:
        update = super().update_of(gradient, variable)
        path = self._trainable_variables[self._get_variable_index(variable)].path
        if not _matches(path, self.undecayed):
            update = update + self.weight_decay_rate * variable
        if not _matches(path, self.unadapted):
            weight_norm, update_norm = _norm(variable), _norm(update)
            usable = ops.logical_and(weight_norm > 0, update_norm > 0)
            update = update * ops.where(usable, weight_norm / ops.where(usable, update_norm, 1.0), 1.0)
        return update

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "weight_decay_rate": self.weight_decay_rate,
            "exclude_from_weight_decay": self.undecayed,
            "exclude_from_layer_adaptation": self.unadapted,
        }


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(re.search(pattern, path) for pattern in patterns)


def _norm(x: Tensor) -> Tensor:
    return ops.sqrt(ops.sum(ops.square(x)))
