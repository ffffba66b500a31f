"""Keras' utilities, with the dictionary of custom objects under its old place."""

from typing import Any

import keras as _keras

get_custom_objects = _keras.saving.get_custom_objects
custom_object_scope = CustomObjectScope = _keras.saving.custom_object_scope


def __getattr__(name: str) -> Any:
    return getattr(_keras.utils, name)
