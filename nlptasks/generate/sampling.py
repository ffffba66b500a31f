"""Random sampling: temperature, top-k and nucleus, with draws that do not depend on the rest of the batch.

Legend: Q samples, K draws of a sample, A slots for tokens, C candidates, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from nlptasks.backend import Tensor
from nlptasks.generate.beams import complete
from nlptasks.generate.search import Limits, Search, as_input, or_end

# Candidates among which the nucleus is looked for first: they nearly always hold it.
FEW_CANDIDATES = 256
MOST_CANDIDATES = 1 << 20
"""more than any vocabulary has"""
LOWEST_TEMPERATURE = 1e-30
"""below it, quotients are no numbers of float32"""


@dataclass(frozen=True, kw_only=True)
class Sampling(Search):
    """Draws each token from the model's distribution; the score is the sum of the drawn tokens' log probabilities.

    Every draw uses one uniform number made from (seed, index of the sample, index of the draw, step) alone, so that
    a sample does not depend on the others in its batch.

    Args:
        temperature: logits are divided by it; below 1: more probable tokens; above 1: more varied tokens.
        top_k: draw only from the k most probable tokens.
        top_p: then draw only from the most probable tokens whose probabilities add up to this (nucleus, arXiv
            1904.09751).
        count: number of sequences to draw for each sample; they share its encoded prefix.
        seed: seed of the uniform numbers.
        first_row: place of the first sample among all whose draws differ.
        min_ends: number of end tokens that end a sequence, as in bert4keras.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    count: int = 1
    seed: int = 0
    first_row: int = 0
    min_ends: int = 1

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0. Received: temperature={self.temperature}.")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1. Received: top_k={self.top_k}.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1. Received: top_p={self.top_p}.")
        if self.count < 1 or not 0 <= self.seed < 2**64:
            raise ValueError(
                "count must be at least 1 and seed at least 0 and below 2**64. "
                f"Received: count={self.count}, seed={self.seed}."
            )

    @property
    def width(self) -> int:
        return self.count

    def signature(self) -> Search:
        # one program for many values of top_k
        top_k = None if self.top_k is None else min(1 << (self.top_k - 1).bit_length(), MOST_CANDIDATES)
        return self.replace(temperature=1.0, top_k=top_k, top_p=0.5 if self._nucleus else None, seed=0, first_row=0)

    @property
    def _nucleus(self) -> bool:
        return self.top_p is not None and self.top_p < 1

    def inputs(self, rows: Sequence[int], limits: Limits, capacity: int) -> dict[str, np.ndarray | np.generic]:
        places = [max(int(row), 0) + self.first_row for row in rows]
        uniforms = [[_uniforms(self.seed, row, draw, capacity) for draw in range(self.count)] for row in places]
        return {
            "uniforms": np.array(uniforms),
            "temperature": np.float32(max(self.temperature, LOWEST_TEMPERATURE)),
            "top_k": np.int32(min(self.top_k or 0, MOST_CANDIDATES)),
            "top_p": np.float32(self.top_p if self._nucleus else 2.0),  # 2: never reached
            "min_length": np.int32(limits.min_length),
        }

    def choose(
        self, log_QKV: Tensor, found: Any, inputs: dict[str, Tensor], time: Tensor
    ) -> tuple[Tensor, Tensor | None, Any]:
        uniform_QK = ops.take(inputs["uniforms"], time, axis=2)
        sharpened = self.normalize(log_QKV / inputs["temperature"])
        drawn_QK = self._draw(ops.exp(sharpened), uniform_QK, inputs["top_k"], inputs["top_p"])
        tokens_QK = or_end(drawn_QK, log_QKV, self.end_id)
        gains_QK = ops.take_along_axis(
            ops.broadcast_to(log_QKV, (*ops.shape(tokens_QK), log_QKV.shape[2])), tokens_QK[..., None], axis=2
        )[..., 0]
        ends_QK = complete(found.tokens, tokens_QK, self, inputs["min_length"], time)
        parents_QK = None if log_QKV.shape[1] == self.count else ops.zeros_like(tokens_QK)
        return as_input(tokens_QK), parents_QK, found.add(tokens_QK, gains_QK, ends_QK, time)

    def _draw(self, probability_QKV: Tensor, uniform_QK: Tensor, top_k: Tensor, top_p: Tensor) -> Tensor:
        vocab_size = probability_QKV.shape[2]
        if self.top_k is None and not self._nucleus:
            return _at(ops.cumsum(probability_QKV, axis=-1), probability_QKV, uniform_QK)
        if self.top_k is not None:
            return _from_sorted(probability_QKV, min(self.top_k, vocab_size), uniform_QK, top_k, top_p)
        largest = ops.top_k(probability_QKV, min(FEW_CANDIDATES, vocab_size))[0]
        threshold_QK1 = ops.cond(
            ops.all(ops.sum(largest, axis=-1) >= top_p),
            lambda: _last_needed(largest, top_p),
            lambda: _bisected(probability_QKV, top_p),
        )
        kept_QKV = ops.where(probability_QKV >= threshold_QK1, probability_QKV, 0.0)
        return _at(ops.cumsum(kept_QKV, axis=-1), kept_QKV, uniform_QK)


def _last_needed(sorted_QKC: Tensor, top_p: Tensor | None) -> Tensor:
    """The smallest probability that is needed to reach `top_p`, taking the largest first."""
    needed = ops.cumsum(sorted_QKC, axis=-1) - sorted_QKC < top_p
    return ops.min(ops.where(needed, sorted_QKC, 1.0), axis=-1, keepdims=True)


def _bisected(probability_QKV: Tensor, top_p: Tensor | None) -> Tensor:
    """The same without sorting: the largest threshold, to one part in 2^24, whose probabilities reach `top_p`."""
    low, high = 0.0, ops.max(probability_QKV, axis=-1, keepdims=True)
    for _ in range(24):
        middle = (low + high) / 2
        above = ops.sum(ops.where(probability_QKV >= middle, probability_QKV, 0.0), axis=-1, keepdims=True)
        low, high = ops.where(above >= top_p, middle, low), ops.where(above >= top_p, high, middle)
    return low


def _uniforms(seed: int, row: int, draw: int, count: int) -> np.ndarray:
    """Numbers in [0, 1), the first of them the same however many there are."""
    random = np.random.Generator(np.random.Philox(key=[seed, (row << 32) + draw]))
    return np.minimum(random.random(count).astype("float32"), np.float32(1 - 2**-24))


def _from_sorted(probability_QKV: Tensor, count: int, uniform_QK: Tensor, top_k: Tensor, top_p: Tensor) -> Tensor:
    """Draws from the first `top_k` of the `count` most probable tokens."""
    values_QKC, ids_QKC = ops.top_k(probability_QKV, count)
    values_QKC = ops.where(ops.arange(count) < top_k, values_QKC, 0.0)
    values_QKC = values_QKC / ops.sum(values_QKC, axis=-1, keepdims=True)
    reached_QKC = ops.cumsum(values_QKC, axis=-1)
    # a token stays while the more probable ones have not reached top_p
    values_QKC = ops.where(reached_QKC - values_QKC < top_p, values_QKC, 0.0)
    places_QK = _at(ops.cumsum(values_QKC, axis=-1), values_QKC, uniform_QK)
    ids_QKC = ops.broadcast_to(ids_QKC, (*ops.shape(places_QK), count))
    return ops.take_along_axis(ids_QKC, places_QK[..., None], axis=2)[..., 0]


def _at(reached_QKC: Tensor, values_QKC: Tensor, uniform_QK: Tensor) -> Tensor:
    """The first place whose cumulative sum passes the uniform's share of the whole sum."""
    goal_QK1 = uniform_QK[..., None] * reached_QKC[..., -1:]
    passed = ops.logical_and(reached_QKC > goal_QK1, values_QKC > 0)
    return ops.where(
        ops.any(passed, axis=-1), ops.argmax(ops.cast(passed, "int32"), axis=-1), ops.argmax(values_QKC, axis=-1)
    )
