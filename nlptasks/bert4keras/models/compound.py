"""Compound tokens: new tokens whose vectors start as the average of those of known tokens."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nlptasks.core import Transformer
from nlptasks.loading import load_weights


def with_compound_tokens(
    model: Transformer, checkpoint: Any, keep_tokens: Any, compound: Sequence[Any], options: dict[str, Any]
) -> None:
    """Loads a checkpoint into a model whose vocabulary ends with compound tokens.

    Args:
        compound: for each new token the ids of known ones, or (ids, weights of the average).
        options: those of `load_weights`.
    """
    size = model.config.vocab_size - len(compound)
    known = type(model).from_config(model.get_config() | {"config": model.config.replace(vocab_size=size).to_dict()})
    known.build()
    load_weights(known, checkpoint, keep_tokens=keep_tokens, **options)
    for mine, its in zip(model.weights, known.weights, strict=True):
        value = np.asarray(its.value)
        if tuple(mine.shape) != value.shape:
            value = np.concatenate([value, [average(value, item) for item in compound]])
        mine.assign(value)


def average(table: np.ndarray, item: Any) -> np.ndarray:
    """The vector of one compound token."""
    ids, weights = item if isinstance(item, tuple) else (item, None)
    return np.average(table[list(ids)], axis=0, weights=weights)
