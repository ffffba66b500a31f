"""Everything a training run needs to go on as if it had never stopped, in one file."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from nlptasks.files import atomic_path


@dataclass
class Progress:
    """Where a run stands; the order of the data follows from the seed and `epoch`."""

    epoch: int = 0
    batch: int = 0
    """batches done in this epoch"""
    loss_sum: float = 0.0
    """over those batches"""
    best: float = float("-inf")
    seconds: float = 0.0
    history: list[dict] = field(default_factory=list)


def save_state(
    path: str | Path, model: keras.Model, optimizer: keras.optimizers.Optimizer, progress: Progress, options: dict
) -> None:
    """Weights, random state, optimizer slots and progress, whole or not at all."""
    tensors = {name: np.array(variable.value, order="C") for name, variable in _variables(model, optimizer).items()}
    metadata = {"progress": json.dumps(dataclasses.asdict(progress)), "options": json.dumps(options, sort_keys=True)}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def load_state(path: str | Path, model: keras.Model, optimizer: keras.optimizers.Optimizer, options: dict) -> Progress:
    """Restores what `save_state` wrote.

    Raises:
        ValueError: the file is damaged, or the run was started with other options; the line names one.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata()
            former = json.loads(metadata["options"])
            for name in sorted(former.keys() | options.keys()):
                if former.get(name) != options.get(name):
                    raise ValueError(
                        f"{path}: the run was started with {name}={former.get(name)!r}, "
                        f"now {name}={options.get(name)!r}; "
                        "resume with the same options, or start anew in another --output."
                    )
            for name, variable in _variables(model, optimizer).items():
                variable.assign(file.get_tensor(name))
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not a readable training state ({error}); start anew in another --output.") from None
    return Progress(**json.loads(metadata["progress"]))


def _variables(model, optimizer):
    numbered = {f"model.{i}": variable for i, variable in enumerate(model.variables)}
    numbered |= {f"optimizer.{i}": variable for i, variable in enumerate(optimizer.variables)}
    # what a model keeps outside of its variables (see applications/similarity/table.py)
    return numbered | {f"table.{i}": table for i, table in enumerate(getattr(model, "host_tables", ()))}
