"""A Transformer encoder with a head on top: what classifiers and taggers share.

Legend: B batch, T position, D hidden.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
from keras import ops

from nlptasks.checkpoints.configs import config_from_json
from nlptasks.checkpoints.huggingface import CONFIG, read_huggingface, save_directory
from nlptasks.checkpoints.weights import assign_weights
from nlptasks.core.config import TransformerConfig
from nlptasks.core.transformer import Transformer
from nlptasks.files import read_json_object
from nlptasks.text import Tokenizer
from nlptasks.text.batches import length_sorted_batches, pad, round_up

HEAD = "head."
"""what the names of a head's weights begin with in `model.safetensors`"""
WIDTH = 16
"""widths of arrays are multiples of this"""


class EncoderWithHead(keras.Model):
    """A Transformer, dropout, and layers on its hidden states.

    Args:
        transformer: without heads of its own.
        layers: name -> layer, built here; those that are no function of `(B, T, D)` alone are built already.
        dropout: rate on the hidden states that the head reads.
    """

    def __init__(self, transformer: Transformer, layers: dict[str, keras.layers.Layer], dropout: float = 0.1, **kwargs):
        super().__init__(**kwargs)
        self.transformer = transformer
        self.dropout = keras.layers.Dropout(dropout)
        self.head_layers = layers
        transformer.build()
        for layer in layers.values():
            if not layer.built:
                layer.build((None, None, transformer.config.hidden_size))
        self.built = True

    def encode(self, token_ids, segment_ids=None, training=None, encode=None):
        """Hidden states `(B, T, D)` after dropout, of the transformer or of `encode`, called as its `encode` is."""
        encode = self.transformer.encode if encode is None else encode
        return self.dropout(encode(token_ids, segment_ids, training=training), training=training)

    def call(self, inputs, training=None):
        return self.encode(*inputs, training=training)

    def head_weights(self) -> dict[str, keras.Variable]:
        """The weights of the head by the names they are stored under."""
        found = {}
        for name, layer in self.head_layers.items():
            for weight in layer.weights:
                inner = weight.path.split("/")
                inner = inner[inner.index(layer.name) + 1 :] if layer.name in inner else inner[-1:]
                found[".".join([HEAD[:-1], name, *inner])] = weight
        return found

    def on_transformer(self, transformer: Transformer, layers: dict[str, keras.layers.Layer]) -> "EncoderWithHead":
        """A model of another transformer whose head, in fresh `layers` of the same kinds, has the weights of this."""
        model = EncoderWithHead(transformer, layers, self.dropout.rate)
        mine = self.head_weights()
        for name, weight in model.head_weights().items():
            weight.assign(np.array(ops.convert_to_numpy(mine[name])))  # a copy: JAX donates each buffer once
        return model


def check_fit(transformer: Transformer, tokenizer: Tokenizer, max_length: int) -> None:
    """Raises ValueError where tokenizer and length do not fit the model."""
    if tokenizer.vocab_size != transformer.config.vocab_size:
        raise ValueError(
            f"The tokenizer (vocab.txt) has {tokenizer.vocab_size} tokens and the model (config.json) "
            f"{transformer.config.vocab_size}; give the vocabulary that the model was trained with."
        )
    if not 4 <= max_length <= transformer.config.position_reach:
        raise ValueError(
            f"max_length must lie in 4 to {transformer.config.position_reach}, the positions of the model. "
            f"Received: max_length={max_length}."
        )


def save_application(model: EncoderWithHead, tokenizer: Tokenizer, directory: str | Path, settings: dict) -> None:
    """Writes config with `settings`, weights of encoder and head, and vocabulary."""
    tensors = {name: np.array(ops.convert_to_numpy(w), "float32") for name, w in model.head_weights().items()}
    tokenizer.save(directory)
    save_directory(model.transformer, directory, tensors=tensors, nlptasks=settings)


def read_settings(directory: str | Path, task: str, application: str) -> dict:
    """The settings that `save_application` wrote, without the task.

    Raises:
        ValueError, FileNotFoundError: not a directory of this task.
    """
    path = Path(directory) / CONFIG
    settings = read_json_object(path).get("nlptasks") or {}
    if not isinstance(settings, dict) or settings.get("task") != task:
        raise ValueError(
            f"{path}: holds no {task.replace('_', ' ')} model; train one with nlptasks {application} train."
        )
    return {name: value for name, value in settings.items() if name != "task"}


def load_application(
    directory: str | Path,
    make_layers: Callable[[TransformerConfig], dict[str, keras.layers.Layer]],
    with_mlm: bool | str = False,
) -> tuple[EncoderWithHead, Tokenizer]:
    """The model and the tokenizer that `save_application` wrote.

    Raises:
        ValueError, FileNotFoundError: one line; something is missing, left over, or of another shape.
    """
    directory = Path(directory)
    config = config_from_json(read_json_object(directory / CONFIG), directory / CONFIG)
    model = EncoderWithHead(Transformer(config, with_mlm=with_mlm), make_layers(config), config.dropout)
    arrays = read_huggingface(directory, config)
    weights = model.head_weights()
    of_head = {name: array for name, array in arrays.items() if name.startswith(HEAD)}
    wrong = [name for name in weights.keys() | of_head.keys() if _shape(weights, name) != _shape(of_head, name)]
    if wrong:
        raise ValueError(
            f"{directory}: the weights of the head do not fit its config.json: {', '.join(sorted(wrong))}; give the "
            "directory as the training run has written it."
        )
    encoder = {name: array for name, array in arrays.items() if not name.startswith(HEAD)}
    assign_weights(model.transformer, encoder, str(directory), transposed=True)
    for name, weight in weights.items():
        weight.assign(of_head[name])
    return model, Tokenizer.from_directory(directory)


def _shape(values, name):
    return tuple(values[name].shape) if name in values else None


class ShuffledBatches:
    """The batches of an epoch: examples of similar length together, a function of seed and epoch alone."""

    def __init__(self, lengths: Sequence[int], seed: int = 0):
        self.lengths, self.seed = np.asarray(lengths), seed

    def __len__(self) -> int:
        return len(self.lengths)

    def batches(self, epoch: int, batch_size: int) -> list[np.ndarray]:
        """Indices of the examples of each batch."""
        return length_sorted_batches(self.lengths, batch_size, np.random.default_rng([self.seed, epoch]))


def padded_inputs(encodings: Sequence, count: int, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and segment ids `(count, T)` of encodings, T rounded up, at most `limit`."""
    width = round_up(max(len(e) for e in encodings), WIDTH, limit)
    return pad([e.token_ids for e in encodings], width, count), pad([e.segment_ids for e in encodings], width, count)


def prediction_batches(encodings: Sequence, batch_size: int, limit: int) -> Iterator[tuple[np.ndarray, tuple]]:
    """Indices and padded inputs of batches of similar length, every one of `batch_size` rows."""
    for indices in length_sorted_batches([len(e) for e in encodings], batch_size):
        yield indices, padded_inputs([encodings[i] for i in indices], batch_size, limit)
