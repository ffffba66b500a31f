"""Exported graphs, opened on onnxruntime."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from nlptasks.backend.packages import naming_packages

QUIET = 3
"""of onnxruntime's levels: errors only"""


class OpenGraph:
    """An exported graph.

        run = open_graph("exported/model.onnx")
        (logits,) = run(token_ids, segment_ids)

    Args:
        session: of onnxruntime.
    """

    def __init__(self, session: Any) -> None:
        self.session = session
        self.inputs = [each.name for each in session.get_inputs()]
        self.outputs = [each.name for each in session.get_outputs()]

    def __call__(self, *arrays: np.ndarray) -> list[np.ndarray]:
        """The results for arguments in the order of the inputs."""
        return self.session.run(None, dict(zip(self.inputs, arrays, strict=True)))


def open_graphs(directory: Path, *names: str) -> list[OpenGraph]:
    """Opens several graphs of a folder at the same time; arguments and errors as `open_graph`."""
    with ThreadPoolExecutor(len(names)) as pool:
        return list(pool.map(open_graph, [directory / f"{name}.onnx" for name in names]))


def open_graph(path: str | Path, threads: int = 0) -> OpenGraph:
    """Opens a graph on the processor.

    Args:
        path: an ONNX file.
        threads: how many to compute with; 0: one for each core.

    Raises:
        FileNotFoundError, ValueError: there is no such file, or it is damaged.
        MissingPackageError: onnxruntime is not installed.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file; give a folder that `nlptasks export` has written.")
    with naming_packages():
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    options.intra_op_num_threads = threads
    try:
        return OpenGraph(onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]))
    except Exception as error:  # onnxruntime's errors have no common class but this
        if type(error).__module__.split(".")[0] != "onnxruntime":
            raise
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path}: not a readable ONNX file ({reason}); export the model again.") from None
