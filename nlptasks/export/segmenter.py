"""The segmentation network as an ONNX graph.

Legend: B batch, T unit, C channels, K tags (s, b, m, e).
"""

import dataclasses
from typing import Any

import numpy as np

from nlptasks.export.graph import Graph
from nlptasks.export.networks import BATCH, LENGTH
from nlptasks.export.writing import Exported

PAD = NO_PAIR = 0
"""of units and of pairs, as in the vocabulary of a segmenter"""


def segmenter(application: Any) -> Exported:
    """Unit ids (B, T), pair ids (B, T + 1) and a standard for each row -> scores of the tags (B, T, K)."""
    runtime = application.runtime
    config, arrays, graph = runtime.config, runtime.arrays, Graph("segmenter")
    unit_ids = graph.input("unit_ids", "int32", [BATCH, LENGTH])
    pair_ids = graph.input("pair_ids", "int32", [BATCH, "pairs"]) if config.pair_size else ""
    standard_ids = graph.input("standard_ids", "int32", [BATCH])

    def looked_up(ids: str, table: str, padding: int) -> tuple[str, str]:
        """Embeddings (B, C, T), 0 at padding, and 1 at what is none (B, 1, T)."""
        real = graph.op("Not", graph.op("Equal", ids, graph.number(padding, "int32")))
        real = graph.op("Unsqueeze", graph.cast(real, "float32"), graph.ints(1))
        found = graph.op("Transpose", graph.op("Gather", graph.weight(table, arrays[table]), ids), perm=[0, 2, 1])
        return graph.op("Mul", found, real), real

    def convolved(x: str, name: str) -> str:
        kernel = np.asarray(arrays[name], "float32")
        before = 0 if len(kernel) == 1 else 1
        weight = graph.weight(name, kernel.transpose(2, 1, 0))
        return graph.op("Conv", x, weight, pads=[before, len(kernel) - 1 - before])

    def bias(name: str) -> str:
        chosen = graph.op("Gather", graph.weight(name, arrays[name]), standard_ids)
        return graph.op("Unsqueeze", chosen, graph.ints(2))

    units, real = looked_up(unit_ids, "unit", PAD)
    x = convolved(units, "from_units")
    if config.pair_size:
        pairs = convolved(looked_up(pair_ids, "pair", NO_PAIR)[0], "from_pairs")
        x = graph.op("Add", x, graph.slice(pairs, 0, graph.size(unit_ids, 1), 2))
    x = graph.op("Mul", graph.op("Relu", graph.op("Add", x, bias("bias.0"))), real)
    for i in range(1, len(config.channels)):
        higher = graph.op("Relu", graph.op("Add", convolved(x, f"conv.{i}"), bias(f"bias.{i}")))
        x = graph.op("Mul", graph.op("Add", x, higher) if config.residual else higher, real)
    scores = graph.op("Transpose", graph.op("Add", convolved(x, "head"), bias("head_bias")), perm=[0, 2, 1])
    graph.output("scores", scores, "float32", [BATCH, LENGTH, 4])
    return Exported({"model": graph.model()}, None, dataclasses.asdict(config), runtime.vocab.to_arrays())
