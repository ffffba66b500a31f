"""GlobalPointer (arXiv 2208.03054, kexue.fm/archives/8373) and its efficient form: a score for every span and type.

Legend: B batch, T first position of a span, S last position, D hidden, N type, H head size.
"""

import keras
from keras import ops

from nlptasks.core.attention import MASKED_SCORE


def rotate(x_BTH):
    """Rotary positions (arXiv 2104.09864): pairs of neighbouring features turned by the position times a frequency."""
    x_BTH = ops.convert_to_tensor(x_BTH)
    size = x_BTH.shape[-1]
    position_T1 = ops.arange(ops.shape(x_BTH)[1], dtype=x_BTH.dtype)[:, None]
    frequency_P = 10000.0 ** (-2.0 / size * ops.arange(size // 2, dtype=x_BTH.dtype))
    angle_TP = position_T1 * frequency_P
    cos_TP, sin_TP = ops.cos(angle_TP), ops.sin(angle_TP)
    even_BTP, odd_BTP = x_BTH[..., ::2], x_BTH[..., 1::2]
    turned = ops.stack([even_BTP * cos_TP - odd_BTP * sin_TP, odd_BTP * cos_TP + even_BTP * sin_TP], axis=-1)
    return ops.reshape(turned, ops.shape(x_BTH))


class _Pointer(keras.layers.Layer):
    def __init__(self, num_types, head_size=64, rotary=True, kernel_initializer="lecun_normal", **kwargs):
        super().__init__(**kwargs)
        if num_types < 1 or head_size < 2 or head_size % 2:
            raise ValueError(
                "num_types must be at least 1 and head_size even (rotary positions turn pairs of features). "
                f"Received: num_types={num_types}, head_size={head_size}."
            )
        self.num_types, self.head_size, self.rotary = num_types, head_size, rotary
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def _dense(self, units, name):
        initializer = self.kernel_initializer.clone()
        return keras.layers.Dense(units, kernel_initializer=initializer, name=name, dtype=self.dtype_policy)

    def _products(self, query_BTH, key_BSH):
        """Scaled products `(B, T, S)`, with rotary positions where they are wanted."""
        if self.compute_dtype != "float64":  # positions beyond 256 are not whole numbers in bfloat16
            query_BTH, key_BSH = ops.cast(query_BTH, "float32"), ops.cast(key_BSH, "float32")
        if self.rotary:
            query_BTH, key_BSH = rotate(query_BTH), rotate(key_BSH)
        return ops.matmul(query_BTH, ops.transpose(key_BSH, (0, 2, 1))) * self.head_size**-0.5

    @staticmethod
    def _masked(score_BNTS, mask_BT):
        position_T = ops.arange(ops.shape(mask_BT)[1])
        visible_BTS = ops.logical_and(mask_BT[:, :, None], mask_BT[:, None, :])
        visible_BTS = ops.logical_and(visible_BTS, position_T[:, None] <= position_T[None, :])
        return ops.where(visible_BTS[:, None], score_BNTS, MASKED_SCORE)

    def compute_output_shape(self, hidden_shape, mask_shape=None):
        return (hidden_shape[0], self.num_types, hidden_shape[1], hidden_shape[1])

    def get_config(self):
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

    def __init__(self, num_types, head_size=64, **kwargs):
        super().__init__(num_types, head_size, **kwargs)
        self.dense = self._dense(num_types * head_size * 2, "dense")

    def build(self, hidden_shape, mask_shape=None):
        self.dense.build(hidden_shape)

    def call(self, hidden_BTD, mask_BT):
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

    def __init__(self, num_types, head_size=64, **kwargs):
        super().__init__(num_types, head_size, **kwargs)
        self.span_dense = self._dense(head_size * 2, "span_dense")
        self.type_dense = self._dense(num_types * 2, "type_dense")

    def build(self, hidden_shape, mask_shape=None):
        self.span_dense.build(hidden_shape)
        self.type_dense.build((*hidden_shape[:-1], self.head_size * 2))

    def call(self, hidden_BTD, mask_BT):
        both_BTH = self.span_dense(hidden_BTD)
        score_BTS = self._products(both_BTH[..., ::2], both_BTH[..., 1::2])
        bias_BNT = ops.cast(ops.transpose(self.type_dense(both_BTH), (0, 2, 1)), score_BTS.dtype) / 2
        # bert4keras' order: even units speak for the last position, odd ones for the first
        score_BNTS = score_BTS[:, None] + bias_BNT[:, ::2, None, :] + bias_BNT[:, 1::2, :, None]
        return self._masked(score_BNTS, mask_BT)
