"""The segmentation network on NumPy alone, which `nlptasks segment` runs without importing a backend.

It computes what `SegmentationNetwork` does; a test compares their scores. Three things make it fast:

- The embeddings and the products of the first convolution depend only on a unit and the unit before it. They are
  computed once, as a table of 16-bit numbers, and one lookup replaces them.
- A convolution of three taps multiplies four matrices for two outputs instead of six: Winograd's F(2, 3), see A. Lavin
  and S. Gray, arXiv 1509.09308. Even and odd rows stand apart for that, and each operation runs over whole memory.
- Rectifiers let positive factors through: up to the head, everything is counted in steps of the table.

R row (a unit, or padding between lines), H half as many (the even rows, or the odd ones), C channels, K tags
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from nlptasks.applications.segmentation.config import SegmentationConfig, array_shapes
from nlptasks.applications.segmentation.tables import packed_tables, unpacked_tables
from nlptasks.applications.segmentation.vocab import FIRST_PAIR, MAX_UNITS, PAD, UNKNOWN_PAIR, UnitVocab

MARGIN = 2
"""rows of padding between two lines: the first convolution reads pairs up to two units away"""
BLOCK = 2048
"""rows that are computed at a time, so that they stay in the cache of the processor; an even number"""
FEW = 128
"""for fewer rows the number of NumPy's operations decides, not that of multiplications"""
ONE_THREAD = 1 << 19
"""number of multiplications above which OpenBLAS splits a matrix product between threads"""
TABLE_TYPE, LARGEST_SUM = "int16", 32_000
"""of the table of the first convolution: its numbers, and what its taps and bias may sum up to"""


class Halves(NamedTuple):
    """The rows of a block with what a convolution reads beside them."""

    even: np.ndarray
    """(H + 1, C) rows 0, 2, 4, ..., and zeros after the last"""
    odd: np.ndarray
    """(H + 1, C) zeros before the first, and rows 1, 3, 5, ..."""

    @classmethod
    def empty(cls, half: int, channels: int) -> "Halves":
        """Rows without values, and the zeros."""
        x_2HC = np.empty((2, half + 1, channels), "float32")
        x_2HC[0, -1] = x_2HC[1, 0] = 0.0
        return cls(x_2HC[0], x_2HC[1])

    @property
    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """The even and the odd rows alone."""
        return self.even[:-1], self.odd[1:]


class Runtime:
    """Tag scores of units.

    Args:
        config, vocab, arrays: as `load_segmenter` returns them (segmentation/storage.py).

    Attributes:
        config, vocab, arrays: as given.
    """

    def __init__(self, config: SegmentationConfig, vocab: UnitVocab, arrays: Mapping[str, np.ndarray]) -> None:
        self.config, self.vocab, self.arrays = config, vocab, arrays
        self._unit_count = vocab.unit_count
        step = self._tabulate(arrays)
        later = range(1, len(config.channels))
        self._kernels = [_winograd(arrays[f"conv.{i}"]) for i in later]
        self._biases = [
            np.rint(arrays["bias.0"] / step).astype(TABLE_TYPE),
            *(arrays[f"bias.{i}"] / step for i in later),
        ]
        head = arrays["head"] * step
        self._head, self._head_bias = head[0] if len(head) == 1 else _winograd(head), arrays["head_bias"]
        self._stacked = [_stacked(arrays[f"conv.{i}"], self._biases[i], config.residual) for i in later]
        self._stacked_head = _stacked(head, self._head_bias)
        self._halo = (MARGIN + config.reach + 1) // 2 * 2
        self._zeros = np.zeros((BLOCK // 2 + self._halo + 1) * max(config.channels), "float32")

    def __reduce__(self) -> tuple[Any, ...]:  # without the tables, which are many times as large and quickly made
        return _from_packed, (self.config, self.vocab, packed_tables(self.arrays))

    def _tabulate(self, arrays: Mapping[str, np.ndarray]) -> np.float32:
        """A table row for each unit (after an unknown pair), each known pair, and padding; and which row is whose.

        Returns:
            What a 1 in the table stands for.
        """
        units, pairs = self._unit_count, self.vocab.pairs
        nothing = units + len(pairs)
        of_unit = arrays["unit"] @ _side_by_side(arrays["from_units"])
        of_unit[PAD] = 0.0
        table = np.empty((nothing + 1, of_unit.shape[1]), "float32")
        table[:units] = of_unit
        if "pair" in arrays:
            taps = _side_by_side(arrays["from_pairs"])
            np.matmul(arrays["pair"][FIRST_PAIR:], taps, out=table[units:nothing])
            table[units:nothing] += of_unit[pairs % MAX_UNITS]
            table[:units] += arrays["pair"][UNKNOWN_PAIR] @ taps
        table[nothing] = 0.0
        largest = np.maximum(table.max(axis=0), -table.min(axis=0)).reshape(self.config.taps, -1).sum(axis=0)
        largest += np.abs(arrays["bias.0"]).max(axis=0)
        step = np.float32(largest.max() / LARGEST_SUM or 1.0)
        table /= step
        self._table = np.rint(table, out=table).astype(TABLE_TYPE)
        # row of the pair (left, right); 0 stands for the row of `right` alone, so that most of the array is not touched
        self._rows = np.zeros(units * units, "int32")
        self._rows[pairs // MAX_UNITS * units + pairs % MAX_UNITS] = np.arange(units, nothing, dtype="int32")
        self._rows[PAD] = nothing
        return step

    def scores(self, unit_ids: np.ndarray, standard_id: int) -> np.ndarray:
        """Scores (N, K) of the units of a text under an annotation standard.

        Lines, separated by PAD, do not influence each other.
        """
        if len(unit_ids) <= FEW and np.count_nonzero(unit_ids) == len(unit_ids):  # one line, without PAD
            return self._few(unit_ids, standard_id)
        ends = unit_ids == PAD
        at = np.arange(MARGIN, MARGIN + len(unit_ids))
        at[1:] += (MARGIN - 1) * np.cumsum(ends[:-1])
        rows = np.zeros((at[-1:].sum() + 2 + MARGIN) // 2 * 2, "int64")
        rows[at] = unit_ids
        if len(rows) <= FEW:
            return self._few(rows, standard_id, np.flatnonzero(rows == PAD))[at]
        if len(rows) <= BLOCK:
            return self._block(rows, standard_id)[at]
        scores_RK = np.empty((len(rows), 4), "float32")
        for start in range(0, len(rows), BLOCK):
            stop = min(start + BLOCK, len(rows))
            low, high = max(0, start - self._halo), min(len(rows), stop + self._halo)
            scores_RK[start:stop] = self._block(rows[low:high], standard_id)[start - low : stop - low]
        return scores_RK[at]

    def _block(self, units: np.ndarray, standard_id: int) -> np.ndarray:
        """Scores of an even number of rows in sequence; those nearer to an end than `_halo` may be wrong."""
        padding = np.flatnonzero(units == PAD)
        odd = (padding & 1).astype(bool)
        padding >>= 1
        padding_rows = padding[~odd], padding[odd]
        x = self._first(units, self._biases[0][standard_id])
        self._activate(x, padding_rows)
        for kernel, bias in zip(self._kernels, self._biases[1:], strict=True):
            h = _convolve(x, kernel, bias[standard_id])
            self._activate(h, padding_rows)
            if self.config.residual:
                for former, here in zip(x, h, strict=True):
                    here += former
            x = h
        if self._head.ndim == 3:
            found = _convolve(x, self._head, self._head_bias[standard_id]).rows
        else:
            found = tuple(rows @ self._head + self._head_bias[standard_id] for rows in x.rows)
        return np.stack(found, axis=1).reshape(-1, 4)

    def _activate(self, x: Halves, padding: tuple[np.ndarray, np.ndarray]) -> None:
        zeros = self._zeros[: x.even.size].reshape(x.even.shape)
        for rows, at in zip(x.rows, padding, strict=True):
            np.maximum(rows, zeros[:-1], out=rows)  # four times as fast as with the number 0
            rows[at] = 0.0

    def _few(self, unit_ids: np.ndarray, standard_id: int, padding: np.ndarray | None = None) -> np.ndarray:
        """As `_block`, of any number of rows without margins around them, in few operations.

        The rows stand between two of zeros, and behind their channels stands a 1, so that a product adds the bias.
        """
        count, channels, taps = len(unit_ids), self.config.channels[0], self.config.taps
        units = np.zeros(count + 2 * MARGIN, "int64")
        units[MARGIN:-MARGIN] = unit_ids
        taps_RT = self._taps(units[MARGIN - 2 : -1], units[MARGIN - 1 :])
        row, value = taps_RT.strides
        strides = row, row + channels * value, value  # tap k of row t + k - 1
        taps_NTC = np.ndarray((count, taps, channels), TABLE_TYPE, taps_RT, strides=strides)
        h_NC = np.add.reduce(taps_NTC, axis=1, dtype=TABLE_TYPE)
        h_NC += self._biases[0][standard_id]
        x_RC = _between_zeros(h_NC)
        for matrices in self._stacked:
            if padding is not None:
                x_RC[padding + 1, :-1] = 0.0
            h_NC = _neighbors(x_RC, matrices[standard_id])
            if self.config.residual:
                x_RC[1:-1] += np.maximum(h_NC, 0.0, out=h_NC)
            else:
                x_RC = _between_zeros(h_NC)
        if padding is not None:
            x_RC[padding + 1, :-1] = 0.0
        return _neighbors(x_RC, self._stacked_head[standard_id])

    def _taps(self, left: np.ndarray, units: np.ndarray) -> np.ndarray:
        """The rows of the table, by the unit and the one before it."""
        keys = left * self._unit_count
        keys += units
        found = self._rows.take(keys, mode="clip")
        return self._table.take(np.maximum(found, units), axis=0, mode="clip")  # a pair's row lies behind the units'

    def _first(self, units: np.ndarray, bias: np.ndarray) -> Halves:
        """The first convolution, counted in steps of the table."""
        taps = self._taps(np.concatenate([[PAD], units[:-1]]), units)
        half, channels = len(units) // 2, len(bias)
        taps_H2TC = taps.reshape(half, 2, -1, channels)
        x = Halves.empty(half, channels)
        for parity, rows in enumerate(x.rows):
            sum_HC = taps_H2TC[:, parity, 1] + bias
            for tap in (0, *range(2, self.config.taps)):
                later, side = divmod(parity + tap - 1, 2)
                if later < 0:
                    sum_HC[1:] += taps_H2TC[:-1, side, tap]
                else:
                    sum_HC[: half - later] += taps_H2TC[later:, side, tap]
            rows[:] = sum_HC
        return x


def _from_packed(config: SegmentationConfig, vocab: UnitVocab, tensors: dict[str, np.ndarray]) -> Runtime:
    return Runtime(config, vocab, unpacked_tables(tensors, array_shapes(config, vocab)))


def _convolve(x: Halves, matrices_4CD: np.ndarray, bias: np.ndarray) -> Halves:
    """The convolution whose kernel `_winograd` has prepared: tap k reads row t + k - 1, zeros outside."""
    even, odd = x.rows
    d_HC, m_HD = np.empty_like(even), np.empty((len(even), len(bias)), "float32")
    y = Halves.empty(*m_HD.shape)
    even_sum, odd_sum = y.rows
    _product(np.subtract(x.odd[:-1], odd, out=d_HC), matrices_4CD[0], even_sum)
    _product(np.add(even, odd, out=d_HC), matrices_4CD[1], odd_sum)
    odd_sum += bias
    even_sum += odd_sum
    _product(np.subtract(odd, even, out=d_HC), matrices_4CD[2], m_HD)
    even_sum += m_HD
    odd_sum -= m_HD
    _product(np.subtract(even, x.even[1:], out=d_HC), matrices_4CD[3], m_HD)
    odd_sum -= m_HD
    return y


def _between_zeros(h_NC: np.ndarray) -> np.ndarray:
    """Rectified rows between a row of zeros before the first and one after the last; a 1 behind the channels."""
    x_RC = np.zeros((len(h_NC) + 2, h_NC.shape[1] + 1), "float32")
    x_RC[:, -1] = 1.0
    x_RC[1:-1, :-1] = np.maximum(h_NC, 0, out=h_NC)
    return x_RC


def _neighbors(x_RC: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The convolution whose kernel `_stacked` has prepared, of all rows but the first and the last."""
    count, channels = len(x_RC) - 2, x_RC.shape[1]
    if len(matrix) == channels:
        return np.dot(x_RC[1:-1], matrix)
    return np.dot(np.ndarray((count, 3 * channels), "float32", x_RC, strides=x_RC.strides), matrix)


def _stacked(kernel_TCD: np.ndarray, biases_SD: np.ndarray, with_zeros: bool = False) -> np.ndarray:
    """For each standard one matrix for a row and its neighbors side by side, each with a 1 behind its channels.

    Args:
        with_zeros: one more column of zeros: the result can be added to whole rows, which is faster than to parts.
    """
    taps, channels, outputs = kernel_TCD.shape
    found = np.zeros((len(biases_SD), taps, channels + 1, outputs + with_zeros), "float32")
    found[:, :, :channels, :outputs] = kernel_TCD
    found[:, taps // 2, channels, :outputs] = biases_SD
    return found.reshape(len(biases_SD), -1, outputs + with_zeros)


def _winograd(kernel_3CD: np.ndarray) -> np.ndarray:
    """The four matrices of a kernel of three taps."""
    first, middle, last = kernel_3CD
    return np.stack([first, (first + middle + last) / 2, (first - middle + last) / 2, last])


def _product(x_HC: np.ndarray, matrix: np.ndarray, out: np.ndarray) -> None:
    """`x_HC @ matrix` in products of so few rows that OpenBLAS computes them on one thread.

    Threads wait for each other after every layer: that costs more than they save, and many times as much where another
    program has a core.
    """
    rows = max(1, (ONE_THREAD - 1) // matrix.size // 8 * 8)
    whole = len(x_HC) // rows * rows if len(x_HC) > rows else 0
    if whole:
        shape = whole // rows, rows, -1
        np.matmul(x_HC[:whole].reshape(shape), matrix, out=out[:whole].reshape(shape))
    if whole < len(x_HC):
        np.matmul(x_HC[whole:], matrix, out=out[whole:])


def _side_by_side(kernel: np.ndarray) -> np.ndarray:
    """(taps, in, out) -> (in, taps * out): one matrix product for all taps."""
    return np.concatenate(list(kernel), axis=1)
