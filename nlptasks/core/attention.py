"""Multi-head self-attention with a key/value cache.

Legend: B batch, T query position, S key position, D hidden, N heads, H key size, J value size.
"""

import keras
from keras import ops

# Finite, so that a fully masked row stays a number; far below any real score.
MASKED_SCORE = -1e9


@keras.saving.register_keras_serializable("nlptasks")
class MultiHeadAttention(keras.layers.Layer):
    """Scaled dot-product self-attention (arXiv 1706.03762) with independent key and value sizes.

    Args:
        hidden_size: width of inputs and outputs.
        num_heads: number of heads.
        key_size: size of a head's queries and keys.
        value_size: size of a head's values.
        dropout: rate on the attention probabilities.
        initializer_range: standard deviation of the kernels' truncated normal.

    Call arguments:
        hidden_BTD: inputs.
        mask_BTS: bool, True where position T may look at position S; T may be 1 (the same for all).
        cache: None, or `(keys_BSNH, values_BSNJ)` to which this call's T entries are written from
            `cache_index` on; attention then runs over all S slots of the cache.
        cache_index: int or scalar tensor, needed with `cache`.

    Returns:
        `(B, T, D)`, or `((B, T, D), updated cache)` when a cache was given.
    """

    def __init__(self, hidden_size, num_heads, key_size, value_size, dropout=0.0, initializer_range=0.02, **kwargs):
        super().__init__(**kwargs)
        self.hidden_size, self.num_heads = hidden_size, num_heads
        self.key_size, self.value_size = key_size, value_size
        self.dropout, self.initializer_range = dropout, initializer_range
        self.query = self._dense(num_heads * key_size, "query")
        self.key = self._dense(num_heads * key_size, "key")
        self.value = self._dense(num_heads * value_size, "value")
        self.output_dense = self._dense(hidden_size, "output")
        self.probability_dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def _dense(self, units, name):
        initializer = keras.initializers.TruncatedNormal(stddev=self.initializer_range)
        return keras.layers.Dense(units, kernel_initializer=initializer, name=name, dtype=self.dtype_policy)

    def build(self, hidden_shape):
        for layer in (self.query, self.key, self.value):
            layer.build(hidden_shape)
        self.output_dense.build((*hidden_shape[:-1], self.num_heads * self.value_size))

    def call(self, hidden_BTD, mask_BTS, cache=None, cache_index=None, training=None):
        query_BTNH = self._split(self.query(hidden_BTD), self.key_size)
        key_BSNH = self._split(self.key(hidden_BTD), self.key_size)
        value_BSNJ = self._split(self.value(hidden_BTD), self.value_size)
        if cache is not None:
            key_BSNH = ops.slice_update(cache[0], (0, cache_index, 0, 0), key_BSNH)
            value_BSNJ = ops.slice_update(cache[1], (0, cache_index, 0, 0), value_BSNJ)
        score_BNTS = ops.einsum("BTNH,BSNH->BNTS", query_BTNH * self.key_size**-0.5, key_BSNH)
        score_BNTS = ops.where(mask_BTS[:, None], ops.cast(score_BNTS, "float32"), MASKED_SCORE)
        probability_BNTS = ops.cast(ops.softmax(score_BNTS), self.compute_dtype)
        probability_BNTS = self.probability_dropout(probability_BNTS, training=training)
        mixed_BTNJ = ops.einsum("BNTS,BSNJ->BTNJ", probability_BNTS, value_BSNJ)
        length = ops.shape(hidden_BTD)[1]
        output_BTD = self.output_dense(ops.reshape(mixed_BTNJ, (-1, length, self.num_heads * self.value_size)))
        return output_BTD if cache is None else (output_BTD, (key_BSNH, value_BSNJ))

    def _split(self, projected, size):
        return ops.reshape(projected, (-1, ops.shape(projected)[1], self.num_heads, size))

    def compute_output_shape(self, hidden_shape, *args, **kwargs):
        return hidden_shape

    def get_config(self):
        return super().get_config() | {
            "hidden_size": self.hidden_size,
            "num_heads": self.num_heads,
            "key_size": self.key_size,
            "value_size": self.value_size,
            "dropout": self.dropout,
            "initializer_range": self.initializer_range,
        }
