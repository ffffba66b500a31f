"""Text classification: a text or a pair of texts in, one or more labels out.

Legend: B batch, T position, D hidden, C label.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypedDict

import keras
import numpy as np
from keras import ops

from nlptasks.applications.classification.mixing import mixed_logits
from nlptasks.applications.classification.predicting import Classification, TextClassifier, TextOrPair
from nlptasks.applications.classification.training import (
    POOLINGS,
    ClassifierOptions,
    labeled_texts,
    train_classifier,
)
from nlptasks.applications.encoder_head import EncoderWithHead, check_fit, mean_state
from nlptasks.applications.examples import ShuffledBatches, padded_inputs
from nlptasks.applications.storage import load_application, read_settings, save_application
from nlptasks.backend import Tensor, compile_function
from nlptasks.core.transformer import Transformer
from nlptasks.text import TextTokenizer
from nlptasks.train.experiment import run_folder
from nlptasks.train.losses import multilabel_categorical_crossentropy
from nlptasks.train.toolbox.adversarial import Answers

__all__ = ["Classification", "ClassificationBatch", "ClassificationExamples", "Classifier", "classification_model"]


class ClassificationBatch(TypedDict):
    """Padded arrays of one batch."""

    token_ids: np.ndarray  # int32 (B, T)
    segment_ids: np.ndarray  # int32 (B, T)
    targets: np.ndarray  # float32 (B, C): 1 at a text's labels
    weights: np.ndarray  # float32 (B,): 0 for rows that fill the batch


class Classifier(TextClassifier):
    """Assigns labels to texts or to pairs of texts.

        classifier = nlptasks.load("runs/classifier")
        classifier.classify("房间很干净").label
        classifier.predict(["房间很干净", "菜太咸了"])

    Args:
        model: from `classification_model`.
        tokenizer: has the vocabulary of the model.
        labels: names of the labels, in the order of the model's scores.
        seq_length: the most tokens that are read of a text or a pair, counting special tokens; the rest is cut off, of
            a pair from the longer text first.
        multi_label: whether a text may have any number of labels.
        pair: whether the classifier reads pairs.
        pooling: how a text becomes one vector: "first", the hidden state of [CLS], as in bert4keras; or "mean", the
            mean over all real positions, which a small model from scratch learns sooner.

    Raises:
        ValueError: the parts do not fit together.
    """

    def __init__(
        self,
        model: EncoderWithHead,
        tokenizer: TextTokenizer,
        labels: Sequence[str],
        seq_length: int = 128,
        multi_label: bool = False,
        pair: bool = False,
        pooling: str = "first",
    ):
        check_fit(model.transformer, tokenizer, seq_length)
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {POOLINGS}. Received: pooling={pooling!r}.")
        super().__init__(tokenizer, labels, seq_length, multi_label, pair)
        self.model, self.pooling = model, pooling
        self._score = compile_function(
            lambda token_ids, segment_ids: self.logits(token_ids, segment_ids, training=False), model
        )

    def logits(
        self,
        token_ids_BT: Tensor,
        segment_ids_BT: Tensor,
        training: bool | None = None,
        encode: Callable[..., Tensor] | None = None,
    ) -> Tensor:
        """Logits of the labels `(B, C)`, float32; `encode` as in `loss`."""
        pooled_BD = self.pooled(token_ids_BT, segment_ids_BT, training, encode)
        return ops.cast(self.model.head_layers["classifier"](pooled_BD), "float32")

    def pooled(self, token_ids_BT: Tensor, segment_ids_BT: Tensor, training: Any = None, encode: Any = None) -> Tensor:
        """The vectors of texts that the head reads, `(B, D)`; arguments as in `logits`."""
        hidden_BTD = self.model.encode(token_ids_BT, segment_ids_BT, training=training, encode=encode)
        if self.pooling == "first":
            return hidden_BTD[:, 0]
        return mean_state(hidden_BTD, token_ids_BT, self.tokenizer.pad_id)

    def loss(self, batch: ClassificationBatch, training: bool = True, encode: Callable | None = None) -> Tensor:
        """Mean cross-entropy of the batch's texts, in nats.

        Args:
            encode: replaces the `encode` of the transformer (see applications/compression/theseus.py).
        """
        return self.answers(batch, training, encode).loss

    def answers(self, batch: ClassificationBatch, training: bool = True, encode: Callable | None = None) -> Answers:
        """Loss and logits of one pass; arguments as in `loss`."""
        if training and "partners" in batch:
            logits_BC = mixed_logits(self, batch, training)
        else:
            logits_BC = self.logits(batch["token_ids"], batch["segment_ids"], training=training, encode=encode)
        if self.multi_label:
            loss_B = multilabel_categorical_crossentropy(batch["targets"], logits_BC)
        else:
            loss_B = ops.categorical_crossentropy(batch["targets"], logits_BC, from_logits=True)
        loss = ops.sum(loss_B * batch["weights"]) / ops.maximum(ops.sum(batch["weights"]), 1.0)
        return Answers(loss, logits_BC, batch["weights"], self.multi_label)

    def label_logits(self, token_ids_BT: np.ndarray, segment_ids_BT: np.ndarray) -> np.ndarray:
        """Logits of the labels `(B, C)` as NumPy holds them."""
        return ops.convert_to_numpy(self._score(token_ids_BT, segment_ids_BT))

    def on_transformer(self, transformer: Transformer) -> "Classifier":
        """Returns this classifier on another transformer of the same hidden size; the head is copied."""
        model = self.model.on_transformer(transformer, _layers(len(self.labels)))
        settings = (self.tokenizer, self.labels, self.seq_length, self.multi_label, self.pair, self.pooling)
        return Classifier(model, *settings)

    @classmethod
    def train(
        cls,
        texts: Sequence[TextOrPair],
        labels: Sequence[str | Sequence[str]],
        valid: tuple[Sequence[TextOrPair], Sequence[str | Sequence[str]]],
        output: str | Path | None = None,
        **options: Any,
    ) -> "Classifier":
        """Trains a classifier as `nlptasks classification train` does, and keeps the best epoch on `valid`.

            reviews, opinions = ["很好", "太差了"], ["positive", "negative"]
            classifier = Classifier.train(reviews, opinions, valid=(reviews, opinions), epochs=20)
            classifier.classify("很好").label

        Args:
            texts, labels: the training texts (or pairs) with their labels; with `multi_label=True` a list per text.
            valid: validation texts and labels.
            output: the run directory: new or empty, or with `resume=True` that of an interrupted run. None: no
                directory is kept.
            **options: fields of `ClassifierOptions`: `checkpoint`, `epochs`, `learning_rate`, ...

        Raises:
            UserError: options or texts that do not go together.
            TrainingInterrupted: after Ctrl-C; `resume=True` goes on.
        """
        with run_folder(output) as folder:
            settings = ClassifierOptions(output=folder, **options)
            train_classifier(settings, labeled_texts(texts, labels), labeled_texts(*valid))
            return cls.from_directory(folder)

    def save(self, directory: str | Path) -> None:
        """Writes a directory that `nlptasks.load` opens: config, weights, vocabulary."""
        settings = {
            "task": self.task,
            "labels": list(self.labels),
            "seq_length": self.seq_length,
            "multi_label": self.multi_label,
            "pair": self.pair,
            "pooling": self.pooling,
        }
        save_application(self.model, self.tokenizer, directory, settings)

    @classmethod
    def from_directory(cls, directory: str | Path) -> "Classifier":
        """Opens what `save` or a training run has written.

        Raises:
            ValueError, FileNotFoundError: one line: what is missing or does not fit.
        """
        settings = read_settings(directory, cls.task, "classification", {"max_length": "seq_length"})
        try:
            labels = settings["labels"]
            model, tokenizer = load_application(directory, lambda config: _layers(len(labels)))
            return cls(model, tokenizer, **settings)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{directory}: config.json lacks or misnames a setting ({error}).") from None


def classification_model(transformer: Transformer, num_labels: int, dropout: float = 0.1) -> EncoderWithHead:
    """An encoder with a fresh dense layer that scores the labels."""
    return EncoderWithHead(transformer, _layers(num_labels), dropout)


def _layers(num_labels: int) -> dict[str, keras.layers.Layer]:
    normal = keras.initializers.TruncatedNormal(stddev=0.02)
    layer = keras.layers.Dense(num_labels, kernel_initializer=normal, name="classifier")
    return {"classifier": layer}


class ClassificationExamples(ShuffledBatches):
    """Training texts with their labels, as batches.

    Args:
        classifier: encodes the texts.
        texts: texts or pairs.
        labels: the labels of each text.
        seed: decides the order.

    Attributes:
        num_cut: number of texts that were cut.
    """

    def __init__(
        self, classifier: Classifier, texts: Sequence[TextOrPair], labels: Sequence[Sequence[str]], seed: int = 0
    ):
        self.encodings, self.num_cut = classifier.encode(texts)
        super().__init__([len(encoding) for encoding in self.encodings], seed)
        self.seq_length, self.pad_id = classifier.seq_length, classifier.tokenizer.pad_id
        ids = {label: i for i, label in enumerate(classifier.labels)}
        self.targets = np.zeros((len(texts), len(ids)), "float32")
        for row, chosen in enumerate(labels):
            self.targets[row, [ids[label] for label in chosen]] = 1.0

    def arrays(self, indices: np.ndarray, batch_size: int) -> ClassificationBatch:
        """The arrays of a batch, padded to `batch_size` rows."""
        encodings = [self.encodings[i] for i in indices]
        token_ids, segment_ids = padded_inputs(encodings, batch_size, self.seq_length, self.pad_id)
        targets = np.zeros((batch_size, self.targets.shape[1]), "float32")
        targets[: len(indices)] = self.targets[indices]
        weights = (np.arange(batch_size) < len(indices)).astype("float32")
        return ClassificationBatch(token_ids=token_ids, segment_ids=segment_ids, targets=targets, weights=weights)
