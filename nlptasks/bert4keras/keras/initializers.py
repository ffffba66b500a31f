"""Keras' initializers, which take the old call `initializer(shape, dtype=None)` already."""

from typing import Any

import keras as _keras


def __getattr__(name: str) -> Any:
    return getattr(_keras.initializers, name)
