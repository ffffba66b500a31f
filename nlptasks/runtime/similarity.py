"""An exported sentence encoder: what a Transformer computes; the others run on NumPy alone and need no export."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nlptasks.applications.similarity.encoder import SentenceEncoder
from nlptasks.applications.unread import tell_cut, tell_unknown
from nlptasks.errors import UserError
from nlptasks.runtime.graphs import open_graph
from nlptasks.runtime.stored import read_stored, wrong_settings
from nlptasks.text.batches import length_sorted_batches, pad

BATCH = 64


class ExportedVectors:
    """The model of an exported encoder.

    Args:
        directory: that `nlptasks export` has written.

    Raises:
        ValueError, FileNotFoundError: one line: what is missing or damaged.
    """

    encoder = "exported"

    def __init__(self, directory: Path) -> None:
        stored = read_stored(directory)
        self.tokenizer, self._path = stored.tokenizer, directory / "model.onnx"
        try:
            self.seq_length, self.vector_size = (int(stored.settings[name]) for name in ("seq_length", "vector_size"))
            self.hybrid_weight = float(stored.settings["hybrid_weight"])
        except (KeyError, TypeError, ValueError) as error:
            raise wrong_settings(directory, error) from None
        self._run = open_graph(self._path)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors (N, D) of length 1, float32."""
        encodings = self.tokenizer.encode_batch(texts, max_length=self.seq_length, with_offsets=False)
        token_ids = [encoding.token_ids for encoding in encodings]
        vectors = np.zeros((len(token_ids), self.vector_size), "float32")
        for rows in length_sorted_batches([len(ids) for ids in token_ids], BATCH):
            width = max(len(token_ids[i]) for i in rows)
            batch = pad([token_ids[i] for i in rows], width, len(rows), self.tokenizer.pad_id)
            vectors[rows] = self._run(batch, np.zeros_like(batch))[0]
        return vectors

    def tell_unread(self, texts: Sequence[str], what: str) -> None:
        """Says what of the texts is not read: what is beyond the length, and unknown tokens."""
        encodings = self.tokenizer.encode_batch(texts, with_offsets=False)
        tell_cut(sum(len(one) > self.seq_length for one in encodings), len(texts), what, self.seq_length)
        tell_unknown(self.tokenizer, encodings, texts, what)

    def digest(self) -> bytes:
        """Bytes that differ where vectors would."""
        described = json.dumps([self.seq_length, sorted(self.tokenizer.vocab.items())], ensure_ascii=True)
        return described.encode() + self._path.read_bytes()

    def save(self, directory: Path, settings: Mapping[str, Any], half: bool = False) -> None:
        """Refuses: what is exported is copied as it is."""
        raise UserError("an exported model is not saved again; copy its folder, {path}.", path=self._path.parent)


class ExportedEncoder(SentenceEncoder):
    """A sentence encoder on onnxruntime, with the verbs of `SentenceEncoder`.

        encoder = nlptasks.load("exported/encoder")
        encoder.similarity("怎样修改密码", "密码怎么改")

    Args:
        model, hybrid_weight: as `SentenceEncoder`.
    """

    @classmethod
    def from_directory(cls, directory: str | Path) -> "ExportedEncoder":
        """Opens what `nlptasks export` has written."""
        model = ExportedVectors(Path(directory))
        return cls(model, model.hybrid_weight)
