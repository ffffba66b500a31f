"""What a segmentation network reads: ids of units and ids of pairs of neighboring units."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nlptasks.text.units import DIGIT, LETTER, LINE_END, OTHER, SPACE, Units

PAD, UNKNOWN, SPACE_ID, LETTER_ID, DIGIT_ID, FIRST_CHARACTER = range(6)
NO_PAIR, UNKNOWN_PAIR, FIRST_PAIR = range(3)
MAX_UNITS = 1 << 16


class UnitVocab:
    """Ids of units and pairs.

    Args:
        characters: code points with an id of their own, FIRST_CHARACTER and up.
        pairs: keys (`pair_keys`) of the pairs with an id of their own, sorted, FIRST_PAIR and up.
    """

    def __init__(self, characters: np.ndarray, pairs: np.ndarray) -> None:
        self.characters, self.pairs = np.asarray(characters, "uint32"), np.asarray(pairs, "int64")
        self._table = np.full(0x110000, UNKNOWN, "uint16")
        self._table[self.characters] = np.arange(FIRST_CHARACTER, self.unit_count, dtype="uint16")

    def __reduce__(self) -> tuple[Any, ...]:
        return UnitVocab.from_arrays, (self.to_arrays(),)

    @property
    def unit_count(self) -> int:
        """How many ids of units there are, those of padding, unknown ones, spaces and runs included."""
        return FIRST_CHARACTER + len(self.characters)

    @property
    def pair_count(self) -> int:
        """How many ids of pairs there are, those of no pair and of an unknown one included."""
        return FIRST_PAIR + len(self.pairs)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """What makes it again: the characters, how many pairs each unit starts, and where those end."""
        starting = np.bincount(self.pairs // MAX_UNITS, minlength=self.unit_count)
        return {
            "characters": self.characters,
            "pairs.count": starting.astype("uint16"),
            "pairs.right": (self.pairs % MAX_UNITS).astype("uint16"),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "UnitVocab":
        """Takes its arrays out of `arrays`.

        Raises:
            KeyError: one of them is missing.
        """
        characters, count, right = (arrays.pop(name) for name in ("characters", "pairs.count", "pairs.right"))
        left = np.repeat(np.arange(len(count), dtype="int64"), count)
        return cls(characters, left * MAX_UNITS + right)

    def unit_ids(self, units: Units) -> np.ndarray:
        """int32 ids of the units of a text; line ends are padding."""
        ids = self._table.take(units.codes).astype("int32")
        if np.count_nonzero(units.kinds):  # OTHER is 0
            for kind, unit_id in ((SPACE, SPACE_ID), (LETTER, LETTER_ID), (DIGIT, DIGIT_ID), (LINE_END, PAD)):
                ids[units.kinds == kind] = unit_id
        return ids

    def pair_ids(self, unit_ids: np.ndarray) -> np.ndarray:
        """int32 ids of the pairs (t - 1, t) for t = 0 to T, padding outside; shape (..., T + 1)."""
        keys = pair_keys(unit_ids)
        if not len(self.pairs):
            return np.where(keys == 0, NO_PAIR, UNKNOWN_PAIR).astype("int32")
        found = np.searchsorted(self.pairs, keys).clip(max=len(self.pairs) - 1)
        ids = np.where(self.pairs[found] == keys, found + FIRST_PAIR, UNKNOWN_PAIR).astype("int32")
        ids[keys == 0] = NO_PAIR
        return ids


def pair_keys(unit_ids: np.ndarray) -> np.ndarray:
    """`left * MAX_UNITS + right` of the pairs (t - 1, t) for t = 0 to T, padding outside; shape (..., T + 1)."""
    padded = np.zeros((*unit_ids.shape[:-1], unit_ids.shape[-1] + 2), "int64")
    padded[..., 1:-1] = unit_ids
    return padded[..., :-1] * MAX_UNITS + padded[..., 1:]


def build_unit_vocab(texts: Sequence[Units], min_count: int, min_pair_count: int | None) -> UnitVocab:
    """The vocabulary of the characters and pairs that occur so often; None: without pairs."""
    codes = np.concatenate([units.codes[units.kinds == OTHER] for units in texts])
    values, counts = np.unique(codes, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    vocab = UnitVocab(values[order][counts[order] >= min_count][: MAX_UNITS - FIRST_CHARACTER], np.zeros(0))
    if min_pair_count is None:
        return vocab
    keys = np.concatenate([pair_keys(vocab.unit_ids(units)) for units in texts])
    left, right = np.divmod(keys, MAX_UNITS)
    values, counts = np.unique(keys[(left != UNKNOWN) & (right != UNKNOWN) & (keys != 0)], return_counts=True)
    return UnitVocab(vocab.characters, values[counts >= min_pair_count])
