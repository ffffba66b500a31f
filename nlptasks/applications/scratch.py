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


def transformer_from_scratch(
    config: TransformerConfig, with_mlm: bool | str = False, equal_keys: bool = False, recompute: bool = False
) -> Transformer:
    """A Transformer with fresh weights.

    Its table of learned positions starts as sinusoids (arXiv 1706.03762): neighboring positions are then related from
    the first step, and a small model learns sooner to look at the token before.

    Args:
        with_mlm: as in `Transformer`.
        equal_keys: keys start equal to queries, so that attention begins with looking at equal tokens; what this adds
            was not measured apart.
        recompute: as in `Transformer`.
    """
    model = Transformer(config, with_mlm=with_mlm, recompute=recompute)
    model.build()
    if model.embeddings.position is not None:
        waves = np.asarray(sinusoid_table(config.max_positions, config.embedding_size))
        model.embeddings.position.embeddings.assign((config.initializer_range * waves).astype("float32"))
    for block in model.blocks if equal_keys else ():
        query = np.array(ops.convert_to_numpy(block.attention.query.kernel))  # a copy: JAX donates each buffer once
        block.attention.key.kernel.assign(query)
    return model
