"""Graphs as callables."""

from pathlib import Path

import onnx

from nlptasks.runtime.graphs import open_graph


def opened(model: onnx.ModelProto, path: Path):
    """A graph, written and opened again."""
    onnx.save(model, path)
    return open_graph(path)
