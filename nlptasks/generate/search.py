"""Choosing the next token: what all searches share, and greedy search.

A search does not know the model: it receives scores. It is a frozen dataclass whose methods run inside the compiled
loop (loop.py), except `inputs` and `hypotheses`:

- `inputs(rows, limits, capacity)`: numpy arrays of what varies from call to call, made outside;
- `begin(inputs, real_Q, capacity)`: the record of what was found, before the first token;
- `normalize(logits_QKV)`: log scores, taken before the constraints where `normalize_first`, else after them;
- `choose(log_QKV, found, inputs, time)`: token `time` of each continuation `(Q, K)`, the continuations that they
  continue (None: each its own), and the new record; the first scores are of one continuation a sample;
- `done(found)`: scalar bool;
- `hypotheses(found)`: outside again, what was found for each sample, best first.

Legend: Q samples, K continuations of a sample (beams, draws), A slots for tokens, V vocabulary.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from nlptasks.backend import Tensor

IMPOSSIBLE = float("-inf")
NO_TOKEN = -1


class Limits(NamedTuple):
    """The most and the fewest tokens of a sequence, counting the end token."""

    max_length: int
    min_length: int = 1


class Hypothesis(NamedTuple):
    """A sequence without its end token, its score in nats, and whether it ended before the length limit."""

    tokens: list[int]
    score: float
    finished: bool


class Found(NamedTuple):
    """Sequences so far: tokens `(Q, K, A)`; summed log scores, lengths (end token counted), "ended", all `(Q, K)`."""

    tokens: Tensor
    scores: Tensor
    lengths: Tensor
    ended: Tensor

    @classmethod
    def empty(cls, real_Q: Tensor, width: int, capacity: int) -> "Found":
        """Nothing found yet; samples that only fill the array count as ended."""
        shape_QK = (ops.shape(real_Q)[0], width)
        return cls(
            ops.full((*shape_QK, capacity), NO_TOKEN, "int32"),
            ops.zeros(shape_QK, "float32"),
            ops.zeros(shape_QK, "int32"),
            ops.broadcast_to(ops.logical_not(real_Q)[:, None], shape_QK),
        )

    def take(self, parents_QK: Tensor) -> "Found":
        """The sequences that continuation k of each sample goes on from."""
        return self._replace(
            tokens=take_continuations(self.tokens, parents_QK),
            scores=take_continuations(self.scores, parents_QK),
            lengths=take_continuations(self.lengths, parents_QK),
            ended=take_continuations(self.ended, parents_QK),
        )

    def add(self, tokens_QK: Tensor, gains_QK: Tensor, ends_QK: Tensor, time: Tensor) -> "Found":
        """The sequences with one more token each, except those that ended."""
        tokens_QK = ops.where(self.ended, NO_TOKEN, tokens_QK)
        return Found(
            ops.slice_update(self.tokens, (0, 0, time), tokens_QK[:, :, None]),
            self.scores + ops.where(self.ended, 0.0, gains_QK),
            self.lengths + ops.cast(ops.logical_not(self.ended), "int32"),
            ops.logical_or(self.ended, ends_QK),
        )

    def hypotheses(self) -> list[list[Hypothesis]]:
        """The sequences as plain values, without their end tokens."""
        fields = [ops.convert_to_numpy(field) for field in self]
        return [[_hypothesis(*one) for one in zip(*sample, strict=True)] for sample in zip(*fields, strict=True)]


def _hypothesis(tokens_A: np.ndarray, score: np.floating, length: np.integer, ended: np.bool_) -> Hypothesis:
    return Hypothesis(tokens_A[: length - int(ended)].tolist(), float(score), bool(ended))


@dataclass(frozen=True, kw_only=True)
class Search:
    """What all searches share.

    Args:
        end_id: the token that ends a sequence; NO_TOKEN: none does. The generator sets it.
    """

    end_id: int = NO_TOKEN

    normalize_first = False
    revises = False  # may take back what it chose
    may_pass_ends = False  # has its own rule for end tokens that come early

    @property
    def width(self) -> int:
        """Continuations of a sample."""
        return 1

    def signature(self) -> "Search":
        """The search as its compiled program needs it: without the values that `inputs` passes."""
        return self

    def inputs(self, rows: Sequence[int], limits: Limits, capacity: int) -> dict[str, np.ndarray | np.generic]:
        """Values that are arguments of the program; `rows` are the indices of the samples among all of the call."""
        return {}

    def begin(self, inputs: dict[str, Tensor], real_Q: Tensor, capacity: int) -> Any:
        """The record before the first token; samples that are not real only fill the array."""
        return Found.empty(real_Q, self.width, capacity)

    def choose(
        self, log_QKV: Tensor, found: Any, inputs: dict[str, Tensor], time: Tensor
    ) -> tuple[Tensor, Tensor | None, Any]:
        """Each search has its own."""
        raise NotImplementedError

    def normalize(self, logits_QKV: Tensor) -> Tensor:
        """log softmax in float32; a row in which nothing is possible stays impossible."""
        largest = ops.max(logits_QKV, axis=-1, keepdims=True)
        shifted = logits_QKV - ops.where(largest > IMPOSSIBLE, largest, 0.0)
        total = ops.sum(ops.exp(shifted), axis=-1, keepdims=True)
        return shifted - ops.log(ops.maximum(total, 1e-38))

    def done(self, found: Any) -> Tensor:
        """Whether every sequence has ended, scalar bool."""
        return ops.all(found.ended)

    def hypotheses(self, found: Any) -> list[list[Hypothesis]]:
        """What was found for each sample, best first."""
        return found.hypotheses()

    def best(self, found: Any) -> np.ndarray:
        """The best continuation of each sample, if continuations keep their places."""
        return np.zeros(len(found.scores), int)

    def replace(self, **changes: Any) -> "Search":
        """A copy with some fields changed, checked again."""
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True, kw_only=True)
class Greedy(Search):
    """The most probable token at each step; the score is the sum of the tokens' log probabilities."""

    def choose(
        self, log_QKV: Tensor, found: Any, inputs: dict[str, Tensor], time: Tensor
    ) -> tuple[Tensor, Tensor | None, Any]:
        tokens_QK = or_end(ops.argmax(log_QKV, axis=-1), log_QKV, self.end_id)
        found = found.add(tokens_QK, ops.max(log_QKV, axis=-1), tokens_QK == self.end_id, time)
        return as_input(tokens_QK), None, found


def or_end(tokens_QK: Tensor, log_QKV: Tensor, end_id: int) -> Tensor:
    """The tokens as int32; the end token where no token was possible."""
    return ops.where(ops.max(log_QKV, axis=-1) > IMPOSSIBLE, ops.cast(tokens_QK, "int32"), end_id)


def as_input(tokens_QK: Tensor) -> Tensor:
    """Tokens that can be fed to the model: NO_TOKEN becomes padding."""
    return ops.maximum(tokens_QK, 0)


def take_continuations(x: Tensor, parents_QK: Tensor) -> Tensor:
    """`x[q, parents[q, k]]` for an array `(Q, K, ...)`, or `(Q, 1, ...)`, whose one continuation is everyone's parent.

    Returns:
        An array `(Q, K, ...)`.
    """
    if x.shape[1] == 1:  # a finished beam that keeps its place names itself; where there is one, that is none
        parents_QK = ops.zeros_like(parents_QK)
    flat = parents_QK + ops.arange(ops.shape(parents_QK)[0], dtype="int32")[:, None] * x.shape[1]
    return ops.take(ops.reshape(x, (-1, *x.shape[2:])), flat, axis=0)
