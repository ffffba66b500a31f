"""Masks whole words in many rows at once, with arrays instead of a loop over rows.

Legend: L tokens of all rows one after the other, W their words, B rows, T width of the arrays, M targets a row.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class ChosenTokens(NamedTuple):
    """Tokens of a batch of rows.

    Attributes:
        places: int (C,), ascending, into the rows one after the other.
        rows: int (C,), the row of each.
        numbers: int (C,), how many were chosen before it in its row.
    """

    places: np.ndarray
    rows: np.ndarray
    numbers: np.ndarray


def choose_words(
    token_ids_L: np.ndarray,
    word_starts_L: np.ndarray,
    lengths_B: np.ndarray,
    rate: float,
    most: int,
    random: np.random.Generator,
    special_ids: Sequence[int] | np.ndarray,
) -> ChosenTokens:
    """Whole words of every row, by the rule of `chosen_positions`.

    The words of a row are taken in the order of `random.random(W)`.
    """
    count = len(lengths_B)
    firsts_B = np.cumsum(lengths_B) - lengths_B
    rows_L = np.repeat(np.arange(count), lengths_B)
    is_special = np.zeros(max(int(token_ids_L.max()), int(np.max(special_ids))) + 1, bool)
    is_special[special_ids] = True
    ordinary_L = ~is_special[token_ids_L]
    begins_L = word_starts_L | ~ordinary_L
    begins_L[firsts_B] = True
    words_L = np.cumsum(begins_L) - 1
    rows_W = rows_L[begins_L]
    sizes_W = np.bincount(words_L[ordinary_L], minlength=len(rows_W))
    draws_W = random.random(len(rows_W))
    some = np.flatnonzero(sizes_W)
    order = some[np.argsort(rows_W[some] + draws_W[some], kind="stable")]
    rows, sizes = rows_W[order], sizes_W[order]
    ordinary_B = np.bincount(rows, weights=sizes, minlength=count)
    ends = np.cumsum(sizes) - (np.cumsum(ordinary_B) - ordinary_B)[rows]
    taken = (ends - sizes / 2 < np.maximum(1.0, rate * ordinary_B)[rows]) & (ends <= most)
    first = np.diff(rows, prepend=-1) > 0
    taken[first] = sizes[first] <= most
    chosen_W = np.zeros(len(rows_W), bool)
    chosen_W[order[taken]] = True
    places = np.flatnonzero(ordinary_L & chosen_W[words_L])
    rows = rows_L[places]
    before_B = np.searchsorted(rows, np.arange(count))
    return ChosenTokens(places, rows, np.arange(len(places)) - before_B[rows])
