"""The reader that points at the answer: two logits a token, one for the first token of the answer and one for the last.

A bidirectional Transformer reads `[CLS] question [SEP] window [SEP]`, with segment 1 on the window and its `[SEP]`, as
BERT (arXiv 1810.04805) reads SQuAD. Start and end of a window without an answer are its `[CLS]`.

Legend: R rows (one a window), T and S positions, K occurrences of the answer, D hidden.
"""

from collections.abc import Callable
from typing import Any, TypedDict

import keras
import numpy as np
from keras import ops

from nlptasks.applications.encoder_head import EncoderWithHead
from nlptasks.applications.reading.spans import SpanDecoder, first_of_text, row_arrays
from nlptasks.applications.reading.windows import SpanLengths
from nlptasks.backend import Tensor, compile_function
from nlptasks.core.attention import MASKED_SCORE
from nlptasks.core.config import TransformerConfig
from nlptasks.core.transformer import Transformer

__all__ = [
    "SpanBatch",
    "SpanDecoder",
    "best_spans",
    "first_of_text",
    "row_arrays",
    "span_finder",
    "span_layers",
    "span_logits",
    "span_loss",
    "span_model",
]


class SpanBatch(TypedDict):
    """Padded arrays of one batch."""

    token_ids: np.ndarray  # int32 (R, T)
    segment_ids: np.ndarray  # int32 (R, T)
    inside: np.ndarray  # bool (R, T): the tokens of the passage
    starts: np.ndarray  # int32 (R, K): the first token of each occurrence of the answer, or [CLS]
    ends: np.ndarray  # int32 (R, K): the last token
    counted: np.ndarray  # bool (R, K): False where a row has fewer occurrences than K
    weights: np.ndarray  # float32 (R,): 0 for rows that only pad


def span_layers(config: TransformerConfig) -> dict[str, keras.layers.Layer]:
    """The head. It computes in float32: bfloat16 could not tell apart the spans of several windows."""
    normal = keras.initializers.TruncatedNormal(stddev=config.initializer_range)
    return {"span": keras.layers.Dense(2, kernel_initializer=normal, name="span", dtype="float32")}


def span_model(transformer: Transformer, dropout: float = 0.1) -> EncoderWithHead:
    """An encoder with a fresh head that points at spans.

    Args:
        dropout: rate on the hidden states that the head reads.
    """
    return EncoderWithHead(transformer, span_layers(transformer.config), dropout)


def span_logits(
    model: EncoderWithHead, token_ids: Tensor, segment_ids: Tensor, training: bool = False, encode: Any = None
) -> tuple[Tensor, Tensor]:
    """The logits of every position as start and as end, `(R, T)` each."""
    hidden_RTD = model.encode(token_ids, segment_ids, training=training, encode=encode)
    logits_RT2 = model.head_layers["span"](hidden_RTD)
    return logits_RT2[..., 0], logits_RT2[..., 1]


def log_partition(logits_RT: Tensor, inside_RT: Tensor) -> Tensor:
    """log of the sum of exp over the tokens of the passage and `[CLS]`, which alone may be start or end: `(R,)`."""
    is_cls_T = ops.arange(ops.shape(logits_RT)[1]) == 0
    return ops.logsumexp(ops.where(ops.logical_or(inside_RT, is_cls_T), logits_RT, MASKED_SCORE), axis=-1)


def span_loss(
    model: EncoderWithHead, batch: SpanBatch, training: bool = True, encode: Callable | None = None
) -> Tensor:
    """Mean over the windows of -log p of the answer, a scalar in nats; `encode` as in `EncoderWithHead.encode`.

    Start and end are drawn apart, from the tokens of the passage and `[CLS]`. An answer that occurs K times in a window
    is found at whichever place it is taken from, so its probability is the marginal one, the sum over the occurrences
    k of p(start = s_k) p(end = e_k): the model may choose the place, and need not spread over all.
    """
    start_RT, end_RT = span_logits(model, batch["token_ids"], batch["segment_ids"], training, encode)
    of_starts_RK = ops.take_along_axis(start_RT, batch["starts"], axis=1)
    of_ends_RK = ops.take_along_axis(end_RT, batch["ends"], axis=1)
    answer_R = ops.logsumexp(ops.where(batch["counted"], of_starts_RK + of_ends_RK, MASKED_SCORE), axis=-1)
    loss_R = log_partition(start_RT, batch["inside"]) + log_partition(end_RT, batch["inside"]) - answer_R
    return ops.sum(loss_R * batch["weights"]) / ops.maximum(ops.sum(batch["weights"]), 1.0)


def best_spans(start_RT: Tensor, end_RT: Tensor, inside_RT: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The best span of each row: of at most `most` tokens, all in the passage.

    Returns:
        First and last position, int `(R,)`; the score, the sum of both logits minus those of `[CLS]`, by which spans of
        different windows compare (softmaxes do not: one gives a window without an answer as much as one with it); and
        the log of the probability that the softmaxes of the row give it. Without a token in the passage the score is
        `MASKED_SCORE` and less.
    """
    length = ops.shape(start_RT)[1]
    distance_TS = ops.arange(length)[None, :] - ops.arange(length)[:, None]
    near_TS = ops.logical_and(distance_TS >= 0, distance_TS < most)
    allowed_RTS = ops.logical_and(ops.logical_and(inside_RT[:, :, None], inside_RT[:, None, :]), near_TS)
    sum_RTS = ops.where(allowed_RTS, start_RT[:, :, None] + end_RT[:, None, :], MASKED_SCORE)
    flat = ops.reshape(sum_RTS, (-1, length * length))
    best_R, top_R = ops.argmax(flat, axis=-1), ops.max(flat, axis=-1)
    partition_R = log_partition(start_RT, inside_RT) + log_partition(end_RT, inside_RT)
    return best_R // length, best_R % length, top_R - start_RT[:, 0] - end_RT[:, 0], top_R - partition_R


def span_finder(model: EncoderWithHead, lengths: SpanLengths) -> Callable[..., tuple[Tensor, ...]]:
    """What finds the `best_spans` of token ids, segment ids and `inside`, all `(R, T)`."""

    def best(token_ids_RT: Any, segment_ids_RT: Any, inside_RT: Any) -> tuple[Tensor, ...]:
        start_RT, end_RT = span_logits(model, token_ids_RT, segment_ids_RT)
        return best_spans(start_RT, end_RT, inside_RT, lengths.answer_length)

    return compile_function(best, model)
