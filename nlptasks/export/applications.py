"""What is written of each application.

Legend: B batch, T position, D hidden, C label, K tag.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from nlptasks.export.graph import Graph
from nlptasks.export.networks import BATCH, LENGTH, reading
from nlptasks.export.writing import Exported


def classifier(application: Any) -> Exported:
    """Token ids and segment ids -> logits of the labels (B, C)."""
    graph = Graph("classifier")
    network, *inputs = reading(graph, application.model.transformer)
    pooled = _pooled(graph, network, inputs, application.pooling)
    logits = graph.dense(pooled, "classifier", *_dense(application.model.head_layers["classifier"]))
    graph.output("logits", logits, "float32", [BATCH, len(application.labels)])
    settings = {"labels": list(application.labels), "seq_length": application.seq_length}
    settings |= {"multi_label": application.multi_label, "pair": application.pair}
    return Exported({"model": graph.model()}, application.tokenizer, settings, {})


def labeler(application: Any) -> Exported:
    """Token ids and segment ids -> scores of the tags (B, T, K), or what a pointer's products are made of."""
    graph = Graph("labeler")
    network, *inputs = reading(graph, application.model.transformer)
    hidden = network.hidden(*inputs)
    layers, arrays = application.model.head_layers, {}
    settings = {"types": list(application.types), "head": application.head, "seq_length": application.seq_length}
    if application.head == "crf":
        scores = graph.dense(hidden, "tags", *_dense(layers["tags"]))
        graph.output("scores", scores, "float32", [BATCH, LENGTH, 1 + 2 * len(application.types)])
        arrays = dict(zip(("first", "transitions", "last"), application.path_weights(), strict=True))
    else:
        pointer = layers["pointer"]
        settings["head_size"] = pointer.head_size
        if application.head == "global-pointer":
            both = graph.dense(hidden, "pointer", *_dense(pointer.dense))
            width = 2 * pointer.head_size * len(application.types)
            graph.output("both", both, "float32", [BATCH, LENGTH, width])
        else:
            both = graph.dense(hidden, "span", *_dense(pointer.span_dense))
            graph.output("both", both, "float32", [BATCH, LENGTH, 2 * pointer.head_size])
            kinds = graph.dense(both, "type", *_dense(pointer.type_dense))
            graph.output("kinds", kinds, "float32", [BATCH, LENGTH, 2 * len(application.types)])
    return Exported({"model": graph.model()}, application.tokenizer, settings, arrays)


def _pooled(graph: Graph, network: Any, inputs: Any, pooling: str) -> str:
    """The hidden state of the first position, or the mean over real positions: (B, D)."""
    hidden = network.hidden(*inputs)
    if pooling == "first":
        return graph.op("Gather", hidden, graph.number(0, "int64"), axis=1)
    real_BT1 = graph.op("Unsqueeze", graph.cast(network.real(inputs[0]), "float32"), graph.ints(2))
    total = graph.op("ReduceSum", graph.op("Mul", hidden, real_BT1), graph.ints(1), keepdims=0)
    return graph.op("Div", total, graph.op("ReduceSum", real_BT1, graph.ints(1), keepdims=0))


def _dense(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    return ops.convert_to_numpy(layer.kernel), ops.convert_to_numpy(layer.bias)


EXPORTERS: dict[str, Callable[[Any], Exported]] = {
    "text_classification": classifier,
    "sequence_labeling": labeler,
}
"""task -> what makes its graphs"""
