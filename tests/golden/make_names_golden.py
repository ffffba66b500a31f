"""Writes tests/golden/bert4keras_names.json: the public names of bert4keras' six modules with their signatures.

Run it in bert4keras' own environment (CONTRIBUTING.md); on TensorFlow 2.12 its optimizers need Keras' legacy class.
"""

import importlib
import inspect
import json
import os
from pathlib import Path

os.environ["TF_KERAS"] = "1"
MODULES = ("backend", "snippets", "tokenizers", "layers", "optimizers", "models")


def signature(value: object) -> str | None:
    try:
        return str(inspect.signature(value))
    except (TypeError, ValueError):
        return None


def members(cls: type) -> dict[str, str]:
    """The public members that bert4keras defines, of the class and its bases."""
    found = {}
    for name in dir(cls):
        owner = next((c for c in cls.__mro__ if name in vars(c)), None)
        if name.startswith("_") or owner is None or not owner.__module__.startswith("bert4keras"):
            continue
        value = vars(owner)[name]
        value = value.__func__ if isinstance(value, staticmethod | classmethod) else value
        found[name] = "property" if isinstance(value, property) else signature(value) or "attribute"
    return found


def main() -> None:
    import tensorflow as tf

    tf.keras.optimizers.Optimizer = tf.keras.optimizers.legacy.Optimizer
    golden, first = {}, {}
    for module in MODULES:
        loaded = importlib.import_module(f"bert4keras.{module}")
        loaded = getattr(loaded, "module", loaded) if module == "snippets" else loaded
        golden[module] = {}
        for name in sorted(n for n in vars(loaded) if not n.startswith("_")):
            value = vars(loaded)[name]
            own = getattr(value, "__module__", "").startswith("bert4keras")
            if inspect.ismodule(value) or (callable(value) and not own):
                continue
            if name in first and name not in ("custom_objects", "AdaFactor"):
                golden[module][name] = {"from": first[name]}
                continue
            first[name] = module
            entry = {"kind": "class" if inspect.isclass(value) else "function" if callable(value) else "value"}
            if inspect.isclass(value):
                entry |= {"signature": signature(value.__init__), "members": members(value)}
            elif callable(value):
                entry["signature"] = signature(value)
            golden[module][name] = {key: v for key, v in entry.items() if v is not None}
    path = Path(__file__).with_name("bert4keras_names.json")
    path.write_text(json.dumps(golden, indent=1, sort_keys=True), encoding="utf-8")


if __name__ == "__main__":
    main()
