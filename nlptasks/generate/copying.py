"""Constraints that tie what is written to the source, and one that keeps it from repeating itself; see constraints.py.

Legend: Q samples, K continuations (1 before the first token), S positions of a source, A slots, V vocabulary.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from keras import ops

from nlptasks.backend import Tensor
from nlptasks.generate.constraints import LENGTH_MULTIPLE, Batch, Constraint, _members, tokens_at
from nlptasks.generate.search import IMPOSSIBLE, take_continuations


class Copying(NamedTuple):
    """Tokens of the source gain `bonus`, and once more where they stand behind what was written last."""

    bonus: Tensor
    known_Q1V: Tensor
    ids_QS: Tensor
    behind_QKS: Tensor

    def restrict(self, scores_QKV: Tensor, time: Tensor) -> Tensor:
        owner_Q = ops.arange(ops.shape(self.ids_QS)[0], dtype="int32")
        next_QKV = tokens_at(self.ids_QS[:, None], self.behind_QKS, owner_Q, scores_QKV)
        gains_QKV = ops.cast(self.known_Q1V, "float32") + ops.cast(next_QKV, "float32")
        return scores_QKV + self.bonus * gains_QKV

    def follow(self, tokens_QK: Tensor, parents_QK: Tensor | None) -> Self:
        return self._replace(behind_QKS=_behind(self.ids_QS[:, None] == tokens_QK[..., None]))


def copying(texts: Sequence[Sequence[int]], bonus: float) -> Constraint:
    """Makes it more likely that source i is copied: the tokens of `texts[i]` gain `bonus`, in nats, and those that
    stand there behind the token that was written last gain it twice.

        generator.generate([source_ids], max_length=64, constraints=[copying([source_ids[1:-1]], bonus=0.5)])
    """

    def start(batch: Batch) -> Copying:
        ids_QS = _padded(texts, batch)
        known_QV = np.array([_members(texts[row] if row >= 0 else [], batch) for row in batch.rows])
        return Copying(np.float32(bonus), known_QV[:, None], ids_QS, np.zeros((len(ids_QS), 1, ids_QS.shape[1]), bool))

    return start


class WholeWords(NamedTuple):
    """Words of some kind are written as they stand in the source: from a first token through its last piece.

    `inside` says that the last token belongs to such a word, `behind` where in the source it may go on.
    """

    first_V: Tensor
    piece_V: Tensor
    ids_QS: Tensor
    firsts_QS: Tensor
    pieces_QS: Tensor
    inside_QK: Tensor
    behind_QKS: Tensor

    def restrict(self, scores_QKV: Tensor, time: Tensor) -> Tensor:
        owner_Q = ops.arange(ops.shape(self.ids_QS)[0], dtype="int32")
        allowed_QKV = tokens_at(self.ids_QS[:, None], self._places(), owner_Q, scores_QKV)
        over_QK = ops.any(ops.logical_and(self.behind_QKS, ops.logical_not(self.pieces_QS)[:, None]), axis=-1)
        leaves_QK1 = ops.logical_or(ops.logical_not(self.inside_QK), over_QK)[..., None]
        others_V = ops.logical_not(ops.logical_or(self.first_V, self.piece_V))
        allowed_QKV = ops.where(self.first_V, ops.logical_and(allowed_QKV, leaves_QK1), allowed_QKV)
        return ops.where(ops.where(others_V, leaves_QK1, allowed_QKV), scores_QKV, IMPOSSIBLE)

    def _places(self) -> Tensor:
        """Where in the source the next token of a word may stand: a first one, or a piece behind the last token."""
        return ops.logical_or(self.firsts_QS[:, None], ops.logical_and(self.behind_QKS, self.pieces_QS[:, None]))

    def follow(self, tokens_QK: Tensor, parents_QK: Tensor | None) -> Self:
        places_QKS = self._places()
        if parents_QK is not None:
            places_QKS = take_continuations(places_QKS, parents_QK)
        behind_QKS = _behind(ops.logical_and(places_QKS, self.ids_QS[:, None] == tokens_QK[..., None]))
        inside_QK = ops.take(ops.logical_or(self.first_V, self.piece_V), tokens_QK, axis=0)
        return self._replace(inside_QK=inside_QK, behind_QKS=behind_QKS)


def whole_words(texts: Sequence[Sequence[int]], first_ids: Sequence[int], piece_ids: Sequence[int]) -> Constraint:
    """Lets words of some kind, numbers for example, be written only as they stand in `texts[i]`, whole.

    Args:
        first_ids: the tokens that such a word may begin with.
        piece_ids: the tokens that go on with a word ("##2" of WordPiece).
    """

    def start(batch: Batch) -> WholeWords:
        first_V, piece_V = _members(first_ids, batch), _members(piece_ids, batch)
        ids_QS = _padded(texts, batch)
        firsts_QS, pieces_QS = ((ids_QS >= 0) & members[ids_QS] for members in (first_V, piece_V))
        nowhere = np.zeros((len(ids_QS), 1, ids_QS.shape[1]), bool)
        return WholeWords(first_V, piece_V, ids_QS, firsts_QS, pieces_QS, nowhere[:, :, 0], nowhere)

    return start


class NoRepeat(NamedTuple):
    """No run of n tokens comes twice: `recent` are the last n - 1 tokens, `time` is their number so far."""

    written_QKA: Tensor
    recent_QKN: Tensor
    time: Tensor

    def restrict(self, scores_QKV: Tensor, time: Tensor) -> Tensor:
        before, capacity = self.recent_QKN.shape[2], self.written_QKA.shape[2]
        same_QKA = ops.ones_like(self.written_QKA[..., before:], "bool")
        for i in range(before):
            here = self.written_QKA[..., i : capacity - before + i] == self.recent_QKN[..., i : i + 1]
            same_QKA = ops.logical_and(same_QKA, here)
        owner_Q = ops.arange(ops.shape(scores_QKV)[0], dtype="int32")
        again_QKV = tokens_at(self.written_QKA[..., before:], same_QKA, owner_Q, scores_QKV)
        return ops.where(again_QKV, IMPOSSIBLE, scores_QKV)

    def follow(self, tokens_QK: Tensor, parents_QK: Tensor | None) -> Self:
        written_QKA, recent_QKN = self.written_QKA, self.recent_QKN
        if parents_QK is not None:
            written_QKA = take_continuations(written_QKA, parents_QK)
        written_QKA = ops.slice_update(written_QKA, (0, 0, self.time), tokens_QK[..., None])
        if recent_QKN.shape[2]:  # runs of one token have nothing before it
            recent_QKN = recent_QKN if parents_QK is None else take_continuations(recent_QKN, parents_QK)
            recent_QKN = ops.concatenate([recent_QKN, tokens_QK[..., None]], axis=-1)[..., 1:]
        return self._replace(written_QKA=written_QKA, recent_QKN=recent_QKN, time=self.time + 1)


def no_repeat(size: int, max_length: int, given: Sequence[int] = ()) -> Constraint:
    """Lets no run of `size` tokens come twice in what is written, which has at most `max_length` tokens.

    Args:
        given: the tokens that every text begins with, and that are not written.
    """
    if size < 1:
        raise ValueError(f"no_repeat must be at least 1. Received: no_repeat={size}.")

    def start(batch: Batch) -> NoRepeat:
        capacity = -(-(len(given) + max_length + size) // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
        written = np.full((len(batch.rows), 1, capacity), -1, "int32")
        written[..., : len(given)] = given
        recent = np.full((len(batch.rows), 1, size - 1), -2, "int32")
        last = list(given)[max(0, len(given) - size + 1) :]
        recent[..., size - 1 - len(last) :] = last
        return NoRepeat(written, recent, np.int32(len(given)))

    return start


def _padded(texts: Sequence[Sequence[int]], batch: Batch) -> np.ndarray:
    """The texts of a batch, -1 behind each of them, in an array of few widths."""
    chosen = [texts[row] if row >= 0 else [] for row in batch.rows]
    width = -(-(max(map(len, chosen)) + 1) // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
    ids_QS = np.full((len(chosen), width), -1, "int32")
    for q, text in enumerate(chosen):
        ids_QS[q, : len(text)] = text
    return ids_QS


def _behind(places_QKS: Tensor) -> Tensor:
    """The places behind these."""
    return ops.pad(places_QKS[..., :-1], ((0, 0), (0, 0), (1, 0)))
