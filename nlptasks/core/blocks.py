"""A block of the Transformer, and what one hands on to the next.

Legend: B batch, T query position, S key position, D hidden, N heads, R prefixes, K continuations of each.
"""

from collections.abc import Sequence
from typing import Any

import keras

from nlptasks.backend import Tensor
from nlptasks.core.attention import KeyValues, MultiHeadAttention
from nlptasks.core.config import TransformerConfig
from nlptasks.core.layers import Affine, Dropout, FeedForward, layer_norm


class TransformerBlock(keras.layers.Layer):
    """Attention and feed-forward, each followed by dropout, residual sum and norm (post-norm, as in BERT)."""

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.attention = MultiHeadAttention(
            config.hidden_size,
            config.num_heads,
            config.key_size,
            config.value_size,
            config.attention_dropout,
            config.initializer_range,
            config.position,
            config.talking_heads,
            name="attention",
            dtype=self.dtype_policy,
        )
        self.attention_norm = layer_norm(config, "attention_norm", self.dtype_policy)
        self.ffn = FeedForward(
            config.hidden_size,
            config.ffn_size,
            config.hidden_act,
            config.initializer_range,
            name="ffn",
            dtype=self.dtype_policy,
        )
        self.ffn_norm = layer_norm(config, "ffn_norm", self.dtype_policy)
        self.dropout = Dropout(config.dropout, dtype=self.dtype_policy)

    def build(self, hidden_shape: Sequence[int | None]) -> None:
        for layer in (self.attention, self.attention_norm, self.ffn, self.ffn_norm):
            layer.build(hidden_shape)

    def call(
        self,
        hidden_BTD: Tensor,
        mask_BTS: Tensor,
        position: Any = None,
        scores_BNTS: Tensor | None = None,
        affines: tuple[Affine | None, Affine | None] = (None, None),
        training: bool | None = None,
        with_state: bool = False,
        fused: bool = False,
    ) -> Any:
        """Takes and returns what `MultiHeadAttention` does; `affines` are what both norms take under a condition."""
        options = {"training": training, "with_state": with_state, "fused": fused}
        mixed = self.attention(hidden_BTD, mask_BTS, position, scores_BNTS, **options)
        mixed_BTD, *state = mixed if with_state else (mixed,)
        hidden_BTD = self._after_attention(hidden_BTD, mixed_BTD, affines, training)
        return (hidden_BTD, *state) if with_state else hidden_BTD

    def step(
        self,
        hidden_RKD: Tensor,
        mask_R1S: Tensor,
        prefix: KeyValues,
        generated: KeyValues,
        time: Tensor,
        position: Any = None,
        scores_RNKS: Tensor | None = None,
        affines: tuple[Affine | None, Affine | None] = (None, None),
    ) -> tuple[Tensor, KeyValues, Tensor]:
        """One new token a continuation: takes and returns what `MultiHeadAttention.step` does."""
        mixed_RKD, generated, scores_RNKS = self.attention.step(
            hidden_RKD, mask_R1S, prefix, generated, time, position, scores_RNKS
        )
        return self._after_attention(hidden_RKD, mixed_RKD, affines, False), generated, scores_RNKS

    def _after_attention(
        self, hidden_BTD: Tensor, mixed_BTD: Tensor, affines: tuple[Affine | None, Affine | None], training: bool | None
    ) -> Tensor:
        hidden_BTD = self.attention_norm(hidden_BTD + self.dropout(mixed_BTD, training=training), affines[0])
        changed_BTD = self.dropout(self.ffn(hidden_BTD, training=training), training=training)
        return self.ffn_norm(hidden_BTD + changed_BTD, affines[1])

    def compute_output_shape(
        self, hidden_shape: Sequence[int | None], *args: Any, **kwargs: Any
    ) -> Sequence[int | None]:
        return hidden_shape


def run_block(
    block: TransformerBlock,
    training: bool | None,
    with_state: bool,
    fused: bool,
    hidden_BTD: Tensor,
    mask_BTS: Tensor,
    position: Any,
    added: Tensor | None,
    affines: tuple[Affine | None, Affine | None],
) -> Any:
    """What the block returns. Options come before arrays, so that a partial of this takes arrays only, as
    `backend.recomputed` wants its function.
    """
    options = {"training": training, "with_state": with_state, "fused": fused}
    return block(hidden_BTD, mask_BTS, position, added, affines=affines, **options)


def added_scores(residual: str | None, added: Tensor | None, own: Tensor) -> Tensor | None:
    """The scores that residual attention hands on to the next layer; None without it.

    Args:
        residual: the config's `residual_attention_scores`.
        added: what this layer received.
        own: the scores of this layer, before `added`.
    """
    if residual == "running" and added is not None:
        return added + own
    return own if residual else None
