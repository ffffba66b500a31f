"""Losses that several applications share.

Legend: C classes, M positive classes of a row.
"""

from keras import ops

from nlptasks.backend import Tensor
from nlptasks.core.attention import MASKED_SCORE

ABSENT = MASKED_SCORE / 2
"""a score at or below this belongs to a class that is not there (a masked one)"""
_TINY = 1e-30  # keeps the logarithm of what is left out finite


def multilabel_categorical_crossentropy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Cross-entropy over any number of positive classes (Su Jianlin, kexue.fm/archives/7359 and 9064).

    `log(1 + sum of exp(s) over the negatives) + log(1 + sum of exp(-s) over the positives)`: it wants every positive
    score above 0 and every negative one below, and needs no weights where positives are rare.

    Args:
        y_true: `(..., C)`, 0 or 1, or the probability that the class is positive.
        y_pred: `(..., C)` scores without activation; one at or below `ABSENT` is left out, whatever its `y_true`.

    Returns:
        `(...)` in nats, float32 (float64 for float64 scores).
    """
    y_pred = _at_least_float32(y_pred)
    y_true = ops.cast(y_true, y_pred.dtype)
    present = ops.greater(y_pred, ABSENT)
    score = ops.where(present, y_pred, 0.0)
    negative = score + ops.log(ops.maximum(1.0 - y_true, _TINY))
    positive = ops.log(ops.maximum(y_true, _TINY)) - score
    negative = ops.where(ops.logical_and(present, y_true < 1.0), negative, MASKED_SCORE)
    positive = ops.where(ops.logical_and(present, y_true > 0.0), positive, MASKED_SCORE)
    return _log_one_plus_sum(negative) + _log_one_plus_sum(positive)


def sparse_multilabel_categorical_crossentropy(positive_ids: Tensor, y_pred: Tensor) -> Tensor:
    """`multilabel_categorical_crossentropy` of the positive classes' numbers instead of a row of zeros and ones.

    The negatives are summed without the positives, not as a difference of two sums: nothing cancels.

    Args:
        positive_ids: int `(..., M)`; -1 fills rows that have fewer.
        y_pred: `(..., C)` scores without activation.

    Returns:
        `(...)` in nats.
    """
    y_pred = _at_least_float32(y_pred)
    positive_ids = ops.convert_to_tensor(positive_ids, "int32")
    classes, most = ops.shape(y_pred)[-1], ops.shape(positive_ids)[-1]
    ids_RM = ops.reshape(positive_ids, (-1, most))
    rows = ops.shape(ids_RM)[0]
    ids_RM = ops.where(ids_RM < 0, classes, ids_RM)  # a column of its own, cut off below
    first_R1 = ops.arange(rows, dtype="int32")[:, None] * (classes + 1)
    index = ops.reshape(ids_RM + first_R1, (-1, 1))
    flat = ops.scatter(index, ops.ones_like(index[:, 0], dtype=y_pred.dtype), (rows * (classes + 1),))
    y_true_RC = ops.minimum(ops.reshape(flat, (rows, classes + 1))[:, :-1], 1.0)
    return multilabel_categorical_crossentropy(ops.reshape(y_true_RC, ops.shape(y_pred)), y_pred)


def _log_one_plus_sum(x: Tensor) -> Tensor:
    return ops.logsumexp(ops.concatenate([x, ops.zeros_like(x[..., :1])], axis=-1), axis=-1)


def _at_least_float32(x: Tensor) -> Tensor:
    x = ops.convert_to_tensor(x)
    return x if x.dtype in ("float64", "float32") else ops.cast(x, "float32")
