"""Few shapes of arrays, so that all programs are compiled before the first request, and little padding in them."""

from collections.abc import Callable, Sequence
from typing import Any

from nlptasks.applications.examples import padded_to

SIZES = (1, 2, 4, 8, 16)
"""numbers of rows that are computed together"""
CALL = 12
"""tokens that take as long as what every call of a network takes besides (measured on CPUs: 6 layers of 384)"""
FILLER, QUESTION = "好", "谁？"
"""what fills up a batch, and what warm-up texts are made of"""


def multiple_of(width: int) -> int:
    """What widths of about this many tokens are rounded up to a multiple of."""
    return 16 if width <= 64 else 32 if width <= 128 else 64


def rounded(width: int) -> int:
    """A width, rounded up to one of the few that arrays have."""
    return -(-width // multiple_of(width)) * multiple_of(width)


def lengths(most: int) -> list[int]:
    """A length of text, in characters, for each width of at most `most` tokens."""
    widths = sorted({min(rounded(width), most) for width in range(8, most + 1, 8)} | {most})
    return [width - 4 for width in widths if width > 4]


def groups(widths: Sequence[int], sizes: Sequence[int] = SIZES) -> list[tuple[list[int], int]]:
    """Indices of items that are best computed together, and for each group the number of rows, one of `sizes`.

    groups([16, 64, 16, 16, 16])  # [([0, 2, 3, 4], 4), ([1], 1)]

    Args:
        widths: tokens of each item. A group costs as many tokens as its rows times its longest item, and `CALL`.
    """
    order = sorted(range(len(widths)), key=lambda i: widths[i])
    costs, steps = [0], [(0, 0)]
    for end in range(1, len(order) + 1):
        width = rounded(widths[order[end - 1]])
        found = [(costs[max(0, end - size)] + CALL + size * width, max(0, end - size), size) for size in sizes]
        cost, start, size = min(found)
        costs.append(cost)
        steps.append((start, size))
    made, end = list[tuple[list[int], int]](), len(order)
    while end:
        start, size = steps[end]
        made.append((order[start:end], size))
        end = start
    return made[::-1]


def few_sizes(
    compute: Callable[..., Sequence[Any]], filler: Any, most: int, windows: bool = False
) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """`compute` with few shapes of arrays: items of like lengths together, filled up to one of `SIZES`.

    Args:
        compute: gives a result for each of some texts or pairs; takes a `batch_size`.
        filler: the item that fills up.
        most: tokens of the longest array.
        windows: whether a longer text is read in windows, so that it gives many rows.
    """

    def run(items: Sequence[Any]) -> Sequence[Any]:
        long = [i for i, item in enumerate(items) if windows and _width(item) > most]
        short = [i for i, item in enumerate(items) if not windows or _width(item) <= most]
        results: list[Any] = [None] * len(items)
        for some, size in groups([min(_width(items[i]), most) for i in short]):
            chosen = [short[i] for i in some]
            with padded_to(multiple_of(min(max(_width(items[i]) for i in chosen), most))):
                found = compute([*(items[i] for i in chosen), *[filler] * (size - len(chosen))])
            for i, result in zip(chosen, found, strict=False):
                results[i] = result
        for i in long:  # rows of two, however many windows
            with padded_to(multiple_of(most)):
                [results[i]] = compute([items[i]], batch_size=2)
        return results

    return run


def _width(item: Any) -> int:
    """The most tokens of a text or pair: of one whose characters are all tokens."""
    return len(item) + 2 if isinstance(item, str) else sum(map(len, item)) + 1 + len(item)


def few_windows(reader: Any, compute: Callable[..., Sequence[Any]]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """`compute` with few shapes of arrays.

    A reader by spans reads windows in batches of one of `SIZES`; for the others a question is added whose passages fill
    the windows up to a power of two.
    """

    def of_spans(items: Sequence[Any]) -> Sequence[Any]:
        windows = sum(reader.lengths.most_windows(passage) for _, passages in items for passage in passages)
        longest = max(len(question) + max(map(len, passages)) + 3 for question, passages in items)
        width = rounded(min(longest, reader.lengths.window_length))
        rows = min(SIZES, key=lambda size: -(-windows // size) * (CALL + size * width))
        filled = [*items, *([(QUESTION, [FILLER] * (rows - windows))] if windows < rows else [])]
        with padded_to(multiple_of(width)):
            return compute(filled, rows=rows)[: len(items)]

    def run(items: Sequence[Any]) -> Sequence[Any]:
        windows = sum(reader.lengths.most_windows(passage) for _, passages in items for passage in passages)
        missing = (1 << (windows - 1).bit_length()) - windows
        return compute([*items, *([(QUESTION, [FILLER] * missing)] if missing else [])])[: len(items)]

    return of_spans if reader.method == "span" else run
