"""Attention masks: bool tensors in which True means "may look".

A mask hides key columns only, never whole query rows: a row without a visible key has no softmax.

Legend: B batch, T query position, S key position.
"""

from keras import ops

from nlptasks.backend import Tensor


def padding_mask(token_ids_BS: Tensor, pad_id: int = 0) -> Tensor:
    """True at real tokens: every id but `pad_id`, and position 0 always, as in bert4keras. Shape (B, S), as that of the
    ids; ids with more axes before are masked likewise.
    """
    real_BS = ops.not_equal(token_ids_BS, pad_id)
    first_S = ops.equal(ops.arange(ops.shape(token_ids_BS)[-1]), 0)
    return ops.logical_or(real_BS, first_S)


def causal_mask(token_ids_BS: Tensor) -> Tensor:
    """A position sees itself and what came before it. Shape (1, T, S)."""
    position_S = ops.arange(ops.shape(token_ids_BS)[1])
    return (position_S[None, :] <= position_S[:, None])[None]


def unilm_mask(segment_ids_BS: Tensor) -> Tensor:
    """Source (segment 0) sees the source; target (segment 1) sees the source and its own past. Shape (B, T, S).

    The rule is on the running sum c of the segment ids: position i sees position j when c[j] <= c[i]
    (UniLM, arXiv 1905.03197, as bert4keras writes it), so interleaved segments behave as there.
    """
    running_BS = ops.cumsum(ops.cast(segment_ids_BS, "int32"), axis=1)
    return running_BS[:, None, :] <= running_BS[:, :, None]


def document_mask(document_ids_BS: Tensor) -> Tensor:
    """A position sees the positions of its own document. Shape (B, T, S)."""
    return ops.equal(document_ids_BS[:, None, :], document_ids_BS[:, :, None])


def attention_mask(
    kind: str,
    token_ids_BS: Tensor,
    segment_ids_BS: Tensor,
    document_ids_BS: Tensor | None = None,
    pad_id: int = 0,
) -> Tensor:
    """The mask of one forward pass: the rule of `kind`, with padding hidden on top, and other documents if there are
    document ids. Shape (B, 1 or T, S).
    """
    visible_BTS = padding_mask(token_ids_BS, pad_id)[:, None, :]
    if kind == "causal":
        visible_BTS = ops.logical_and(visible_BTS, causal_mask(token_ids_BS))
    elif kind == "unilm":
        visible_BTS = ops.logical_and(visible_BTS, unilm_mask(segment_ids_BS))
    if document_ids_BS is not None:
        visible_BTS = ops.logical_and(visible_BTS, document_mask(document_ids_BS))
    return visible_BTS
