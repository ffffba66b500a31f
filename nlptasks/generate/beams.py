"""Two kinds of beam search, which differ in what they do with ended sequences and in when they stop.

Legend: Q samples, K beams, C candidates, A slots for tokens, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from nlptasks.backend import Tensor
from nlptasks.generate.search import IMPOSSIBLE, Found, Hypothesis, Limits, Search, as_input, take_continuations


class Beams(NamedTuple):
    """Running sequences, the best that ended, and which samples are still searched."""

    running: Found
    best: Found
    open: object  # bool (Q,)


@dataclass(frozen=True, kw_only=True)
class BeamSearch(Search):
    """Beam search that puts ended sequences aside and continues K running ones, as in transformers.

    A sequence's score is its summed log probability divided by `length ** length_penalty` (the length counts the end
    token). A sample is done when K sequences have ended and its best running one cannot beat them, judged at its
    present length or, with `patient`, at its most favorable length.

    Args:
        size: number of beams K.
        length_penalty: above 0: favors long sequences; 0: compares plain sums.
        returned: number of sequences to return for each sample, at most `size`.
        patient: transformers' `early_stopping="never"`.
        first_come: stop as soon as K sequences have ended, transformers' `early_stopping=True`.
    """

    size: int = 4
    length_penalty: float = 1.0
    returned: int = 1
    patient: bool = False
    first_come: bool = False

    normalize_first = revises = True

    def __post_init__(self) -> None:
        if self.size < 1 or not 1 <= self.returned <= self.size:
            raise ValueError(
                "A beam search needs size >= 1 and 1 <= returned <= size. "
                f"Received: size={self.size}, returned={self.returned}."
            )

    @property
    def width(self) -> int:
        return self.size

    def signature(self) -> Search:
        return self.replace(length_penalty=0.0, returned=1, patient=False)

    def inputs(self, rows: Sequence[int], limits: Limits, capacity: int) -> dict[str, np.ndarray | np.generic]:
        penalty, longest = np.float32(self.length_penalty), np.int32(limits.max_length)
        return {"length_penalty": penalty, "max_length": longest, "patient": np.bool_(self.patient and penalty > 0)}

    def begin(self, inputs: dict[str, Tensor], real_Q: Tensor, capacity: int) -> Any:
        nothing = Found.empty(real_Q, self.size, capacity)
        first_QK = ops.broadcast_to(ops.arange(self.size)[None] == 0, ops.shape(nothing.scores))
        running = nothing._replace(scores=ops.where(first_QK, 0.0, IMPOSSIBLE))
        return Beams(running, nothing._replace(scores=ops.full_like(nothing.scores, IMPOSSIBLE)), real_Q)

    def choose(
        self, log_QKV: Tensor, found: Any, inputs: dict[str, Tensor], time: Tensor
    ) -> tuple[Tensor, Tensor, Any]:
        length = time + 1
        scores_QC, parents_QC, tokens_QC = candidates(log_QKV, found.running.scores, 2 * self.size)
        ends_QC = tokens_QC == self.end_id
        grown = found.running.take(parents_QC)._replace(ended=ops.zeros_like(ends_QC))
        grown = grown.add(tokens_QC, 0.0, ends_QC, time)._replace(scores=scores_QC)

        over_QC = ops.logical_or(ends_QC, length >= inputs["max_length"])
        enters_QC = ops.logical_and(over_QC, ops.arange(2 * self.size)[None] < self.size)
        enters_QC = ops.logical_and(enters_QC, found.open[:, None])
        divided_QC = scores_QC / ops.cast(length, "float32") ** inputs["length_penalty"]
        ended = grown._replace(scores=ops.where(enters_QC, divided_QC, IMPOSSIBLE))
        best = _best(Found(*(ops.concatenate(pair, axis=1) for pair in zip(found.best, ended, strict=True))), self.size)

        scores_QK, kept_QK = ops.top_k(ops.where(over_QC, IMPOSSIBLE, scores_QC), self.size)
        running = grown.take(kept_QK)._replace(scores=scores_QK)
        horizon = ops.where(inputs["patient"], inputs["max_length"], length)
        hoped_Q = scores_QK[:, 0] / ops.cast(horizon, "float32") ** inputs["length_penalty"]
        open_Q = ops.logical_and(found.open, hoped_Q > best.scores[:, -1])
        if self.first_come:
            open_Q = ops.logical_and(open_Q, best.scores[:, -1] == IMPOSSIBLE)
        tokens_QK, parents_QK = (ops.take_along_axis(x, kept_QK, axis=1) for x in (tokens_QC, parents_QC))
        return as_input(tokens_QK), parents_QK, Beams(running, best, open_Q)

    def done(self, found: Any) -> Tensor:
        return ops.logical_not(ops.any(found.open))

    def hypotheses(self, found: Any) -> list[list[Hypothesis]]:
        lists = [[h for h in ranked if h.score > IMPOSSIBLE] for ranked in found.best.hypotheses()]
        return [(ranked or [Hypothesis([], IMPOSSIBLE, False)])[: self.returned] for ranked in lists]


class Bert4kerasBeams(NamedTuple):
    """The beams, with score IMPOSSIBLE where one was dropped, how many may go on, and which samples are done."""

    found: Found
    room: object  # int (Q,)
    done: object  # bool (Q,)


@dataclass(frozen=True, kw_only=True)
class Bert4kerasBeamSearch(Search):
    """Beam search with the stopping rule of bert4keras' `AutoRegressiveDecoder.beam_search`.

    A sample is done when its best beam ends; beams that end without being the best are dropped, and the search goes
    on with that many beams fewer. Scores are sums of log(p + 1e-12), without length penalty. An end token before
    `min_length` tokens, or before the `min_ends`-th one, is a token like any other.

    Args:
        size: beams.
        temperature: logits are divided by it.
        min_ends: how many end tokens end a sequence.
        keep_ended: unlike in bert4keras, beams that end keep their places and scores, since they may become the
            best later; meant for min_ends = min_length = 1.
    """

    size: int = 1
    temperature: float = 1.0
    min_ends: int = 1
    keep_ended: bool = False

    normalize_first = revises = may_pass_ends = True

    def __post_init__(self) -> None:
        if self.size < 1 or self.min_ends < 1 or not self.temperature > 0:
            raise ValueError(
                "size and min_ends must be at least 1 and temperature above 0. Received: "
                f"size={self.size}, min_ends={self.min_ends}, temperature={self.temperature}."
            )

    @property
    def width(self) -> int:
        return self.size

    def inputs(self, rows: Sequence[int], limits: Limits, capacity: int) -> dict[str, np.ndarray | np.generic]:
        return {"min_length": np.int32(limits.min_length)}

    def normalize(self, logits_QKV: Tensor) -> Tensor:
        return ops.log(ops.exp(super().normalize(logits_QKV / self.temperature)) + 1e-12)

    def begin(self, inputs: dict[str, Tensor], real_Q: Tensor, capacity: int) -> Any:
        found = Found.empty(real_Q, self.size, capacity)
        return Bert4kerasBeams(found, ops.full_like(found.lengths[:, 0], self.size), ops.logical_not(real_Q))

    def choose(
        self, log_QKV: Tensor, found: Any, inputs: dict[str, Tensor], time: Tensor
    ) -> tuple[Tensor, Tensor, Any]:
        old, done_Q1 = found.found, found.done[:, None]
        beams_K = ops.arange(self.size, dtype="int32")[None]
        if self.keep_ended:
            is_end_V = ops.arange(log_QKV.shape[2], dtype="int32") == self.end_id
            ended_QK1 = old.ended[:, : log_QKV.shape[1], None]
            log_QKV = ops.where(ended_QK1, ops.where(is_end_V, 0.0, IMPOSSIBLE), log_QKV)
        scores_QK, parents_QK, tokens_QK = candidates(log_QKV, old.scores, self.size)
        scores_QK = ops.where(beams_K < found.room[:, None], scores_QK, IMPOSSIBLE)
        parents_QK = ops.where(done_Q1, beams_K, parents_QK)
        tokens_QK = ops.where(done_Q1, self.end_id, tokens_QK)
        ends_QK = complete(take_continuations(old.tokens, parents_QK), tokens_QK, self, inputs["min_length"], time)

        before = old.take(parents_QK)
        grown = before._replace(ended=ops.logical_or(before.ended, done_Q1)).add(tokens_QK, 0.0, ends_QK, time)
        over_Q = ops.logical_or(found.done, ends_QK[:, 0])
        if not self.keep_ended:
            dropped_QK = ops.logical_and(ends_QK, ops.logical_not(over_Q)[:, None])
            scores_QK = ops.where(dropped_QK, IMPOSSIBLE, scores_QK)
        grown = grown._replace(
            scores=ops.where(done_Q1, before.scores, scores_QK),
            ended=ops.where(done_Q1, before.ended, ops.logical_or(before.ended, ends_QK)),
        )
        room_Q = ops.sum(ops.cast(grown.scores > IMPOSSIBLE, "int32"), axis=1)
        return as_input(tokens_QK), parents_QK, Bert4kerasBeams(grown, room_Q, over_Q)

    def done(self, found: Any) -> Tensor:
        return ops.all(found.done)

    def hypotheses(self, found: Any) -> list[list[Hypothesis]]:
        """The best beam of each sample."""
        lists = found.found.hypotheses()
        return [[ranked[k]] for ranked, k in zip(lists, self.best(found), strict=True)]

    def best(self, found: Any) -> np.ndarray:
        return ops.convert_to_numpy(found.found.scores).argmax(axis=1)


def candidates(log_QKV: Tensor, scores_QK: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, parents and tokens `(Q, count)` of the best continuations, best first; where there are fewer, scores are
    IMPOSSIBLE.
    """
    width, vocab_size = log_QKV.shape[1:]
    total = ops.reshape(scores_QK[:, :width, None] + log_QKV, (-1, width * vocab_size))
    missing = max(0, count - width * vocab_size)
    if missing:
        total = ops.pad(total, ((0, 0), (0, missing)), constant_values=IMPOSSIBLE)
    scores_QC, indices_QC = ops.top_k(total, count)
    indices_QC = ops.cast(indices_QC, "int32")
    return scores_QC, ops.minimum(indices_QC // vocab_size, width - 1), indices_QC % vocab_size


def complete(before_QKA: Tensor, tokens_QK: Tensor, search: Any, min_length: Tensor, time: Tensor) -> Tensor:
    """Which sequences are ended by their new tokens, bool `(Q, K)`; end tokens are counted as in bert4keras."""
    ends_QK = ops.sum(ops.cast(before_QKA == search.end_id, "int32"), axis=-1) + 1
    ends = ops.logical_and(tokens_QK == search.end_id, ends_QK >= search.min_ends)
    return ops.logical_and(ends, time + 1 >= min_length)


def _best(found: Found, count: int) -> Found:
    scores_QK, kept_QK = ops.top_k(found.scores, count)
    return found.take(ops.cast(kept_QK, "int32"))._replace(scores=scores_QK)
