"""Builds ONNX graphs operation by operation.

The graphs are made from our weights, and not traced from a program: each block becomes the operations that
onnxruntime knows how to merge, batch and length stay free, and neither TensorFlow nor a converter is needed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
"""the first with Gelu"""
IR_VERSION = 9
FLOAT, INT32, BOOL = TensorProto.FLOAT, TensorProto.INT32, TensorProto.BOOL
_TYPES = {"float32": FLOAT, "int32": INT32, "bool": BOOL}
Axes = Sequence[int | str]
"""a number, or a name where the size is free"""


class Graph:
    """A graph that grows. Values are named by strings.

        graph = Graph("double")
        x = graph.input("x", "float32", ["rows", 3])
        graph.output("y", graph.op("Add", x, x), "float32", ["rows", 3])
        graph.model()

    Args:
        name: of the graph.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, dtype: str, axes: Axes) -> str:
        """An argument of the graph."""
        self._inputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], axes))
        return name

    def output(self, name: str, value: str, dtype: str, axes: Axes) -> None:
        """A result of the graph, under a name of its own."""
        self._nodes.append(helper.make_node("Identity", [value], [name], name=f"out.{name}"))
        self._outputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], axes))

    def weight(self, name: str, array: np.ndarray) -> str:
        """A float32 array of the model, stored once under its name."""
        if name not in self._weights:
            self._weights[name] = numpy_helper.from_array(np.ascontiguousarray(array, "float32"), name)
        return name

    def ints(self, *values: int) -> str:
        """A constant int64 vector."""
        return self._constant(f"ints.{'_'.join(map(str, values))}", np.array(values, "int64"))

    def number(self, value: float | int | bool, dtype: str = "float32") -> str:
        """A constant scalar."""
        return self._constant(f"{dtype}.{value}", np.array(value, dtype))

    def _constant(self, name: str, array: np.ndarray) -> str:
        if name not in self._weights:
            self._weights[name] = numpy_helper.from_array(array, name)
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """One operation with one result; returns the name of the result."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """One operation with `count` results."""
        name = f"{kind}.{len(self._nodes)}"
        outputs = [name if count == 1 else f"{name}.{i}" for i in range(count)]
        self._nodes.append(helper.make_node(kind, list(inputs), outputs, name=name, **attributes))
        return outputs

    def model(self) -> onnx.ModelProto:
        """The graph as a model, checked."""
        graph = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, list(self._weights.values()))
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="nlptasks")
        onnx.checker.check_model(model)
        return model

    # what several blocks write in the same way

    def dense(self, x: str, name: str, kernel: np.ndarray, bias: np.ndarray) -> str:
        """x W + b, where W is (in, out)."""
        product = self.op("MatMul", x, self.weight(f"{name}.kernel", kernel))
        return self.op("Add", product, self.weight(f"{name}.bias", bias))

    def cast(self, x: str, dtype: str) -> str:
        """x as another type."""
        return self.op("Cast", x, to=_TYPES[dtype])

    def size(self, x: str, axis: int) -> str:
        """The size of an axis, int64 (1,)."""
        return self.op("Shape", x, start=axis, end=axis + 1)

    def count(self, size_1: str) -> str:
        """0, 1, ... below a size: int32."""
        scalar = self.op("Squeeze", size_1, self.ints(0))
        found = self.op("Range", self.number(0, "int64"), scalar, self.number(1, "int64"))
        return self.cast(found, "int32")

    def slice(self, x: str, start: int, stop: int | str, axis: int) -> str:
        """A stretch of an axis; `stop` may be a value (1,)."""
        stop = self.ints(stop) if isinstance(stop, int) else stop
        return self.op("Slice", x, self.ints(start), stop, self.ints(axis))
