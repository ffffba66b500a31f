"""The one folder that names a backend: compiled programs and steps, many devices, and the start of a command.

    from nlptasks.backend import compile_function, compile_train_step, use_mesh

`tensorflow.py` and `jax.py` offer the same functions; the one of Keras' backend is imported when the first of them is
asked for, the other one never. Importing this package alone imports neither Keras nor a backend.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nlptasks.backend.jax import apply_adam
    from nlptasks.backend.mesh import over_devices, use_mesh
    from nlptasks.backend.programs import Tensor, TrainStep
    from nlptasks.backend.tensorflow import (
        compile_function,
        compile_train_step,
        dense,
        draw_shorts,
        fused_attention,
        gradient_rows,
        one_program,
        put_rows,
        read,
        recomputed,
        run_one,
        set_seed,
        take_rows,
        update_if,
        value_and_gradient,
    )

__all__ = [
    "Tensor",
    "TrainStep",
    "apply_adam",
    "compile_function",
    "compile_train_step",
    "dense",
    "draw_shorts",
    "fused_attention",
    "gradient_rows",
    "one_program",
    "over_devices",
    "put_rows",
    "read",
    "recomputed",
    "run_one",
    "set_seed",
    "take_rows",
    "update_if",
    "use_mesh",
    "value_and_gradient",
]
_SHARED = {"Tensor": "programs", "TrainStep": "programs", "over_devices": "mesh", "use_mesh": "mesh"}
_BACKENDS = ("tensorflow", "jax")


def _chosen() -> str:
    """The module of the backend that Keras runs on."""
    import keras

    backend = keras.backend.backend()
    if backend not in _BACKENDS:
        raise ValueError(
            "nlptasks runs on TensorFlow and JAX: set the environment variable KERAS_BACKEND to tensorflow or jax. "
            f"Received: KERAS_BACKEND={backend}."
        )
    return backend


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module: ModuleType = importlib.import_module(f"{__name__}.{_SHARED.get(name) or _chosen()}")
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
