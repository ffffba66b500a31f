"""What lies in a directory of weights, told by its names. Imports no backend."""

import sys
from pathlib import Path

from nlptasks.files import read_json_object

WEIGHTS, SHARDS, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
BIN = "pytorch_model.bin"
_CONFIGS = (CONFIG, "bert_config.json", "albert_config.json")
_WEIGHTS = (".safetensors", ".index", ".meta")


def google_prefix(path: Path) -> Path | None:
    """The prefix of the TensorFlow checkpoint that a path names, or that stands in a directory without safetensors."""
    if path.is_dir():
        found = [] if list(path.glob("*.safetensors*")) else [p.with_suffix("") for p in path.glob("*.ckpt*.index")]
        return max(found, key=lambda p: (_step(p), p.name), default=None)
    if path.suffix in (".index", ".meta") and Path(f"{path.with_suffix('')}.index").is_file():
        return path.with_suffix("")
    return path if Path(f"{path}.index").is_file() else None


def config_file(path: Path) -> Path:
    """The path of the config of a directory of weights or of a checkpoint in one; another file is the config itself."""
    weights = (
        path.name in (SHARDS, BIN) or path.suffix in _WEIGHTS or (google_prefix(path) is not None and not path.is_dir())
    )
    if not path.is_dir() and not weights:
        return path
    folder = path if path.is_dir() else path.parent
    for name in _CONFIGS:
        if (folder / name).is_file():
            return folder / name
    others = [p for p in sorted(folder.glob("*_config*.json")) if not p.name.startswith(("tokenizer_", "generation_"))]
    if len(others) == 1:
        return others[0]
    raise FileNotFoundError(f"{folder}: holds neither {CONFIG} nor bert_config.json.")


def hidden_size_of(checkpoint: str | Path) -> int | None:
    """The width of the model in a checkpoint; None where its config cannot be read, which loading it will tell."""
    try:
        values = read_json_object(config_file(Path(checkpoint)))
    except (OSError, ValueError):
        return None
    sizes = (values.get(name) for name in ("hidden_size", "d_model", "n_embd"))
    return next((size for size in sizes if isinstance(size, int)), None)


def packages_of(checkpoint: str | Path | None) -> tuple[str, ...]:
    """The modules that reading these weights takes beside Keras: TensorFlow reads its own checkpoints."""
    if checkpoint is None or google_prefix(Path(checkpoint)) is None:
        return ()
    return ("tensorflow",)


def _step(prefix: Path) -> int:
    """The step of `model.ckpt-20000`; that of a finished `bert_model.ckpt` is beyond all."""
    number = prefix.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else sys.maxsize
