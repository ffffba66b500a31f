"""What is written of each application.

Legend: B batch, T position, D hidden, C label, K tag.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from nlptasks.core.config import TransformerConfig
from nlptasks.errors import UserError
from nlptasks.export.graph import Graph
from nlptasks.export.networks import BATCH, LENGTH, decoding_graphs, reading
from nlptasks.export.segmenter import segmenter
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
    network, token_ids, segment_ids = reading(graph, application.model.transformer)
    hidden = network.hidden(token_ids, segment_ids)
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


def reader(application: Any) -> Exported:
    """The graphs of a prefix and of a step; or, for spans, the logits of starts and ends (B, T).

    Raises:
        UserError: a reader by masked tokens.
    """
    settings = {"method": application.method, "threshold": application.threshold, "sizes": {}}
    settings |= dataclasses.asdict(application.lengths)
    if application.method == "mlm":
        raise UserError("{field:model}: a reader by masked tokens is not exported; seq2seq and span readers are.")
    if application.method == "seq2seq":
        first, following = decoding_graphs(application.model, 1)
        settings["sizes"] = _sizes(application.model.config)
        return Exported({"prefix": first, "step": following}, application.tokenizer, settings, {})
    graph = Graph("reader")
    network, token_ids, segment_ids = reading(graph, application.model.transformer)
    hidden = network.hidden(token_ids, segment_ids)
    logits = graph.dense(hidden, "span", *_dense(application.model.head_layers["span"]))
    for name, part in zip(("starts", "ends"), graph.ops("Split", 2, logits, axis=2, num_outputs=2), strict=True):
        graph.output(name, graph.op("Squeeze", part, graph.ints(2)), "float32", [BATCH, LENGTH])
    return Exported({"model": graph.model()}, application.tokenizer, settings, {})


def generator(application: Any) -> Exported:
    """The graphs of a prefix and of a step, and the tables of the labels."""
    transformer, conditions = application.model.transformer, application.conditions
    first, following = decoding_graphs(transformer, 0)
    settings = {"seq_length": application.seq_length, "sizes": _sizes(transformer.config)}
    settings["conditions"] = dataclasses.asdict(conditions)
    tables = application.model.head_layers
    arrays = {name: ops.convert_to_numpy(layer.embeddings) for name, layer in tables.items()}
    return Exported({"prefix": first, "step": following}, application.tokenizer, settings, arrays)


def encoder(application: Any) -> Exported:
    """Token ids -> vectors (B, D) of length 1; of a Transformer only.

    Raises:
        UserError: the others run on NumPy as they are.
    """
    model = application.model
    if hasattr(model, "calibration"):
        raise UserError("{field:model}: a calibrated encoder is not exported; export the one that it was made from.")
    if model.encoder != "transformer":
        raise UserError(
            "{field:model}: a sentence encoder of kind {kind} runs on NumPy alone: use its directory as it is.",
            kind=model.encoder,
        )
    graph = Graph("encoder")
    network, *inputs = reading(graph, model.network.transformer)
    pooled = _pooled(graph, network, inputs, model.network.pooling)
    length = graph.op("Sqrt", graph.op("ReduceSumSquare", pooled, graph.ints(1), keepdims=1))
    unit = graph.op("Div", pooled, graph.op("Max", length, graph.number(1e-9)))
    graph.output("vectors", unit, "float32", [BATCH, model.vector_size])
    settings = {"encoder": "transformer", "seq_length": model.seq_length, "vector_size": model.vector_size}
    settings |= {"hybrid_weight": application.hybrid_weight}
    return Exported({"model": graph.model()}, model.tokenizer, settings, {})


def _sizes(config: TransformerConfig) -> dict[str, int | None]:
    """What decoding reads of the config."""
    names = ("num_layers", "num_heads", "key_size", "value_size", "pad_id", "position_reach", "vocab_size")
    return {name: getattr(config, name) for name in names}


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
    "reading_comprehension": reader,
    "conditional_generation": generator,
    "sentence_similarity": encoder,
    "word_segmentation": segmenter,
}
"""task -> what makes its graphs"""
