"""Masks whole words in many rows at once, or splits them, with arrays instead of a loop over rows.

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


def split_rows(
    token_ids_L: np.ndarray,
    word_starts_L: np.ndarray,
    lengths_B: np.ndarray,
    seq_length: int,
    sep_id: int,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every row cut in two before a random word, with [SEP] after the first part; a full row loses its last token.

    Returns:
        ids `(B, T)`, padded with 0; the place `(B,)` of the [SEP] put in; the lengths `(B,)` then.
    """
    count, width = len(lengths_B), seq_length
    rows_L = np.repeat(np.arange(count), lengths_B)
    columns_L = np.arange(len(rows_L)) - (np.cumsum(lengths_B) - lengths_B)[rows_L]
    full_L = (lengths_B == width)[rows_L]
    kept_L = ~(full_L & (columns_L == width - 2))
    columns_L -= full_L & (columns_L == width - 1)
    lengths_B = lengths_B - (lengths_B == width)
    ids_BT, starts_BT = np.zeros((count, width), "int32"), np.zeros((count, width), "bool")
    ids_BT[rows_L[kept_L], columns_L[kept_L]] = token_ids_L[kept_L]
    starts_BT[rows_L[kept_L], columns_L[kept_L]] = word_starts_L[kept_L]
    columns = np.arange(width)
    starts_BT &= (columns >= 2) & (columns < lengths_B[:, None] - 1)  # each part has a word at least
    draws_BT = np.where(starts_BT, random.random((count, width)), -1.0)
    splits_B = np.where(starts_BT.any(1), draws_BT.argmax(1), lengths_B - 1)
    source_BT = columns - (columns > splits_B[:, None])
    shown_BT = np.take_along_axis(ids_BT, source_BT, axis=1)
    shown_BT[np.arange(count), splits_B] = sep_id
    return shown_BT, splits_B, lengths_B + 1
