"""Sentence vectors from characters and their runs on NumPy alone: the model of an encoder, and how it is stored."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from nlptasks.applications.similarity.gru import CONFIG, TASK, VOCAB, WEIGHTS
from nlptasks.applications.similarity.ngram_runtime import NgramRuntime, weight_shapes
from nlptasks.applications.similarity.ngrams import NgramVocab
from nlptasks.applications.unread import tell_cut
from nlptasks.checkpoints.packing import EIGHT_BITS, FOUR_BITS, pack_rows, unpack_rows
from nlptasks.files import atomic_path, write_text
from nlptasks.text.characters import normalize

CHUNK = 8_192
"""texts whose runs are looked up at a time"""
BLOCK = 64
"""columns of the table that share a scale"""
SCALE = ".scale"


class NgramModel:
    """Characters and runs of characters, a table and a small network.

    Args:
        vocab: the rows of texts.
        arrays: the weights; see `NgramRuntime`.
        pooling: "sum", "attention" or "convolution".
        seq_length: characters that are read of a sentence.

    Raises:
        ValueError: weights that do not fit the vocabulary or each other.
    """

    encoder = "ngrams"

    def __init__(
        self, vocab: NgramVocab, arrays: Mapping[str, np.ndarray], pooling: str = "sum", seq_length: int = 256
    ) -> None:
        found = {name: np.shape(array) for name, array in arrays.items()}
        size = found.get("table", (0, 1))[-1]
        hidden = found.get("in_bias", (0,))[0]
        heads, channels = found.get("query_kernel", (0, 0))[-1] // size, found.get("bias", (0,))[0]
        expected = weight_shapes(pooling, len(vocab), size, hidden, heads, channels)
        if found != expected:
            raise ValueError(f"the weights do not fit the vocabulary or each other ({found}); copy the model again.")
        self.vocab, self.seq_length = vocab, seq_length
        self.runtime = NgramRuntime(arrays, pooling)
        self.vector_size = self.runtime.vector_size

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors (N, D) of length 1, float32."""
        if isinstance(texts, str):
            raise TypeError("texts must be a list of str. Received: one str; put it into a list.")
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"texts[{index}] must be str. Received: {type(text).__name__}.")
        parts = [
            self.runtime.encode_rows(*self.vocab.rows(texts[i : i + CHUNK], self.seq_length))
            for i in range(0, len(texts), CHUNK)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.vector_size), "float32")

    def tell_unread(self, texts: Sequence[str], what: str) -> None:
        """Says how many texts are not read to their ends; no character is unknown to this model."""
        lengths = [len(normalize(text)) for text in texts]
        tell_cut(
            sum(length > self.seq_length for length in lengths), len(texts), what, self.seq_length, characters=True
        )

    def digest(self) -> bytes:
        """Bytes that differ where vectors would."""
        described = [self.runtime.pooling, self.seq_length, self.vocab.characters]
        parts = [json.dumps(described, ensure_ascii=True).encode(), self.vocab.keys.tobytes()]
        parts += [array.tobytes() for _, array in sorted(self.runtime.arrays.items())]
        return b"".join(parts)

    def save(self, directory: Path, settings: Mapping[str, Any], half: bool = False) -> None:
        """Writes what `from_directory` reads; if `half`, the table in 4 bits, matrices in 8, the rest in float16."""
        tensors: dict[str, np.ndarray] = {"keys": self.vocab.keys}
        for name, array in self.runtime.arrays.items():
            if half and array.ndim == 2:
                levels, block = (FOUR_BITS, BLOCK) if name == "table" else (EIGHT_BITS, None)
                tensors[name], tensors[name + SCALE] = pack_rows(array, levels, block)
            else:
                tensors[name] = array.astype("float16") if half else array
        write_text(directory / VOCAB, "".join(f"{character}\n" for character in self.vocab.characters))
        with atomic_path(directory / WEIGHTS) as temporary:
            save_file(tensors, temporary)
        own = {"task": TASK, "encoder": self.encoder, "pooling": self.runtime.pooling, "seq_length": self.seq_length}
        text = json.dumps({"nlptasks": own | dict(settings)}, ensure_ascii=False, indent=1)
        write_text(directory / CONFIG, text + "\n")

    @classmethod
    def from_directory(cls, directory: Path, settings: Mapping[str, Any]) -> "NgramModel":
        """The model that `save` wrote.

        Raises:
            ValueError, FileNotFoundError: one line: what is missing or does not fit.
        """
        path = directory / WEIGHTS
        try:
            characters = (directory / VOCAB).read_text(encoding="utf-8").split("\n")[:-1]
        except FileNotFoundError:
            raise FileNotFoundError(f"{directory / VOCAB}: no such file; copy the model again.") from None
        try:
            arrays = load_file(path)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{path}: no such file; give the directory that a training run has written."
            ) from None
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path}: not a readable safetensors file ({error}).") from None
        try:
            vocab = NgramVocab(characters, arrays.pop("keys"))
            for name in [name for name in arrays if name + SCALE in arrays]:
                levels, block = (FOUR_BITS, BLOCK) if name == "table" else (EIGHT_BITS, None)
                arrays[name] = unpack_rows(arrays[name], arrays.pop(name + SCALE), levels, block=block)
        except KeyError as error:
            raise ValueError(f"{path}: lacks {error}; copy the model again.") from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        pooling, seq_length = str(settings["pooling"]), int(settings["seq_length"])
        try:
            return cls(vocab, arrays, pooling, seq_length)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
