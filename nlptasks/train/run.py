"""What every run does first."""

import random
import signal
from types import FrameType

import keras
import numpy as np

PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def start_run(seed: int, precision: str = "float32") -> None:
    """Seeds every source of randomness and sets the precision; call it before any layer exists.

    Args:
        precision: "float32", or "bfloat16": activations and matrix products in bfloat16, weights in float32.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {tuple(PRECISIONS)}. Received: precision={precision!r}.")
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - libraries draw from it
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(PRECISIONS[precision])


class StopRequested:
    """Within its `with` block, Ctrl-C and SIGTERM only set `requested`, so that no step is left half done.

    A second Ctrl-C interrupts at once.
    """

    def __init__(self) -> None:
        self.requested = False
        self._former: dict[int, object] = {}

    def __enter__(self) -> "StopRequested":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
