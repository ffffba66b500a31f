"""The segmentation network on NumPy alone, which `nlptasks segment` runs without importing a backend.

It equals `SegmentationNetwork` up to float32 rounding; a test compares them. The embeddings and the products of the
first convolution depend only on a unit and the unit before it. They are computed once as a table, and one lookup
replaces them.

R row (a unit, or padding between lines), C channels, K tags
"""

from collections.abc import Mapping

import numpy as np

from nlptasks.applications.segmentation.config import SegmentationConfig
from nlptasks.applications.segmentation.vocab import FIRST_PAIR, MAX_UNITS, PAD, UNKNOWN_PAIR, UnitVocab

MARGIN = 2
"""rows of padding between two lines: the first convolution reads pairs up to two units away"""
BLOCK = 2048
"""rows that are computed at a time, so that they stay in the cache of the processor"""
ONE_THREAD = 1 << 19
"""number of multiplications above which OpenBLAS splits a matrix product between threads"""


class Runtime:
    """Tag scores of units.

    Args:
        config, vocab, arrays: as `load_segmenter` returns them (segmentation/storage.py).

    Attributes:
        config, vocab, arrays: as given.
    """

    def __init__(self, config: SegmentationConfig, vocab: UnitVocab, arrays: Mapping[str, np.ndarray]) -> None:
        self.config, self.vocab, self.arrays = config, vocab, arrays
        later = range(1, len(config.channels))
        self._kernels = [_side_by_side(arrays[f"conv.{i}"]) for i in later]
        self._biases = [arrays["bias.0"], *(arrays[f"bias.{i}"] for i in later)]
        self._head, self._head_bias = _side_by_side(arrays["head"]), arrays["head_bias"]
        self._halo = MARGIN + config.reach
        self._tabulate(arrays)

    def _tabulate(self, arrays: Mapping[str, np.ndarray]) -> None:
        """A table row for each unit (after an unknown pair), each known pair, and padding; and which row is whose."""
        units, pairs = self.vocab.unit_count, self.vocab.pairs
        nothing = units + len(pairs)
        of_unit = arrays["unit"] @ _side_by_side(arrays["from_units"])
        of_unit[PAD] = 0.0
        self._table = np.empty((nothing + 1, of_unit.shape[1]), "float32")
        self._table[:units] = of_unit
        if "pair" in arrays:
            taps = _side_by_side(arrays["from_pairs"])
            np.matmul(arrays["pair"][FIRST_PAIR:], taps, out=self._table[units:nothing])
            self._table[units:nothing] += of_unit[pairs % MAX_UNITS]
            self._table[:units] += arrays["pair"][UNKNOWN_PAIR] @ taps
        self._table[nothing] = 0.0
        # row of the pair (left, right); 0 stands for the row of `right` alone, so that most of the array is not touched
        self._rows = np.zeros(units * units, "int32")
        self._rows[pairs // MAX_UNITS * units + pairs % MAX_UNITS] = np.arange(units, nothing, dtype="int32")
        self._rows[PAD] = nothing

    def scores(self, unit_ids: np.ndarray, standard_id: int) -> np.ndarray:
        """Scores (N, K) of the units of a text under an annotation standard.

        Lines, separated by PAD, do not influence each other.
        """
        ends = unit_ids == PAD
        at = np.arange(MARGIN, MARGIN + len(unit_ids))
        if ends.any():
            at[1:] += (MARGIN - 1) * np.cumsum(ends[:-1])
        rows = np.zeros(at[-1:].sum() + 1 + MARGIN, "int32")
        rows[at] = unit_ids
        scores_RK = np.empty((len(rows), 4), "float32")
        for start in range(0, len(rows), BLOCK):
            stop = min(start + BLOCK, len(rows))
            low, high = max(0, start - self._halo), min(len(rows), stop + self._halo)
            scores_RK[start:stop] = self._block(rows[low:high], standard_id)[start - low : stop - low]
        return scores_RK[at]

    def _block(self, units: np.ndarray, standard_id: int) -> np.ndarray:
        """Scores of rows in sequence; those nearer to an end than `_halo` may be wrong."""
        former = np.concatenate([[PAD], units[:-1]])
        found = self._rows.take(former * self.vocab.unit_count + units, mode="clip")
        taps = self._table.take(np.where(found, found, units), axis=0, mode="clip")
        padding = np.flatnonzero(units == PAD)
        x_RC = self._activate(taps, self._biases[0][standard_id], padding)
        for kernel, bias in zip(self._kernels, self._biases[1:], strict=True):
            h_RC = self._activate(_product(x_RC, kernel), bias[standard_id], padding)
            x_RC = np.add(x_RC, h_RC, out=h_RC) if self.config.residual else h_RC
        return _shifted_sum(_product(x_RC, self._head), 4) + self._head_bias[standard_id]

    @staticmethod
    def _activate(taps: np.ndarray, bias: np.ndarray, padding: np.ndarray) -> np.ndarray:
        x_RC = _shifted_sum(taps, len(bias))
        x_RC += bias
        np.maximum(x_RC, np.zeros_like(x_RC), out=x_RC)  # four times as fast as with the number 0
        x_RC[padding] = 0.0
        return x_RC


def _product(x_RC: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """`x_RC @ matrix` in products of so few rows that OpenBLAS computes them on one thread.

    Threads wait for each other after every layer: that costs more than they save, and many times as much where another
    program has a core.
    """
    rows = max(1, (ONE_THREAD - 1) // matrix.size // 8 * 8)
    if len(x_RC) <= rows:
        return x_RC @ matrix
    whole = len(x_RC) // rows * rows
    out = np.empty((len(x_RC), matrix.shape[1]), "float32")
    shape = whole // rows, rows, -1
    np.matmul(x_RC[:whole].reshape(shape), matrix, out=out[:whole].reshape(shape))
    np.matmul(x_RC[whole:], matrix, out=out[whole:])
    return out


def _side_by_side(kernel: np.ndarray) -> np.ndarray:
    """(taps, in, out) -> (in, taps * out): one matrix product for all taps."""
    return np.concatenate(list(kernel), axis=1)


def _shifted_sum(taps: np.ndarray, channels: int) -> np.ndarray:
    """Sum over k of tap k at row t + k - 1, zeros outside; one tap stays as it is."""
    if taps.shape[1] == channels:
        return taps
    x = taps[:, channels : 2 * channels].copy()
    x[1:] += taps[:-1, :channels]
    for k in range(2, taps.shape[1] // channels):
        x[: 1 - k] += taps[k - 1 :, k * channels : (k + 1) * channels]
    return x
