"""Everything that a training run needs to continue as if it had never stopped, in one file."""

import dataclasses
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from nlptasks.errors import UserError
from nlptasks.files import atomic_path

RATE = 1
"""place of a constant rate among the variables of an optimizer, behind the number of updates"""


@dataclass
class Progress:
    """The progress of a run; the order of the data follows from the seed and `epoch`."""

    epoch: int = 0
    batch: int = 0
    """number of finished batches of this epoch"""
    loss_sum: float = 0.0
    """sum of the losses of those batches"""
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
            known = dict(json.loads(file.metadata()["progress"]))
            known.pop("best", None)  # of older versions: it follows from the history
            progress = Progress(**known)
            stored = _with_rate_of(optimizer, set(file.keys()))
            for name, variable in _variables(model, optimizer).items():
                if (there := stored(name)) is not None:
                    variable.assign(file.get_tensor(there))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            "{path}: not a readable training state ({error}); start anew in another {field:output}.",
            path=path,
            error=error,
        ) from None
    return progress


def _with_rate_of(optimizer: keras.optimizers.Optimizer, stored: Collection[str]) -> Callable[[str], str | None]:
    """Under which name a file has a variable; None for the rate, which is what the options say now.

    A constant rate is a variable of the optimizer, one that follows a schedule is none: where a run goes on under
    another schedule, those behind it have other numbers in the file.
    """
    names = [f"optimizer.{i}" for i, variable in enumerate(optimizer.variables) if variable is not _rate(optimizer)]
    found = [f"optimizer.{i}" for i in range(sum(name.startswith("optimizer.") for name in stored))]
    if len(found) == len(names) + 1:
        del found[RATE]
    renamed: dict[str, str | None] = dict(zip(names, found, strict=True))
    return lambda name: renamed.get(name) if name.startswith("optimizer.") else name


def _rate(optimizer: keras.optimizers.Optimizer) -> keras.Variable | None:
    """The variable of a constant rate."""
    rate = optimizer._learning_rate
    return rate if isinstance(rate, keras.Variable) else None


def _variables(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    numbered = {f"model.{i}": variable for i, variable in enumerate(model.variables)}
    numbered |= {f"optimizer.{i}": variable for i, variable in enumerate(optimizer.variables)}
    # what a model keeps outside of its variables (see applications/similarity/table.py)
    return numbered | {f"table.{i}": table for i, table in enumerate(getattr(model, "host_tables", ()))}
