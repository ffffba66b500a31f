"""Batches of examples, for training and for prediction."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nlptasks.text.batches import length_sorted_batches, pad, round_up

WIDTH = 16
"""widths of arrays are multiples of this"""


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
    width = round_up(max(len(e) for e in encodings), WIDTH, limit)
    token_ids = pad([e.token_ids for e in encodings], width, count, pad_id)
    return token_ids, pad([e.segment_ids for e in encodings], width, count)


def prediction_batches(
    encodings: Sequence, batch_size: int, limit: int, pad_id: int = 0
) -> Iterator[tuple[np.ndarray, tuple]]:
    """Indices and padded inputs of batches of similar length, every one of `batch_size` rows."""
    for indices in length_sorted_batches([len(e) for e in encodings], batch_size):
        yield indices, padded_inputs([encodings[i] for i in indices], batch_size, limit, pad_id)
