"""Scores of sentence similarity: retrieval within groups, and pairs told apart by one number.

Legend: N sentences, Q queries of a block.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

BLOCK = 512
TOP = (1, 5, 10)


def score_retrieval(
    score_block: Callable[[int, int], np.ndarray], labels: Sequence[int] | np.ndarray, top: Sequence[int] = TOP
) -> dict[str, float]:
    """Measures how often another sentence of the same group is among the k with the highest scores.

    The sentence itself is excluded. If a sentence of another group has the same score, it is ranked first.

    Args:
        score_block: `score_block(start, stop)` gives the scores `(stop - start, N)` of sentences as queries.
        labels: group of each sentence.
        top: the values of k.

    Returns:
        `queries` (sentences whose group has another one), `top1` and so on, shares of those.

    Raises:
        ValueError: no group has two sentences.
    """
    labels = np.asarray(labels)
    _, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    asked = sizes[inverse] > 1
    if not asked.any():
        raise ValueError("no group has two sentences, so there is nothing to find.")
    ranks = np.concatenate([_ranks(score_block(a, b), labels, a) for a, b in _blocks(len(labels))])[asked]
    return {"queries": int(asked.sum())} | {f"top{k}": float((ranks < k).mean()) for k in top}


def _ranks(scores: np.ndarray, labels: np.ndarray, start: int) -> np.ndarray:
    """How many sentences of other groups stand before the best one of the own group."""
    rows = np.arange(len(scores))
    same = labels[start + rows][:, None] == labels[None]
    scores = np.array(scores, "float32")
    scores[rows, start + rows] = -np.inf
    best = np.where(same, scores, -np.inf).max(axis=1)
    return (~(scores < best[:, None]) & ~same).sum(axis=1)  # a score that is no number stands before none


def _blocks(count: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, BLOCK):
        yield start, min(start + BLOCK, count)


def score_pairs(scores: Sequence[float] | np.ndarray, labels: Sequence[int] | np.ndarray) -> dict[str, float]:
    """Measures how well a score tells pairs with the same meaning (label 1) from others (0).

    Returns:
        `pairs`; `auc`, the share of (positive, negative) pairs in the right order, ties counted half; `accuracy` at the
        best threshold, and that `threshold` (a score of at least it says 1); `spearman`, rank correlation with the
        labels.

    Raises:
        ValueError: the labels are not 0 and 1, both present.
    """
    scores, labels = np.asarray(scores, "float64"), np.asarray(labels)
    if set(np.unique(labels).tolist()) != {0, 1}:
        raise ValueError(f"labels must be 0 and 1, both present. Received: {sorted(set(labels.tolist()))[:5]}.")
    ranks = _mean_ranks(scores)
    positive = int(labels.sum())
    negative = len(labels) - positive
    auc = (ranks[labels == 1].sum() - positive * (positive + 1) / 2) / (positive * negative)
    accuracy, threshold = _best_threshold(scores, labels)
    return {
        "pairs": len(labels),
        "auc": float(auc),
        "accuracy": accuracy,
        "threshold": threshold,
        "spearman": _correlation(ranks, _mean_ranks(labels.astype("float64"))),
    }


def _mean_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[inverse]


def _best_threshold(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    values, inverse = np.unique(scores, return_inverse=True)
    ones = np.bincount(inverse, labels, len(values))
    zeros = np.bincount(inverse, 1 - labels, len(values))
    # right when everything from values[i] on is said to be 1; the last one: nothing is
    right = np.append(np.cumsum(ones[::-1])[::-1], 0) + np.append(0, np.cumsum(zeros))
    best = int(right.argmax())
    threshold = values[best] if best < len(values) else np.nextafter(values[-1], np.inf)
    return float(right[best] / len(labels)), float(threshold)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    spread = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / spread) if spread else 0.0
