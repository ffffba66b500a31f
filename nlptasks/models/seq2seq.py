"""Sequence to sequence in one stack (UniLM, arXiv 1905.03197): the source sees itself, the target its past.

Legend: B batch, T position, M target tokens a row, D hidden, V vocabulary.
"""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from keras import ops

from nlptasks.core.transformer import Transformer
from nlptasks.text.batches import pad, round_up


class TargetBatch(TypedDict):
    """Padded arrays of one batch; `target_weights` is 0 where a row has fewer targets than M."""

    token_ids: np.ndarray  # int32 (B, T)
    segment_ids: np.ndarray  # int32 (B, T)
    target_positions: np.ndarray  # int32 (B, M): where each target is predicted, one before it stands
    target_ids: np.ndarray  # int32 (B, M)
    target_weights: np.ndarray  # float32 (B, M)


def target_batch(
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    batch_size: int | None = None,
    max_length: int | None = None,
    length_multiple: int = 32,
    target_multiple: int = 8,
) -> TargetBatch:
    """Sources (closed by `[SEP]`) and targets (closed by `[SEP]`) as arrays of rounded shapes.

    Args:
        batch_size: rows of the arrays; rows beyond the data are padding with weight 0.
        max_length: the width is not rounded up beyond this (the model's positions).
    """
    count, pairs = batch_size or len(sources), list(zip(sources, targets, strict=True))
    width = round_up(max(len(s) + len(t) for s, t in pairs), length_multiple, max_length)
    most = round_up(max(map(len, targets)), target_multiple)
    return TargetBatch(
        token_ids=pad([[*s, *t] for s, t in pairs], width, count),
        segment_ids=pad([[0] * len(s) + [1] * len(t) for s, t in pairs], width, count),
        target_positions=pad([range(len(s) - 1, len(s) + len(t) - 1) for s, t in pairs], most, count),
        target_ids=pad(targets, most, count),
        target_weights=pad([[1] * len(t) for t in targets], most, count).astype("float32"),
    )


def target_log_probabilities(model: Transformer, batch: TargetBatch, training: bool = False):
    """log p of each target token `(B, M)`, float32. Logits are computed at the target positions only."""
    hidden_BTD = model.encode(batch["token_ids"], batch["segment_ids"], training=training)
    chosen_BMD = ops.take_along_axis(hidden_BTD, batch["target_positions"][:, :, None], axis=1)
    logits_BMV = model.token_logits(chosen_BMD)
    picked_BM = ops.take_along_axis(logits_BMV, batch["target_ids"][:, :, None], axis=-1)[:, :, 0]
    return picked_BM - ops.logsumexp(logits_BMV, axis=-1)


def target_loss(model: Transformer, batch: TargetBatch, training: bool = True):
    """Mean cross-entropy over the target tokens of the batch: a scalar in nats."""
    weights_BM = batch["target_weights"]
    log_BM = target_log_probabilities(model, batch, training)
    return -ops.sum(log_BM * weights_BM) / ops.maximum(ops.sum(weights_BM), 1.0)
