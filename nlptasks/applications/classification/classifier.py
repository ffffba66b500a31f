"""Text classification: a text or a pair of texts in, one or more labels out.

Legend: B batch, T position, D hidden, C label.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypedDict

import keras
import numpy as np
from keras import ops

from nlptasks.applications.classification.mixing import mixed_logits
from nlptasks.applications.classification.training import (
    POOLINGS,
    ClassifierOptions,
    labeled_texts,
    train_classifier,
)
from nlptasks.applications.encoder_head import EncoderWithHead, check_fit, mean_state
from nlptasks.applications.examples import ShuffledBatches, padded_inputs, prediction_batches
from nlptasks.applications.storage import load_application, read_settings, save_application
from nlptasks.backend import Tensor, compile_function
from nlptasks.core.transformer import Transformer
from nlptasks.text import Encoding, TextTokenizer
from nlptasks.train.experiment import run_folder
from nlptasks.train.losses import multilabel_categorical_crossentropy
from nlptasks.train.toolbox.adversarial import Answers

TextOrPair = str | Sequence[str]


@dataclass(frozen=True)
class Classification:
    """The result for one text.

    Attributes:
        labels: the label; if a text may have several, all labels whose score is above 0.5, the best one first.
        scores: the score of every label: probabilities that sum to 1; if a text may have several labels, the sigmoid
            of each label's logit, which ranks labels but is not calibrated.
    """

    labels: tuple[str, ...]
    scores: dict[str, float]

    @property
    def label(self) -> str | None:
        """The first of `labels`; None if there is none."""
        return self.labels[0] if self.labels else None


class ClassificationBatch(TypedDict):
    """Padded arrays of one batch."""

    token_ids: np.ndarray  # int32 (B, T)
    segment_ids: np.ndarray  # int32 (B, T)
    targets: np.ndarray  # float32 (B, C): 1 at a text's labels
    weights: np.ndarray  # float32 (B,): 0 for rows that fill the batch


class Classifier:
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

    task: ClassVar[str] = "text_classification"

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
        labels = tuple(labels)
        if len(labels) != len(set(labels)) or len(labels) < (1 if multi_label else 2):
            raise ValueError(
                f"labels must be distinct and at least {1 if multi_label else 2}. Received: {len(labels)} labels, "
                f"{', '.join(labels[:3])}."
            )
        self.model, self.tokenizer, self.labels = model, tokenizer, labels
        self.seq_length, self.multi_label, self.pair, self.pooling = seq_length, multi_label, pair, pooling
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

    def encode(self, texts: Sequence[TextOrPair]) -> tuple[list[Encoding], int]:
        """Tokenizes texts or pairs; returns the encodings and how many of them were cut.

        Raises:
            ValueError, TypeError: an empty text, a pair for a classifier of texts, or a text for one of pairs.
        """
        for index, text in enumerate(texts):
            self._check(text, index)
        first: list[Any] = [text[0] for text in texts] if self.pair else list(texts)
        second = [text[1] for text in texts] if self.pair else None
        encodings = self.tokenizer.encode_batch(first, second, with_offsets=False)
        long = [i for i, encoding in enumerate(encodings) if len(encoding) > self.seq_length]
        if long:
            again = None if second is None else [second[i] for i in long]
            cut = self.tokenizer.encode_batch([first[i] for i in long], again, self.seq_length, with_offsets=False)
            for i, encoding in zip(long, cut, strict=True):
                encodings[i] = encoding
        return encodings, len(long)

    def _check(self, text: TextOrPair, index: int) -> None:
        parts = [text] if isinstance(text, str) else list(text)
        if len(parts) != (2 if self.pair else 1) or isinstance(text, str) == self.pair:
            wanted = "pairs of texts (a, b)" if self.pair else "texts"
            raise ValueError(f"item {index}: this classifier reads {wanted}. Received: {text!r:.60}.")
        for part in parts:
            if not isinstance(part, str):
                raise TypeError(f"item {index}: expected str. Received: {type(part).__name__}.")
            if not part.strip():
                raise ValueError(f"item {index}: the text is empty; there is nothing to classify.")

    def classify(self, text: TextOrPair) -> Classification:
        """Classifies one text or pair.

            classifier.classify("房间很干净").label

        Returns:
            A `Classification`: `label`, `labels` and `scores`.

        Raises:
            ValueError, TypeError: an empty text, a pair for a classifier of texts, or a text for one of pairs.
        """
        return self.predict([text])[0]

    def predict(
        self, texts: Sequence[TextOrPair], batch_size: int = 64, progress: Callable[[Iterable], Iterable] = iter
    ) -> list[Classification]:
        """Classifies each text or pair of a list.

        Args:
            texts: strings, or pairs of strings.
            batch_size: number of texts that are read together; it changes the speed, not the result.
            progress: wraps the iteration over batches, for example `tqdm`.

        Returns:
            A `Classification` for each.

        Raises:
            ValueError, TypeError: as `classify`.
        """
        if isinstance(texts, str):
            raise TypeError("texts must be a list; for one text call classify.")
        texts = list(texts)
        if not texts:
            return []
        encodings, _ = self.encode(texts)
        found: dict[int, Classification] = {}
        size, pad_id = min(batch_size, len(texts)), self.tokenizer.pad_id
        batches = list(prediction_batches(encodings, size, self.seq_length, pad_id))
        for indices, inputs in progress(batches):
            logits = ops.convert_to_numpy(self._score(*inputs))[: len(indices)]
            for index, row in zip(indices, logits.astype("float64"), strict=True):
                found[index] = self._classification(row)
        return [found[index] for index in range(len(texts))]

    def _classification(self, logits_C: np.ndarray) -> Classification:
        order = np.argsort(-logits_C, kind="stable")
        if self.multi_label:
            scores = 0.5 + 0.5 * np.tanh(logits_C / 2)
            chosen = [i for i in order if logits_C[i] > 0]
        else:
            shifted = np.exp(logits_C - logits_C.max())
            scores, chosen = shifted / shifted.sum(), list(order[:1])
        return Classification(
            tuple(self.labels[i] for i in chosen), dict(zip(self.labels, scores.tolist(), strict=True))
        )

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
