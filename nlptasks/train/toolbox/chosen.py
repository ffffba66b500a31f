"""The optimizer that the training options ask for."""

from typing import Any

import keras

from nlptasks.train.options import TrainingOptions
from nlptasks.train.toolbox.extending import extend
from nlptasks.train.toolbox.kinds import KINDS
from nlptasks.train.toolbox.patterns import parsed_factors

EMBEDDINGS = ("embeddings/token/embeddings", "embedding/embeddings", "unit", "pair")
"""the token embeddings of the models: of Transformers, of recurrent networks, and of segmenters"""


def optimizer_of(options: TrainingOptions, rate: float | keras.optimizers.schedules.LearningRateSchedule) -> Any:
    """An optimizer at this rate, extended only where an option asks for it."""
    corrected = options.ema is not None and options.ema_bias_correction
    averages = {} if options.ema is None or corrected else {"use_ema": True, "ema_momentum": options.ema}
    more: dict[str, Any] = {"relative_step": False} if options.optimizer == "adafactor" else {}
    optimizer = KINDS[options.optimizer](rate, global_clipnorm=options.clip_norm, **averages, **more)
    given: dict[str, Any] = {
        "weight_decay": options.weight_decay,
        "layer_adaptation": options.layer_adaptation,
        "layer_decay": getattr(options, "layer_decay", None),
        "lookahead": options.lookahead,
        "average": options.ema if corrected else None,
        "lazy": EMBEDDINGS if options.lazy_embeddings else (),
    }
    if options.piecewise_rate is not None:
        points = parsed_factors(options.piecewise_rate, "piecewise_rate", whole=True)
        given["piecewise_lr"] = {int(step): factor for step, factor in points.items()}
    if options.learning_rate_of is not None:
        given["rates"] = parsed_factors(options.learning_rate_of, "learning_rate_of")
    given = {name: value for name, value in given.items() if value}
    return extend(optimizer, lookahead_rate=options.lookahead_rate, **given) if given else optimizer
