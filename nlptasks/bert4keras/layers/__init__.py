"""`bert4keras.layers`: the layers of bert4keras, and all of Keras' as `from bert4keras.layers import *` brings them."""

from typing import Any

from nlptasks.bert4keras.backend import (
    align,
    apply_rotary_position_embeddings,
    attention_normalize,
    is_tf_keras,
    recompute_grad,
    sequence_masking,
    sinusoidal_embeddings,
)
from nlptasks.bert4keras.keras import layers as _keras_layers
from nlptasks.bert4keras.layers.attention import GatedAttentionUnit, MultiHeadAttention
from nlptasks.bert4keras.layers.base import (
    BatchConcat,
    BatchSplit,
    Concatenate1D,
    Embedding,
    FeedForward,
    Layer,
    LayerNormalization,
    Loss,
    ScaleOffset,
    integerize_shape,
)
from nlptasks.bert4keras.layers.pointers import EfficientGlobalPointer, GlobalPointer
from nlptasks.bert4keras.layers.positions import (
    PositionEmbedding,
    RelativePositionEmbedding,
    RelativePositionEmbeddingT5,
    SinusoidalPositionEmbedding,
)
from nlptasks.bert4keras.layers.tagging import ConditionalRandomField, MaximumEntropyMarkovModel

GlobalAveragePooling1D = _keras_layers.GlobalAveragePooling1D
GlobalMaxPooling1D = _keras_layers.GlobalMaxPooling1D
__all__ = [
    "BatchConcat",
    "BatchSplit",
    "Concatenate1D",
    "ConditionalRandomField",
    "EfficientGlobalPointer",
    "Embedding",
    "FeedForward",
    "GatedAttentionUnit",
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
    "GlobalPointer",
    "Layer",
    "LayerNormalization",
    "Loss",
    "MaximumEntropyMarkovModel",
    "MultiHeadAttention",
    "PositionEmbedding",
    "RelativePositionEmbedding",
    "RelativePositionEmbeddingT5",
    "ScaleOffset",
    "SinusoidalPositionEmbedding",
]
OWN = tuple(__all__)
"""the layer classes of bert4keras"""
custom_objects: dict[str, Any] = {name: globals()[name] for name in OWN if name != "Layer"}

__all__ += [
    "align",
    "apply_rotary_position_embeddings",
    "attention_normalize",
    "custom_objects",
    "integerize_shape",
    "is_tf_keras",
    "recompute_grad",
    "sequence_masking",
    "sinusoidal_embeddings",
]
__all__ += [name for name in _keras_layers.layer_names() if name not in OWN]


def __getattr__(name: str) -> Any:
    return getattr(_keras_layers, name)
