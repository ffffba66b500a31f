"""Few shapes of arrays, so that all programs are compiled before the first request, and little padding in them."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from nlptasks.applications.examples import padded_to

SIZES = (1, 2, 4, 8, 16)
"""numbers of rows that are computed together"""
FREE = tuple(range(1, SIZES[-1] + 1))
"""the same where one program is compiled for all shapes"""
CALL = 12
"""tokens that take as long as what every call of a network takes besides (measured on CPUs: 6 layers of 384)"""
FILLER, QUESTION = "好", "谁？"
"""what fills up a batch, and what warm-up texts are made of"""


def one_program(exported: bool = False) -> AbstractContextManager[bool]:
    """The backend's `one_program`, which is imported here only: some models run without Keras.

    Args:
        exported: the model runs on onnxruntime, whose graphs take arrays of any size.
    """
    if exported:
        return nullcontext(True)
    from nlptasks import backend

    return backend.one_program()


def is_exported(application: Any) -> bool:
    """Whether an application runs on onnxruntime."""
    return type(application).__module__.startswith("nlptasks.runtime.")


def multiple_of(width: int, free: bool = False) -> int:
    """What widths of about this many tokens are rounded up to a multiple of.

    Args:
        free: one program is compiled for all shapes.
    """
    return 8 if free else 16 if width <= 64 else 32 if width <= 128 else 64


def rounded(width: int, free: bool = False) -> int:
    """A width, rounded up to one that arrays have."""
    return -(-width // multiple_of(width, free)) * multiple_of(width, free)


def shapes_to_warm(most: int, largest: int, exported: bool = False) -> list[tuple[int, int]]:
    """Lengths of a text in characters and numbers of texts, for all programs there are.

    Args:
        most: tokens of the longest array.
        largest: the most texts of a request.
        exported: as for `one_program`.
    """
    with one_program(exported) as free:
        if free:
            return [(max(1, min(most, 16) - 4), 1)]
    widths = sorted({min(rounded(width), most) for width in range(8, most + 1, 8)} | {most})
    return [(width - 4, size) for width in widths if width > 4 for size in SIZES if size <= largest]


def groups(widths: Sequence[int], free: bool = False) -> list[tuple[list[int], int]]:
    """Indices of items that are best computed together, and for each group the number of rows, one of `SIZES`.

    groups([16, 64, 16, 16, 16])  # [([0, 2, 3, 4], 4), ([1], 1)]

    Args:
        widths: tokens of each item. A group costs as many tokens as its rows times its longest item, and `CALL`.
        free: one program is compiled for all shapes, so that any number of rows will do.
    """
    sizes = FREE if free else SIZES
    order = sorted(range(len(widths)), key=lambda i: widths[i])
    costs, steps = [0], [(0, 0)]
    for end in range(1, len(order) + 1):
        width = rounded(widths[order[end - 1]], free)
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


class FewSizes:
    """`compute` with few shapes of arrays: items of like lengths together, filled up to one of `SIZES`.

    Args:
        compute: gives a result for each of some texts or pairs; takes a `batch_size`.
        filler: the item that fills up.
        most: tokens of the longest array.
        windows: whether a longer text is read in windows, so that it gives many rows.
        exported: as for `one_program`.
    """

    def __init__(
        self,
        compute: Callable[..., Sequence[Any]],
        filler: Any,
        most: int,
        windows: bool = False,
        exported: bool = False,
    ) -> None:
        self.compute, self.filler, self.most = compute, filler, most
        self.windows, self.exported = windows, exported

    def __call__(self, items: Sequence[Any]) -> Sequence[Any]:
        """A result for each item."""
        results: list[Any] = [None] * len(items)
        with one_program(self.exported) as free:
            short, long = self._by_length(items)
            for chosen, size in self._groups(items, short, free):
                longest = min(max(_width(items[i]) for i in chosen), self.most)
                with padded_to(multiple_of(longest, free)):
                    found = self.compute([*(items[i] for i in chosen), *[self.filler] * (size - len(chosen))])
                for i, result in zip(chosen, found, strict=False):
                    results[i] = result
            for i in long:  # rows of two, however many windows
                with padded_to(multiple_of(self.most, free)):
                    [results[i]] = self.compute([items[i]], batch_size=2)
        return results

    def with_first(self, items: Sequence[Any]) -> list[int]:
        """Indices of the items that are best computed together with the first one, that one among them."""
        short, _ = self._by_length(items)
        with one_program(self.exported) as free:
            found = (chosen for chosen, _ in self._groups(items, short, free) if 0 in chosen)
            return next(found, [0])

    def _by_length(self, items: Sequence[Any]) -> tuple[list[int], list[int]]:
        """Indices of the items that fit into an array, and of those that give windows."""
        long = [i for i, item in enumerate(items) if self.windows and _width(item) > self.most]
        return [i for i in range(len(items)) if i not in long], long

    def _groups(self, items: Sequence[Any], short: Sequence[int], free: bool) -> list[tuple[list[int], int]]:
        made = groups([min(_width(items[i]), self.most) for i in short], free)
        return [([short[i] for i in some], size) for some, size in made]


def _width(item: Any) -> int:
    """The most tokens of a text or pair: of one whose characters are all tokens."""
    return len(item) + 2 if isinstance(item, str) else sum(map(len, item)) + 1 + len(item)


class FewWindows:
    """`compute` with few shapes of arrays.

    A reader by spans reads windows in batches of one of `SIZES`; for the others a question is added whose passages fill
    the windows up to a power of two.

    Args:
        reader: whose windows they are.
        compute: gives an answer for each of some questions with their passages; takes `rows`.
    """

    def __init__(self, reader: Any, compute: Callable[..., Sequence[Any]]) -> None:
        self.reader, self.compute = reader, compute

    def __call__(self, items: Sequence[Any]) -> Sequence[Any]:
        """An answer for each question."""
        windows = sum(map(self._windows, items))
        if self.reader.method != "span":
            missing = (1 << (windows - 1).bit_length()) - windows
            return self.compute(_filled(items, missing))[: len(items)]
        longest = max(len(question) + max(map(len, passages)) + 3 for question, passages in items)
        with one_program() as free:
            width = rounded(min(longest, self.reader.lengths.window_length), free)
            rows = min(FREE if free else SIZES, key=lambda size: -(-windows // size) * (CALL + size * width))
            with padded_to(multiple_of(width, free)):
                return self.compute(_filled(items, rows - windows), rows=rows)[: len(items)]

    def with_first(self, items: Sequence[Any]) -> list[int]:
        """Indices of the questions that are best computed together with the first one: as many as fill a batch."""
        chosen, windows = [0], self._windows(items[0])
        for i, item in enumerate(items[1:], 1):
            windows += self._windows(item)
            if windows > SIZES[-1]:
                break
            chosen.append(i)
        return chosen

    def _windows(self, item: Any) -> int:
        return sum(map(self.reader.lengths.most_windows, item[1]))


def _filled(items: Sequence[Any], missing: int) -> list[Any]:
    """The questions, and one more with so many windows."""
    return [*items, *([(QUESTION, [FILLER] * missing)] if missing > 0 else [])]
