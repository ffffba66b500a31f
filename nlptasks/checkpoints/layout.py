"""What lies in a directory of weights, told by its names. Imports no backend."""

import sys
from pathlib import Path


def google_prefix(path: Path) -> Path | None:
    """The prefix of the TensorFlow checkpoint that a path names, or that stands in a directory without safetensors."""
    if path.is_dir():
        found = [] if list(path.glob("*.safetensors*")) else [p.with_suffix("") for p in path.glob("*.ckpt*.index")]
        return max(found, key=lambda p: (_step(p), p.name), default=None)
    if path.suffix in (".index", ".meta") and Path(f"{path.with_suffix('')}.index").is_file():
        return path.with_suffix("")
    return path if Path(f"{path}.index").is_file() else None


def packages_of(checkpoint: str | Path | None) -> tuple[str, ...]:
    """The modules that reading these weights takes beside Keras: TensorFlow reads its own checkpoints."""
    if checkpoint is None or google_prefix(Path(checkpoint)) is None:
        return ()
    return ("tensorflow",)


def _step(prefix: Path) -> int:
    """The step of `model.ckpt-20000`; that of a finished `bert_model.ckpt` is beyond all."""
    number = prefix.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else sys.maxsize
