"""The large tables of a segmenter in few bits, as they are stored and sent to other processes."""

from collections.abc import Mapping

import numpy as np

from nlptasks.checkpoints.packing import EIGHT_BITS, FOUR_BITS, pack_rows, unpack_rows

LEVELS = {"unit": EIGHT_BITS, "pair": FOUR_BITS}
"""the large tables, and how they are packed; their scales stand beside them as `unit.scale` and `pair.scale`"""


def packed_tables(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a segmenter, those tables packed that lose nothing by it: what was packed before."""
    tensors: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        tensors[name] = array
        if name in LEVELS:
            stored, scale = pack_rows(array, LEVELS[name])
            if np.array_equal(unpack_rows(stored, scale, LEVELS[name], array.shape[1]), array):
                tensors[name], tensors[f"{name}.scale"] = stored, scale
    return tensors


def unpacked_tables(tensors: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The arrays again.

    Args:
        tensors: those of `packed_tables`, or of a file.
        shapes: name -> shape of what was packed.
    """
    arrays = dict(tensors)
    for name, levels in LEVELS.items():
        if f"{name}.scale" in arrays and name in shapes:
            arrays[name] = unpack_rows(arrays[name], arrays.pop(f"{name}.scale"), levels, shapes[name][1])
    return arrays
