"""`pytorch_model.bin`: a pickle, of which torch's weights-only loading reads tensors and runs nothing else."""

from pathlib import Path

import numpy as np

from nlptasks.backend.packages import require_packages
from nlptasks.errors import UserError


def read_torch(path: str | Path) -> dict[str, np.ndarray]:
    """Name -> array, halves as float32.

    Raises:
        MissingPackageError: torch is not installed.
        UserError: the file is damaged, holds anything but tensors, or torch is older than 2.6, whose weights-only
            loading could be led to run code.
    """
    require_packages("torch")
    import torch

    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6):
        raise UserError("{path}: reading it safely takes torch 2.6. Received: {v}.", path=path, v=torch.__version__)
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
        return {name: (t.float() if t.is_floating_point() else t).numpy() for name, t in tensors.items()}
    except Exception as error:  # torch raises a type of its own for each kind of damage
        message = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            "{path}: not a file of weights alone ({message}); copy it again.", path=path, message=message
        ) from None
