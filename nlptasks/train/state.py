"""Everything that a training run needs to continue as if it had never stopped, in one file."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from nlptasks.errors import UserError
from nlptasks.files import atomic_path


@dataclass
class Progress:
    """The progress of a run; the order of the data follows from the seed and `epoch`."""

    epoch: int = 0
    batch: int = 0
    """number of finished batches of this epoch"""
    loss_sum: float = 0.0
    """sum of the losses of those batches"""
    best: float = float("-inf")
    seconds: float = 0.0
    history: list[dict] = field(default_factory=list)


def save_state(path: str | Path, model: keras.Model, optimizer: keras.optimizers.Optimizer, progress: Progress) -> None:
    """Writes weights, random state, optimizer slots and progress, completely or not at all."""
    tensors = {name: np.array(variable.value, order="C") for name, variable in _variables(model, optimizer).items()}
    metadata = {"progress": json.dumps(dataclasses.asdict(progress))}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def load_state(path: str | Path, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Progress:
    """Restores what `save_state` wrote; the options of the run must be compared before (see `record.open_run`).

    Returns:
        The progress of the run.

    Raises:
        UserError: the file is damaged.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            progress = Progress(**json.loads(file.metadata()["progress"]))
            for name, variable in _variables(model, optimizer).items():
                variable.assign(file.get_tensor(name))
    except (SafetensorError, OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise UserError(
            "{path}: not a readable training state ({error}); start anew in another {field:output}.",
            path=path,
            error=error,
        ) from None
    return progress


def _variables(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    numbered = {f"model.{i}": variable for i, variable in enumerate(model.variables)}
    numbered |= {f"optimizer.{i}": variable for i, variable in enumerate(optimizer.variables)}
    # what a model keeps outside of its variables (see applications/similarity/table.py)
    return numbered | {f"table.{i}": table for i, table in enumerate(getattr(model, "host_tables", ()))}
