"""What every run does first."""

import keras

from nlptasks.backend import set_seed, use_mesh

PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def start_run(seed: int, precision: str = "float32", mesh: str | None = None) -> None:
    """Seeds all random draws of the library, and sets precision and devices. Call it before any layer exists.

    Args:
        precision: "float32", or "bfloat16": activations and matrix products in bfloat16, weights in float32.
        mesh: devices to train on, such as `data=8` (see `nlptasks.backend.mesh`); None: one device.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {tuple(PRECISIONS)}. Received: precision={precision!r}.")
    set_seed(seed)
    keras.config.set_dtype_policy(PRECISIONS[precision])
    if mesh is not None:
        use_mesh(mesh)
