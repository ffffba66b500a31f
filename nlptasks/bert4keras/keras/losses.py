"""The cross-entropies of `keras.backend`: the target comes first, and may be float."""

from typing import Any

import keras as _keras
from keras import ops


def sparse_categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Any:
    """-log of the probability of each target id; one axis less than `output`."""
    target = ops.cast(target, "int32")
    if len(target.shape) == len(output.shape):
        target = ops.reshape(target, ops.shape(output)[:-1])
    if from_logits:
        logits = output
        chosen = ops.take_along_axis(logits, target[..., None], axis=-1)[..., 0]
        return ops.logsumexp(logits, axis=-1) - chosen
    chosen = ops.take_along_axis(output, target[..., None], axis=-1)[..., 0]
    small = _keras.config.epsilon()
    return -ops.log(ops.clip(chosen, small, 1.0 - small))


def categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Any:
    """The same for targets that are probabilities."""
    return ops.categorical_crossentropy(target, output, from_logits=from_logits, axis=axis)


def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Any:
    """The cross-entropy of every element."""
    return ops.binary_crossentropy(ops.cast(target, output.dtype), output, from_logits=from_logits)
