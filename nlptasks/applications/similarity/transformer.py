"""Sentence vectors from a Transformer: what `similarity` uses in place of a GRU."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops

from nlptasks.applications.encoder import pretrained_tokenizer
from nlptasks.applications.encoder_head import HEAD
from nlptasks.applications.similarity.gru import TASK
from nlptasks.applications.similarity.network import TransformerEncoder
from nlptasks.applications.sources import located
from nlptasks.applications.unread import tell_cut, tell_unknown
from nlptasks.backend import compile_function
from nlptasks.checkpoints.configs import config_from_json
from nlptasks.checkpoints.huggingface import CONFIG, read_huggingface, save_directory
from nlptasks.checkpoints.weights import assign_weights, export_weights
from nlptasks.core.transformer import Transformer
from nlptasks.errors import UserError
from nlptasks.files import read_json_object
from nlptasks.loading import build_transformer_model
from nlptasks.text import TextTokenizer, open_tokenizer
from nlptasks.text.batches import length_sorted_batches, pad, round_up

BATCH, WIDTH = 64, 16
_FORMER_NAMES = {"first": "cls"}
"""of poolings, in configs and fingerprints"""


class TransformerModel:
    """A pooled Transformer with its tokenizer.

    Args:
        network: gives vectors.
        tokenizer: with the vocabulary of the network.
        seq_length: tokens that are read of a sentence, [CLS] and [SEP] included.

    Raises:
        ValueError: they do not fit together.
    """

    encoder = "transformer"

    def __init__(self, network: TransformerEncoder, tokenizer: TextTokenizer, seq_length: int = 64) -> None:
        config = network.transformer.config
        if tokenizer.vocab_size != config.vocab_size:
            raise UserError(
                "The tokenizer has {tokens} tokens and the model {rows}; give the vocabulary that the "
                "model was trained with.",
                tokens=tokenizer.vocab_size,
                rows=config.vocab_size,
            )
        if not 3 <= seq_length <= config.position_reach:
            raise UserError(
                "{field:seq_length} must lie in 3 to {most}, the positions of the model. Received: {value}.",
                most=config.position_reach,
                value=seq_length,
            )
        self.network, self.tokenizer, self.seq_length = network, tokenizer, seq_length
        self.vector_size = network.vector_size
        network.build()
        self._run = compile_function(lambda token_ids: network(token_ids, training=False), network)

    @classmethod
    def of_checkpoint(cls, checkpoint: str, seq_length: int = 64) -> "TransformerModel":
        """The mean hidden states of a pretrained Transformer, as they are.

        Args:
            checkpoint: the name of one that comes with the package, or a directory.
            seq_length: tokens that are read of a sentence.

        Raises:
            UserError, ValueError, FileNotFoundError: one line: there is none, or it does not fit.
        """
        path = located(checkpoint)
        tokenizer = pretrained_tokenizer(path)
        transformer = build_transformer_model(path, path, skip=(HEAD,), pad_id=tokenizer.pad_id)
        return cls(TransformerEncoder(transformer, "mean"), tokenizer, seq_length)

    def token_ids(self, texts: Sequence[str]) -> list[np.ndarray]:
        """int32 ids of each text with [CLS] and [SEP]."""
        encodings = self.tokenizer.encode_batch(texts, max_length=self.seq_length, with_offsets=False)
        return [encoding.token_ids for encoding in encodings]

    def __getstate__(self) -> dict[str, Any]:
        # what is compiled is no value
        return self.__dict__ | {"network": None, "_run": None, "_weights": _stored(self.network)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        config, pooling, weights = state.pop("_weights")
        transformer = Transformer(config)
        transformer.build()
        assign_weights(transformer, weights, "the copy", transposed=True)
        self.__init__(TransformerEncoder(transformer, pooling), state["tokenizer"], state["seq_length"])  # type: ignore[misc]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors (N, D) of length 1, float32."""
        token_ids = self.token_ids(texts)
        vectors = np.zeros((len(token_ids), self.vector_size), "float32")
        size = min(BATCH, 1 << max(0, len(token_ids) - 1).bit_length())  # a query is not padded to a whole batch
        for rows in length_sorted_batches([len(ids) for ids in token_ids], size):
            width = round_up(max(len(token_ids[i]) for i in rows), WIDTH, self.seq_length)
            batch = pad([token_ids[i] for i in rows], width, size, self.tokenizer.pad_id)
            batch[len(rows) :, 0] = self.tokenizer.cls_id
            vectors[rows] = ops.convert_to_numpy(self._run(batch))[: len(rows)]
        return vectors

    def tell_unread(self, texts: Sequence[str], what: str) -> None:
        """Says what of the texts is not read: what is beyond the length, and unknown tokens."""
        encodings = self.tokenizer.encode_batch(texts, with_offsets=False)
        tell_cut(sum(len(one) > self.seq_length for one in encodings), len(texts), what, self.seq_length)
        tell_unknown(self.tokenizer, encodings, texts, what)

    def digest(self) -> bytes:
        """Bytes that differ where vectors would."""
        config, pooling = self.network.transformer.config, self.network.pooling
        pooling = _FORMER_NAMES.get(pooling, pooling)  # indexes that are older than the name stay good
        described = repr((self.seq_length, pooling, config, sorted(self.tokenizer.vocab.items())))
        parts = [described.replace(", pad_id=0", "", 1).encode()]  # indexes that are older than the field stay good
        parts += [array.tobytes() for array in export_weights(self.network.transformer).values()]
        return b"".join(parts)

    def save(self, directory: Path, settings: Mapping[str, Any], half: bool = False) -> None:
        """Writes vocabulary, weights and config as transformers lays them out.

        Raises:
            ValueError: `half`, which only a GRU's weights can be.
        """
        if half:
            raise ValueError("only a GRU's weights are saved in float16; leave half out.")
        own = {"task": TASK, "encoder": self.encoder, "pooling": self.network.pooling, "seq_length": self.seq_length}
        self.tokenizer.save(directory)
        save_directory(self.network.transformer, directory, nlptasks={**own, **settings})

    @classmethod
    def from_directory(cls, directory: Path, settings: Mapping[str, Any]) -> "TransformerModel":
        """The model that `save` wrote.

        Raises:
            ValueError, FileNotFoundError: one line: what is missing or does not fit.
        """
        values = read_json_object(directory / CONFIG)
        transformer = Transformer(config_from_json(values, directory / CONFIG))
        transformer.build()
        assign_weights(transformer, read_huggingface(directory, transformer.config), str(directory), transposed=True)
        pooling = {old: new for new, old in _FORMER_NAMES.items()}.get(settings["pooling"], settings["pooling"])
        network = TransformerEncoder(transformer, pooling)
        return cls(network, open_tokenizer(directory), int(settings["seq_length"]))


def _stored(network: TransformerEncoder) -> tuple[Any, str, dict[str, np.ndarray]]:
    """Config, pooling and weights of a network."""
    return network.transformer.config, network.pooling, export_weights(network.transformer)
