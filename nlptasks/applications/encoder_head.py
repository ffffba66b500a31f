"""A Transformer encoder with a head on top: what classifiers and taggers share; and the mean of hidden states.

Legend: B batch, T position, D hidden.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from nlptasks.backend import Tensor
from nlptasks.core import EncoderDecoder, Transformer
from nlptasks.core.masks import padding_mask
from nlptasks.errors import UserError
from nlptasks.text import TextTokenizer

HEAD = "head."
"""what the names of a head's weights begin with in `model.safetensors`"""


class EncoderWithHead(keras.Model):
    """A Transformer, dropout, and layers on its hidden states.

    Args:
        transformer: without heads of its own.
        layers: name -> layer, built here; those that are no function of `(B, T, D)` alone are built already.
        dropout: rate on the hidden states that the head reads.
    """

    def __init__(
        self, transformer: Transformer, layers: dict[str, keras.layers.Layer], dropout: float = 0.1, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.transformer = transformer
        self.dropout = keras.layers.Dropout(dropout)
        self.head_layers = layers
        transformer.build()
        for layer in layers.values():
            if not layer.built:
                layer.build((None, None, transformer.config.hidden_size))
        self.built = True

    def encode(
        self,
        token_ids: Tensor,
        segment_ids: Tensor | None = None,
        training: bool | None = None,
        encode: Callable[..., Tensor] | None = None,
    ) -> Tensor:
        """Hidden states `(B, T, D)` after dropout, of the transformer or of `encode`, called as its `encode` is."""
        encode = self.transformer.encode if encode is None else encode
        return self.dropout(encode(token_ids, segment_ids, training=training), training=training)

    def call(self, inputs: Any, training: bool | None = None) -> Tensor:
        return self.encode(*inputs, training=training)  # type: ignore[misc] # inputs are ids and segments

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


def mean_state(hidden_BTD: Tensor, token_ids_BT: Tensor, pad_id: int) -> Tensor:
    """The mean of the hidden states over the positions that are not padding: `(B, D)`, float32."""
    real_BT1 = ops.cast(padding_mask(token_ids_BT, pad_id), "float32")[..., None]
    return ops.sum(ops.cast(hidden_BTD, "float32") * real_BT1, axis=1) / ops.sum(real_BT1, axis=1)


def check_vocabulary(transformer: Transformer | EncoderDecoder, tokenizer: TextTokenizer) -> None:
    """Refuses a tokenizer that does not fit the model.

    Raises:
        UserError: the vocabularies, or what they call padding, differ.
    """
    if tokenizer.vocab_size != transformer.config.vocab_size:
        raise UserError(
            "The tokenizer has {tokens} tokens and the model (config.json) {rows}; give the vocabulary "
            "that the model was trained with.",
            tokens=tokenizer.vocab_size,
            rows=transformer.config.vocab_size,
        )
    if tokenizer.pad_id != transformer.config.pad_id:
        raise UserError(
            "Padding is token {tokens} of the tokenizer and {model} of the model (pad_token_id in config.json); give "
            "the vocabulary that the model was trained with, or correct the file that is wrong.",
            tokens=tokenizer.pad_id,
            model=transformer.config.pad_id,
        )


def check_fit(transformer: Transformer, tokenizer: TextTokenizer, seq_length: int) -> None:
    """Refuses a tokenizer or a length that does not fit the model.

    Raises:
        UserError: the vocabularies differ, or the model has fewer positions.
    """
    check_vocabulary(transformer, tokenizer)
    if not 4 <= seq_length <= transformer.config.position_reach:
        raise UserError(
            "{field:seq_length} must lie in 4 to {most}, the positions of the model. Received: {value}.",
            most=transformer.config.position_reach,
            value=seq_length,
        )
