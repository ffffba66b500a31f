"""The networks that turn a sentence into a vector, and the groups they learn to tell apart.

Legend: B batch, T position, E embedding, D vector, C groups.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from nlptasks.applications.similarity.gru_runtime import GRU_WEIGHTS, check_pooling
from nlptasks.core.masks import padding_mask
from nlptasks.core.transformer import Transformer
from nlptasks.train.group_losses import SCALE, check_loss, group_losses, unit_vectors

POOLINGS = ("cls", "mean")


class GruEncoder(keras.Model):
    """Characters, a GRU over those that are not padding, its last state or the mean of its states, at length 1.

    Args:
        vocab_size: ids; 0 is padding.
        embedding_size: of a character.
        vector_size: of the state.
        dropout: share of the embedding's numbers that are 0 while training.
        pooling: "last": the state at the last character; "mean": the mean of the states at all of them.
    """

    def __init__(self, vocab_size, embedding_size=128, vector_size=128, dropout=0.0, pooling="last", **kwargs):
        super().__init__(**kwargs)
        self.pooling = check_pooling(pooling)
        self.vector_size, self._embedding_size = vector_size, embedding_size
        self.embedding = keras.layers.Embedding(vocab_size, embedding_size, name="embedding", dtype=self.dtype_policy)
        self.dropout = keras.layers.Dropout(dropout, name="dropout", dtype=self.dtype_policy)
        everywhere = pooling == "mean"
        self.gru = keras.layers.GRU(vector_size, return_sequences=everywhere, name="gru", dtype=self.dtype_policy)

    def build(self, input_shape=None):
        if not self.built:
            self.embedding.build()
            self.gru.build((None, None, self._embedding_size))
            self.built = True

    def call(self, token_ids_BT, training=None):
        embedded_BTE = self.dropout(self.embedding(token_ids_BT), training=training)
        states = self.gru(embedded_BTE, mask=padding_mask(token_ids_BT), training=training)
        return unit_vectors(_mean(states, token_ids_BT) if self.pooling == "mean" else states)

    def arrays(self) -> dict[str, np.ndarray]:
        """The weights by the names of GRU_WEIGHTS, float32; gates in Keras' order: update, reset, candidate."""
        return {name: np.array(ops.convert_to_numpy(variable), "float32") for name, variable in self._named().items()}

    def assign(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes the weights that `arrays` gave."""
        for name, variable in self._named().items():
            variable.assign(arrays[name])

    def _named(self):
        cell = self.gru.cell
        variables = (self.embedding.embeddings, cell.kernel, cell.recurrent_kernel, cell.bias)
        return dict(zip(GRU_WEIGHTS, variables, strict=True))


class TransformerEncoder(keras.Model):
    """A Transformer, pooled to a vector of length 1.

    Args:
        transformer: without heads.
        pooling: "cls", the first position, or "mean", over the positions that are not padding.
    """

    def __init__(self, transformer: Transformer, pooling: str = "mean", **kwargs):
        super().__init__(**kwargs)
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}. Received: pooling={pooling!r}.")
        self.transformer, self.pooling = transformer, pooling
        self.vector_size = transformer.config.hidden_size

    def build(self, input_shape=None):
        if not self.built:
            self.transformer.build()
            self.built = True

    def call(self, token_ids_BT, training=None):
        hidden_BTD = self.transformer.encode(token_ids_BT, training=training)
        if self.pooling == "cls":
            return unit_vectors(hidden_BTD[:, 0])
        return unit_vectors(_mean(hidden_BTD, token_ids_BT))


def _mean(hidden_BTD, token_ids_BT):
    """(B, D), over the positions that are not padding, float32."""
    real_BT1 = ops.cast(token_ids_BT != 0, "float32")[..., None]
    total_BD = ops.sum(ops.cast(hidden_BTD, "float32") * real_BT1, axis=1)
    return total_BD / ops.maximum(ops.sum(real_BT1, axis=1), 1.0)


@dataclass(frozen=True, kw_only=True)
class GroupLoss:
    """How groups are told apart; see `nlptasks.train.group_losses`.

    Attributes:
        class_norm: length, about, of the groups' vectors before training. The loss looks at their directions only, and
            Adam moves a number by the learning rate whatever its size: short vectors turn faster.
    """

    kind: str = "am"
    scale: float = SCALE
    margin: float | None = None
    class_norm: float = 1.0

    def __post_init__(self):
        check_loss(self.kind, self.margin)
        if not self.scale > 0:
            raise ValueError(f"scale must be positive. Received: scale={self.scale}.")
        if not self.class_norm > 0:
            raise ValueError(f"class_norm must be positive. Received: class_norm={self.class_norm}.")


class GroupClassifier(keras.Model):
    """An encoder and one vector a group, all of them trained by one optimizer.

    Args:
        encoder: gives vectors.
        rows: groups, or how many of them are trained at a time (`nlptasks.applications.similarity.table`).
        loss: how they are told apart.
    """

    def __init__(self, encoder: keras.Model, rows: int, loss: GroupLoss | None = None, **kwargs):
        super().__init__(**kwargs)
        self.encoder, self._rows, self._loss = encoder, rows, loss or GroupLoss()

    def build(self, input_shape=None):
        if self.built:
            return
        self.encoder.build()
        size = self.encoder.vector_size
        initializer = keras.initializers.RandomNormal(stddev=self._loss.class_norm * size**-0.5)
        self.classes = self.add_weight(shape=(self._rows, size), initializer=initializer, name="classes")
        self.built = True

    def call(self, token_ids_BT, training=None):
        return self.encoder(token_ids_BT, training=training)

    def group_loss(self, batch, training: bool = True):
        """Mean loss of a batch: `token_ids`, `labels`, `weights`, and, where groups are sampled, `log_counts`."""
        vectors_BD = self(batch["token_ids"], training=training)
        losses_B = group_losses(
            vectors_BD,
            self.classes,
            batch["labels"],
            self._loss.kind,
            self._loss.scale,
            self._loss.margin,
            batch.get("log_counts"),
        )
        weights_B = batch["weights"]
        return ops.sum(losses_B * weights_B) / ops.maximum(ops.sum(weights_B), 1.0)
