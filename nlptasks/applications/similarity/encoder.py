"""Sentence similarity: a sentence in, a vector of length 1 out; sentences with the same meaning get similar vectors.

docs/similarity.md describes the recipe. A GRU runs on NumPy alone: neither Keras nor a backend is imported.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, overload

import numpy as np

from nlptasks.applications.similarity.calibration import CalibratedModel, Calibration, fit_whitening
from nlptasks.applications.similarity.gru import CONFIG, TASK, GruModel
from nlptasks.applications.similarity.index import Match, SentenceIndex, check_sentences
from nlptasks.applications.similarity.ngram import NgramModel
from nlptasks.applications.similarity.training import HYBRID_WEIGHT, SimilarityOptions, train_encoder
from nlptasks.errors import UserError
from nlptasks.files import read_json_object
from nlptasks.text.groups import groups_of

CHUNK = 20_000
"""number of sentences that are added to an index at a time"""


class VectorModel(Protocol):
    """A model that turns texts into vectors: a GRU or a table of characters and runs on NumPy, or a Transformer."""

    encoder: str
    vector_size: int

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors (N, D) of length 1, float32."""

    def tell_unread(self, texts: Sequence[str], what: str) -> None:
        """Says what of the texts (`what` in one word) the model does not read."""

    def save(self, directory: Path, settings: Mapping[str, Any], half: bool = False) -> None:
        """Writes what `from_directory` reads, in float16 if `half`; `settings` are added to the config."""

    def digest(self) -> bytes:
        """Bytes that differ between models with different vectors."""


class SentenceEncoder:
    """Turns sentences into vectors, compares two of them, and finds the most similar ones among many.

        encoder = nlptasks.load("similarity")
        encoder.encode(["怎样修改密码"]).shape  # (1, 256)
        encoder.similarity("怎样修改密码", "密码怎么改")
        encoder.add(["怎样修改密码", "今天有雨吗"])
        encoder.most_similar("密码怎么改")[0].text  # '怎样修改密码'

    Args:
        model: turns texts into vectors; `nlptasks.load` and `train` make it.
        hybrid_weight: weight of the lexical score in a hybrid search, from 0 to 1.

    Attributes:
        index: the index that `most_similar` searches and `add` fills; None at first.

    Raises:
        ValueError: `hybrid_weight` is outside [0, 1].
    """

    task: ClassVar[str] = TASK

    def __init__(self, model: VectorModel, hybrid_weight: float = HYBRID_WEIGHT) -> None:
        if not 0.0 <= hybrid_weight <= 1.0:
            raise ValueError(f"hybrid_weight must lie in [0, 1]. Received: {hybrid_weight=}.")
        self.model, self.hybrid_weight = model, hybrid_weight
        self.index: SentenceIndex | None = None

    @property
    def vector_size(self) -> int:
        """Length D of a vector, in numbers."""
        return self.model.vector_size

    @property
    def fingerprint(self) -> str:
        """A digest of the model: two models with the same fingerprint give the same vectors."""
        return hashlib.sha256(self.model.encoder.encode() + self.model.digest()).hexdigest()[:32]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Turns sentences into vectors; the product of two vectors is their cosine.

            encoder.encode(["怎样修改密码", "今天有雨吗"]).shape  # (2, 256)

        Args:
            texts: N sentences.

        Returns:
            float32 `(N, D)`, each row of length 1.

        Raises:
            TypeError: something other than a list of strings.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        if not texts:
            return np.zeros((0, self.vector_size), "float32")
        return self.model.encode(texts)

    def predict(self, items: Sequence[str]) -> np.ndarray:
        """The vectors of a list of sentences, as `encode` gives them."""
        if isinstance(items, str):
            raise TypeError("predict takes a list of sentences; for one sentence call encode.")
        return self.encode(items)

    @overload
    def similarity(self, a: str, b: str) -> float: ...  # type: ignore[overload-overlap] # a str is a sequence of str, too
    @overload
    def similarity(self, a: Sequence[str], b: Sequence[str]) -> np.ndarray: ...

    def similarity(self, a: str | Sequence[str], b: str | Sequence[str]) -> float | np.ndarray:
        """Compares two sentences, or two lists of sentences pair by pair.

            encoder.similarity("怎样修改密码", "密码怎么改")

        Returns:
            The cosine, in [-1, 1]: a float for two sentences, an array `(N,)` for two lists of N sentences.

        Raises:
            ValueError: the lists differ in length.
        """
        single = isinstance(a, str) and isinstance(b, str)
        first, second = self.encode(a), self.encode(b)
        if len(first) != len(second):
            raise ValueError(f"similarity compares pair by pair. Received: {len(first)} and {len(second)} sentences.")
        cosines = (first * second).sum(axis=1).clip(-1, 1)
        return float(cosines[0]) if single else cosines

    def make_index(self, texts: Sequence[str] = ()) -> SentenceIndex:
        """Returns a new index of sentences for this model; `add` takes it as `index`."""
        index = SentenceIndex(self.vector_size, self.fingerprint)
        self.add(texts, index)
        return index

    def add(self, texts: Sequence[str], index: SentenceIndex | None = None) -> None:
        """Adds sentences to an index, all of them or none. A sentence that is there already has its vector again.

            encoder.add(["怎样修改密码", "今天有雨吗"])

        Args:
            texts: the sentences.
            index: from `make_index`; None: the one that `most_similar` searches.

        Raises:
            TypeError, ValueError: something other than strings, or one with a line end.
        """
        if index is None:
            if self.index is None:
                self.index = SentenceIndex(self.vector_size, self.fingerprint)
            index = self.index
        texts = [texts] if isinstance(texts, str) else list(texts)
        check_sentences(texts)
        following = index.next_position
        try:
            for start in range(0, len(texts), CHUNK):
                self._add_part(texts[start : start + CHUNK], index)
        except BaseException:
            index.take_back(following)
            raise

    def _add_part(self, texts: Sequence[str], index: SentenceIndex) -> None:
        known = {text: index.position_of(text) for text in texts}
        new = [text for text, position in known.items() if position is None]
        rows = {text: row for row, text in enumerate([*new, *(text for text in known if known[text] is not None)])}
        encoded = self.model.encode(new) if new else np.zeros((0, self.vector_size), "float32")
        former = index.vectors([position for position in known.values() if position is not None])
        index.add(texts, np.concatenate([encoded, former])[[rows[text] for text in texts]])

    def remove(self, texts: Sequence[str], index: SentenceIndex | None = None) -> int:
        """Takes sentences out of an index: all that are equal to one of these.

            encoder.remove(["今天有雨吗"])  # 1

        Args:
            texts: the sentences.
            index: from `make_index`; None: the one that `most_similar` searches.

        Returns:
            How many were taken out.

        Raises:
            UserError: one of them is not there; nothing is taken out.
        """
        index = self.index if index is None else index
        wanted = {texts} if isinstance(texts, str) else set(texts)
        if index is None or (missing := [text for text in wanted if index.position_of(text) is None]):
            shown = next(iter(wanted), "") if index is None else missing[0]
            raise UserError("{text!r} is not in the index; nothing was taken out.", text=shown)
        positions = [p for text, p in zip(index.texts, index.positions.tolist(), strict=True) if text in wanted]
        index.remove(positions)
        return len(positions)

    def open_index(self, directory: str | Path) -> SentenceIndex:
        """Opens a saved index, memory-mapped; `most_similar` searches it from now on.

        Raises:
            ValueError, FileNotFoundError: the index is missing or damaged, or another model made it.
        """
        self.index = SentenceIndex.open(directory, self.fingerprint)
        return self.index

    def most_similar(self, query: str, top: int = 10, hybrid: bool = False) -> list[Match]:
        """Finds the sentences of the index that are most similar to `query`.

            encoder.most_similar("密码怎么改", top=3, hybrid=True)[0].text

        Args:
            query: a sentence.
            top: the most sentences to return.
            hybrid: blends the cosine with BM25 over characters and pairs of characters.

        Returns:
            A list of `Match`, the best one first: `text`, `score`, and `position` in the order of adding.

        Raises:
            ValueError: nothing was added, or `top` is below 1.
        """
        return self.most_similar_batch([query], top, hybrid)[0]

    def most_similar_batch(self, queries: Sequence[str], top: int = 10, hybrid: bool = False) -> list[list[Match]]:
        """`most_similar` for each of many queries."""
        if self.index is None or not len(self.index):
            raise ValueError("there is nothing to search; add sentences with .add(texts) or .open_index(directory).")
        queries = [queries] if isinstance(queries, str) else list(queries)
        weight = self.hybrid_weight if hybrid else 0.0
        return self.index.search(queries, self.encode(queries), top, weight)

    @classmethod
    def train(
        cls,
        groups: Iterable[Iterable[str]],
        valid: Iterable[Iterable[str]] | None = None,
        output: str | Path | None = None,
        **options: Any,
    ) -> "SentenceEncoder":
        """Trains an encoder as `nlptasks similarity train` does, and keeps the epoch with the best top-1.

            groups = [["怎样修改密码", "密码怎么改"], ["今天会下雨吗", "今天有雨吗"]]
            valid = [["钥匙丢了怎么办", "找不到钥匙了怎么办"], ["衣服多少钱", "衣服怎么卖"]]
            encoder = SentenceEncoder.train(groups, valid, epochs=5, batch_size=4, min_count=1)
            encoder.similarity("怎样修改密码", "今天有雨吗")

        Args:
            groups: lists of sentences with the same meaning.
            valid: validation groups, whose sentences are left out of the training; None: every nth of `groups` is held
                out (`hold_out_every`).
            output: the run directory: new or empty, or with `resume=True` that of an interrupted run. None: no
                directory is kept.
            **options: fields of `SimilarityOptions`: `encoder`, `checkpoint`, `epochs`, `learning_rate`, ...

        Raises:
            UserError: options or groups that do not go together.
            TrainingInterrupted: after Ctrl-C; `resume=True` goes on.
        """
        from nlptasks.train.experiment import run_folder  # Keras, which a GRU in use does without

        with run_folder(output) as folder:
            settings = SimilarityOptions(output=folder, **options)
            validation = None if valid is None else groups_of(valid)
            train_encoder(settings, groups_of(groups, validation.sentences if validation else ()), validation)
            return cls.from_directory(folder)

    def calibrated(self, calibration: Calibration) -> "SentenceEncoder":
        """This encoder with a calibration behind it; its vectors are others, and so is its fingerprint."""
        return SentenceEncoder(CalibratedModel(self.model, calibration), self.hybrid_weight)

    def whitened(self, texts: Sequence[str], keep: int | None = None, power: float = 1.0) -> "SentenceEncoder":
        """This encoder with vectors that are whitened, as `nlptasks similarity calibrate` does it.

            encoder.whitened(sentences, keep=128).save("runs/whitened")

        Args:
            texts: to learn from, more than a vector has numbers; no labels are needed.
            keep, power: see `CalibrationOptions`.

        Raises:
            UserError: too few texts, or a number out of range.
        """
        return self.calibrated(fit_whitening(self.encode(list(dict.fromkeys(texts))), keep, power))

    def save(self, directory: str | Path, half: bool = False) -> None:
        """Writes a directory that `nlptasks.load` opens.

        Args:
            half: stores the weights of a GRU in float16, in half the space.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.model.save(directory, {"hybrid_weight": self.hybrid_weight}, half)

    @classmethod
    def from_directory(cls, directory: str | Path) -> "SentenceEncoder":
        """Opens what `save` or a training run has written.

        Raises:
            ValueError, FileNotFoundError: one line: what is missing or does not fit.
        """
        directory = Path(directory)
        path = directory / CONFIG
        settings = read_json_object(path).get("nlptasks")
        if not isinstance(settings, dict) or settings.get("task") != TASK:
            raise ValueError(f"{path}: not a sentence encoder; train one with nlptasks similarity train.")
        try:
            model: VectorModel
            if settings["encoder"] == "gru":
                model = GruModel.from_directory(directory, settings)
            elif settings["encoder"] == "ngrams":
                model = NgramModel.from_directory(directory, settings)
            elif settings["encoder"] == "transformer":
                # Keras, which a GRU does without
                from nlptasks.applications.similarity.transformer import TransformerModel

                model = TransformerModel.from_directory(directory, settings)
            else:
                raise ValueError(
                    f"{path}: encoder must be gru, ngrams or transformer. Received: {settings['encoder']!r}."
                )
            if (method := settings.get("calibration")) is not None:
                model = CalibratedModel(model, Calibration.from_directory(directory, method))
            return cls(model, float(settings["hybrid_weight"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: lacks or misstates {error}; copy the model again.") from None
