"""Optimizers and learning-rate schedules."""

import keras
from keras import ops

from nlptasks.train.adam import Adam


@keras.saving.register_keras_serializable("nlptasks")
class WarmupLinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to `peak` over `warmup_steps`, then falls linearly to 0 at `total_steps`; steps count updates."""

    def __init__(self, peak: float, warmup_steps: int, total_steps: int):
        if not 0 <= warmup_steps <= total_steps:
            raise ValueError(f"warmup_steps must lie in [0, total_steps]. Received: {warmup_steps=}, {total_steps=}.")
        self.peak, self.warmup_steps, self.total_steps = peak, warmup_steps, total_steps

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rising = (step + 1.0) / max(1, self.warmup_steps)
        falling = (self.total_steps - step) / max(1, self.total_steps - self.warmup_steps)
        return self.peak * ops.clip(ops.minimum(rising, falling), 0.0, 1.0)

    def get_config(self):
        return {"peak": self.peak, "warmup_steps": self.warmup_steps, "total_steps": self.total_steps}


def make_adam(
    learning_rate: float,
    total_steps: int,
    warmup_share: float = 0.0,
    decay: bool = True,
    clip_norm: float | None = None,
    ema: float | None = None,
) -> Adam:
    """Adam (arXiv 1412.6980), constant or with warm-up and linear decay.

    Args:
        learning_rate: the highest rate of the run.
        total_steps: updates of the whole run.
        warmup_share: share of `total_steps` in which the rate rises.
        decay: fall linearly to 0 after the warm-up; else the rate is constant from the first step.
        clip_norm: bound of the gradients' global norm; None for none.
        ema: momentum of the weights' exponential moving average; None: none is kept.

    Raises:
        ValueError: a rate or bound that is not positive, or a share outside [0, 1], or a warm-up without decay.
    """
    for name, value in (("learning_rate", learning_rate), ("clip_norm", clip_norm)):
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be positive. Received: {name}={value}.")
    if not 0 <= warmup_share <= 1:
        raise ValueError(f"warmup_share must lie in [0, 1]. Received: warmup_share={warmup_share}.")
    if warmup_share and not decay:
        raise ValueError(f"a warm-up goes with decay. Received: warmup_share={warmup_share}, decay=False.")
    schedule = learning_rate
    if decay:
        schedule = WarmupLinearDecay(learning_rate, int(total_steps * warmup_share), total_steps)
    averages = {} if ema is None else {"use_ema": True, "ema_momentum": ema}
    return Adam(schedule, global_clipnorm=clip_norm, **averages)
