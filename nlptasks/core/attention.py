"""Multi-head attention: to oneself, whole or one token at a time against a two-part cache, or to an encoder's states.

Legend: B batch, T query position, X rows of both, S key position, D hidden, N heads, H key size, J value size.
Decoding: R rows (prefixes), K continuations of a row (beams or samples), P prefix slots, A slots for generated tokens.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from nlptasks.backend import Tensor, fused_attention
from nlptasks.core.layers import Dropout
from nlptasks.core.positions import rotated

# Finite, so that a fully masked row stays a number; far below any real score.
MASKED_SCORE = -1e9


class KeyValues(NamedTuple):
    """Keys and values of one attention layer, heads first, laid out as the matrix products read them."""

    keys: Tensor
    values: Tensor


@keras.saving.register_keras_serializable("nlptasks")
class MultiHeadAttention(keras.layers.Layer):
    """Scaled dot-product attention (arXiv 1706.03762) with independent key and value sizes.

    A position looks at those of the same sequence (`call`, `step`), or of another one (`remember`, then `look`).

    With `talking_heads` the scores of all heads are mixed by a matrix before the softmax, and the probabilities by
    another after it (arXiv 2003.02436, equations of section 3 with as many heads at every stage). Both start as the
    identity, so that a fresh layer equals plain attention.

    Args:
        hidden_size: width of inputs and outputs.
        num_heads: number of heads.
        key_size: size of a head's queries and keys.
        value_size: size of a head's values.
        dropout: rate on the attention probabilities.
        initializer_range: standard deviation of the kernels' truncated normal.
        position: "rotary", "relative" or "bucketed" where positions are part of attention.
        talking_heads: mix the heads.
        use_bias: of the four dense layers.
        scaled: scores are divided by the root of `key_size`.

    Call arguments:
        hidden_BTD: inputs.
        mask_BTS: bool, True where position T may look at position S; T may be 1 (the same for all).
        position: `(1, T, H)` sinusoids where it is rotary, `(1, T, S, H)` vectors where it is relative, `(1, N, T, S)`
            scores where it is bucketed, else None.
        scores_BNTS: scores to add before the softmax (residual attention, arXiv 2012.11747), or None.
        with_state: also return the keys and values, for `step`, and the layer's own scores `(B, N, T, S)`.
        fused: compute without scores in memory where the device can (JAX; see `can_fuse`).

    Returns:
        `(B, T, D)`, or `((B, T, D), KeyValues, scores)` with `with_state`.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        key_size: int,
        value_size: int,
        dropout: float = 0.0,
        initializer_range: float = 0.02,
        position: str = "learned",
        talking_heads: bool = False,
        use_bias: bool = True,
        scaled: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.hidden_size, self.num_heads = hidden_size, num_heads
        self.key_size, self.value_size = key_size, value_size
        self.dropout, self.initializer_range = dropout, initializer_range
        self.position, self.talking_heads = position, talking_heads
        self.use_bias, self.scaled = use_bias, scaled
        self._make_projections()
        self.output_dense = self._dense(hidden_size, "output")
        self.probability_dropout = Dropout(dropout, dtype=self.dtype_policy)

    def _make_projections(self) -> None:
        self.query = self._dense(self.num_heads * self.key_size, "query")
        self.key = self._dense(self.num_heads * self.key_size, "key")
        self.value = self._dense(self.num_heads * self.value_size, "value")

    def _dense(self, units: int, name: str) -> keras.layers.Dense:
        initializer = keras.initializers.TruncatedNormal(stddev=self.initializer_range)
        settings = {"use_bias": self.use_bias, "kernel_initializer": initializer, "dtype": self.dtype_policy}
        return keras.layers.Dense(units, name=name, **settings)

    def build(self, hidden_shape: Sequence[int | None]) -> None:
        for layer in (self.query, self.key, self.value):
            layer.build(hidden_shape)
        self.output_dense.build((*hidden_shape[:-1], self.num_heads * self.value_size))
        if self.talking_heads:
            square = {"shape": (self.num_heads, self.num_heads), "initializer": "identity"}
            self.score_mixing = self.add_weight(name="score_mixing", **square)
            self.probability_mixing = self.add_weight(name="probability_mixing", **square)

    def can_fuse(self) -> bool:
        """Whether `fused` computes what this layer does: no dropout of probabilities, nothing added to the scores."""
        added = self.talking_heads or self.position in ("relative", "bucketed")
        return not (self.dropout or added or self.key_size != self.value_size)

    def call(
        self,
        hidden_BTD: Tensor,
        mask_BTS: Tensor,
        position: Any = None,
        scores_BNTS: Tensor | None = None,
        training: bool | None = None,
        with_state: bool = False,
        fused: bool = False,
    ) -> Any:
        *projected, gate_BTNJ = self._project(hidden_BTD, position)
        if fused and fused_attention is not None and self.can_fuse() and scores_BNTS is None and not with_state:
            return self._joined(fused_attention(*projected, mask_BTS), gate_BTNJ)
        query_BNTH, key_BNSH, value_BNSJ = (ops.transpose(x, (0, 2, 1, 3)) for x in projected)
        cache = KeyValues(ops.transpose(key_BNSH, (0, 1, 3, 2)), value_BNSJ)
        own_BNTS = ops.matmul(query_BNTH, cache.keys)
        if self.position == "relative":
            vectors_TSH = ops.cast(position[0], self.compute_dtype)
            own_BNTS = own_BNTS + ops.einsum("BNTH,TSH->BNTS", query_BNTH, vectors_TSH)
        elif self.position == "bucketed":
            own_BNTS = own_BNTS + ops.cast(position, self.compute_dtype)
        probability_BNTS = self.probabilities(own_BNTS, scores_BNTS, mask_BTS[:, None])
        probability_BNTS = self.probability_dropout(probability_BNTS, training=training)
        mixed_BNTJ = ops.matmul(probability_BNTS, value_BNSJ)
        if self.position == "relative":
            mixed_BNTJ = mixed_BNTJ + ops.einsum("BNTS,TSJ->BNTJ", probability_BNTS, vectors_TSH)
        output_BTD = self._mix(mixed_BNTJ, gate_BTNJ)
        return (output_BTD, cache, own_BNTS) if with_state else output_BTD

    def step(
        self,
        hidden_RKD: Tensor,
        mask_R1S: Tensor,
        prefix: KeyValues,
        generated: KeyValues,
        time: Tensor,
        position: Any = None,
        scores_RNKS: Tensor | None = None,
    ) -> tuple[Tensor, KeyValues, Tensor]:
        """One new token for each of the K continuations of each row.

        The prefix of a row is stored once and read by all its continuations; S = P + A.

        Args:
            mask_R1S: bool, which slots may be looked at: the P prefix slots, then the A generated ones.
            prefix: `KeyValues` of the prefixes, `(R, N, H, P)` and `(R, N, P, J)`.
            generated: `KeyValues` of the generated tokens, `(R, K, N, A, H)` and `(R, K, N, A, J)`.
            time: slot of the new token among the generated ones.
            position: `(R, 1, H)` sinusoids where it is rotary, `(R, 1, S, H)` vectors where it is relative,
                `(R, N, 1, S)` scores where it is bucketed, else None.
            scores_RNKS: scores to add before the softmax, or None.

        Returns:
            `(R, K, D)`, `generated` with the new token written in, and the layer's own scores `(R, N, K, S)`.
        """
        query_RKNH, key_RKNH, value_RKNJ, gate_RKNJ = self._project(hidden_RKD, position)
        first = (0, 0, 0, time, 0)
        generated = KeyValues(
            ops.slice_update(generated.keys, first, key_RKNH[:, :, :, None]),
            ops.slice_update(generated.values, first, value_RKNJ[:, :, :, None]),
        )
        recent_RKNA = ops.matmul(generated.keys, query_RKNH[..., None])[..., 0]
        own_RNKS = ops.concatenate(
            [
                ops.matmul(ops.transpose(query_RKNH, (0, 2, 1, 3)), prefix.keys),
                ops.transpose(recent_RKNA, (0, 2, 1, 3)),
            ],
            axis=-1,
        )
        if self.position == "relative":
            vectors_RSH = ops.cast(position[:, 0], self.compute_dtype)
            own_RNKS = own_RNKS + ops.einsum("RKNH,RSH->RNKS", query_RKNH, vectors_RSH)
        elif self.position == "bucketed":
            own_RNKS = own_RNKS + ops.cast(position, self.compute_dtype)
        probability_RNKS = self.probabilities(own_RNKS, scores_RNKS, mask_R1S[:, None])
        length = prefix.values.shape[2]
        mixed_RNKJ = ops.matmul(probability_RNKS[..., :length], prefix.values)
        recent_RKNA = ops.transpose(probability_RNKS[..., length:], (0, 2, 1, 3))
        recent_RKNJ = ops.matmul(recent_RKNA[..., None, :], generated.values)[..., 0, :]
        mixed_RNKJ = mixed_RNKJ + ops.transpose(recent_RKNJ, (0, 2, 1, 3))
        if self.position == "relative":
            mixed_RNKJ = mixed_RNKJ + ops.einsum("RNKS,RSJ->RNKJ", probability_RNKS, vectors_RSH)
        return self._mix(mixed_RNKJ, gate_RKNJ), generated, own_RNKS

    def remember(self, other_BSD: Tensor) -> KeyValues:
        """The keys and values of another sequence, which `look` takes: they are computed once for all looks."""
        heads = self._heads(other_BSD)
        key_BSNH, value_BSNJ = heads(self.key, self.key_size), heads(self.value, self.value_size)
        return KeyValues(ops.transpose(key_BSNH, (0, 2, 3, 1)), ops.transpose(value_BSNJ, (0, 2, 1, 3)))

    def look(
        self,
        hidden_BTD: Tensor,
        mask_BTS: Tensor,
        other: KeyValues,
        training: bool | None = None,
        scores_BNTS: Tensor | None = None,
    ) -> Tensor:
        """Attention from each position T to those of another sequence, `(B, T, D)`. In decoding, T are the K
        continuations of a row, which look at one source.

        Args:
            mask_BTS: bool, which positions of the other sequence may be looked at; T may be 1.
            other: what `remember` gave.
            scores_BNTS: scores to add before the softmax, or None.
        """
        query_BTNH = self._scaled(self._heads(hidden_BTD)(self.query, self.key_size))
        own_BNTS = ops.matmul(ops.transpose(query_BTNH, (0, 2, 1, 3)), other.keys)
        probability_BNTS = self.probabilities(own_BNTS, scores_BNTS, mask_BTS[:, None])
        probability_BNTS = self.probability_dropout(probability_BNTS, training=training)
        return self._mix(ops.matmul(probability_BNTS, other.values))

    def _project(self, hidden_BTD: Tensor, position: Any) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Queries, keys, values, and what the mixed values are multiplied by (None: nothing), all `(B, T, N, size)`."""
        heads = self._heads(hidden_BTD)
        query_BTNH = self._scaled(heads(self.query, self.key_size))
        key_BTNH = heads(self.key, self.key_size)
        if self.position == "rotary":
            query_BTNH, key_BTNH = rotated(query_BTNH, position), rotated(key_BTNH, position)
        return query_BTNH, key_BTNH, heads(self.value, self.value_size), None

    def _heads(self, hidden_BTD: Tensor) -> Callable[[keras.layers.Dense, int], Tensor]:
        """`heads(layer, size)`: what a dense layer makes of the hidden states, `(B, T, N, size)`."""
        length, flat_XD = ops.shape(hidden_BTD)[1], ops.reshape(hidden_BTD, (-1, hidden_BTD.shape[-1]))

        # all rows as one matrix, so that the bias is merged into the product
        def heads(layer: keras.layers.Dense, size: int) -> Tensor:
            return ops.reshape(layer(flat_XD), (-1, length, self.num_heads, size))

        return heads

    def _scaled(self, query_BTNH: Tensor) -> Tensor:
        return query_BTNH * self.key_size**-0.5 if self.scaled else query_BTNH

    def probabilities(self, score_BNTS: Tensor, added_BNTS: Tensor, mask_B1TS: Tensor) -> Tensor:
        """The attention probabilities: the softmax, under the mask, of the layer's own scores and those added."""
        if added_BNTS is not None:
            score_BNTS = score_BNTS + added_BNTS
        if self.talking_heads:
            score_BNTS = _mixed_heads(score_BNTS, self.score_mixing)
        score_BNTS = ops.where(mask_B1TS, ops.cast(score_BNTS, "float32"), MASKED_SCORE)
        probability_BNTS = ops.cast(ops.softmax(score_BNTS), self.compute_dtype)
        return _mixed_heads(probability_BNTS, self.probability_mixing) if self.talking_heads else probability_BNTS

    def _mix(self, mixed_BNTJ: Tensor, gate_BTNJ: Tensor | None = None) -> Tensor:
        return self._joined(ops.transpose(mixed_BNTJ, (0, 2, 1, 3)), gate_BTNJ)

    def _joined(self, mixed_BTNJ: Tensor, gate_BTNJ: Tensor | None) -> Tensor:
        mixed_BTNJ = mixed_BTNJ if gate_BTNJ is None else mixed_BTNJ * gate_BTNJ
        length = ops.shape(mixed_BTNJ)[1]
        output_XD = self.output_dense(ops.reshape(mixed_BTNJ, (-1, self.num_heads * self.value_size)))
        return ops.reshape(output_XD, (-1, length, self.hidden_size))

    def compute_output_shape(
        self, hidden_shape: Sequence[int | None], *args: Any, **kwargs: Any
    ) -> Sequence[int | None]:
        return hidden_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "hidden_size": self.hidden_size,
            "num_heads": self.num_heads,
            "key_size": self.key_size,
            "value_size": self.value_size,
            "dropout": self.dropout,
            "initializer_range": self.initializer_range,
            "position": self.position,
            "talking_heads": self.talking_heads,
            "use_bias": self.use_bias,
            "scaled": self.scaled,
        }


def _mixed_heads(x_BNTS: Tensor, kernel_NM: Tensor) -> Tensor:
    """Every new head M as the sum of the heads N, weighted by `kernel`."""
    length = ops.shape(x_BNTS)[2]
    flat_BNX = ops.reshape(x_BNTS, (-1, x_BNTS.shape[1], length * ops.shape(x_BNTS)[3]))
    mixed_BMX = ops.matmul(ops.transpose(ops.cast(kernel_NM, x_BNTS.dtype)), flat_BNX)
    return ops.reshape(mixed_BMX, (-1, x_BNTS.shape[1], length, ops.shape(x_BNTS)[3]))
