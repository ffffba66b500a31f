"""Token lists -> padded arrays of few shapes.

Every array dimension that follows the data is rounded up to a multiple, so that a run compiles few programs.
"""

from collections.abc import Sequence

import numpy as np


def round_up(length: int, multiple: int, limit: int | None = None) -> int:
    """The smallest multiple of `multiple` that is at least `length` and positive, or `limit` where that is less."""
    rounded = max(1, -(-length // multiple)) * multiple
    return rounded if limit is None else max(length, min(rounded, limit))


def pad(rows: Sequence[Sequence[int] | np.ndarray], width: int, count: int | None = None, value: int = 0) -> np.ndarray:
    """Rows of ids as one int32 array `(count or len(rows), width)`, `value` on the right and below."""
    array = np.full((count or len(rows), width), value, "int32")
    for i, row in enumerate(rows):
        array[i, : len(row)] = row
    return array


def length_sorted_batches(
    lengths: Sequence[int] | np.ndarray,
    batch_size: int,
    random: np.random.Generator | None = None,
    window: int = 40,
) -> list[np.ndarray]:
    """Indices of all examples in batches of similar length; the last batch may be smaller.

    Args:
        lengths: length of each example.
        random: shuffles examples, and the order of batches; None sorts everything by length (evaluation).
        window: batches among which a shuffled epoch is sorted: wider wastes less padding, narrower mixes better.
    """
    lengths = np.asarray(lengths)
    if random is None:
        order = np.argsort(lengths, kind="stable")
        return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    shuffled = random.permutation(len(lengths))
    batches = []
    for start in range(0, len(shuffled), batch_size * window):
        part = shuffled[start : start + batch_size * window]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return [batches[i] for i in random.permutation(len(batches))]


def round_rows(count: int) -> int:
    """Rows of a batch: 1, 2, 3, 4, 6, 8, 12, 16, 24 and so on."""
    power = 1 << max(0, count - 1).bit_length()
    return power * 3 // 4 if power >= 4 and count <= power * 3 // 4 else power
