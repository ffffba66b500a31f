"""How sure a labeler is of its entities.

Legend: B batch, T position, K tag.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nlptasks.applications.labeling.samples import Span

_NEVER = -1e9


@dataclass(frozen=True)
class PathSums:
    """Log sums of exp(score) over the paths of a CRF, for a batch of texts.

    Attributes:
        scores_BTK: of the tags.
        first_K, transitions_KK, last_K: of the CRF, with the paths that decoding does not allow far below the others.
        before_BTK: over all beginnings that end in a tag, its own score counted.
        after_BTK: over all that can follow a tag.
    """

    scores_BTK: np.ndarray
    first_K: np.ndarray
    transitions_KK: np.ndarray
    last_K: np.ndarray
    before_BTK: np.ndarray
    after_BTK: np.ndarray

    @classmethod
    def of(
        cls,
        scores_BTK: np.ndarray,
        mask_BT: np.ndarray,
        weights: tuple[np.ndarray, np.ndarray, np.ndarray],
        allowed: tuple[np.ndarray, np.ndarray],
    ) -> "PathSums":
        """The sums of a batch.

        Args:
            mask_BT: True at real positions, which come first.
            weights: scores of the first tag `(K,)`, of transitions `(K, K)`, and of the last tag `(K,)`.
            allowed: which tags may begin a text, and which may follow which.
        """
        scores_BTK = scores_BTK.astype("float64")
        first_K = np.where(allowed[0], weights[0], _NEVER)
        transitions_KK, last_K = np.where(allowed[1], weights[1], _NEVER), weights[2].astype("float64")
        before_BTK, after_BTK = np.zeros_like(scores_BTK), np.zeros_like(scores_BTK)
        before_BTK[:, 0] = first_K + scores_BTK[:, 0]
        for t in range(1, scores_BTK.shape[1]):
            before_BTK[:, t] = _log_sum(before_BTK[:, t - 1, :, None] + transitions_KK, 1) + scores_BTK[:, t]
        after_BTK[:, -1] = last_K
        for t in range(scores_BTK.shape[1] - 2, -1, -1):
            going_on_BK = _log_sum(transitions_KK + (scores_BTK[:, t + 1] + after_BTK[:, t + 1])[:, None, :], 2)
            after_BTK[:, t] = np.where(mask_BT[:, t + 1, None], going_on_BK, last_K)
        return cls(scores_BTK, first_K, transitions_KK, last_K, before_BTK, after_BTK)

    def probability(self, row: int, span: Span, length: int) -> float:
        """The probability that a span is an entity as a whole: begun at its first token, and not continued."""
        first, last, kind = span
        begin, inside = 1 + 2 * kind, 2 + 2 * kind
        score_TK, tag = self.scores_BTK[row], begin
        total = self.before_BTK[row, first, begin]
        for t in range(first + 1, last + 1):
            total += self.transitions_KK[tag, inside] + score_TK[t, inside]
            tag = inside
        if last + 1 < length:
            following_K = self.transitions_KK[tag] + score_TK[last + 1] + self.after_BTK[row, last + 1]
            total += _log_sum(np.delete(following_K, inside), 0)
        else:
            total += self.last_K[tag]
        whole = _log_sum(self.before_BTK[row, 0] + self.after_BTK[row, 0], 0)
        return float(np.exp(min(0.0, total - whole)))


def best_paths(
    scores_BTK: np.ndarray,
    mask_BT: np.ndarray,
    weights: tuple[np.ndarray, np.ndarray, np.ndarray],
    allowed: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """The path of highest score of each row: tags `(B, T)`, int32, 0 beyond the mask; arguments as `PathSums.of`."""
    count, length, _ = scores_BTK.shape
    first_K, transitions_KK = (np.where(a, w, np.float32(_NEVER)) for a, w in zip(allowed, weights, strict=False))
    state_BK, origins = first_K + scores_BTK[:, 0], []
    for t in range(1, length):
        through_BKK = state_BK[:, :, None] + transitions_KK
        real_B1 = mask_BT[:, t, None]
        origins.append(np.where(real_B1, through_BKK.argmax(axis=1), np.arange(len(first_K))))
        state_BK = np.where(real_B1, through_BKK.max(axis=1) + scores_BTK[:, t], state_BK)
    tags_BT = np.zeros((count, length), "int32")
    tags_BT[:, -1] = (state_BK + weights[2]).argmax(axis=1)
    for t in range(length - 2, -1, -1):
        tags_BT[:, t] = origins[t][np.arange(count), tags_BT[:, t + 1]]
    return np.where(mask_BT, tags_BT, 0).astype("int32")


def _log_sum(values: np.ndarray, axis: int) -> np.ndarray:
    most = values.max(axis, keepdims=True)
    return np.squeeze(most, axis) + np.log(np.exp(values - most).sum(axis))


def sigmoid(scores: Sequence[float] | np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-score)), without overflow."""
    return 0.5 + 0.5 * np.tanh(np.asarray(scores, "float64") / 2)
