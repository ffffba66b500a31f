"""A block of the Transformer, and what one hands on to the next.

Legend: B batch, T query position, M chosen positions, S key position or source position, D hidden, N heads, R prefixes,
K continuations of each.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

from nlptasks.backend import Tensor
from nlptasks.core.attention import KeyValues, MultiHeadAttention
from nlptasks.core.config import TransformerConfig
from nlptasks.core.gated import GatedAttention
from nlptasks.core.layers import Affine, Dropout, FeedForward, LayerNorm, at_positions, layer_norm


class Source(NamedTuple):
    """What a block of a decoder reads of the encoder: keys and values, and which positions are real, bool (B, 1, S)."""

    other: KeyValues
    mask: Tensor


class TransformerBlock(keras.layers.Layer):
    """Attention and a feed-forward layer f, each with dropout and a residual sum. The config says where norms stand:

        "post"   h = norm(x + attention(x))    norm(h + f(h))          BERT, GPT
        "pre"    h = x + attention(norm(x))    h + f(norm(h))          GPT-2, T5; a norm follows the last block
        "inner"  h = x + attention(x)          norm(h + f(norm(h)))    GPT2-ML

    The first norm of a line is `attention_norm`, the second `ffn_norm`. With cross-attention (T5's decoder),
    h = h + cross(norm(h), source) stands between both parts. GAU-alpha's block is norm(x + attention(x)) alone: its
    gated attention is both parts.
    """

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.attention = self._attention("attention", config.position)
        self.attention_norm = layer_norm(config, "attention_norm", self.dtype_policy)
        self.ffn: FeedForward | None = None
        self.ffn_norm: LayerNorm | None = None
        if not config.gated_attention:
            self.ffn = FeedForward(
                config.hidden_size,
                config.ffn_size,
                config.hidden_act,
                config.initializer_range,
                config.use_bias,
                config.gated_ffn,
                name="ffn",
                dtype=self.dtype_policy,
            )
            self.ffn_norm = layer_norm(config, "ffn_norm", self.dtype_policy)
        self.cross: MultiHeadAttention | None = None
        self.cross_norm: LayerNorm | None = None
        if config.cross_attention:
            self.cross = self._attention("cross", "learned")
            self.cross_norm = layer_norm(config, "cross_norm", self.dtype_policy)
        self.dropout = Dropout(config.dropout, dtype=self.dtype_policy)

    def _attention(self, name: str, position: str) -> MultiHeadAttention:
        config = self.config
        arguments = (
            config.hidden_size,
            config.num_heads,
            config.key_size,
            config.value_size,
            config.attention_dropout,
            config.initializer_range,
            position,
            config.talking_heads,
            config.use_bias,
            config.attention_scale,
        )
        settings = {"name": name, "dtype": self.dtype_policy}
        if config.gated_attention:
            return GatedAttention(*arguments, hidden_act=config.hidden_act, **settings)
        return MultiHeadAttention(*arguments, **settings)

    def build(self, hidden_shape: Sequence[int | None]) -> None:
        for layer in (self.attention, self.attention_norm, self.ffn, self.ffn_norm, self.cross, self.cross_norm):
            if layer is not None:
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
        source: Source | None = None,
    ) -> Any:
        """Takes and returns what `MultiHeadAttention` does; `affines` are what both norms take under a condition."""
        options = {"training": training, "with_state": with_state, "fused": fused}
        mixed = self.attention(self._before_attention(hidden_BTD), mask_BTS, position, scores_BNTS, **options)
        mixed_BTD, *state = mixed if with_state else (mixed,)
        hidden_BTD = self._after_attention(hidden_BTD, mixed_BTD, affines, training, source)
        return (hidden_BTD, *state) if with_state else hidden_BTD

    def can_choose(self) -> bool:
        """Whether `at` computes what this block does: no position and no other layer's scores are part of attention."""
        config = self.config
        inside = config.position in ("relative", "rotary", "bucketed") or config.residual_attention_scores
        return not (inside or config.gated_attention or config.cross_attention)

    def at(
        self, hidden_BTD: Tensor, mask_BTS: Tensor, positions_BM: Tensor, training: bool | None = None
    ) -> tuple[Tensor, KeyValues]:
        """What the block makes of chosen positions, `(B, M, D)`, which look at all; and the keys and values of all."""
        inner_BTD = self._before_attention(hidden_BTD)
        cache = self.attention.remember(inner_BTD)
        mask_BMS = mask_BTS if mask_BTS.shape[1] == 1 else at_positions(mask_BTS, positions_BM)
        mixed_BMD = self.attention.look(at_positions(inner_BTD, positions_BM), mask_BMS, cache, training)
        hidden_BMD = at_positions(hidden_BTD, positions_BM)
        return self._after_attention(hidden_BMD, mixed_BMD, (None, None), training, None), cache

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
        source: Source | None = None,
    ) -> tuple[Tensor, KeyValues, Tensor]:
        """One new token a continuation: takes and returns what `MultiHeadAttention.step` does."""
        mixed_RKD, generated, scores_RNKS = self.attention.step(
            self._before_attention(hidden_RKD), mask_R1S, prefix, generated, time, position, scores_RNKS
        )
        hidden_RKD = self._after_attention(hidden_RKD, mixed_RKD, affines, False, source)
        return hidden_RKD, generated, scores_RNKS

    def _before_attention(self, hidden_BTD: Tensor) -> Tensor:
        return self.attention_norm(hidden_BTD) if self.config.norm_place == "pre" else hidden_BTD

    def _after_attention(
        self,
        hidden_BTD: Tensor,
        mixed_BTD: Tensor,
        affines: tuple[Affine | None, Affine | None],
        training: bool | None,
        source: Source | None,
    ) -> Tensor:
        """The rest of the block, from the sum of its input and what attention made of it."""
        place = self.config.norm_place
        hidden_BTD = hidden_BTD + self.dropout(mixed_BTD, training=training)
        if place == "post":
            hidden_BTD = self.attention_norm(hidden_BTD, affines[0])
        if source is not None and self.cross is not None and self.cross_norm is not None:
            looked_BTD = self.cross.look(self.cross_norm(hidden_BTD), source.mask, source.other, training)
            hidden_BTD = hidden_BTD + self.dropout(looked_BTD, training=training)
        if self.ffn is None or self.ffn_norm is None:
            return hidden_BTD
        inner_BTD = hidden_BTD
        if place == "pre":
            inner_BTD = self.ffn_norm(hidden_BTD)
        elif place == "inner":
            inner_BTD = self.attention_norm(hidden_BTD)
        hidden_BTD = hidden_BTD + self.dropout(self.ffn(inner_BTD, training=training), training=training)
        return hidden_BTD if place == "pre" else self.ffn_norm(hidden_BTD, affines[1])

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
    source: Source | None = None,
) -> Any:
    """What the block returns. Options come before arrays, so that a partial of this takes arrays only, as
    `backend.recomputed` wants its function.
    """
    options = {"training": training, "with_state": with_state, "fused": fused}
    return block(hidden_BTD, mask_BTS, position, added, affines=affines, source=source, **options)


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
