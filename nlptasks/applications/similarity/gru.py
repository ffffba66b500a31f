"""Sentence vectors from a GRU on NumPy alone: the model of an encoder, and how it is stored. Imports no backend."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from nlptasks.applications.similarity.gru_runtime import GRU_WEIGHTS, GruRuntime
from nlptasks.applications.unread import tell_cut, tell_unknown_characters
from nlptasks.files import atomic_path, write_text
from nlptasks.text.characters import CharacterVocab, normalize

TASK = "sentence_similarity"
CONFIG, WEIGHTS, VOCAB = "config.json", "model.safetensors", "vocab.txt"
ROWS = 2_048
"""sentences whose means are made at a time"""


class GruModel:
    """Characters through a GRU.

    Args:
        vocab: ids of characters.
        arrays: the weights, as `GruEncoder.arrays` gives them.
        seq_length: characters that are read of a sentence.
        mean_weight: of the mean of the characters' embeddings; a cosine is (1 - weight) x the GRU's + weight x that of
            the means. Where it is not 0, a vector holds the GRU's state, then the mean.
        pooling: "last": the GRU's state at the last character; "mean": the mean of its states at all of them.

    Raises:
        ValueError: a weight outside [0, 1], or another pooling.
    """

    encoder = "gru"

    def __init__(
        self,
        vocab: CharacterVocab,
        arrays: Mapping[str, np.ndarray],
        seq_length: int = 64,
        mean_weight: float = 0.0,
        pooling: str = "last",
    ) -> None:
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

    def tell_unread(self, texts: Sequence[str], what: str) -> None:
        """Says what of the texts is not read: what is beyond the length, and unknown characters."""
        lengths = [len(normalize(text)) for text in texts]
        tell_cut(
            sum(length > self.seq_length for length in lengths), len(texts), what, self.seq_length, characters=True
        )
        tell_unknown_characters(self.vocab, texts, what)

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

    def save(self, directory: Path, settings: Mapping[str, Any], half: bool = False) -> None:
        """Writes vocabulary, weights (in float16 if `half`) and config."""
        self.vocab.save(directory / VOCAB)
        with atomic_path(directory / WEIGHTS) as temporary:
            kind = "float16" if half else "float32"
            save_file({name: np.ascontiguousarray(a, kind) for name, a in self.arrays.items()}, temporary)
        own = {"task": TASK, "encoder": self.encoder, "pooling": self.runtime.pooling, "seq_length": self.seq_length}
        own |= {"mean_weight": self.mean_weight, **settings}
        write_text(directory / CONFIG, json.dumps({"nlptasks": own}, ensure_ascii=False, indent=1) + "\n")

    @classmethod
    def from_directory(cls, directory: Path, settings: Mapping[str, Any]) -> "GruModel":
        """The model that `save` wrote.

        Raises:
            ValueError, FileNotFoundError: one line: what is missing or does not fit.
        """
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
