"""Transformers that start from random weights, and what helps small ones to learn."""

import numpy as np
from keras import ops

from nlptasks.core.config import TransformerConfig
from nlptasks.core.positions import sinusoid_table
from nlptasks.core.transformer import Transformer


def scratch_config(
    vocab_size: int,
    max_length: int,
    hidden_size: int,
    num_layers: int,
    num_heads: int,
    ffn_size: int,
    dropout: float,
    attention: str = "bidirectional",
) -> TransformerConfig:
    """The config of a small Transformer that is trained from random weights."""
    return TransformerConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        num_layers=num_layers,
        num_heads=num_heads,
        ffn_size=ffn_size,
        max_positions=max_length,
        attention=attention,
        dropout=dropout,
        attention_dropout=dropout,
        initializer_range=0.02 * (768 / hidden_size) ** 0.5,  # the spread of activations of BERT-base
    )


def encoder_from_scratch(config: TransformerConfig) -> Transformer:
    """A Transformer with fresh weights and no head.

    Its table of learned positions starts as sinusoids (arXiv 1706.03762): neighbouring positions are then related from
    the first step, and a small model learns sooner to look at the token before.
    """
    return _built(Transformer(config))


def generator_from_scratch(config: TransformerConfig) -> Transformer:
    """A Transformer with fresh weights and the masked-LM head, for sequence to sequence and language models.

    As `encoder_from_scratch`; besides, queries and keys start equal, so that attention begins with looking at equal
    tokens; what this adds was not measured apart.
    """
    model = _built(Transformer(config, with_mlm="linear"))
    for block in model.blocks:
        query = np.array(ops.convert_to_numpy(block.attention.query.kernel))  # a copy: JAX donates each buffer once
        block.attention.key.kernel.assign(query)
    return model


def _built(model):
    model.build()
    if model.embeddings.position is not None:
        waves = np.asarray(sinusoid_table(model.config.max_positions, model.config.embedding_size))
        model.embeddings.position.embeddings.assign((model.config.initializer_range * waves).astype("float32"))
    return model
