"""Losses over groups: which group a vector belongs to, by its cosine with one vector a group, with or without a margin.

Legend: B batch, C groups (or those sampled), D size of a vector.
"""

import math
from typing import Any

import numpy as np
from keras import ops

from nlptasks.train.margins import SCALE, check_loss

_TINY = 1e-12
_FLAT = 1e-6
"""below this sin^2 the sine goes on as a straight line, so that its slope stays finite"""


def unit_vectors(x: Any) -> Any:
    """Vectors of length 1 along the last axis, float32; zero stays zero, and its gradient is finite."""
    x = ops.cast(x, "float32")
    return x * ops.rsqrt(ops.maximum(ops.sum(x * x, axis=-1, keepdims=True), _TINY))


def cosines(embeddings_BD: Any, classes_CD: Any) -> Any:
    """Cosines `(B, C)` in [-1, 1] of unit vectors."""
    return ops.clip(ops.matmul(embeddings_BD, ops.transpose(classes_CD)), -1.0, 1.0)


def with_margin(cosine: Any, kind: str, margin: float | None = None) -> Any:
    """What stands for the cosine with the own group; of any shape.

    Args:
        cosine: cos t in [-1, 1].
        kind: "softmax": cos t. "am" (additive margin, arXiv 1801.05599): cos t - margin. "a" (the simpler form of
            A-softmax, arXiv 1704.08063): min(cos 4t, cos t). "arc" (arXiv 1801.07698): cos(t + margin), and beyond
            t = pi - margin, where that rises again, cos t - margin sin margin.
        margin: None: the one in MARGINS.

    Raises:
        UserError: another kind; a margin that is negative, or at least pi for "arc".
    """
    margin = check_loss(kind, margin)
    if kind == "am":
        return cosine - margin
    if kind == "a":
        square = cosine * cosine
        return ops.minimum(8.0 * square * (square - 1.0) + 1.0, cosine)
    if kind == "arc" and margin:
        turned = cosine * math.cos(margin) - _sine(cosine) * math.sin(margin)
        return ops.where(cosine > -math.cos(margin), turned, cosine - margin * math.sin(margin))
    return cosine


def _sine(cosine: Any) -> Any:
    square = (1.0 - cosine) * (1.0 + cosine)
    inside = square > _FLAT
    root = ops.sqrt(ops.where(inside, square, 1.0))  # where, twice: the slope of the branch not taken is finite too
    return ops.where(inside, root, square / math.sqrt(_FLAT))


def group_losses(
    embeddings_BD: Any,
    classes_CD: Any,
    labels_B: Any,
    kind: str = "am",
    scale: float = SCALE,
    margin: float | None = None,
    log_counts_C: Any = None,
) -> Any:
    """Cross-entropy `(B,)` in nats of the own group; float32.

    The margin is subtracted from the own group's cosine, then cross-entropy is taken as it stands: nothing is
    added up first and subtracted afterwards.

    Args:
        embeddings_BD, classes_CD: of any length; they are brought to length 1 here.
        labels_B: int, row of the own group in `classes_CD`.
        kind, margin: see `with_margin`.
        scale: factor of the cosines.
        log_counts_C: float, log of how many groups each row stands for, where groups are sampled; None: one each.
    """
    cosine_BC = cosines(unit_vectors(embeddings_BD), unit_vectors(classes_CD))
    labels_B = ops.cast(labels_B, "int32")
    own_BC = ops.arange(ops.shape(cosine_BC)[1], dtype="int32")[None] == labels_B[:, None]
    own_B = scale * with_margin(ops.take_along_axis(cosine_BC, labels_B[:, None], axis=1), kind, margin)[:, 0]
    logits_BC = ops.where(own_BC, own_B[:, None], scale * cosine_BC)
    if log_counts_C is not None:
        logits_BC = logits_BC + ops.cast(log_counts_C, "float32")[None]
        own_B = own_B + ops.take(ops.cast(log_counts_C, "float32"), labels_B)
    return ops.logsumexp(logits_BC, axis=1) - own_B


def sample_classes(
    labels: np.ndarray, num_classes: int, count: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The groups of a batch and random other ones, in time that does not grow with the number of groups.

    The others are drawn without repetition, all alike; each stands for `others / drawn` groups, so that the sum of
    exp(logit) over all groups is estimated without bias, and exactly where all are drawn.

    Args:
        labels: groups of the batch.
        num_classes: how many there are.
        count: how many to return, at most `num_classes`; more where the batch alone holds more.
        random: draws.

    Returns:
        Distinct groups, int64, the batch's own first in ascending order; float32 log counts for `group_losses`.
    """
    own = np.unique(labels)
    others = num_classes - len(own)
    drawn = min(max(count - len(own), 0), others)
    negatives = random.choice(others, drawn, replace=False) if drawn else np.zeros(0, "int64")
    negatives = negatives + np.searchsorted(own - np.arange(len(own)), negatives, side="right")  # step over the own
    log_counts = np.zeros(len(own) + drawn, "float32")
    log_counts[len(own) :] = math.log(others / drawn) if drawn else 0.0
    return np.concatenate([own, negatives]), log_counts
