"""What lies in a directory of weights, told by its names. Imports no backend."""

from pathlib import Path


def google_prefix(directory: Path) -> Path | None:
    """The TensorFlow checkpoint that a directory holds, without `.index`; None where it holds other weights."""
    if not directory.is_dir() or any(directory.glob("*.safetensors*")):
        return None
    return next((path.with_suffix("") for path in sorted(directory.glob("*.ckpt.index"))), None)


def packages_of(checkpoint: str | Path | None) -> tuple[str, ...]:
    """The modules that reading these weights takes beside Keras: TensorFlow reads its own checkpoints."""
    if checkpoint is None:
        return ()
    google = Path(f"{checkpoint}.index").is_file() or google_prefix(Path(checkpoint)) is not None
    return ("tensorflow",) if google else ()
