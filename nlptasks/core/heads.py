"""The heads of a Transformer: over the vocabulary, BERT's and the plain ones, and ELECTRA's discriminator.

Legend: B batch, T position, M chosen positions, X rows of these, D hidden, E embedding, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from nlptasks.backend import Tensor
from nlptasks.core.config import TransformerConfig
from nlptasks.core.layers import Affine, activation, layer_norm, normal_initializer


def vocabulary_head(config: TransformerConfig, name: str, dtype: Any) -> keras.layers.Layer:
    """The head over the vocabulary that the config says: `head(hidden_BMD, table_VE, affine)` are logits, float32."""
    kind = MaskedLMHead if config.output == "masked_lm" else OutputHead
    return kind(config, name=name, dtype=dtype)


def vocabulary_scores(x_BME: Tensor, table_VE: Tensor, dtype: str) -> Tensor:
    """The product of every vector with every row of a table, `(B, M, V)`, float32."""
    table_VE = ops.cast(table_VE, dtype)
    x_EX = ops.transpose(ops.reshape(x_BME, (-1, x_BME.shape[-1])))
    if dtype == "float32":
        # the table as it is stored on the left: 1.5 to 5 times as fast on CPU as the plain product, for few tokens
        logits_XV = ops.transpose(ops.matmul(table_VE, x_EX))
    else:
        logits_XV = ops.matmul(ops.transpose(x_EX), ops.transpose(table_VE))
    logits_BMV = ops.reshape(logits_XV, (-1, ops.shape(x_BME)[1], table_VE.shape[0]))
    return ops.cast(logits_BMV, "float32")


class DiscriminatorHead(keras.layers.Layer):
    """ELECTRA's logit (arXiv 2003.10555) that a token was replaced, `(B, T, 1)`: dense, activation, dense."""

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config
        settings = {"kernel_initializer": normal_initializer(config.initializer_range), "dtype": self.dtype_policy}
        act = activation(config.hidden_act)
        self.dense = keras.layers.Dense(config.hidden_size, activation=act, name="dense", **settings)
        self.prediction = keras.layers.Dense(1, name="prediction", **settings)

    def build(self, input_shape: Sequence[int | None] | None = None) -> None:
        self.dense.build((None, None, self.config.hidden_size))
        self.prediction.build((None, None, self.config.hidden_size))

    def call(self, hidden_BTD: Tensor) -> Tensor:
        return ops.cast(self.prediction(self.dense(hidden_BTD)), "float32")


class MaskedLMHead(keras.layers.Layer):
    """Scores over the vocabulary: dense, activation, norm, then the token embedding as output matrix, plus a bias."""

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.dense = keras.layers.Dense(
            config.embedding_size,
            activation=activation(config.hidden_act),
            kernel_initializer=normal_initializer(config.initializer_range),
            name="dense",
            dtype=self.dtype_policy,
        )
        self.norm = layer_norm(config, "norm", self.dtype_policy)

    def build(self, input_shape: Sequence[int | None] | None = None) -> None:
        self.dense.build((None, None, self.config.hidden_size))
        self.norm.build((None, None, self.config.embedding_size))
        self.bias = self.add_weight(name="bias", shape=(self.config.vocab_size,), initializer="zeros")

    def call(self, hidden_BMD: Tensor, table_VE: Tensor, affine: Affine | None = None) -> Tensor:
        x_BME = self.norm(self.dense(hidden_BMD), affine)
        return vocabulary_scores(x_BME, table_VE, self.compute_dtype) + ops.cast(self.bias, "float32")


class OutputHead(keras.layers.Layer):
    """Scores over the vocabulary with no layer before them: hidden states times the token embedding (GPT; "scaled":
    times hidden_size ** -0.5, too, T5 v1.0), or times a matrix of its own ("untied", T5 v1.1).
    """

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.table: Any = None

    def build(self, input_shape: Sequence[int | None] | None = None) -> None:
        config = self.config
        if config.output == "untied":
            shape = (config.vocab_size, config.hidden_size)
            normal = normal_initializer(config.initializer_range)
            self.table = self.add_weight(name="table", shape=shape, initializer=normal)

    def call(self, hidden_BMD: Tensor, table_VE: Tensor, affine: Affine | None = None) -> Tensor:
        if self.config.output == "scaled":
            hidden_BMD = hidden_BMD * self.config.hidden_size**-0.5
        return vocabulary_scores(hidden_BMD, table_VE if self.table is None else self.table, self.compute_dtype)
