"""What the light base does not bring: packages that some jobs need, and the one line where they are missing.

Nothing is imported to find out.
"""

import contextlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from nlptasks.errors import MissingPackageError

PACKAGES = {
    "keras": "keras>=3.12,<4",
    "h5py": "h5py>=3.11",
    "matplotlib": "matplotlib>=3.8",
    "tensorflow": "tensorflow>=2.18,<3",
    "jax": "jax>=0.6",
    "grain": "grain>=0.2.9",
    "array_record": "array-record>=0.7",
    "orbax.checkpoint": "orbax-checkpoint>=0.11.10",
    "tensorboardX": "tensorboardX>=2.6",
    "jieba": "jieba>=0.42.1,<0.43",
    "usearch": "usearch>=2.17,<3",
    "faiss": "faiss-cpu>=1.8",
    "apache_beam": "apache-beam>=2.60",
    "torch": "torch>=2.6,<=2.13.0",
    "huggingface_hub": "huggingface_hub>=0.30",
    "modelscope": "modelscope>=1.20",
    "infomap": "infomap>=2.16,<3",
    "fastapi": "fastapi>=0.115,<1",
    "uvicorn": "uvicorn>=0.37,<1",
    "prometheus_client": "prometheus-client>=0.21,<1",
    "onnx": "onnx>=1.17,<2",
    "onnxruntime": "onnxruntime>=1.20,<2",
    "rouge_score": "rouge-score>=0.1.2",
    "sacrebleu": "sacrebleu>=2.4,<3",
    "rouge": "rouge>=1.0.1",
    "nltk": "nltk>=3.9",
}
"""module -> what pip installs; pyproject.toml has the same bounds"""
KERAS = ("keras", "h5py", "matplotlib")
"""what every network needs, beside a backend"""
BACKENDS = ("tensorflow", "jax")
"""the first one that is installed is used where nothing else is said"""
BACKEND_VARIABLE = "KERAS_BACKEND"


def is_installed(module: str) -> bool:
    """Whether a module can be found."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # a parent package is missing, or a module that is none
        return False


def require_packages(*modules: str) -> None:
    """Refuses to go on without these modules; `keras` also asks for the backend that Keras would take.

    Raises:
        MissingPackageError: naming the packages, as pip installs them.
    """
    wanted = list(modules)
    if "keras" in wanted and (backend := chosen_backend()) in PACKAGES:
        wanted.append(backend)
    if missing := [module for module in dict.fromkeys(wanted) if not is_installed(module)]:
        raise _missing(missing)


@contextlib.contextmanager
def naming_packages() -> Iterator[None]:
    """Inside, an import that fails for want of one of `PACKAGES` raises `MissingPackageError`."""
    try:
        yield
    except ModuleNotFoundError as error:
        if isinstance(error, MissingPackageError):
            raise
        module = next((m for m in PACKAGES if m.split(".")[0] == (error.name or "").split(".")[0]), None)
        if module is None:
            raise
        if module in (*KERAS, *BACKENDS):
            require_packages(*KERAS)
        raise _missing([module]) from None


def chosen_backend() -> str:
    """The backend that Keras runs on, or would if it were imported now."""
    if BACKEND_VARIABLE in os.environ:
        return os.environ[BACKEND_VARIABLE]
    if (keras := sys.modules.get("keras")) is not None:
        return keras.backend.backend()
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    try:
        return str(json.loads((home / "keras.json").read_text(encoding="utf-8"))["backend"])
    except (OSError, ValueError, KeyError, TypeError):  # as Keras reads it
        return BACKENDS[0]


def choose_backend() -> None:
    """Sets KERAS_BACKEND to a backend that is installed, where nobody has set it and Keras would take one that is not.

    Call it before Keras is imported.
    """
    if BACKEND_VARIABLE in os.environ or sys.modules.get("keras") is not None or is_installed(chosen_backend()):
        return
    if installed := [backend for backend in BACKENDS if is_installed(backend)]:
        os.environ[BACKEND_VARIABLE] = installed[0]


def _missing(modules: list[str]) -> MissingPackageError:
    names = [PACKAGES[module].split(">")[0] for module in modules]
    hint = ""
    if (backend := modules[-1]) in BACKENDS and BACKEND_VARIABLE not in os.environ:
        other = BACKENDS[1 - BACKENDS.index(backend)]
        hint = f" (or {other} in place of {backend}, with {BACKEND_VARIABLE}={other})"
    return MissingPackageError(
        "{names} and {last} are not installed, and this needs them: pip install {packages}{hint}."
        if len(names) > 1
        else "{last} is not installed, and this needs it: pip install {packages}{hint}.",
        names=", ".join(names[:-1]),
        last=names[-1],
        packages=" ".join(f'"{PACKAGES[module]}"' for module in modules),
        hint=hint,
    )
