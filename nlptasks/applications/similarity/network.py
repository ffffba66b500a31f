"""The networks that turn a sentence into a vector, and the groups they learn to tell apart.

Legend: B batch, T position, E embedding, D vector, C groups.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from nlptasks.applications.encoder_head import mean_state
from nlptasks.applications.similarity.encoder import SentenceEncoder
from nlptasks.applications.similarity.gru_runtime import GRU_WEIGHTS, check_pooling
from nlptasks.applications.similarity.loss import GroupLoss
from nlptasks.applications.similarity.training import POOLINGS
from nlptasks.core.masks import padding_mask
from nlptasks.core.transformer import Transformer
from nlptasks.train.group_losses import group_losses, unit_vectors


class GruEncoder(keras.Model):
    """Characters, a GRU over those that are not padding, its last state or the mean of its states, at length 1.

    Args:
        vocab_size: ids; 0 is padding.
        embedding_size: of a character.
        vector_size: of the state.
        dropout: share of the embedding's numbers that are 0 while training.
        pooling: "last": the state at the last character; "mean": the mean of the states at all of them.
    """

    built: bool

    def __init__(
        self,
        vocab_size: int,
        embedding_size: int = 128,
        vector_size: int = 128,
        dropout: float = 0.0,
        pooling: str = "last",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pooling = check_pooling(pooling)
        self.vector_size, self._embedding_size = vector_size, embedding_size
        self.embedding = keras.layers.Embedding(vocab_size, embedding_size, name="embedding", dtype=self.dtype_policy)
        self.dropout = keras.layers.Dropout(dropout, name="dropout", dtype=self.dtype_policy)
        everywhere = pooling == "mean"
        self.gru = keras.layers.GRU(vector_size, return_sequences=everywhere, name="gru", dtype=self.dtype_policy)

    def build(self, input_shape: Any = None) -> None:
        if not self.built:
            self.embedding.build()
            self.gru.build((None, None, self._embedding_size))
            self.built = True

    def call(self, token_ids_BT: Any, training: bool | None = None) -> Any:
        embedded_BTE = self.dropout(self.embedding(token_ids_BT), training=training)
        states = self.gru(embedded_BTE, mask=padding_mask(token_ids_BT), training=training)
        return unit_vectors(mean_state(states, token_ids_BT, pad_id=0) if self.pooling == "mean" else states)

    def arrays(self) -> dict[str, np.ndarray]:
        """The weights by the names of GRU_WEIGHTS, float32; gates in Keras' order: update, reset, candidate."""
        return {name: np.array(ops.convert_to_numpy(variable), "float32") for name, variable in self._named().items()}

    def assign(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes the weights that `arrays` gave.

        Raises:
            KeyError, ValueError: a weight is missing, or has another shape.
        """
        for name, variable in self._named().items():
            variable.assign(arrays[name])

    def _named(self) -> dict[str, keras.Variable]:
        cell = self.gru.cell
        variables = (self.embedding.embeddings, cell.kernel, cell.recurrent_kernel, cell.bias)
        return dict(zip(GRU_WEIGHTS, variables, strict=True))


class TransformerEncoder(keras.Model):
    """A Transformer, pooled to a vector of length 1.

    Args:
        transformer: without heads.
        pooling: "first", the first position ([CLS]), or "mean", over the positions that are not padding.
    """

    built: bool

    def __init__(self, transformer: Transformer, pooling: str = "mean", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}. Received: pooling={pooling!r}.")
        self.transformer, self.pooling = transformer, pooling
        self.vector_size = transformer.config.hidden_size

    def build(self, input_shape: Any = None) -> None:
        if not self.built:
            self.transformer.build()
            self.built = True

    def call(self, token_ids_BT: Any, training: bool | None = None) -> Any:
        hidden_BTD = self.transformer.encode(token_ids_BT, training=training)
        if self.pooling == "first":
            return unit_vectors(hidden_BTD[:, 0])
        return unit_vectors(mean_state(hidden_BTD, token_ids_BT, self.transformer.config.pad_id))


class GroupClassifier(keras.Model):
    """An encoder and one vector a group, all of them trained by one optimizer.

    Args:
        encoder: gives vectors.
        rows: groups, or how many of them are trained at a time (`nlptasks.applications.similarity.table`).
        loss: how they are told apart.
    """

    built: bool

    def __init__(self, encoder: keras.Model, rows: int, loss: GroupLoss | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder, self._rows, self._loss = encoder, rows, loss or GroupLoss()

    def build(self, input_shape: Any = None) -> None:
        if self.built:
            return
        self.encoder.build()
        size = self.encoder.vector_size
        initializer = keras.initializers.RandomNormal(stddev=self._loss.class_norm * size**-0.5)
        self.classes = self.add_weight(shape=(self._rows, size), initializer=initializer, name="classes")
        self.built = True

    def call(self, token_ids_BT: Any, training: bool | None = None) -> Any:
        return self.encoder(token_ids_BT, training=training)

    def group_loss(self, batch: Mapping[str, Any], training: bool = True) -> Any:
        """Mean loss of a batch, a float32 scalar.

        Args:
            batch: `token_ids`, `labels`, `weights`, and, where groups are sampled, `log_counts`.
        """
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


@dataclass
class TrainableEncoder:
    """What a run trains: a network with the vectors of the groups, which are not kept.

    Attributes:
        model: all that is trained.
        make_encoder: makes the application of the present weights.
    """

    model: GroupClassifier
    make_encoder: Callable[[], SentenceEncoder]

    def loss(self, batch: Mapping[str, Any]) -> Any:
        """See `GroupClassifier.group_loss`."""
        return self.model.group_loss(batch)

    def save(self, directory: str | Path) -> None:
        """Writes a directory that `nlptasks.load` opens."""
        self.make_encoder().save(directory)
