"""Sentence similarity: a sentence in, a vector of length 1 out; sentences that mean the same lie close together.

The recipe is described in docs/similarity.md. With a GRU this runs on NumPy: neither Keras nor a backend is imported.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from nlptasks.applications.similarity.gru_runtime import GRU_WEIGHTS, GruRuntime
from nlptasks.applications.similarity.index import Match, SentenceIndex
from nlptasks.files import atomic_path, read_json_object, write_text
from nlptasks.text.characters import CharacterVocab

TASK = "sentence_similarity"
CONFIG, WEIGHTS, VOCAB = "config.json", "model.safetensors", "vocab.txt"
HYBRID_WEIGHT = 0.7
"""of the lexical score in a hybrid search: (1 - weight) x cosine + weight x BM25; chosen on held-out groups"""
CHUNK, ROWS = 20_000, 2_048
"""sentences that are added to an index, and whose means are made, at a time"""


class VectorModel(Protocol):
    """What turns texts into vectors: a GRU on NumPy, or a Transformer."""

    encoder: str
    vector_size: int

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors (N, D) of length 1, float32."""

    def save(self, directory: Path, settings: dict) -> None:
        """Writes what `from_directory` reads; `settings` go into the config."""

    def digest(self) -> bytes:
        """Bytes that differ where vectors would."""


class GruModel:
    """Characters through a GRU.

    Args:
        vocab: ids of characters.
        arrays: the weights, as `GruEncoder.arrays` gives them.
        seq_length: characters that are read of a sentence.
        mean_weight: of the mean of the characters' embeddings; a cosine is (1 - weight) x the GRU's + weight x that of
            the means. Where it is not 0, a vector holds the GRU's state, then the mean.
        pooling: "last": the GRU's state at the last character; "mean": the mean of its states at all of them.
    """

    encoder = "gru"

    def __init__(
        self,
        vocab: CharacterVocab,
        arrays: dict[str, np.ndarray],
        seq_length: int = 64,
        mean_weight: float = 0.0,
        pooling: str = "last",
    ):
        if not 0.0 <= mean_weight <= 1.0:
            raise ValueError(f"mean_weight must lie in [0, 1]. Received: {mean_weight=}.")
        self.vocab, self.seq_length, self.mean_weight = vocab, seq_length, mean_weight
        self.arrays = {name: np.asarray(arrays[name]) for name in GRU_WEIGHTS}
        self.runtime = GruRuntime(self.arrays, pooling)
        self._embeddings = np.asarray(self.arrays["embeddings"], "float32")
        self.vector_size = self.runtime.vector_size + (self._embeddings.shape[1] if mean_weight else 0)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors (N, D) of length 1, float32."""
        token_ids = self.vocab.encode_batch(texts, self.seq_length)
        states = self.runtime.encode_ids(token_ids)
        if not self.mean_weight:
            return states
        means = np.concatenate([self._means(token_ids[i : i + ROWS]) for i in range(0, len(token_ids), ROWS)])
        return np.hstack([(1 - self.mean_weight) ** 0.5 * states, self.mean_weight**0.5 * means])

    def _means(self, token_ids: Sequence[np.ndarray]) -> np.ndarray:
        """Means of embeddings, of length 1."""
        starts = np.cumsum([0, *map(len, token_ids[:-1])])
        sums = np.add.reduceat(self._embeddings.take(np.concatenate(token_ids), axis=0), starts)
        return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)

    def digest(self) -> bytes:
        """Bytes that differ where vectors would."""
        sizes = [self.seq_length, self.mean_weight, self.vocab.tokens]
        if self.runtime.pooling != "last":  # indexes that are older than the choice stay good
            sizes.append(self.runtime.pooling)
        parts = [json.dumps(sizes, ensure_ascii=True).encode()]
        parts += [np.ascontiguousarray(array, "float32").tobytes() for array in self.arrays.values()]
        return b"".join(parts)

    def save(self, directory: Path, settings: dict, half: bool = False) -> None:
        """Writes vocabulary, weights (in float16 if `half`) and config."""
        self.vocab.save(directory / VOCAB)
        with atomic_path(directory / WEIGHTS) as temporary:
            kind = "float16" if half else "float32"
            save_file({name: np.ascontiguousarray(a, kind) for name, a in self.arrays.items()}, temporary)
        own = {"task": TASK, "encoder": self.encoder, "pooling": self.runtime.pooling, "seq_length": self.seq_length}
        settings = own | {"mean_weight": self.mean_weight} | settings
        write_text(directory / CONFIG, json.dumps({"nlptasks": settings}, ensure_ascii=False, indent=1) + "\n")

    @classmethod
    def from_directory(cls, directory: Path, settings: dict) -> "GruModel":
        """The model that `save` wrote."""
        vocab = CharacterVocab.from_file(directory / VOCAB)
        path = directory / WEIGHTS
        try:
            arrays = load_file(path)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{path}: no such file; give the directory that a training run has written."
            ) from None
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path}: not a readable safetensors file ({error}).") from None
        shapes = {name: array.shape for name, array in arrays.items()}
        size = shapes.get("recurrent_kernel", (0,))[0]
        width = (shapes.get("embeddings") or (0,))[-1]
        wanted = ((len(vocab), width), (width, 3 * size), (size, 3 * size), (2, 3 * size))
        if shapes != dict(zip(GRU_WEIGHTS, wanted, strict=True)):
            raise ValueError(f"{path}: the weights do not fit {VOCAB} or each other ({shapes}); copy the model again.")
        mean_weight, pooling = float(settings.get("mean_weight", 0.0)), settings.get("pooling", "last")
        return cls(vocab, arrays, int(settings["seq_length"]), mean_weight, pooling)


class SentenceEncoder:
    """Vectors of sentences, how similar two are, and which of many are most similar to one.

    Args:
        model: turns texts into vectors.
        hybrid_weight: of the lexical score in a hybrid search, 0 to 1.

    Attributes:
        index: what `most_similar` searches; `add` fills it.
    """

    task = TASK

    def __init__(self, model: VectorModel, hybrid_weight: float = HYBRID_WEIGHT):
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

    def save(self, directory: str | Path, **options: bool) -> None:
        """Writes a directory that `nlptasks.load` opens."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.model.save(directory, {"hybrid_weight": self.hybrid_weight}, **options)

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
            if settings["encoder"] == "gru":
                model = GruModel.from_directory(directory, settings)
            elif settings["encoder"] == "transformer":
                from nlptasks.applications.similarity.transformer import (
                    TransformerModel,  # Keras, which a GRU does without
                )

                model = TransformerModel.from_directory(directory, settings)
            else:
                raise ValueError(f"{path}: encoder must be gru or transformer. Received: {settings['encoder']!r}.")
            return cls(model, float(settings["hybrid_weight"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: lacks or misstates {error}; copy the model again.") from None
