"""Weights in few bits: matrices as whole numbers with a scale for each block, and files of them. Imports no backend.

A block is a number of neighbors in a row, or the whole row. A packed file is a safetensors file: a packed tensor stands
under its own name (8 bits: int8; 4 bits: uint8, two numbers in a byte, the first in the low half) beside `NAME.scale`
(float16, `(rows, blocks)`); what is not packed is float16. Its metadata, one JSON object, says how each is packed, and
holds a digest. The same arrays make the same bytes.

R rows, C columns, B blocks of a row, K columns of a block
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

EIGHT_BITS, FOUR_BITS = 127, 7
"""the largest whole number that a weight becomes in that many bits"""
LEVELS = {4: FOUR_BITS, 8: EIGHT_BITS}
METADATA = "nlptasks.packed"
SMALLEST_PACKED = 4096
"""numbers of a matrix that is worth packing"""
_SMALLEST_SCALE = 1e-6
_LARGEST_SCALE = 65504.0
_SCALE = ".scale"


def pack_rows(array: np.ndarray, levels: int, block: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Weights as whole numbers from -levels to levels, with a scale for each block of a row.

        stored, scale = pack_rows(table, FOUR_BITS)
        again = unpack_rows(stored, scale, FOUR_BITS, table.shape[1])

    Unpacked weights pack to the same bytes again. With more than `FOUR_BITS` that holds only if no scale, except that
    of zeros, is below 1e-5, where float16 has few bits left.

    Args:
        array: float (R, C).
        levels: `EIGHT_BITS`, `FOUR_BITS`, or any number up to `EIGHT_BITS`.
        block: columns of a block; None: a row is one.

    Returns:
        int8 (R, C), or, up to `FOUR_BITS`, uint8 (R, C / 2 rounded up) with two numbers in a byte; and the float16
        scales (R, B).
    """
    blocks_RBK = _in_blocks(np.asarray(array, "float32"), block)
    most_RB = np.abs(blocks_RBK).max(axis=2)
    scale_RB = np.maximum(most_RB / levels, _SMALLEST_SCALE).astype("float16")
    whole_RBK = np.rint(blocks_RBK / scale_RB[..., None].astype("float32")).clip(-levels, levels).astype("int8")
    whole_RC = whole_RBK.reshape(len(array), -1)[:, : array.shape[1]]
    if levels > FOUR_BITS:
        return np.ascontiguousarray(whole_RC), scale_RB
    if whole_RC.shape[1] % 2:
        whole_RC = np.pad(whole_RC, ((0, 0), (0, 1)))
    return ((whole_RC[:, ::2] + 8) | (whole_RC[:, 1::2] + 8) << 4).astype("uint8"), scale_RB


def unpack_rows(
    stored: np.ndarray, scale: np.ndarray, levels: int, width: int | None = None, block: int | None = None
) -> np.ndarray:
    """The weights that `pack_rows` packed, float32 (R, C), rounded to their levels.

    Args:
        stored, scale, levels, block: as `pack_rows` returned and took them.
        width: columns; None: all that are stored, which with two numbers in a byte is an even number.

    Raises:
        ValueError: there is not one scale for each block.
    """
    if levels <= FOUR_BITS:
        two = np.empty((len(stored), stored.shape[1], 2), "int8")
        two[..., 0], two[..., 1] = (stored & 15).astype("int8") - 8, (stored >> 4).astype("int8") - 8
        stored = two.reshape(len(stored), -1)
    stored = stored[:, :width]
    blocks_RBK = _in_blocks(stored, block)
    if scale.shape != blocks_RBK.shape[:2]:
        raise ValueError(f"scale must have the shape {blocks_RBK.shape[:2]}. Received: {scale.shape}.")
    array = (blocks_RBK * scale[..., None].astype("float32")).reshape(len(stored), -1)
    return np.ascontiguousarray(array[:, : stored.shape[1]])


def _in_blocks(array_RC: np.ndarray, block: int | None) -> np.ndarray:
    """`(R, B, K)`, the last block of a row filled up with zeros."""
    rows, columns = array_RC.shape
    block = columns if block is None else block
    count = -(-columns // block)
    if count * block > columns:
        array_RC = np.pad(array_RC, ((0, 0), (0, count * block - columns)))
    return array_RC.reshape(rows, count, block)


def save_packed(
    path: str | Path,
    arrays: Mapping[str, np.ndarray],
    bits: int | Callable[[str], int] = 4,
    block: int | None = 32,
) -> None:
    """Writes a packed file: matrices of `SMALLEST_PACKED` numbers and more in `bits` each, the others in float16.

    Args:
        bits: 4 or 8 (0: float16), or a function from a tensor's name to them.
        block: columns of a block; None: one scale for each row.

    Raises:
        ValueError: other bits, a block below 1, a number that is not finite or too large, a name that is taken.
    """
    if block is not None and block < 1:
        raise ValueError(f"block must be at least 1, or None. Received: block={block}.")
    tensors: dict[str, np.ndarray] = {}
    ways: dict[str, dict[str, int | None]] = {}
    for name, array in arrays.items():
        count = bits(name) if callable(bits) else bits
        if count not in (0, *LEVELS):
            raise ValueError(f"bits must be 4, 8, or 0 for float16. Received: bits={count} for {name}.")
        packs = bool(count) and array.ndim == 2 and array.size >= SMALLEST_PACKED
        limit = _LARGEST_SCALE * (LEVELS[count] if packs else 1)
        if not (np.isfinite(array).all() and np.abs(array).max(initial=0.0) <= limit):
            raise ValueError(f"{name} holds numbers that are not finite, or too large for float16.")
        if not packs:
            tensors[name] = np.ascontiguousarray(array, "float16")
            continue
        if name + _SCALE in arrays:
            raise ValueError(f"{name} cannot be packed: there is a tensor {name + _SCALE} already.")
        tensors[name], tensors[name + _SCALE] = pack_rows(array, LEVELS[count], block)
        ways[name] = {"bits": count, "block": block, "columns": array.shape[1]}
    # one entry: safetensors writes several in any order
    save_file(tensors, path, metadata={METADATA: json.dumps({"sha256": _digest(tensors), "tensors": ways})})


def is_packed(metadata: Mapping[str, str] | None) -> bool:
    """Whether a safetensors file with this metadata is a packed one."""
    return METADATA in (metadata or {})


def load_packed(path: str | Path) -> dict[str, np.ndarray]:
    """Name -> float32 array of a packed file.

    Raises:
        FileNotFoundError, ValueError: one line: no such file, not a packed one, or not as it was written.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, TypeError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error}).") from None
    if not is_packed(metadata):
        raise ValueError(f"{path}: not a packed file; its metadata has no {METADATA}.")
    try:
        told = json.loads(metadata[METADATA])
        digest, ways = told["sha256"], told["tensors"].items()
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError):
        raise ValueError(f"{path}: damaged: {METADATA} in its metadata is not what is written there.") from None
    if digest != _digest(tensors):
        raise ValueError(f"{path}: damaged: its tensors are not those that were written; copy it again.")
    try:
        found = {name: _unpacked(tensors.pop(name), tensors.pop(name + _SCALE), **way) for name, way in ways}
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ZeroDivisionError):
        raise ValueError(f"{path}: damaged: {METADATA} in its metadata does not fit its tensors.") from None
    return found | {name: array.astype("float32") for name, array in tensors.items()}


def _unpacked(stored: np.ndarray, scale: np.ndarray, bits: int, block: Any, columns: Any) -> np.ndarray:
    array = unpack_rows(stored, scale, LEVELS[bits], columns, block)
    if array.shape[1] != columns:
        raise ValueError(f"columns must be {array.shape[1]}. Received: {columns}.")
    return array


def _digest(tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of all names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()
