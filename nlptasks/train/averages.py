"""Weights that an optimizer keeps beside those that it trains, and that are the ones to validate and to save."""

import contextlib
from collections.abc import Iterator, Sequence

import keras
from keras import ops

from nlptasks.backend import Tensor


@contextlib.contextmanager
def averaged_weights(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """Inside this block the model has the weights to be saved: averages that Keras keeps, or what `extend` keeps
    (corrected averages, slow weights); its own where there is none, or before the first step.
    """
    kept = optimizer.kept_weights() if hasattr(optimizer, "kept_weights") else None
    averaged = optimizer.use_ema and int(ops.convert_to_numpy(optimizer.iterations))
    if kept is None and not averaged:
        yield
        return
    own = [ops.copy(variable.value) for variable in model.trainable_variables]
    if kept is None:
        optimizer.finalize_variable_values(model.trainable_variables)
    else:
        _assign(model, kept)
    try:
        yield
    finally:
        _assign(model, own)


def _assign(model: keras.Model, values: Sequence[Tensor]) -> None:
    for variable, value in zip(model.trainable_variables, values, strict=True):
        variable.assign(value)
