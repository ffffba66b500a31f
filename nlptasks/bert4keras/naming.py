"""bert4keras' names of weights: `Transformer-0-FeedForward-Norm/gamma`, where ours are paths in the Transformer."""

from typing import Any


def name_weights(layer: Any) -> None:
    """Remembers for each weight of a layer what it is called there; the first layer that holds it counts."""
    for weight in layer.weights:
        if not hasattr(weight, "bert4keras_name"):
            weight.bert4keras_name = f"{layer.name}/{weight.path.split('/', 1)[-1]}:0"


def old_name(weight: Any) -> str:
    """The name that bert4keras' optimizers look at."""
    return getattr(weight, "bert4keras_name", None) or f"{weight.path}:0"
