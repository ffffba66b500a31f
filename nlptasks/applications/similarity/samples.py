"""Groups of sentences as training batches."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from nlptasks.errors import UserError
from nlptasks.text.batches import length_sorted_batches, pad, round_up

WIDTH = 4
"""what the width of a batch is a multiple of"""
Batch = tuple[int, int, np.ndarray]
"""epoch, number, and the sentences of a batch"""


class GroupExamples:
    """Batches of sentences and the groups they belong to.

    Args:
        token_ids: ids of each sentence.
        labels: its group.
        token_drop: share of the tokens that are read as unknown while training, chosen anew in every epoch.
        order_noise: tokens change places with others that are nearer than this many places, anew in every epoch; 0
            and 1 leave them in their order.
        unknown_id: the id of an unknown token.
        edges: tokens at both ends that are never dropped or moved.
        limit: batches are not rounded up beyond this width.
        seed: of shuffling, dropping and moving.
        pad_id: what fills the rows.
    """

    def __init__(
        self,
        token_ids: Sequence[np.ndarray],
        labels: np.ndarray,
        token_drop: float = 0.0,
        unknown_id: int = 1,
        edges: int = 0,
        limit: int | None = None,
        seed: int = 0,
        order_noise: float = 0.0,
        pad_id: int = 0,
    ) -> None:
        check_noise(token_drop, order_noise)
        self.token_ids, self.labels, self.seed = token_ids, labels, seed
        self._token_drop, self._unknown_id, self._edges, self._limit = token_drop, unknown_id, edges, limit
        self._lengths = np.array([len(ids) for ids in token_ids])
        self._order_noise, self._pad_id = order_noise, pad_id

    def __len__(self) -> int:
        """How many sentences there are."""
        return len(self.token_ids)

    def num_batches(self, epoch: int, batch_size: int) -> int:
        """How many batches an epoch has."""
        return math.ceil(len(self) / batch_size)

    def weight(self, arrays: Mapping[str, np.ndarray]) -> float:
        """How many sentences there are in a batch."""
        return float(arrays["weights"].sum())

    def batches(self, epoch: int, batch_size: int) -> list[Batch]:
        """(epoch, number, indices) of the batches of an epoch; sentences of similar length together."""
        random = np.random.default_rng([self.seed, epoch])
        groups = length_sorted_batches(self._lengths, batch_size, random, window=20)
        return [(epoch, number, indices) for number, indices in enumerate(groups)]

    def arrays(self, batch: Batch, batch_size: int) -> dict[str, np.ndarray]:
        """`token_ids` (B, T), `labels` (B,) and `weights` (B,), 0 for rows beyond the data."""
        epoch, number, indices = batch
        random = np.random.default_rng([self.seed, epoch, number])
        width = round_up(int(self._lengths[indices].max()), WIDTH, self._limit)
        token_ids = pad([self.token_ids[i] for i in indices], width, batch_size, self._pad_id)
        position = np.arange(width)[None]
        lengths = np.zeros((batch_size, 1), "int64")
        lengths[: len(indices), 0] = self._lengths[indices]
        inside = (position >= self._edges) & (position < lengths - self._edges)
        if self._token_drop:
            token_ids[(random.random(token_ids.shape) < self._token_drop) & inside] = self._unknown_id
        if self._order_noise:
            moved = np.where(inside, random.random(token_ids.shape), position >= self._edges)  # what is behind stays so
            places = position + self._order_noise * moved
            token_ids = np.take_along_axis(token_ids, np.argsort(places, axis=1, kind="stable"), axis=1)
        token_ids[len(indices) :, 0] = self._unknown_id
        labels, weights = np.zeros(batch_size, "int32"), np.zeros(batch_size, "float32")
        labels[: len(indices)], weights[: len(indices)] = self.labels[indices], 1.0
        return {"token_ids": token_ids, "labels": labels, "weights": weights}


def check_noise(token_drop: float, order_noise: float) -> None:
    """Refuses values that `GroupExamples` cannot train with.

    Raises:
        UserError: in one line.
    """
    if not order_noise >= 0.0:
        raise UserError("{field:order_noise} must be at least 0. Received: {value}.", value=order_noise)
    if not 0.0 <= token_drop < 1.0:
        raise UserError("{field:token_drop} must lie in [0, 1). Received: {value}.", value=token_drop)
