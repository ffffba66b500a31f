"""The reader's decoding: all passages of a question vote on each token of one answer.

Legend: Q questions, K beams, R rows (one a passage and beam), P passages of one question that survive, V vocabulary.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from keras import ops

from nlptasks.generate.cached import CachedDecoder
from nlptasks.generate.constraints import SubstringConstraint
from nlptasks.generate.search import beam_search
from nlptasks.text.batches import pad, round_up

LENGTH_MULTIPLE = 64


class DecodedAnswer(NamedTuple):
    """Token ids of an answer, its score, and for each surviving passage log p of the answer when read alone."""

    tokens: list[int]
    score: float
    log_probabilities: dict[int, float]


def vote(probability_PKV: np.ndarray) -> np.ndarray:
    """The score `(K, V)` of each token over the surviving passages: sum(p^2) / (sum(p) + 1), not normalised."""
    return np.square(probability_PKV).sum(axis=0) / (probability_PKV.sum(axis=0) + 1.0)


def decode_answers(
    decoder: CachedDecoder,
    sources: Sequence[Sequence[Sequence[int]]],
    passages: Sequence[Sequence[Sequence[int]]],
    end_id: int,
    max_length: int,
    beam_size: int = 1,
    extractive: bool = True,
    row_multiple: int = 1,
) -> list[DecodedAnswer]:
    """The answers of several questions, decoded in one batch.

    1. Before any constraint, a passage whose best first token is the end token is dropped; when all are dropped the
       answer is empty.
    2. Extractive: a token is allowed if it continues the answer so far as a substring of some surviving passage; the
       end token always is.
    3. The surviving passages `vote`; beams add log(score + 1e-12).

    Args:
        sources: for each question and passage, the ids of `[CLS] passage [SEP] question [SEP]`.
        passages: for each question and passage, the ids of the passage alone, for the extractive constraint.
        max_length: most tokens of an answer, the closing end token included.
        row_multiple: the arrays' rows are rounded up to a multiple of this, so that few programs are compiled.
    """
    steps = _VotingSteps(decoder, sources, passages, end_id, max_length, beam_size, extractive, row_multiple)
    found = beam_search(steps, len(sources), end_id, max_length, beam_size, on_choice=steps.choose)
    return [
        DecodedAnswer(hypothesis.tokens, hypothesis.score, steps.passage_log_probabilities(q))
        for q, hypothesis in enumerate(found)
    ]


class _VotingSteps:
    """The step function of the search: feeds tokens to every row and lets the rows of a question vote.

    Row r of beam k is array row k * R + r; the rows of one question are consecutive.
    """

    def __init__(self, decoder, sources, passages, end_id, max_length, beam_size, extractive, row_multiple):
        self.decoder, self.end_id, self.beam_size = decoder, end_id, beam_size
        self.max_length, self.extractive = max_length, extractive
        rows = [ids for question in sources for ids in question]
        first = np.cumsum([0] + [len(question) for question in sources])
        self.rows_of = [np.arange(first[q], first[q + 1]) for q in range(len(sources))]
        self.row_count = round_up(len(rows), row_multiple)
        width = round_up(max(map(len, rows)), LENGTH_MULTIPLE, decoder.model.config.max_positions)
        prefix_RT = pad(rows, width, self.row_count)
        logits_RV, self.state = decoder.start(prefix_RT, np.zeros_like(prefix_RT), max_length)
        probability_RV = _softmax(logits_RV)
        self.alive = [r[probability_RV[r].argmax(axis=1) != end_id] for r in self.rows_of]
        self.probability_KRV = np.broadcast_to(probability_RV, (beam_size, *probability_RV.shape))
        self.log_KR = np.zeros((beam_size, self.row_count))
        self.finished_QK = np.zeros((len(sources), beam_size), bool)
        self.constraints = [
            [SubstringConstraint([passages[q][r - rows[0]] for r in self.alive[q]])] * beam_size
            for q, rows in enumerate(self.rows_of)
        ]

    def __call__(self, tokens_QK, parents_QK):
        """Log scores `(Q, K, V)`."""
        if tokens_QK is not None:
            self._feed(tokens_QK, parents_QK)
        log_QKV = np.full((*self.finished_QK.shape, self.probability_KRV.shape[2]), -np.inf, "float32")
        for q, rows in enumerate(self.alive):
            if not len(rows):
                log_QKV[q, :, self.end_id] = 0.0
                continue
            for k in np.flatnonzero(~self.finished_QK[q]):
                allowed = self._allowed(q, k)
                probability_PA = self.probability_KRV[k, rows[0] : rows[-1] + 1][rows - rows[0]][:, allowed]
                log_QKV[q, k, allowed] = np.log(vote(probability_PA) + 1e-12)
        return log_QKV

    def _allowed(self, q, k):
        if not self.extractive:
            return slice(None)
        return np.union1d(self.constraints[q][k].allowed(), [self.end_id])

    def choose(self, tokens_QK, parents_QK):
        """Follows the beams: what each row thought of its tokens, which beams ended, what may continue them."""
        log_KR = np.empty_like(self.log_KR)
        for q, rows in enumerate(self.rows_of):
            ended = self.finished_QK[q, parents_QK[q]]
            for k, (token, parent) in enumerate(zip(tokens_QK[q], parents_QK[q], strict=True)):
                gain = 0.0 if ended[k] else np.log(np.maximum(self.probability_KRV[parent, rows, token], 1e-38))
                log_KR[k, rows] = self.log_KR[parent, rows] + gain
            self.finished_QK[q] = tokens_QK[q] == self.end_id
            if self.extractive:
                self.constraints[q] = [
                    self.constraints[q][parent].after(token)
                    for token, parent in zip(tokens_QK[q], parents_QK[q], strict=True)
                ]
        self.log_KR = log_KR

    def _feed(self, tokens_QK, parents_QK):
        row_tokens = np.zeros((self.beam_size, self.row_count), "int32")
        row_parents = np.arange(self.beam_size * self.row_count).reshape(self.beam_size, self.row_count)
        for q, rows in enumerate(self.rows_of):
            row_tokens[:, rows] = tokens_QK[q][:, None]
            row_parents[:, rows] = rows + parents_QK[q][:, None] * self.row_count
        if self.state["time"] == 0:  # one row a passage so far: here the beams part
            row_parents %= self.row_count
        logits, self.state = self.decoder.step(row_tokens.ravel(), self.state, row_parents.ravel())
        self.probability_KRV = _softmax(logits).reshape(self.beam_size, self.row_count, -1)

    def passage_log_probabilities(self, q):
        """For each surviving passage of question q: log p of the best beam's answer under this passage alone."""
        return {int(r - self.rows_of[q][0]): float(self.log_KR[0, r]) for r in self.alive[q]}


def _softmax(logits):
    return ops.convert_to_numpy(ops.softmax(logits))
