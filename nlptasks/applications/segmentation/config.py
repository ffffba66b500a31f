"""The shape of a segmentation network, and the directory that a segmenter is kept in."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from nlptasks.applications.segmentation.vocab import UnitVocab
from nlptasks.files import atomic_path, write_text

TASK = "word_segmentation"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
LEVELS = {"unit": 127, "pair": 7}
"""the large weights are stored as whole numbers up to these, and a scale a row: 8 bits, and 4 bits two in a byte"""


@dataclass(frozen=True, kw_only=True)
class SegmentationConfig:
    """A fully convolutional network over units.

    Attributes:
        standards: names of the annotation standards; each has biases of its own in every layer.
        unit_size: embedding of a unit.
        pair_size: embedding of a pair of neighbouring units; 0: pairs are not read.
        taps: width of the first convolution: positions t - 1 to t + taps - 2.
        channels: of each convolution but the last; those after the first have 3 taps.
        residual: add the input of each later convolution to its output.
        head_taps: width of the last one, which gives the four tags' scores; 1 or 3.
    """

    standards: tuple[str, ...]
    unit_size: int = 64
    pair_size: int = 32
    taps: int = 4
    channels: tuple[int, ...] = (48, 48, 48)
    residual: bool = True
    head_taps: int = 1

    def __post_init__(self):
        if not self.standards or len(set(self.standards)) < len(self.standards):
            raise ValueError(f"standards must be distinct names, at least one. Received: {self.standards}.")
        if self.residual and len(set(self.channels)) > 1:
            raise ValueError(f"residual needs the same number of channels throughout. Received: {self.channels}.")
        if not self.channels or min(self.unit_size, *self.channels) < 1 or self.pair_size < 0:
            raise ValueError(
                "unit_size and channels must be at least 1, pair_size at least 0. Received: "
                f"unit_size={self.unit_size}, channels={self.channels}, pair_size={self.pair_size}."
            )
        if self.taps not in (3, 4) or self.head_taps not in (1, 3):
            raise ValueError(
                f"taps must be 3 or 4, head_taps 1 or 3. Received: taps={self.taps}, head_taps={self.head_taps}."
            )

    @property
    def reach(self) -> int:
        """How many units to the left or right a tag's scores may depend on."""
        return 2 + (len(self.channels) - 1) + (self.head_taps - 1) // 2

    def standard_id(self, name: str) -> int:
        if name not in self.standards:
            raise ValueError(f"the standard must be one of {', '.join(self.standards)}. Received: {name!r}.")
        return self.standards.index(name)


PRESETS = {
    "default": {},
    "original": {
        "unit_size": 128,
        "pair_size": 0,
        "taps": 3,
        "channels": (128, 32),
        "residual": False,
        "head_taps": 3,
    },
}
"""`original` is the network of 2017: embedding 128, convolutions of kernel 3 with 128, 32 and 4 channels"""


def save_segmenter(
    directory: str | Path, config: SegmentationConfig, vocab: UnitVocab, arrays: Mapping[str, np.ndarray]
) -> None:
    """Writes a directory that `load_segmenter` reads; see `SegmentationNetwork.arrays`."""
    directory = Path(directory)
    tensors = vocab.to_arrays()
    for name, array in arrays.items():
        if name in LEVELS:
            tensors[name], tensors[f"{name}.scale"] = _to_levels(array, LEVELS[name])
        else:
            tensors[name] = np.ascontiguousarray(array, "float32")
    with atomic_path(directory / WEIGHTS) as temporary:
        save_file(tensors, temporary)
    settings = {"nlptasks": {"task": TASK} | dataclasses.asdict(config)}
    write_text(directory / CONFIG, json.dumps(settings, ensure_ascii=False, indent=1) + "\n")


def load_segmenter(directory: str | Path) -> tuple[SegmentationConfig, UnitVocab, dict[str, np.ndarray]]:
    """What `save_segmenter` wrote, the tables as float32 again.

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
        for name, levels in LEVELS.items():
            if name in tensors and name in expected:
                width = expected[name][1]
                tensors[name] = _from_levels(tensors[name], tensors.pop(f"{name}.scale"), levels)[:, :width]
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


def _to_levels(array: np.ndarray, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers from -levels to levels, and the scales of the rows."""
    scale = np.maximum(np.abs(array).max(axis=1, keepdims=True) / levels, 1e-6).astype("float16")
    whole = np.rint(array / scale.astype("float32")).clip(-levels, levels).astype("int8")
    if levels > 7:
        return whole, scale
    if whole.shape[1] % 2:
        whole = np.pad(whole, ((0, 0), (0, 1)))
    return ((whole[:, ::2] + 8) | (whole[:, 1::2] + 8) << 4).astype("uint8"), scale


def _from_levels(stored: np.ndarray, scale: np.ndarray, levels: int) -> np.ndarray:
    if levels <= 7:
        two = np.empty((len(stored), stored.shape[1], 2), "int8")
        two[..., 0], two[..., 1] = (stored & 15).astype("int8") - 8, (stored >> 4).astype("int8") - 8
        stored = two.reshape(len(stored), -1)
    return stored * scale.astype("float32")


def array_shapes(config: SegmentationConfig, vocab: UnitVocab) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every weight of a network."""
    standards, first = len(config.standards), config.channels[0]
    shapes = {"unit": (vocab.unit_count, config.unit_size), "from_units": (config.taps, config.unit_size, first)}
    if config.pair_size:
        shapes["pair"] = (vocab.pair_count, config.pair_size)
        shapes["from_pairs"] = (config.taps, config.pair_size, first)
    shapes["bias.0"] = (standards, first)
    for i, (former, channels) in enumerate(zip(config.channels, config.channels[1:], strict=False), 1):
        shapes[f"conv.{i}"] = (3, former, channels)
        shapes[f"bias.{i}"] = (standards, channels)
    return shapes | {"head": (config.head_taps, config.channels[-1], 4), "head_bias": (standards, 4)}


def _read_config(path: Path) -> SegmentationConfig:
    try:
        settings = dict(json.loads(path.read_text(encoding="utf-8"))["nlptasks"])
        if settings.pop("task") != TASK:
            raise KeyError
        for name in ("standards", "channels"):
            settings[name] = tuple(settings[name])
        return SegmentationConfig(**settings)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; give the directory that a training run has written.") from None
    except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError):
        raise ValueError(f"{path}: not a segmenter's config; train one with nlptasks segmentation train.") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
