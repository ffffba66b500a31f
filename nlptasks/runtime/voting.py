"""The decoding of an exported reader on NumPy: `applications/reading/voting.py` says how the passages vote.

Legend: Q questions, R rows (one a window of a passage), K beams, S positions of a window, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nlptasks.applications.reading.answering import DecodedAnswer
from nlptasks.applications.reading.windows import Row
from nlptasks.runtime.decoding import CachedGraphs
from nlptasks.runtime.search import FoundBeams, log_softmax
from nlptasks.text.batches import pad

_NOTHING = np.float32(1e-12)


class VotingDecoder:
    """Decodes the answers of several questions as one batch, with the votes of their passages.

    Args:
        steps: of the exported graphs.
        end_id, pad_id: the tokens that close an answer and that fill arrays.
    """

    def __init__(self, steps: CachedGraphs, end_id: int, pad_id: int) -> None:
        self.steps, self.end_id, self.pad_id = steps, end_id, pad_id

    def decode(
        self, rows: Sequence[Row], max_length: int, beam_size: int = 1, extractive: bool = True
    ) -> list[DecodedAnswer]:
        """The answers; arguments and result as `AnswerDecoder.decode`."""
        token_ids_RT = pad([row.source for row in rows], max(len(row.source) for row in rows), len(rows), self.pad_id)
        logits_RKV, state = self.steps.start(token_ids_RT, np.zeros_like(token_ids_RT), beam_size)
        probability_RKV = np.exp(log_softmax(logits_RKV))
        votes = _Votes(rows, beam_size, self.end_id, probability_RKV[:, 0], extractive)
        found = FoundBeams(votes.count, beam_size, self.end_id)
        for time in range(max_length):
            tokens_QK, parents_QK = found.choose(votes.scores(probability_RKV))
            votes.follow(probability_RKV, tokens_QK, parents_QK)
            if found.done.all() or time + 1 == max_length:
                break
            state = self.steps.follow(state, parents_QK[votes.owner_R])
            logits_RKV, state = self.steps.step(tokens_QK[votes.owner_R], state)
            probability_RKV = np.exp(log_softmax(logits_RKV))
        return votes.answers(found)


class _Votes:
    """Which rows remain, what their texts allow, and the probability of what was chosen so far under each row."""

    def __init__(self, rows: Sequence[Row], width: int, end_id: int, first_RV: np.ndarray, extractive: bool) -> None:
        self.owner_R = np.array([row.question for row in rows])
        self.count, self.end_id, self.extractive = int(self.owner_R[-1]) + 1, end_id, extractive
        self.alive_R = _surest(rows, first_RV[:, end_id], first_RV.argmax(axis=1) != end_id)
        self._ids_RS = pad([row.text for row in rows], 1 + max(len(row.text) for row in rows), len(rows), -1)
        matches_RS = (self._ids_RS >= 0) & self.alive_R[:, None]
        self._matches_RKS = np.repeat(matches_RS[:, None], width, axis=1)
        self._log_RK = np.zeros((len(rows), width), "float32")
        self._ended_QK = np.zeros((self.count, width), bool)

    def scores(self, probability_RKV: np.ndarray) -> np.ndarray:
        """The log score of each next token (Q, K, V)."""
        shape = (self.count, *probability_RKV.shape[1:])
        sums, squares = np.zeros(shape, "float32"), np.zeros(shape, "float32")
        for row in np.flatnonzero(self.alive_R):
            sums[self.owner_R[row]] += probability_RKV[row]
            squares[self.owner_R[row]] += np.square(probability_RKV[row])
        found = np.log(squares / (sums + np.float32(1.0)) + _NOTHING)
        if self.extractive:
            allowed = np.zeros(shape, bool)
            allowed[..., self.end_id] = True
            for row in np.flatnonzero(self.alive_R):
                for beam in range(shape[1]):
                    allowed[self.owner_R[row], beam, self._ids_RS[row, self._matches_RKS[row, beam]]] = True
            found[~allowed] = -np.inf
        empty = ~np.isin(np.arange(self.count), self.owner_R[self.alive_R])
        found[empty] = -np.inf
        found[empty, :, self.end_id] = 0.0
        return found

    def follow(self, probability_RKV: np.ndarray, tokens_QK: np.ndarray, parents_QK: np.ndarray) -> None:
        """What is so after beam k of each question went on from `parents[q, k]` by `tokens[q, k]`."""
        rows, beams_QK = np.arange(len(self.owner_R))[:, None], np.arange(self.count)[:, None]
        parents_RK, tokens_RK = parents_QK[self.owner_R], tokens_QK[self.owner_R]
        chosen_RK = probability_RKV[rows, np.minimum(parents_RK, probability_RKV.shape[1] - 1), tokens_RK]
        ended_QK = self._ended_QK[beams_QK, parents_QK]
        gain_RK = np.where(ended_QK[self.owner_R], 0.0, np.log(np.maximum(chosen_RK, 1e-38)))
        self._log_RK = self._log_RK[rows, parents_RK] + gain_RK
        hit_RKS = self._matches_RKS[rows, parents_RK] & (self._ids_RS[:, None] == tokens_RK[..., None])
        self._matches_RKS = np.pad(hit_RKS[..., :-1], ((0, 0), (0, 0), (1, 0))) & (self._ids_RS >= 0)[:, None]
        self._ended_QK = ended_QK | (tokens_QK == self.end_id)

    def answers(self, found: FoundBeams) -> list[DecodedAnswer]:
        """The answer to each question, from its best beam."""
        surviving: list[dict[int, float]] = [{} for _ in range(self.count)]
        best = [found.best(question) for question in range(self.count)]
        for row in np.flatnonzero(self.alive_R):
            question = int(self.owner_R[row])
            surviving[question][int(row)] = float(self._log_RK[row, best[question].beam])
        return [DecodedAnswer(one.tokens, one.score, rows) for one, rows in zip(best, surviving, strict=True)]


def _surest(rows: Sequence[Row], empty_R: np.ndarray, alive_R: np.ndarray) -> np.ndarray:
    """Of each passage's rows that are alive, the first one with the lowest probability of no answer: bool (R,)."""
    chosen: dict[tuple[int, int], Any] = {}
    for index in np.flatnonzero(alive_R).tolist():
        passage = rows[index].question, rows[index].passage
        surest = 1.0 - empty_R[index]
        if passage not in chosen or surest > 1.0 - empty_R[chosen[passage]]:
            chosen[passage] = index
    return np.isin(np.arange(len(rows)), list(chosen.values()))
