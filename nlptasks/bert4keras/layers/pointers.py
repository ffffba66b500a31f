"""GlobalPointer: a score for every pair of start and end.

Legend: b batch, m start, n end, h heads, d size of a head.
"""

from typing import Any

import keras
from keras import initializers, ops

from nlptasks.bert4keras.backend import apply_rotary_position_embeddings, sequence_masking, sinusoidal_embeddings
from nlptasks.bert4keras.layers.base import PACKAGE, Layer, dense


@keras.saving.register_keras_serializable(PACKAGE)
class GlobalPointer(Layer):
    """Scores `(b, heads, m, n)` of spans (arXiv 2208.03054); -inf where a span is not possible."""

    def __init__(
        self,
        heads: int,
        head_size: int,
        RoPE: bool = True,
        use_bias: bool = True,
        tril_mask: bool = True,
        kernel_initializer: Any = "lecun_normal",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.heads, self.head_size, self.RoPE = heads, head_size, RoPE
        self.use_bias, self.tril_mask = use_bias, tril_mask
        self.kernel_initializer = initializers.get(kernel_initializer)

    def build(self, input_shape: Any) -> None:
        settings = {"bias": self.use_bias, "kernel": self.kernel_initializer}
        self.dense = dense(self, self.head_size * self.heads * 2, input_shape[-1], **settings)

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        return None

    def call(self, inputs: Any, mask: Any = None) -> Any:
        x = self.dense(inputs)
        x = ops.reshape(x, (-1, ops.shape(x)[1], self.heads, 2 * self.head_size))
        query, key = self._turned(x[..., : self.head_size], x[..., self.head_size :])
        return self._masked(ops.einsum("bmhd,bnhd->bhmn", query, key) * self.head_size**-0.5, mask)

    def _turned(self, query: Any, key: Any) -> Any:
        if not self.RoPE:
            return query, key
        ids = ops.cast(ops.arange(ops.shape(query)[1]), "float32")[None]
        return apply_rotary_position_embeddings(sinusoidal_embeddings(ids, self.head_size), query, key)

    def _masked(self, scores: Any, mask: Any) -> Any:
        above = None
        if self.tril_mask:
            position = ops.arange(ops.shape(scores)[-1])
            above = (position[:, None] <= position[None])[None, None]
        return sequence_masking(scores, mask, float("-inf"), [2, 3], above)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], self.heads, input_shape[1], input_shape[1])

    def get_config(self) -> dict[str, Any]:
        names = ("heads", "head_size", "RoPE", "use_bias", "tril_mask")
        config: dict[str, Any] = {name: getattr(self, name) for name in names}
        config["kernel_initializer"] = initializers.serialize(self.kernel_initializer)
        return super().get_config() | config


@keras.saving.register_keras_serializable(PACKAGE)
class EfficientGlobalPointer(GlobalPointer):
    """GlobalPointer whose heads share the products of pairs and differ in the scores of starts and ends."""

    def build(self, input_shape: Any) -> None:
        settings = {"bias": self.use_bias, "kernel": self.kernel_initializer}
        self.p_dense = dense(self, self.head_size * 2, input_shape[-1], **settings)
        self.q_dense = dense(self, self.heads * 2, self.head_size * 2, **settings)

    def call(self, inputs: Any, mask: Any = None) -> Any:
        x = self.p_dense(inputs)
        query, key = self._turned(x[..., ::2], x[..., 1::2])
        scores = ops.einsum("bmd,bnd->bmn", query, key) * self.head_size**-0.5
        bias = ops.transpose(self.q_dense(x), (0, 2, 1)) / 2
        return self._masked(scores[:, None] + bias[:, ::2, None] + bias[:, 1::2, :, None], mask)
