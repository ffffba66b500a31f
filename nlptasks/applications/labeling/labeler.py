"""Sequence labeling: a text in, its entities out, each with its place in the text.

Legend: B batch, T position after [CLS], D hidden, K tag, N entity type.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from nlptasks.applications.encoder_head import EncoderWithHead, check_fit
from nlptasks.applications.labeling.crf import LinearChainCRF
from nlptasks.applications.labeling.pointer import EfficientGlobalPointer, GlobalPointer
from nlptasks.applications.labeling.predicting import EntityFinder
from nlptasks.applications.labeling.samples import LabelingBatch
from nlptasks.applications.labeling.training import (
    HEADS,
    EntityLike,
    LabelerOptions,
    entity_texts,
    train_labeler,
)
from nlptasks.applications.storage import load_application, read_settings, save_application
from nlptasks.backend import compile_function
from nlptasks.core.transformer import Transformer
from nlptasks.text import TextTokenizer
from nlptasks.train.experiment import run_folder
from nlptasks.train.losses import sparse_multilabel_categorical_crossentropy


class Labeler(EntityFinder):
    """Finds the entities of texts.

        labeler = nlptasks.load("runs/ner")
        for entity in labeler.label("沈月昨天去了南山图书馆。"):
            print(entity.type, entity.start, entity.end, entity.text)

    Args:
        model: from `labeling_model`.
        tokenizer: has the vocabulary of the model.
        types: the entity types, in the order of the head's scores.
        head: "crf" (entities never overlap), "global-pointer" or "efficient-global-pointer" (entities may nest).
        seq_length: the most tokens that are read at once, counting [CLS] and [SEP]. Longer texts are read in windows,
            which end at sentence ends where possible; an entity that crosses two windows is not found.

    Raises:
        ValueError: the parts do not fit together.
    """

    def __init__(
        self, model: EncoderWithHead, tokenizer: TextTokenizer, types: Sequence[str], head: str, seq_length: int = 128
    ):
        check_fit(model.transformer, tokenizer, seq_length)
        _check_head(head, types)
        super().__init__(tokenizer, types, head, seq_length)
        self.model = model
        self._find = compile_function(self._best_tags if head == "crf" else self._spans_of, model)

    def _hidden(self, token_ids_BT: Any, segment_ids_BT: Any, training: bool, encode: Callable | None = None) -> Any:
        return self.model.encode(token_ids_BT, segment_ids_BT, training=training, encode=encode)[:, 1:]

    def _tags_of(self, hidden_BTD: Any) -> Any:
        return self.model.head_layers["tags"](hidden_BTD)

    def _best_tags(self, token_ids_BT: Any, segment_ids_BT: Any, mask_BT: Any) -> Any:
        scores_BTK = ops.cast(self._tags_of(self._hidden(token_ids_BT, segment_ids_BT, False)), "float32")
        return self.model.head_layers["crf"].viterbi(scores_BTK, mask_BT, *self._allowed)[0], scores_BTK

    def _spans_of(self, token_ids_BT: Any, segment_ids_BT: Any, mask_BT: Any) -> Any:
        return self.model.head_layers["pointer"](self._hidden(token_ids_BT, segment_ids_BT, False), mask_BT)

    def loss(self, batch: LabelingBatch, training: bool = True, encode: Callable | None = None) -> Any:
        """Mean loss of the batch's texts, in nats: -log p of the tags, or the cross-entropy of the pointers per type.

        Args:
            encode: replaces the `encode` of the transformer (see applications/compression/theseus.py).
        """
        hidden_BTD = self._hidden(batch["token_ids"], batch["segment_ids"], training, encode)
        if self.head == "crf":
            loss_B = self.model.head_layers["crf"].loss(self._tags_of(hidden_BTD), batch["tags"], batch["mask"])
        else:
            score_BNTS = self.model.head_layers["pointer"](hidden_BTD, batch["mask"])
            length = ops.shape(score_BNTS)[2]
            flat = ops.reshape(score_BNTS, (-1, len(self.types), length * length))
            loss_B = ops.mean(sparse_multilabel_categorical_crossentropy(batch["spans"], flat), axis=1)
        return ops.sum(loss_B * batch["weights"]) / ops.maximum(ops.sum(batch["weights"]), 1.0)

    def tag_scores(self, token_ids_BT: Any, segment_ids_BT: Any, mask_BT: Any) -> tuple[np.ndarray, np.ndarray]:
        """The best tags `(B, T)`, and the scores of all `(B, T, K)`."""
        tags_BT, scores_BTK = map(ops.convert_to_numpy, self._find(token_ids_BT, segment_ids_BT, mask_BT))
        return tags_BT, scores_BTK

    def span_scores(self, token_ids_BT: Any, segment_ids_BT: Any, mask_BT: Any) -> np.ndarray:
        """The scores of all spans `(B, N, T, T)`."""
        return ops.convert_to_numpy(self._find(token_ids_BT, segment_ids_BT, mask_BT))

    def path_weights(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The scores of first tags `(K,)`, transitions `(K, K)` and last tags `(K,)`."""
        crf = self.model.head_layers["crf"]
        weights = (crf.first_weights, crf.transition_weights, crf.last_weights)
        first_K, transitions_KK, last_K = (ops.convert_to_numpy(w) * crf.lr_multiplier for w in weights)
        return first_K, transitions_KK, last_K

    def _head_settings(self) -> dict[str, Any]:
        if self.head == "crf":
            return {"crf_lr_multiplier": self.model.head_layers["crf"].lr_multiplier}
        return {"head_size": self.model.head_layers["pointer"].head_size}

    def on_transformer(self, transformer: Transformer) -> "Labeler":
        """Returns this labeler on another transformer of the same hidden size; the head is copied."""
        layers = _layers(transformer.config.hidden_size, self.head, len(self.types), **self._head_settings())
        model = self.model.on_transformer(transformer, layers)
        return Labeler(model, self.tokenizer, self.types, self.head, self.seq_length)

    @classmethod
    def train(
        cls,
        texts: Sequence[str],
        entities: Sequence[Iterable[EntityLike]],
        valid: tuple[Sequence[str], Sequence[Iterable[EntityLike]]],
        output: str | Path | None = None,
        **options: Any,
    ) -> "Labeler":
        """Trains a labeler as `nlptasks labeling train` does, and keeps the epoch with the best F1 on `valid`.

            texts, entities = ["沈月在南山", "方大海来了"], [[(0, 2, "name"), (3, 5, "place")], [(0, 3, "name")]]
            labeler = Labeler.train(texts, entities, valid=(texts, entities), epochs=30)
            labeler.label("沈月在南山")

        Args:
            texts: the training texts.
            entities: the entities of each text, as (start, end, type) or `Entity`; an entity is `text[start:end]`.
            valid: validation texts and entities.
            output: the run directory: new or empty, or with `resume=True` that of an interrupted run. None: no
                directory is kept.
            **options: fields of `LabelerOptions`: `checkpoint`, `head`, `epochs`, `learning_rate`, ...

        Raises:
            UserError: options or texts that do not go together.
            TrainingInterrupted: after Ctrl-C; `resume=True` goes on.
        """
        with run_folder(output) as folder:
            settings = LabelerOptions(output=folder, **options)
            train_labeler(settings, entity_texts(texts, entities), entity_texts(*valid))
            return cls.from_directory(folder)

    def save(self, directory: str | Path) -> None:
        """Writes a directory that `nlptasks.load` opens: config, weights, vocabulary."""
        settings = {"task": self.task, "types": list(self.types), "head": self.head, "seq_length": self.seq_length}
        save_application(self.model, self.tokenizer, directory, settings | self._head_settings())

    @classmethod
    def from_directory(cls, directory: str | Path) -> "Labeler":
        """Opens what `save` or a training run has written.

        Raises:
            ValueError, FileNotFoundError: one line: what is missing or does not fit.
        """
        settings = read_settings(directory, cls.task, "labeling", LabelerOptions.RENAMED)
        try:
            sizes = {name: settings.pop(name) for name in ("head_size", "crf_lr_multiplier") if name in settings}
            head, types = settings["head"], settings["types"]
            _check_head(head, types)
            model, tokenizer = load_application(directory, lambda c: _layers(c.hidden_size, head, len(types), **sizes))
            return cls(model, tokenizer, **settings)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{directory}: config.json lacks or misnames a setting ({error}).") from None


def labeling_model(
    transformer: Transformer,
    head: str,
    num_types: int,
    dropout: float = 0.1,
    head_size: int = 64,
    crf_lr_multiplier: float = 1.0,
) -> EncoderWithHead:
    """An encoder with a fresh head.

    Args:
        head: one of `HEADS`.
        num_types: number of entity types.
        dropout: rate on the hidden states that the head reads.
        head_size: size of a pointer's queries and keys.
        crf_lr_multiplier: the learning rate of the CRF's transitions, as a multiple of the others'.

    Raises:
        ValueError: an unknown head.
    """
    _check_head(head, range(num_types))
    layers = _layers(transformer.config.hidden_size, head, num_types, head_size, crf_lr_multiplier)
    return EncoderWithHead(transformer, layers, dropout)


def _check_head(head: str, types: Sequence[object]) -> None:
    if head not in HEADS:
        raise ValueError(f"head must be one of {HEADS}. Received: head={head!r}.")
    if not len(types):
        raise ValueError("types is empty: there is no entity to find; give training texts with entities.")


def _layers(
    hidden_size: int, head: str, num_types: int, head_size: int = 64, crf_lr_multiplier: float = 1.0
) -> dict[str, keras.layers.Layer]:
    if head == "crf":
        normal = keras.initializers.TruncatedNormal(stddev=0.02)
        crf = LinearChainCRF(1 + 2 * num_types, crf_lr_multiplier, name="crf")
        crf.build()
        return {"tags": keras.layers.Dense(1 + 2 * num_types, kernel_initializer=normal, name="tags"), "crf": crf}
    kind = GlobalPointer if head == "global-pointer" else EfficientGlobalPointer
    return {"pointer": kind(num_types, head_size, name="pointer")}
