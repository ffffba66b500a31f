"""What a classifier does beside running its network: texts to arrays, logits to labels. Imports no backend.

Legend: B batch, T position, C label.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from nlptasks.applications.examples import prediction_batches
from nlptasks.text import Encoding, TextTokenizer

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


class TextClassifier:
    """A classifier whose network is in a subclass: on Keras, or exported.

    Args:
        tokenizer, labels, seq_length, multi_label, pair: as `Classifier`.

    Raises:
        ValueError: too few labels, or one twice.
    """

    task: ClassVar[str] = "text_classification"

    def __init__(
        self, tokenizer: TextTokenizer, labels: Sequence[str], seq_length: int, multi_label: bool, pair: bool
    ) -> None:
        labels = tuple(labels)
        if len(labels) != len(set(labels)) or len(labels) < (1 if multi_label else 2):
            raise ValueError(
                f"labels must be distinct and at least {1 if multi_label else 2}. Received: {len(labels)} labels, "
                f"{', '.join(labels[:3])}."
            )
        self.tokenizer, self.labels, self.seq_length = tokenizer, labels, seq_length
        self.multi_label, self.pair = multi_label, pair

    def label_logits(self, token_ids_BT: np.ndarray, segment_ids_BT: np.ndarray) -> np.ndarray:
        """Logits of the labels `(B, C)`; each network has its own."""
        raise NotImplementedError

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
            logits = self.label_logits(*inputs)[: len(indices)]
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
