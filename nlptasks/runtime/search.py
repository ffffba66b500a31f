"""Choosing the next token on NumPy, as `generate/` does on a backend.

Legend: Q samples, K continuations of a sample, A tokens, V vocabulary.
"""

from typing import NamedTuple

import numpy as np


class Beam(NamedTuple):
    """A sequence without its end token, its score in nats, whether it ended, and its place."""

    tokens: list[int]
    score: float
    finished: bool
    beam: int


class FoundBeams:
    """The beams of a reader: those that end keep their places, and a sample is done when its best one ends.

    With one beam this is greedy search. It chooses what `Bert4kerasBeamSearch(keep_ended=True)` and `Greedy` do.

    Args:
        count: Q.
        size: K.
        end_id: the token that ends a sequence.
    """

    def __init__(self, count: int, size: int, end_id: int) -> None:
        self.size, self.end_id = size, end_id
        self.tokens_QKA = np.zeros((count, size, 0), "int32")
        self.scores_QK = np.zeros((count, size), "float32")
        self.lengths_QK = np.zeros((count, size), "int32")
        self.ended_QK = np.zeros((count, size), bool)
        self.done = np.zeros(count, bool)

    def choose(self, log_QKV: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The next token of each beam, and the beam that it goes on from, both (Q, K).

        Args:
            log_QKV: log scores, of the first token (Q, 1 or K, V) in the first place only.
        """
        first, vocab_size = not self.tokens_QKA.shape[2], log_QKV.shape[2]
        if first:
            log_QKV = log_QKV[:, :1]
        else:
            ended = log_QKV[self.ended_QK]
            ended[:] = -np.inf
            ended[:, self.end_id] = 0.0
            log_QKV[self.ended_QK] = ended
        total = (self.scores_QK[:, : log_QKV.shape[1], None] + log_QKV).reshape(len(log_QKV), -1)
        best = _top(total, self.size)
        scores_QK = np.take_along_axis(total, best, axis=1)
        parents_QK, tokens_QK = best // vocab_size, best % vocab_size
        if self.size == 1:  # as greedy search: where nothing is possible, the end
            tokens_QK = np.where(scores_QK > -np.inf, tokens_QK, self.end_id)
        done_Q1, rows = self.done[:, None], np.arange(len(best))[:, None]
        parents_QK = np.where(done_Q1, np.arange(self.size), parents_QK)
        tokens_QK = np.where(done_Q1, self.end_id, tokens_QK).astype("int32")
        before, ended_QK = self.scores_QK[rows, parents_QK], self.ended_QK[rows, parents_QK]
        stopped_QK = ended_QK | done_Q1
        self.tokens_QKA = np.concatenate(
            [self.tokens_QKA[rows, parents_QK], np.where(stopped_QK, -1, tokens_QK)[..., None]], axis=2
        )
        self.lengths_QK = self.lengths_QK[rows, parents_QK] + ~stopped_QK
        self.scores_QK = np.where(done_Q1, before, scores_QK)
        self.ended_QK = np.where(done_Q1, ended_QK, ended_QK | (tokens_QK == self.end_id))
        self.done = self.done | (tokens_QK[:, 0] == self.end_id)
        return tokens_QK, parents_QK

    def best(self, question: int) -> Beam:
        """The best beam of a sample."""
        beam = int(self.scores_QK[question].argmax())
        ended = bool(self.ended_QK[question, beam])
        length = int(self.lengths_QK[question, beam]) - ended
        return Beam(
            self.tokens_QKA[question, beam, :length].tolist(), float(self.scores_QK[question, beam]), ended, beam
        )


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """log softmax over the last axis; a row in which nothing is possible stays impossible."""
    largest = logits.max(axis=-1, keepdims=True)
    shifted = logits - np.where(largest > -np.inf, largest, np.float32(0.0))
    return shifted - np.log(np.maximum(np.exp(shifted).sum(axis=-1, keepdims=True), np.float32(1e-38)))


def _top(values_QX: np.ndarray, count: int) -> np.ndarray:
    """Indices (Q, count) of the largest values, the largest first, of equal ones the first."""
    if count == 1:
        return values_QX.argmax(axis=1)[:, None]
    least_Q1 = -np.partition(-values_QX, count - 1, axis=1)[:, count - 1 : count]  # no sort of a whole vocabulary
    above, equal = values_QX > least_Q1, values_QX == least_Q1
    free_Q1 = count - above.sum(axis=1, keepdims=True)
    places = np.nonzero(above | (equal & (equal.cumsum(axis=1) <= free_Q1)))[1].reshape(-1, count)
    order = np.argsort(-np.take_along_axis(values_QX, places, axis=1), axis=1, kind="stable")
    return np.take_along_axis(places, order, axis=1)


class Draws:
    """Sequences that are drawn token by token, as `Sampling` draws them from the same seed.

    Args:
        rows: index of each sample in the call.
        count: K, draws of a sample.
        longest, shortest: the most and the fewest tokens, counting the end token.
        end_id: the token that ends a sequence.
        temperature, top_k, top_p, seed: as `Sampling`.
    """

    def __init__(
        self,
        rows: list[int],
        count: int,
        longest: int,
        shortest: int,
        end_id: int,
        temperature: float,
        top_k: int | None,
        top_p: float | None,
        seed: int,
    ) -> None:
        self.end_id, self.shortest = end_id, shortest
        self.temperature, self.top_k, self.top_p = np.float32(temperature), top_k, top_p
        draws = [[_uniforms(seed, row, draw, longest) for draw in range(count)] for row in rows]
        self._uniforms = np.array(draws).reshape(len(rows), count, longest)
        self.tokens: list[list[list[int]]] = [[[] for _ in range(count)] for _ in rows]
        self.scores_QK, self.ended_QK = np.zeros((len(rows), count), "float32"), np.zeros((len(rows), count), bool)

    def choose(self, logits_QKV: np.ndarray, time: int) -> np.ndarray:
        """The next token of each draw (Q, K), of logits (Q, 1 or K, V)."""
        log_QKV = log_softmax(logits_QKV)
        probability_QKV = np.exp(log_softmax(log_QKV / self.temperature))
        chosen = np.full(self.ended_QK.shape, self.end_id, "int32")
        for q, k in zip(*np.nonzero(~self.ended_QK), strict=True):
            of = min(k, log_QKV.shape[1] - 1)
            if log_QKV[q, of].max() > -np.inf:
                chosen[q, k] = self._draw(probability_QKV[q, of], self._uniforms[q, k, time])
            self.scores_QK[q, k] += log_QKV[q, of, chosen[q, k]]
            self.ended_QK[q, k] = chosen[q, k] == self.end_id and time + 1 >= self.shortest
            if not self.ended_QK[q, k]:
                self.tokens[q][k].append(int(chosen[q, k]))
        return chosen

    def _draw(self, values_V: np.ndarray, uniform: np.float32) -> int:
        nucleus = self.top_p is not None and self.top_p < 1
        if self.top_k is None and not nucleus:
            return _at(values_V, uniform)
        order = np.argsort(-values_V, kind="stable")[: self.top_k]
        sorted_C = values_V[order]
        if self.top_k is not None:
            sorted_C = sorted_C / sorted_C.sum()
        if nucleus:
            kept_C = np.cumsum(sorted_C) - sorted_C < np.float32(self.top_p)
            if self.top_k is None:  # in the order of the vocabulary
                return _at(np.where(values_V >= sorted_C[kept_C].min(), values_V, np.float32(0.0)), uniform)
            sorted_C = np.where(kept_C, sorted_C, np.float32(0.0))
        return int(order[_at(sorted_C, uniform)])

    def found(self) -> list[list[Beam]]:
        """The sequences of each sample."""
        return [
            [Beam(ids, float(self.scores_QK[q, k]), bool(self.ended_QK[q, k]), k) for k, ids in enumerate(of_sample)]
            for q, of_sample in enumerate(self.tokens)
        ]


def _at(values_C: np.ndarray, uniform: np.float32) -> int:
    """The first place whose cumulative sum passes the uniform's share of the whole sum."""
    reached_C = np.cumsum(values_C)
    passed_C = (reached_C > uniform * reached_C[-1]) & (values_C > 0)
    return int(passed_C.argmax() if passed_C.any() else values_C.argmax())


def _uniforms(seed: int, row: int, draw: int, count: int) -> np.ndarray:
    """The numbers in [0, 1) of `generate/sampling.py`."""
    random = np.random.Generator(np.random.Philox(key=[seed, (row << 32) + draw]))
    return np.minimum(random.random(count).astype("float32"), np.float32(1 - 2**-24))
