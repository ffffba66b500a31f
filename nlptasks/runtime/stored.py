"""What an exported application is stored as."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from nlptasks.files import read_json_object
from nlptasks.text import open_tokenizer

CONFIG, ARRAYS = "config.json", "arrays.safetensors"


class Stored(NamedTuple):
    """An exported application that has been read, without its graphs."""

    settings: dict[str, Any]
    tokenizer: Any
    arrays: dict[str, np.ndarray]


def read_stored(directory: Path, with_tokenizer: bool = True) -> Stored:
    """Settings (without "task" and "export"), tokenizer and arrays of a folder that `nlptasks export` has written.

    Args:
        with_tokenizer: whether the application has one; else it is None.

    Raises:
        ValueError, FileNotFoundError: one line: what is missing or damaged.
    """
    settings = dict(read_json_object(directory / CONFIG)["nlptasks"])
    for name in ("task", "export"):
        settings.pop(name, None)
    arrays = {}
    if (directory / ARRAYS).is_file():
        try:
            arrays = load_file(directory / ARRAYS)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{directory / ARRAYS}: not a readable safetensors file ({error}).") from None
    return Stored(settings, open_tokenizer(directory) if with_tokenizer else None, arrays)


def wrong_settings(directory: Path, error: Exception) -> ValueError:
    """The error of settings that do not fit."""
    return ValueError(f"{directory / CONFIG}: lacks or misnames a setting ({error}); export the model again.")
