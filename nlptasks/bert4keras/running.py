"""Runs a script under the old names: in its process, `bert4keras` and `keras` are those of this package."""

import importlib
import importlib.abc
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

MODULES = ("backend", "layers", "models", "tokenizers", "snippets", "optimizers")
"""the modules of bert4keras"""
_KERAS = ("backend", "initializers", "layers", "models", "optimizers", "utils")
_REST = ("activations", "applications", "callbacks", "constraints", "datasets", "losses", "metrics", "regularizers")
WORKER = "nlptasks.bert4keras.worker"
SCRIPT = "NLPTASKS_BERT4KERAS_SCRIPT"
"""the environment variable that tells a process which script started it"""


def install() -> None:
    """Puts the old names into `sys.modules`. What imports `keras` from now on gets the namespace of this package."""
    package = importlib.import_module("nlptasks.bert4keras")
    found: dict[str, Any] = {"bert4keras": package}
    for name in MODULES:
        found[f"bert4keras.{name}"] = importlib.import_module(f"nlptasks.bert4keras.{name}")
        setattr(package, name, found[f"bert4keras.{name}"])
    for name in _REST:  # Keras' own, under their names before `keras` becomes another module
        importlib.import_module(f"keras.{name}")
    namespace = importlib.import_module("nlptasks.bert4keras.keras")
    found["keras"] = namespace
    for name in _KERAS:
        found[f"keras.{name}"] = getattr(namespace, name)
    sys.modules.update(found)


class Script(importlib.abc.SourceLoader):
    """Loads a script without writing compiled code beside it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def get_filename(self, fullname: str) -> str:
        return self.path

    def get_data(self, path: Any) -> bytes:
        return Path(path).read_bytes()


def run(script: str, arguments: Sequence[str] = ()) -> None:
    """Runs a script as `python SCRIPT ARGS` would, under the old names.

    Its folder is `sys.path[0]`; processes that it starts see the same names.
    """
    install()
    sys.argv = [script, *arguments]
    sys.path[0] = str(Path(script).resolve().parent)
    main = ModuleType("__main__")
    main.__file__ = script
    # a process started anew imports this in place of the script
    os.environ[SCRIPT] = str(Path(script).resolve())
    main.__spec__ = importlib.util.find_spec(WORKER)
    sys.modules["__main__"] = main
    Script(script).exec_module(main)
