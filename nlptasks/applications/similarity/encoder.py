"""Sentence similarity: a sentence in, a vector of length 1 out; sentences that mean the same lie close together.

The recipe is described in docs/similarity.md. With a GRU this runs on NumPy: neither Keras nor a backend is imported.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, overload

import numpy as np

from nlptasks.applications.similarity.gru import CONFIG, TASK, GruModel
from nlptasks.applications.similarity.index import Match, SentenceIndex
from nlptasks.applications.similarity.training import HYBRID_WEIGHT, SimilarityOptions, train_encoder
from nlptasks.files import read_json_object
from nlptasks.text.groups import groups_of

CHUNK = 20_000
"""sentences that are added to an index at a time"""


class VectorModel(Protocol):
    """What turns texts into vectors: a GRU on NumPy, or a Transformer."""

    encoder: str
    vector_size: int

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors (N, D) of length 1, float32."""

    def save(self, directory: Path, settings: Mapping[str, Any], half: bool = False) -> None:
        """Writes what `from_directory` reads, in float16 if `half`; `settings` go into the config."""

    def digest(self) -> bytes:
        """Bytes that differ where vectors would."""


class SentenceEncoder:
    """Vectors of sentences, how similar two are, and which of many are most similar to one.

        encoder = nlptasks.load("similarity")
        encoder.similarity("怎样修改密码", "密码怎么改")
        encoder.add(["怎样修改密码", "今天有雨吗"])
        encoder.most_similar("密码怎么改")[0].text

    Args:
        model: turns texts into vectors.
        hybrid_weight: of the lexical score in a hybrid search, 0 to 1.

    Attributes:
        index: what `most_similar` searches; `add` fills it.
    """

    task: ClassVar[str] = TASK

    def __init__(self, model: VectorModel, hybrid_weight: float = HYBRID_WEIGHT) -> None:
        if not 0.0 <= hybrid_weight <= 1.0:
            raise ValueError(f"hybrid_weight must lie in [0, 1]. Received: {hybrid_weight=}.")
        self.model, self.hybrid_weight = model, hybrid_weight
        self.index: SentenceIndex | None = None

    @property
    def vector_size(self) -> int:
        """D, numbers of a vector."""
        return self.model.vector_size

    @property
    def fingerprint(self) -> str:
        """Tells models apart: two with the same one give the same vectors."""
        return hashlib.sha256(self.model.encoder.encode() + self.model.digest()).hexdigest()[:32]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors `(N, D)` of length 1, float32; their products are cosines.

        Raises:
            TypeError: not a list of strings.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        if not texts:
            return np.zeros((0, self.vector_size), "float32")
        return self.model.encode(texts)

    def predict(self, items: Sequence[str]) -> np.ndarray:
        """The vector of each sentence, as `encode` gives them."""
        if isinstance(items, str):
            raise TypeError("predict takes a list of sentences; for one sentence call encode.")
        return self.encode(items)

    @overload
    def similarity(self, a: str, b: str) -> float: ...  # type: ignore[overload-overlap] # a str is a sequence of str, too
    @overload
    def similarity(self, a: Sequence[str], b: Sequence[str]) -> np.ndarray: ...

    def similarity(self, a: str | Sequence[str], b: str | Sequence[str]) -> float | np.ndarray:
        """Cosines in [-1, 1]: of two sentences a float, of two lists as long as each other an array `(N,)`.

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
        """An index of sentences for this model."""
        index = SentenceIndex(self.vector_size, self.fingerprint)
        self.add(texts, index)
        return index

    def add(self, texts: Sequence[str], index: SentenceIndex | None = None) -> None:
        """Adds sentences to an index; None: to what `most_similar` searches."""
        if index is None:
            if self.index is None:
                self.index = SentenceIndex(self.vector_size, self.fingerprint)
            index = self.index
        texts = [texts] if isinstance(texts, str) else list(texts)
        for start in range(0, len(texts), CHUNK):
            part = texts[start : start + CHUNK]
            index.add(part, self.encode(part))

    def open_index(self, directory: str | Path) -> SentenceIndex:
        """The saved index, memory-mapped; `most_similar` searches it from now on.

        Raises:
            ValueError, FileNotFoundError: one line; another model made it, or it is damaged.
        """
        self.index = SentenceIndex.open(directory, self.fingerprint)
        return self.index

    def most_similar(self, query: str, top: int = 10, hybrid: bool = False) -> list[Match]:
        """The sentences of the index that are most similar to `query`, the best first; see `most_similar_batch`."""
        return self.most_similar_batch([query], top, hybrid)[0]

    def most_similar_batch(self, queries: Sequence[str], top: int = 10, hybrid: bool = False) -> list[list[Match]]:
        """The same for many queries at once.

        Args:
            queries: sentences.
            top: how many to return of each.
            hybrid: blend the cosine with BM25 over characters and pairs of characters.

        Raises:
            ValueError: nothing was added, or `top` is below 1.
        """
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
        """Trains an encoder, as `nlptasks similarity train` does; the epoch with the best top-1 is kept.

            groups = [["怎样修改密码", "密码怎么改"], ["今天会下雨吗", "今天有雨吗"]]
            valid = [["钥匙丢了怎么办", "找不到钥匙了怎么办"], ["衣服多少钱", "衣服怎么卖"]]
            encoder = SentenceEncoder.train(groups, valid, epochs=5, batch_size=4, min_count=1)
            encoder.similarity("怎样修改密码", "今天有雨吗")

        Args:
            groups: sentences that mean the same, group by group.
            valid: groups that choose the epoch, whose sentences are not trained on; None: every nth of `groups`
                (`hold_out_every`).
            output: the run directory, new or empty (with `resume=True`: an interrupted run's); None: none is kept.
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

    def save(self, directory: str | Path, half: bool = False) -> None:
        """Writes a directory that `nlptasks.load` opens.

        Args:
            half: a GRU's weights in float16, which takes half the room.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.model.save(directory, {"hybrid_weight": self.hybrid_weight}, half)

    @classmethod
    def from_directory(cls, directory: str | Path) -> "SentenceEncoder":
        """The encoder that `save` wrote.

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
            elif settings["encoder"] == "transformer":
                # Keras, which a GRU does without
                from nlptasks.applications.similarity.transformer import TransformerModel

                model = TransformerModel.from_directory(directory, settings)
            else:
                raise ValueError(f"{path}: encoder must be gru or transformer. Received: {settings['encoder']!r}.")
            return cls(model, float(settings["hybrid_weight"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: lacks or misstates {error}; copy the model again.") from None
