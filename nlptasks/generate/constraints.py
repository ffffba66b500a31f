"""Which tokens may come next: composable constraints that run inside the compiled loop.

A constraint is a function `start(batch)` that returns a NamedTuple of arrays with two methods, both run inside the
program: `restrict(scores_QKV, time)` gives the changed scores, `follow(tokens_QK, parents_QK)` the constraint after
continuation k of each sample went on from `parents[q, k]` (None: from itself) by `tokens[q, k]`. Scores are logits
for greedy search and sampling, log probabilities for beam search, as in transformers. `forbid`, `allow_only`,
`repetition_penalty`, `min_length`, `near_length` and `extractive` make such functions; so do those of copying.py.

Legend: Q samples, K continuations (1 before the first token), R texts, S positions of a text, V vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from keras import ops

from nlptasks.backend import Tensor
from nlptasks.generate.search import IMPOSSIBLE, take_continuations

LENGTH_MULTIPLE = 64


class Batch(NamedTuple):
    """What a constraint knows about a batch when it starts.

    Attributes:
        sources: token ids of the Q samples; those that only pad the array are empty.
        rows: index of each sample in the whole call, -1 for a sample that only pads the array.
    """

    sources: Sequence[Sequence[int]]
    rows: Sequence[int]
    vocab_size: int
    end_id: int


Constraint = Callable[[Batch], NamedTuple]


class TokenMask(NamedTuple):
    """The same tokens at every step."""

    allowed_Q1V: object

    def restrict(self, scores_QKV: Tensor, time: Tensor) -> Tensor:
        return ops.where(self.allowed_Q1V, scores_QKV, IMPOSSIBLE)

    def follow(self, tokens_QK: Tensor, parents_QK: Tensor | None) -> Self:
        return self


def forbid(token_ids: Sequence[int]) -> Constraint:
    """Forbids these tokens."""

    def start(batch: Batch) -> TokenMask:
        return TokenMask(~_members(token_ids, batch)[None, None])

    return start


def allow_only(token_ids: Sequence[int] | Sequence[Sequence[int]]) -> Constraint:
    """Allows only these tokens and the end token; a list of lists gives every source its own set."""

    def start(batch: Batch) -> TokenMask:
        if len(token_ids) == 0 or not isinstance(token_ids[0], Sequence | np.ndarray):
            allowed_QV = _members(token_ids, batch)[None]
        else:
            allowed_QV = np.array([_members(token_ids[row] if row >= 0 else [], batch) for row in batch.rows])
        if batch.end_id >= 0:
            allowed_QV[:, batch.end_id] = True
        return TokenMask(allowed_QV[:, None])

    return start


def _members(token_ids: Any, batch: Batch) -> np.ndarray:
    ids = np.asarray(token_ids, "int64").reshape(-1)
    if ((ids < 0) | (ids >= batch.vocab_size)).any():
        raise ValueError(f"A constraint's token ids must be 0 to {batch.vocab_size - 1}. Received: {ids.tolist()}.")
    members = np.zeros(batch.vocab_size, bool)
    members[ids] = True
    return members


class MinLength(NamedTuple):
    """No end token before a sequence is long enough."""

    is_end_V: Tensor
    first_end: Tensor

    def restrict(self, scores_QKV: Tensor, time: Tensor) -> Tensor:
        return ops.where(ops.logical_and(self.is_end_V, time < self.first_end), IMPOSSIBLE, scores_QKV)

    def follow(self, tokens_QK: Tensor, parents_QK: Tensor | None) -> Self:
        return self


def min_length(tokens: int) -> Constraint:
    """Lets no sequence end with fewer tokens than this, counting the end token."""

    def start(batch: Batch) -> MinLength:
        return MinLength(np.arange(batch.vocab_size) == batch.end_id, np.int32(tokens - 1))

    return start


class NearLength(NamedTuple):
    """The end token gains `strength` with each token behind the goal, and lacks as much for each one before it; half of
    it where the text has just come to the goal, or lacks one token.
    """

    is_end_V: Tensor
    goal_Q: Tensor
    strength: Tensor

    def restrict(self, scores_QKV: Tensor, time: Tensor) -> Tensor:
        beyond_Q = self.strength * (ops.cast(time - self.goal_Q, "float32") + 0.5)
        return scores_QKV + ops.where(self.is_end_V, beyond_Q[:, None, None], 0.0)

    def follow(self, tokens_QK: Tensor, parents_QK: Tensor | None) -> Self:
        return self


def near_length(tokens: int | Sequence[int], strength: float = 1.0) -> Constraint:
    """Draws the number of tokens, not counting the end token, towards a goal; a list gives every source its own.

        generator.generate([source_ids], max_length=64, constraints=[near_length(12, strength=0.5)])

    Args:
        strength: how much a token more or less changes the score of the end token, in nats; 0: nothing.
    """
    if not strength >= 0:
        raise ValueError(f"strength must be at least 0. Received: strength={strength}.")

    def start(batch: Batch) -> NearLength:
        goals = [tokens if isinstance(tokens, int) else tokens[row] if row >= 0 else 0 for row in batch.rows]
        is_end_V = np.arange(batch.vocab_size) == batch.end_id
        return NearLength(is_end_V, np.array(goals, "int32"), np.float32(strength))

    return start


class RepetitionPenalty(NamedTuple):
    """Tokens of the source and those generated so far become less likely."""

    penalty: Tensor
    seen_QKV: Tensor

    def restrict(self, scores_QKV: Tensor, time: Tensor) -> Tensor:
        punished_QKV = ops.where(scores_QKV < 0, scores_QKV * self.penalty, scores_QKV / self.penalty)
        return ops.where(self.seen_QKV, punished_QKV, scores_QKV)

    def follow(self, tokens_QK: Tensor, parents_QK: Tensor | None) -> Self:
        seen_QKV = self.seen_QKV if parents_QK is None else take_continuations(self.seen_QKV, parents_QK)
        now_QKV = ops.arange(seen_QKV.shape[2], dtype="int32") == tokens_QK[..., None]
        return self._replace(seen_QKV=ops.logical_or(seen_QKV, now_QKV))


def repetition_penalty(penalty: float) -> Constraint:
    """Divides the positive and multiplies the negative scores of tokens seen before (arXiv 1909.05858)."""
    if not penalty > 0:
        raise ValueError(f"repetition_penalty must be above 0. Received: repetition_penalty={penalty}.")

    def start(batch: Batch) -> RepetitionPenalty:
        seen = np.array([_members(source, batch) for source in batch.sources])
        return RepetitionPenalty(np.float32(penalty), seen[:, None])

    return start


class Substring(NamedTuple):
    """The sequence must be a piece of one of its sample's texts: `matches[r, k, s]` says that beam k may continue with
    position s of text r. The end token is always allowed.
    """

    ids_RS: Tensor
    owner_R: Tensor
    matches_RKS: Tensor
    end_id: Tensor

    @classmethod
    def start(
        cls, texts: Sequence[Sequence[int] | np.ndarray], owners: Sequence[int], end_id: int, count: int
    ) -> "Substring":
        """The constraint of `texts`, whose samples are `owners`, in arrays of `count` rows and of few widths."""
        width = -(-(max(map(len, texts), default=0) + 1) // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
        ids_RS, owner_R = np.full((count, width), -1, "int32"), np.zeros(count, "int32")
        for row, (text, owner) in enumerate(zip(texts, owners, strict=True)):
            ids_RS[row, : len(text)], owner_R[row] = text, owner
        return cls(ids_RS, owner_R, (ids_RS >= 0)[:, None], np.int32(end_id))

    def restrict(self, scores_QKV: Tensor, time: Tensor) -> Tensor:
        vocab_size = scores_QKV.shape[2]
        allowed_QKV = tokens_at(self.ids_RS[:, None], self.matches_RKS, self.owner_R, scores_QKV)
        allowed_QKV = ops.logical_or(allowed_QKV, ops.arange(vocab_size, dtype="int32") == self.end_id)
        return ops.where(allowed_QKV, scores_QKV, IMPOSSIBLE)

    def follow(self, tokens_QK: Tensor, parents_QK: Tensor | None) -> Self:
        tokens_RK = ops.take(tokens_QK, self.owner_R, axis=0)
        matches_RKS = self.matches_RKS
        if parents_QK is not None:
            matches_RKS = take_continuations(matches_RKS, ops.take(parents_QK, self.owner_R, axis=0))
        hit_RKS = ops.logical_and(matches_RKS, self.ids_RS[:, None] == tokens_RK[..., None])
        return self._replace(matches_RKS=ops.pad(hit_RKS[..., :-1], ((0, 0), (0, 0), (1, 0))))


def tokens_at(ids_RKS: Tensor, places_RKS: Tensor, owner_R: Tensor, like_QKV: Tensor) -> Tensor:
    """Which tokens stand at some of the places of a sample's texts, bool `(Q, K, V)`.

    Args:
        ids_RKS: the texts `(R, 1 or K, S)`, -1 where a text has no token.
        places_RKS: bool.
        owner_R: the sample of each text.
        like_QKV: any array of the shape of the result.
    """
    samples, (width, vocab_size) = ops.shape(like_QKV)[0], like_QKV.shape[1:]
    first_RK = (owner_R[:, None] * width + ops.arange(width, dtype="int32")[None]) * vocab_size
    place_RKS = first_RK[..., None] + ids_RKS
    nowhere = samples * width * vocab_size  # other places mark one token more
    place_RKS = ops.where(ops.logical_and(places_RKS, ids_RKS >= 0), place_RKS, nowhere)
    place_N1 = ops.reshape(place_RKS, (-1, 1))
    marks_N = ops.ones_like(place_N1[:, 0])
    found = ops.scatter_update(ops.zeros((nowhere + 1,), "int32"), place_N1, marks_N)[:-1]
    return ops.reshape(found, (-1, width, vocab_size)) > 0


def extractive(texts: Sequence[Sequence[Sequence[int]]]) -> Constraint:
    """Makes the tokens generated for source i a piece of one of the token lists `texts[i]`."""

    def start(batch: Batch) -> Substring:
        found = [(text, q) for q, row in enumerate(batch.rows) if row >= 0 for text in texts[row]]
        count = 1 << max(0, len(found) - 1).bit_length()
        return Substring.start([text for text, _ in found], [q for _, q in found], batch.end_id, count)

    return start
