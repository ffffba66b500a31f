"""Graphs whose matrix products compute in 8 bits, by onnxruntime's own dynamic quantization."""

import logging
import tempfile
from pathlib import Path

import onnx

PRODUCTS = ["MatMul", "Gemm"]
"""what is quantized; tables of embeddings stay as they are"""


def quantized(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with the weights of its products in 8 bits, one scale a column; inputs are scaled as they come.

    Weights take 7 of the 8 bits, since processors without VNNI add two products in 16 bits.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it recommends a step that is for other graphs
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "quantized.onnx"
            quantize_dynamic(
                graph,
                path,
                op_types_to_quantize=PRODUCTS,
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
                extra_options={"MatMulConstBOnly": True},
            )
            return onnx.load(path)
    finally:
        logger.setLevel(level)
