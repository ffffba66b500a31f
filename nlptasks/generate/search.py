"""Greedy and beam search. Search does not know the model: it takes a step function.

Legend: Q samples searched together, K beams, L tokens so far, V vocabulary.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Hypothesis(NamedTuple):
    """A sequence without its end token, and the sum of its step scores."""

    tokens: list[int]
    score: float


def beam_search(
    step: Callable[[np.ndarray | None, np.ndarray | None], np.ndarray],
    batch_size: int,
    end_id: int,
    max_length: int,
    beam_size: int = 1,
    on_choice: Callable[[np.ndarray, np.ndarray], None] | None = None,
) -> list[Hypothesis]:
    """The best sequence of each sample; `beam_size=1` is greedy search.

    A finished sequence keeps its place and its score among the beams; a sample is done when its best beam is
    finished (step scores are at most 0, so nothing can overtake it). bert4keras drops finished beams that are not
    the best at that moment, although they may become the best later.

    Args:
        step: `step(tokens_QK, parents_QK)` returns log scores `(Q, K, V)` of the next token, after beam k of every
            sample was continued from its former beam `parents[q, k]` by `tokens[q, k]`. The first call has None for
            both.
        max_length: most tokens, the end token included; a sequence that reaches it unfinished stands as it is.
        on_choice: told `(tokens_QK, parents_QK)` after every choice, the last one included, which `step` never sees.
    """
    scores_QK = np.full((batch_size, beam_size), -np.inf)
    scores_QK[:, 0] = 0.0
    finished_QK = np.zeros((batch_size, beam_size), bool)
    tokens_QKL = np.zeros((batch_size, beam_size, 0), "int32")
    tokens = parents = None
    rows = np.arange(batch_size)[:, None]
    for _ in range(max_length):
        log_QKV = np.where(finished_QK[:, :, None], -np.inf, step(tokens, parents))
        log_QKV[:, :, end_id] = np.where(finished_QK, 0.0, log_QKV[:, :, end_id])
        total = (scores_QK[:, :, None] + log_QKV).reshape(batch_size, -1)
        best = _largest(total, beam_size)
        scores_QK = np.take_along_axis(total, best, axis=1)
        parents, tokens = best // log_QKV.shape[2], (best % log_QKV.shape[2]).astype("int32")
        tokens_QKL = np.concatenate([tokens_QKL[rows, parents], tokens[:, :, None]], axis=2)
        finished_QK = tokens == end_id
        if on_choice is not None:
            on_choice(tokens, parents)
        if finished_QK[:, 0].all():
            break
    return [_hypothesis(tokens_QKL[q, 0], scores_QK[q, 0], end_id) for q in range(batch_size)]


def _largest(values, count):
    """Indices of the `count` largest values a row, best first; equal values in order of their index."""
    if count == 1:
        return values.argmax(axis=1)[:, None]
    return np.argsort(-values, axis=1, kind="stable")[:, :count]


def _hypothesis(tokens, score, end_id):
    ends = np.flatnonzero(tokens == end_id)
    return Hypothesis(tokens[: ends[0]].tolist() if len(ends) else tokens.tolist(), float(score))
