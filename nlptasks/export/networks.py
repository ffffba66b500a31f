"""The graphs of whole networks: what each application runs.

Legend: B batch, T position, D hidden, V vocabulary. Decoding: R prefixes, K continuations of each, P and A slots.
"""

import onnx

from nlptasks.checkpoints.weights import export_weights
from nlptasks.core.transformer import Transformer
from nlptasks.export.graph import Graph
from nlptasks.export.transformer import State, TransformerGraph

BATCH, LENGTH = "batch", "length"


def reading(graph: Graph, transformer: Transformer) -> tuple[TransformerGraph, str, str]:
    """A Transformer in a graph, and its inputs: token ids and segment ids."""
    token_ids = graph.input("token_ids", "int32", [BATCH, LENGTH])
    segment_ids = graph.input("segment_ids", "int32", [BATCH, LENGTH])
    condition = None
    if (size := transformer.config.layer_norm_cond_size) is not None:
        condition = graph.input("condition", "float32", [BATCH, size])
    return TransformerGraph(graph, transformer.config, export_weights(transformer), condition), token_ids, segment_ids


def encoder_graph(transformer: Transformer) -> onnx.ModelProto:
    """Token ids and segment ids -> hidden states (B, T, D)."""
    graph = Graph("encoder")
    network, token_ids, segment_ids = reading(graph, transformer)
    hidden = network.hidden(token_ids, segment_ids)
    graph.output("hidden", hidden, "float32", [BATCH, LENGTH, transformer.config.hidden_size])
    return graph.model()


def decoding_graphs(transformer: Transformer, segment: int) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The graph of prefixes, and that of a step.

    1. Token ids and segment ids -> logits (R, V) of the next token, and the keys and values of each layer.
    2. One token of each continuation, its position, which prefix slots are real, and all keys and values -> logits
       (R x K, V), and the keys and values of what was generated, with those of this token.

    Args:
        segment: segment id of generated tokens.
    """
    return _prefix_graph(transformer), _step_graph(transformer, segment)


def _prefix_graph(transformer: Transformer) -> onnx.ModelProto:
    graph, config = Graph("prefix"), transformer.config
    network, token_ids, segment_ids = reading(graph, transformer)
    states: list[State] = []
    hidden = network.hidden(token_ids, segment_ids, states)
    lengths_B = graph.op("ReduceSum", graph.cast(network.real(token_ids), "int32"), graph.ints(1), keepdims=0)
    first_B = graph.op("Mul", graph.count(graph.size(token_ids, 0)), graph.cast(graph.size(token_ids, 1), "int32"))
    last_B = graph.op("Sub", graph.op("Add", first_B, lengths_B), graph.number(1, "int32"))
    flat_XD = graph.op("Reshape", hidden, graph.ints(-1, config.hidden_size))
    last_B1D = graph.op("Unsqueeze", graph.op("Gather", flat_XD, last_B), graph.ints(1))
    graph.output("logits", network.token_logits(last_B1D), "float32", [BATCH, config.vocab_size])
    for i, (keys, values) in enumerate(states):
        graph.output(f"keys.{i}", keys, "float32", [BATCH, config.num_heads, config.key_size, LENGTH])
        graph.output(f"values.{i}", values, "float32", [BATCH, config.num_heads, LENGTH, config.value_size])
    return graph.model()


def _step_graph(transformer: Transformer, segment: int) -> onnx.ModelProto:
    graph, config = Graph("step"), transformer.config
    heads, width, slots = config.num_heads, "width", "slots"
    token_ids = graph.input("token_ids", "int32", [BATCH, width])
    position = graph.input("position", "int32", [BATCH, 1])
    real = graph.input("real", "bool", [BATCH, LENGTH])
    condition = None
    if config.layer_norm_cond_size is not None:
        condition = graph.input("condition", "float32", [BATCH, config.layer_norm_cond_size])
    sizes = (config.key_size, config.value_size)
    prefix, generated = [], []
    for i in range(config.num_layers):
        keys = graph.input(f"keys.{i}", "float32", [BATCH, heads, config.key_size, LENGTH])
        prefix.append(State(keys, graph.input(f"values.{i}", "float32", [BATCH, heads, LENGTH, config.value_size])))
    for i in range(config.num_layers):
        names = (f"generated_keys.{i}", f"generated_values.{i}")
        shaped = (
            graph.input(name, "float32", [BATCH, heads, width, slots, size])
            for name, size in zip(names, sizes, strict=True)
        )
        generated.append(State(*shaped))
    network = TransformerGraph(graph, config, export_weights(transformer), condition)
    hidden, updated = network.step(token_ids, position, real, segment, prefix, generated)
    graph.output("logits", network.token_logits(hidden), "float32", ["continuations", config.vocab_size])
    for i, state in enumerate(updated):
        for name, value, size in zip(("keys", "values"), state, sizes, strict=True):
            graph.output(f"new_{name}.{i}", value, "float32", [BATCH, heads, width, "slots_now", size])
    return graph.model()
