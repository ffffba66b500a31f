"""The model of a conditional generator: a causal Transformer together with the embeddings of the labels."""

import keras

from nlptasks.applications.conditional.conditions import Conditions
from nlptasks.applications.encoder_head import EncoderWithHead
from nlptasks.core.transformer import Transformer


def conditional_model(transformer: Transformer, conditions: Conditions) -> EncoderWithHead:
    """A causal Transformer with a masked-LM head, together with fresh embeddings of the labels."""
    return EncoderWithHead(transformer, condition_tables(conditions), dropout=0.0)


def condition_tables(conditions: Conditions) -> dict[str, keras.layers.Layer]:
    """An embedding for the labels of each column; row 0 (no label) is never used. Vectors start at length 1."""
    if conditions.size is None:
        return {}
    normal = keras.initializers.RandomNormal(stddev=conditions.label_size**-0.5)
    layers = {}
    for j, names in enumerate(conditions.labels.values()):
        table = keras.layers.Embedding(1 + len(names), conditions.label_size, normal, name=f"condition_{j}")
        table.build()
        layers[f"condition_{j}"] = table
    return layers
