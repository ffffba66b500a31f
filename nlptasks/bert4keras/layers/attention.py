"""bert4keras' attention as layers of their own, for models that are put together from layers.

Legend: b batch, j query position, k key position, h heads, d size of a head.
"""

from typing import Any

import keras
from keras import activations, initializers, ops

from nlptasks.bert4keras.backend import apply_rotary_position_embeddings, attention_normalize
from nlptasks.bert4keras.layers.base import PACKAGE, Layer, ScaleOffset, dense, real_shape


@keras.saving.register_keras_serializable(PACKAGE)
class MultiHeadAttention(Layer):
    """Attention of `[q, k, v]`, followed by a bias and positions where the arguments of the call say so.

    Call arguments:
        a_bias: whether a bias of the scores follows, `(b, j, k)` or `(b, h, j, k)`; bool: True where it may look.
        p_bias: "rotary" (sinusoids follow), "typical_relative" (`(j, k, d)`) or "t5_relative" (`(j, k, h)`).
    """

    def __init__(
        self,
        heads: int,
        head_size: int,
        out_dim: int | None = None,
        key_size: int | None = None,
        use_bias: bool = True,
        normalization: str = "softmax",
        attention_scale: bool = True,
        attention_dropout: float | None = None,
        return_attention_scores: bool = False,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.heads, self.head_size = heads, head_size
        self.out_dim, self.key_size = out_dim or heads * head_size, key_size or head_size
        self.use_bias, self.normalization, self.attention_scale = use_bias, normalization, attention_scale
        self.attention_dropout, self.return_attention_scores = attention_dropout, return_attention_scores
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.dropout = keras.layers.Dropout(attention_dropout) if attention_dropout else None

    def build(self, input_shape: Any) -> None:
        settings = {"bias": self.use_bias, "kernel": self.kernel_initializer}
        query, key, value = (shape[-1] for shape in input_shape[:3])
        self.q_dense = dense(self, self.key_size * self.heads, query, **settings)
        self.k_dense = dense(self, self.key_size * self.heads, key, **settings)
        self.v_dense = dense(self, self.head_size * self.heads, value, **settings)
        self.o_dense = dense(self, self.out_dim, self.head_size * self.heads, **settings)

    def call(
        self, inputs: Any, mask: Any = None, a_bias: Any = None, p_bias: str | None = None, training: Any = None
    ) -> Any:
        projected = [self.q_dense(inputs[0]), self.k_dense(inputs[1]), self.v_dense(inputs[2])]
        sizes = (self.key_size, self.key_size, self.head_size)
        heads = [
            ops.reshape(x, (-1, ops.shape(x)[1], self.heads, size)) for x, size in zip(projected, sizes, strict=True)
        ]
        masks = [None, None] if mask is None else [mask[0], mask[2]]
        options = {"a_bias": a_bias, "p_bias": p_bias, "training": training}
        mixed, probabilities = self.pay_attention_to(heads + list(inputs[3:]), masks, **options)
        length = ops.shape(mixed)[1]
        output = self.o_dense(ops.reshape(mixed, (-1, length, self.heads * self.head_size)))
        return [output, probabilities] if self.return_attention_scores else output

    def pay_attention_to(self, inputs: Any, mask: Any = None, **kwargs: Any) -> Any:
        """The mixed values `(b, j, h, d)` and the scores `(b, h, j, k)`; override it for other attention."""
        (query, key, value), more = inputs[:3], list(inputs[3:])
        bias = more.pop(0) if kwargs.get("a_bias") else None
        kind = kwargs.get("p_bias")
        if kind == "rotary":
            query, key = apply_rotary_position_embeddings(more[0], query, key)
        scores = ops.einsum("bjhd,bkhd->bhjk", query, key)
        if kind == "typical_relative":
            scores = scores + ops.einsum("bjhd,jkd->bhjk", query, more[0])
        elif kind == "t5_relative":
            scores = scores + ops.transpose(more[0], (2, 0, 1))[None]
        if self.attention_scale:
            scores = scores * self.key_size**-0.5
        if bias is not None and len(bias.shape) == 3:
            bias = bias[:, None]
        found = attention_normalize(scores, mask[1], -1, self.normalization, bias)
        if self.dropout is not None:
            found = self.dropout(found, training=kwargs.get("training"))
        mixed = ops.einsum("bhjk,bkhd->bjhd", found, value)
        if kind == "typical_relative":
            mixed = mixed + ops.einsum("bhjk,jkd->bjhd", found, more[0])
        return mixed, scores

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        own = None if mask is None else mask[0]
        return [own, None] if self.return_attention_scores else own

    def get_config(self) -> dict[str, Any]:
        names = (
            *("heads", "head_size", "out_dim", "key_size", "use_bias", "normalization", "attention_scale"),
            *("attention_dropout", "return_attention_scores"),
        )
        config = {name: getattr(self, name) for name in names}
        config["kernel_initializer"] = initializers.serialize(self.kernel_initializer)
        return super().get_config() | config


@keras.saving.register_keras_serializable(PACKAGE)
class GatedAttentionUnit(Layer):
    """The gated attention unit (arXiv 2202.10447) of `x`, or of `[q, k, v]` without `self_attention`; more inputs as in
    `MultiHeadAttention`.
    """

    def __init__(
        self,
        units: int,
        key_size: int,
        activation: Any = "swish",
        use_bias: bool = True,
        normalization: str = "squared_relu",
        self_attention: bool = True,
        attention_scale: bool = True,
        attention_dropout: float | None = None,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units, self.key_size, self.activation = units, key_size, activations.get(activation)
        self.use_bias, self.normalization, self.self_attention = use_bias, normalization, self_attention
        self.attention_scale, self.attention_dropout = attention_scale, attention_dropout
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.dropout = keras.layers.Dropout(attention_dropout) if attention_dropout else None

    def build(self, input_shape: Any) -> None:
        width: Any = real_shape(input_shape)[-1]
        settings = {"bias": self.use_bias, "kernel": self.kernel_initializer}
        if self.self_attention:
            self.i_dense = dense(self, 2 * self.units + self.key_size, width, self.activation, **settings)
            self.q_scaleoffset = ScaleOffset(offset=self.use_bias)
            self.k_scaleoffset = ScaleOffset(offset=self.use_bias)
            for layer in (self.q_scaleoffset, self.k_scaleoffset):
                layer.build((None, None, self.key_size))
        else:
            sizes = [shape[-1] for shape in input_shape[:3]]
            self.uq_dense = dense(self, self.units + self.key_size, sizes[0], self.activation, **settings)
            self.k_dense = dense(self, self.key_size, sizes[1], self.activation, **settings)
            self.v_dense = dense(self, self.units, sizes[2], self.activation, **settings)
        self.o_dense = dense(self, width, self.units, **settings)

    def call(
        self, inputs: Any, mask: Any = None, a_bias: Any = None, p_bias: str | None = None, training: Any = None
    ) -> Any:
        if not isinstance(inputs, list):
            inputs, mask = [inputs], [mask]
        more = list(inputs[1 if self.self_attention else 3 :])
        bias = more.pop(0) if a_bias else None
        if self.self_attention:
            x = self.i_dense(inputs[0])
            gate, value, shared = ops.split(x, [self.units, 2 * self.units], axis=-1)
            query, key = self.q_scaleoffset(shared), self.k_scaleoffset(shared)
        else:
            gate, query = ops.split(self.uq_dense(inputs[0]), [self.units], axis=-1)
            key, value = self.k_dense(inputs[1]), self.v_dense(inputs[2])
        if p_bias == "rotary":
            query, key = apply_rotary_position_embeddings(more[0], query, key)
        scores = ops.einsum("bjd,bkd->bjk", query, key)
        if self.attention_scale:
            scores = scores * self.key_size**-0.5
        found = attention_normalize(scores, None if mask is None else mask[0], -1, self.normalization, bias)
        if self.dropout is not None:
            found = self.dropout(found, training=training)
        return self.o_dense(gate * ops.matmul(found, value))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return mask[0] if isinstance(mask, list) else mask

    def get_config(self) -> dict[str, Any]:
        names = ("units", "key_size", "use_bias", "normalization", "self_attention")
        config: dict[str, Any] = {
            name: getattr(self, name) for name in (*names, "attention_scale", "attention_dropout")
        }
        config["activation"] = activations.serialize(self.activation)
        config["kernel_initializer"] = initializers.serialize(self.kernel_initializer)
        return super().get_config() | config
