"""Copies of a model that store their weights in another type."""

from typing import Any, TypeVar

import keras
from keras import ops

_Model = TypeVar("_Model", bound=keras.Model)


def stored_as(model: _Model, dtype: str) -> _Model:
    """The model if its weights are stored in `dtype` ("float32", "bfloat16"), else a copy whose weights are."""
    if {weight.dtype for weight in model.weights} == {dtype} and model.compute_dtype == dtype:
        return model
    copy: Any = type(model).from_config(model.get_config() | {"dtype": dtype})
    copy.build()
    for mine, its in zip(model.weights, copy.weights, strict=True):
        its.assign(ops.cast(mine, dtype))
    return copy
