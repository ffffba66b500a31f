"""Batches of examples, for training and for prediction."""

import contextlib
import contextvars
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nlptasks.text.batches import length_sorted_batches, pad, round_up

WIDTH = 16
"""widths of arrays are multiples of this"""

_width: contextvars.ContextVar[int | None] = contextvars.ContextVar("width", default=None)


@contextlib.contextmanager
def padded_to(multiple: int) -> Iterator[None]:
    """Inside this block classifiers, labelers and conditional generators read and train on other widths of arrays, and
    readers by spans answer on them.

    Each width is a program of its own, which XLA compiles for half a minute on a GPU, while padding costs little there.

        with padded_to(128):  # with a `seq_length` of 256: two programs to train, two to predict
            classifier.predict(texts)

    Args:
        multiple: widths are multiples of this many tokens, or the `seq_length` where that is less.
    """
    if multiple < 1:
        raise ValueError(f"multiple must be at least 1. Received: multiple={multiple}.")
    token = _width.set(multiple)
    try:
        yield
    finally:
        _width.reset(token)


def padded_width(longest: int, limit: int) -> int:
    """The width of the arrays of a batch: that of its longest example rounded up, at most `limit`."""
    return round_up(longest, width_multiple(), limit)


def width_multiple(usual: int = WIDTH) -> int:
    """What widths are a multiple of: that of the innermost `padded_to`, or what is usual."""
    return _width.get() or usual


class ShuffledBatches:
    """The batches of an epoch: examples of similar length together, a function of seed and epoch alone."""

    def __init__(self, lengths: Sequence[int], seed: int = 0):
        self.lengths, self.seed = np.asarray(lengths), seed

    def __len__(self) -> int:
        return len(self.lengths)

    def num_batches(self, epoch: int, size: int) -> int:
        """How many batches an epoch has."""
        return math.ceil(len(self) / size)

    def batches(self, epoch: int, size: int) -> list[Any]:
        """Indices of the examples of each batch."""
        return length_sorted_batches(self.lengths, size, np.random.default_rng([self.seed, epoch]))

    def weight(self, arrays: Mapping[str, np.ndarray]) -> float:
        """How many examples there are in a batch."""
        return arrays["weights"].sum()


def padded_inputs(encodings: Sequence, count: int, limit: int, pad_id: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and segment ids `(count, T)` of encodings, T rounded up, at most `limit`."""
    width = padded_width(max(len(e) for e in encodings), limit)
    token_ids = pad([e.token_ids for e in encodings], width, count, pad_id)
    return token_ids, pad([e.segment_ids for e in encodings], width, count)


def prediction_batches(
    encodings: Sequence, batch_size: int, limit: int, pad_id: int = 0
) -> Iterator[tuple[np.ndarray, tuple]]:
    """Indices and padded inputs of batches of similar length, every one of `batch_size` rows."""
    for indices in length_sorted_batches([len(e) for e in encodings], batch_size):
        yield indices, padded_inputs([encodings[i] for i in indices], batch_size, limit, pad_id)
