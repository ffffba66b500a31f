"""GlobalPointer (arXiv 2208.03054, kexue.fm/archives/8373) and its efficient form: a score for every span and type.

Legend: B batch, T first position of a span, S last position, D hidden, N type, H head size.
"""

from typing import Any

import keras
from keras import ops

from nlptasks.core.attention import MASKED_SCORE
from nlptasks.core.positions import rotated, sinusoids


class _Pointer(keras.layers.Layer):
    def __init__(
        self,
        num_types: int,
        head_size: int = 64,
        rotary: bool = True,
        kernel_initializer: Any = "lecun_normal",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if num_types < 1 or head_size < 2 or head_size % 2:
            raise ValueError(
                "num_types must be at least 1 and head_size even (rotary positions turn pairs of features). "
                f"Received: num_types={num_types}, head_size={head_size}."
            )
        self.num_types, self.head_size, self.rotary = num_types, head_size, rotary
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def _dense(self, units: int, name: str) -> keras.layers.Dense:
        initializer = self.kernel_initializer.clone()
        return keras.layers.Dense(units, kernel_initializer=initializer, name=name, dtype=self.dtype_policy)

    def _products(self, query_BTH: Any, key_BSH: Any) -> Any:
        """Scaled products `(B, T, S)`, with rotary positions where they are wanted."""
        if self.compute_dtype != "float64":  # positions beyond 256 are not whole numbers in bfloat16
            query_BTH, key_BSH = ops.cast(query_BTH, "float32"), ops.cast(key_BSH, "float32")
        if self.rotary:
            position_1T = ops.arange(ops.shape(query_BTH)[1])[None]
            turns_1TH = sinusoids(position_1T, self.head_size, keras.backend.standardize_dtype(query_BTH.dtype))
            query_BTH, key_BSH = (rotated(x[:, :, None], turns_1TH)[:, :, 0] for x in (query_BTH, key_BSH))
        return ops.matmul(query_BTH, ops.transpose(key_BSH, (0, 2, 1))) * self.head_size**-0.5

    @staticmethod
    def _masked(score_BNTS: Any, mask_BT: Any) -> Any:
        position_T = ops.arange(ops.shape(mask_BT)[1])
        visible_BTS = ops.logical_and(mask_BT[:, :, None], mask_BT[:, None, :])
        visible_BTS = ops.logical_and(visible_BTS, position_T[:, None] <= position_T[None, :])
        return ops.where(visible_BTS[:, None], score_BNTS, MASKED_SCORE)

    def compute_output_shape(self, hidden_BTD_shape: Any, mask_BT_shape: Any = None) -> tuple[Any, ...]:
        return (hidden_BTD_shape[0], self.num_types, hidden_BTD_shape[1], hidden_BTD_shape[1])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "num_types": self.num_types,
            "head_size": self.head_size,
            "rotary": self.rotary,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@keras.saving.register_keras_serializable("nlptasks")
class GlobalPointer(_Pointer):
    """A query and a key for every type: the score of a span is the product of its first query and its last key.

    Args:
        num_types: number of entity types N.
        head_size: size H of queries and keys, even.
        rotary: rotary positions in queries and keys.
        kernel_initializer: as in Keras.

    Call arguments:
        hidden_BTD: inputs.
        mask_BT: bool, True at real positions.

    Returns:
        `(B, N, T, S)`, float32: above 0 where positions T to S are an entity; `MASKED_SCORE` where a span ends before
        it starts or touches a masked position.
    """

    def __init__(self, num_types: int, head_size: int = 64, **kwargs: Any):
        super().__init__(num_types, head_size, **kwargs)
        self.dense = self._dense(num_types * head_size * 2, "dense")

    def build(self, hidden_BTD_shape: Any, mask_BT_shape: Any = None) -> None:
        self.dense.build(hidden_BTD_shape)

    def call(self, hidden_BTD: Any, mask_BT: Any) -> Any:
        length, size, types = ops.shape(hidden_BTD)[1], self.head_size, self.num_types
        both_BTNH = ops.reshape(self.dense(hidden_BTD), (-1, length, types, 2 * size))
        both_BNTH = ops.reshape(ops.transpose(both_BTNH, (0, 2, 1, 3)), (-1, length, 2 * size))
        score = self._products(both_BNTH[..., :size], both_BNTH[..., size:])
        return self._masked(ops.reshape(score, (-1, types, length, length)), mask_BT)


@keras.saving.register_keras_serializable("nlptasks")
class EfficientGlobalPointer(_Pointer):
    """One query and key for all types (kexue.fm/archives/8877), and a score of each type for first and last position.

    Arguments and result as `GlobalPointer`; the second term of the score reads queries and keys, not the inputs.
    """

    def __init__(self, num_types: int, head_size: int = 64, **kwargs: Any):
        super().__init__(num_types, head_size, **kwargs)
        self.span_dense = self._dense(head_size * 2, "span_dense")
        self.type_dense = self._dense(num_types * 2, "type_dense")

    def build(self, hidden_BTD_shape: Any, mask_BT_shape: Any = None) -> None:
        self.span_dense.build(hidden_BTD_shape)
        self.type_dense.build((*hidden_BTD_shape[:-1], self.head_size * 2))

    def call(self, hidden_BTD: Any, mask_BT: Any) -> Any:
        both_BTH = self.span_dense(hidden_BTD)
        score_BTS = self._products(both_BTH[..., ::2], both_BTH[..., 1::2])
        bias_BNT = ops.cast(ops.transpose(self.type_dense(both_BTH), (0, 2, 1)), score_BTS.dtype) / 2
        # bert4keras' order: even units speak for the last position, odd ones for the first
        score_BNTS = score_BTS[:, None] + bias_BNT[:, ::2, None, :] + bias_BNT[:, 1::2, :, None]
        return self._masked(score_BNTS, mask_BT)
