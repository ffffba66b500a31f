"""Sequence to sequence in one stack (UniLM, arXiv 1905.03197): the source sees itself, the target its past.

Legend: B batch, T position, M target tokens a row, D hidden, V vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import TypedDict

import numpy as np
from keras import ops

from nlptasks.backend import Tensor
from nlptasks.core.layers import at_positions
from nlptasks.core.transformer import Transformer
from nlptasks.text.batches import round_up

TARGET_MULTIPLE = 8
"""numbers of targets a row are multiples of this"""


class TargetBatch(TypedDict):
    """Padded arrays of one batch; `target_weights` is 0 where a row has fewer targets than M."""

    token_ids: np.ndarray  # int32 (B, T)
    segment_ids: np.ndarray  # int32 (B, T)
    target_positions: np.ndarray  # int32 (B, M): where each target is predicted, one before it stands
    target_ids: np.ndarray  # int32 (B, M)
    target_weights: np.ndarray  # float32 (B, M)


def target_batch(
    sources: Sequence[Sequence[int] | np.ndarray],
    targets: Sequence[Sequence[int] | np.ndarray],
    batch_size: int | None = None,
    max_length: int | None = None,
    length_multiple: int = 16,
    target_multiple: int = TARGET_MULTIPLE,
    hidden: Sequence[Sequence[int] | np.ndarray] | None = None,
    mask_id: int | None = None,
    pad_id: int = 0,
) -> TargetBatch:
    """Sources (closed by `[SEP]`) and targets (closed by `[SEP]`) as arrays of rounded shapes.

    Args:
        batch_size: rows of the arrays; rows beyond the data are padding with weight 0.
        max_length: the width is not rounded up beyond this (the model's positions).
        hidden: for each source the positions that are shown as `mask_id`; their tokens are predicted there, too.
        pad_id: what fills the rows.
    """
    count, pairs = batch_size or len(sources), list(zip(sources, targets, strict=True))
    hidden = hidden or [()] * len(pairs)
    width = round_up(max(len(s) + len(t) for s, t in pairs), length_multiple, max_length)
    most = round_up(max(len(t) + len(h) for (_, t), h in zip(pairs, hidden, strict=True)), target_multiple)
    batch = TargetBatch(
        token_ids=np.full((count, width), pad_id, "int32"),
        segment_ids=np.zeros((count, width), "int32"),
        target_positions=np.zeros((count, most), "int32"),
        target_ids=np.zeros((count, most), "int32"),
        target_weights=np.zeros((count, most), "float32"),
    )
    for row, ((source, target), others) in enumerate(zip(pairs, hidden, strict=True)):
        ids, start, masked = np.concatenate([source, target]), len(source), np.asarray(others, "int64")
        predicted = np.concatenate([np.arange(start, len(ids)) - 1, masked])
        batch["target_positions"][row, : len(predicted)] = predicted
        batch["target_ids"][row, : len(predicted)] = np.concatenate([target, ids[masked]])
        batch["target_weights"][row, : len(predicted)] = 1
        ids[masked] = mask_id or 0
        batch["token_ids"][row, : len(ids)] = ids
        batch["segment_ids"][row, start : len(ids)] = 1
    return batch


def target_log_probabilities(
    model: Transformer, batch: TargetBatch, training: bool = False, encode: Callable | None = None
) -> Tensor:
    """log p of each target token `(B, M)`, float32. Logits are computed at the target positions only.

    Args:
        encode: what stands for the model's `encode` (see applications/compression/theseus.py).
    """
    inputs, positions_BM = (batch["token_ids"], batch["segment_ids"]), batch["target_positions"]
    if encode is None:
        hidden_BMD = model.encode(*inputs, training=training, positions_BM=positions_BM)
    else:
        hidden_BMD = at_positions(encode(*inputs, training=training), positions_BM)
    logits_BMV = model.token_logits(hidden_BMD)
    return -ops.sparse_categorical_crossentropy(batch["target_ids"], logits_BMV, from_logits=True)


def target_loss(
    model: Transformer, batch: TargetBatch, training: bool = True, encode: Callable | None = None
) -> Tensor:
    """Mean cross-entropy over the target tokens of the batch: a scalar in nats; `encode` as above."""
    return mean_loss(target_log_probabilities(model, batch, training, encode), batch["target_weights"])


def mean_loss(log_BM: Tensor, weights_BM: Tensor) -> Tensor:
    """Mean cross-entropy, in nats, of target tokens with these log probabilities and weights."""
    return -ops.sum(log_BM * weights_BM) / ops.maximum(ops.sum(weights_BM), 1.0)
