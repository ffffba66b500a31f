"""Keras' optimizers; `lr` and `decay` of Keras 2 are understood."""

from typing import Any

import keras as _keras
from keras import ops


def old_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Keras 2's arguments of an optimizer under today's names."""
    arguments = dict(arguments)
    if "lr" in arguments:
        arguments["learning_rate"] = arguments.pop("lr")
    decay = arguments.pop("decay", 0.0)
    if decay:
        arguments["learning_rate"] = TimeDecay(arguments.get("learning_rate", 0.001), decay)
    return arguments


@_keras.saving.register_keras_serializable("nlptasks.bert4keras")
class TimeDecay(_keras.optimizers.schedules.LearningRateSchedule):
    """`decay` of Keras 2: the rate divided by 1 + decay x steps."""

    def __init__(self, learning_rate: float, decay: float) -> None:
        self.learning_rate, self.decay = learning_rate, decay

    def __call__(self, step: Any) -> Any:
        return self.learning_rate / (1.0 + self.decay * ops.cast(step, "float32"))

    def get_config(self) -> dict[str, Any]:
        return {"learning_rate": self.learning_rate, "decay": self.decay}


_MADE: dict[type, type] = {}


def _old(optimizer: type) -> type:
    if optimizer not in _MADE:

        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            optimizer.__init__(self, *args, **old_arguments(kwargs))  # type: ignore[misc]

        members = {"__module__": __name__, "__init__": __init__, "__doc__": optimizer.__doc__}
        members["lr"] = property(lambda self: self.learning_rate)
        _MADE[optimizer] = type(optimizer.__name__, (optimizer,), members)
    return _MADE[optimizer]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    value = getattr(_keras.optimizers, name)
    base = _keras.optimizers.Optimizer
    if isinstance(value, type) and issubclass(value, base) and value is not base:
        value = _old(value)
    return value
