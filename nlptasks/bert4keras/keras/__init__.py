"""Keras for scripts that were written for Keras 2: our Model, Layer and optimizers, and Keras' own names for the rest.

    from nlptasks.bert4keras.keras.layers import Dense, Lambda
    from nlptasks.bert4keras.keras.models import Model

Every layer class is a subclass of the class of that name in Keras; Keras itself is not changed.
"""

import importlib
from typing import Any

import keras as _keras

from nlptasks.bert4keras.keras import backend, initializers, layers, models, optimizers, utils
from nlptasks.bert4keras.keras.layers import Input
from nlptasks.bert4keras.keras.models import Model, Sequential

__path__ = [*__path__, *_keras.__path__]  # what is imported below `keras` and is not ours is found in Keras
__version__ = _keras.__version__

__all__ = [
    "Input",
    "Model",
    "Sequential",
    "backend",
    "initializers",
    "layers",
    "models",
    "optimizers",
    "utils",
]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    try:
        return getattr(_keras, name)
    except AttributeError:
        try:
            return importlib.import_module(f"keras.{name}")
        except ModuleNotFoundError:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
