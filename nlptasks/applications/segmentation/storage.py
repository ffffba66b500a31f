"""The directory that a segmenter is kept in: its config, and its weights in few bits. Imports no backend."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from nlptasks.applications.segmentation.config import SegmentationConfig, array_shapes
from nlptasks.applications.segmentation.tables import LEVELS, unpacked_tables
from nlptasks.applications.segmentation.vocab import UnitVocab
from nlptasks.checkpoints.packing import pack_rows
from nlptasks.files import atomic_path, read_json_object, write_text

TASK = "word_segmentation"
CONFIG, WEIGHTS = "config.json", "model.safetensors"


def save_segmenter(
    directory: str | Path, config: SegmentationConfig, vocab: UnitVocab, arrays: Mapping[str, np.ndarray]
) -> None:
    """Writes a directory that `load_segmenter` reads.

    Args:
        directory: is made where there is none.
        arrays: the weights by name, of the shapes that `array_shapes` gives.
    """
    directory = Path(directory)
    tensors = vocab.to_arrays()
    for name, array in arrays.items():
        if name in LEVELS:
            tensors[name], tensors[f"{name}.scale"] = pack_rows(array, LEVELS[name])
        else:
            tensors[name] = np.ascontiguousarray(array, "float32")
    with atomic_path(directory / WEIGHTS) as temporary:
        save_file(tensors, temporary)
    settings = {"nlptasks": {"task": TASK} | dataclasses.asdict(config)}
    write_text(directory / CONFIG, json.dumps(settings, ensure_ascii=False, indent=1) + "\n")


def load_segmenter(directory: str | Path) -> tuple[SegmentationConfig, UnitVocab, dict[str, np.ndarray]]:
    """What `save_segmenter` wrote.

    Returns:
        Config, vocabulary and weights; the tables are float32 again.

    Raises:
        ValueError, FileNotFoundError: one line that names the file and what does not fit.
    """
    directory = Path(directory)
    config = _read_config(directory / CONFIG)
    path = directory / WEIGHTS
    try:
        tensors = load_file(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; give the directory that a training run has written.") from None
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error}).") from None
    try:
        vocab = UnitVocab.from_arrays(tensors)
        expected = array_shapes(config, vocab)
        if lacking := [f"{name}.scale" for name in LEVELS if name in tensors and f"{name}.scale" not in tensors]:
            raise KeyError(lacking[0])
        tensors = unpacked_tables(tensors, expected)
        found = {name: array.shape for name, array in tensors.items()}
    except KeyError as error:
        raise ValueError(f"{path}: the tensor {error} is missing; train or copy the segmenter again.") from None
    if found != expected:
        names = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        raise ValueError(
            f"{path}: {names[0]} must have the shape {expected.get(names[0])}, found {found.get(names[0])}; "
            f"{CONFIG} and {WEIGHTS} are not of the same segmenter."
        )
    return config, vocab, tensors


def _read_config(path: Path) -> SegmentationConfig:
    try:
        settings = dict(read_json_object(path)["nlptasks"])
        if settings.pop("task") != TASK:
            raise KeyError
        for name in ("standards", "channels"):
            settings[name] = tuple(settings[name])
    except (KeyError, TypeError):
        raise _not_a_config(path) from None
    try:
        return SegmentationConfig(**settings)
    except TypeError:
        raise _not_a_config(path) from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _not_a_config(path: Path) -> ValueError:
    return ValueError(f"{path}: not a segmenter's config; train one with nlptasks segmentation train.")
