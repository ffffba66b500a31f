"""Writes an application as graphs with its tokenizer and settings, whole or not at all."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from safetensors.numpy import save_file

from nlptasks.errors import UserError
from nlptasks.export.graph import OPSET
from nlptasks.export.quantizing import quantized
from nlptasks.files import new_folder, write_text
from nlptasks.text import TextTokenizer

CONFIG, ARRAYS = "config.json", "arrays.safetensors"


class Exported(NamedTuple):
    """What of an application is written.

    Attributes:
        graphs: file name without its ending -> graph.
        tokenizer: of the application; None: it has none.
        settings: what the light runtime reads; "task" and "export" are added.
        arrays: what is computed on NumPy beside the graphs.
    """

    graphs: dict[str, onnx.ModelProto]
    tokenizer: TextTokenizer | None
    settings: dict[str, Any]
    arrays: dict[str, np.ndarray]


def write_onnx(application: Any, output: Path, quantize: str | None = None) -> list[str]:
    """Writes the graphs of an application, its tokenizer and its settings.

    Args:
        application: what `nlptasks.load` returns.
        output: a new or empty folder.
        quantize: "int8": the products compute in 8 bits; None: as they are.

    Returns:
        The names of the files.

    Raises:
        UserError: an application that cannot be exported, or a folder that holds something.
    """
    made = exporter_of(application)(application)
    about = {"format": "onnx", "opset": OPSET, "quantize": quantize}
    with new_folder(output) as folder:
        for name, graph in made.graphs.items():
            onnx.save(graph if quantize is None else quantized(graph), folder / f"{name}.onnx")
        if made.tokenizer is not None:
            made.tokenizer.save(folder)
        write_arrays(folder, made.arrays)
        write_config(folder, {"task": application.task, "export": about} | made.settings)
        return sorted(path.name for path in folder.iterdir())


def write_arrays(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes what is computed beside the network, if there is anything."""
    if arrays:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / ARRAYS)


def write_config(folder: Path, settings: dict[str, Any]) -> None:
    """Writes the settings of an exported application."""
    write_text(folder / CONFIG, json.dumps({"nlptasks": settings}, ensure_ascii=False, indent=1) + "\n")


def exporter_of(application: Any) -> Callable[[Any], Exported]:
    """What makes the graphs of an application.

    Raises:
        UserError: nothing does.
    """
    from nlptasks.export import applications as exporters

    found = exporters.EXPORTERS.get(getattr(application, "task", ""))
    if found is None:
        raise UserError(
            "{field:model}: {name} has no network that could be exported.",
            name=type(application).__name__,
        )
    return found
