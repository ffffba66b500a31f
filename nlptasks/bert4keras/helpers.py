"""Helpers of `bert4keras.snippets`: decorators of methods, longest common parts, resizing of matrices."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nlptasks.errors import UserError


def insert_arguments(**arguments: Any) -> Callable:
    """A decorator of methods: further arguments, kept as attributes."""

    def decorate(func: Callable) -> Callable:
        def with_arguments(self: Any, *args: Any, **kwargs: Any) -> Any:
            for name, value in arguments.items():
                setattr(self, name, kwargs.pop(name, value))
            return func(self, *args, **kwargs)

        return with_arguments

    return decorate


def delete_arguments(*arguments: str) -> Callable:
    """A decorator of methods: these arguments are not taken."""

    def decorate(func: Callable) -> Callable:
        def without_arguments(self: Any, *args: Any, **kwargs: Any) -> Any:
            for name in arguments:
                if name in kwargs:
                    raise TypeError(f"{type(self).__name__} got an unexpected keyword argument {name!r}")
            return func(self, *args, **kwargs)

        return without_arguments

    return decorate


def longest_common_substring(source: Sequence[Any], target: Sequence[Any]) -> tuple[int, tuple[int, int, int, int]]:
    """The longest stretch that both have: its length, and start and end in each."""
    best, span = 0, (0, 0, 0, 0)
    before = [0] * (len(target) + 1)
    for i, s in enumerate(source, 1):
        row = [0] * (len(target) + 1)
        for j, t in enumerate(target, 1):
            if s == t:
                row[j] = before[j - 1] + 1
                if row[j] > best:
                    best, span = row[j], (i - row[j], i, j - row[j], j)
        before = row
    return best, span


def longest_common_subsequence(source: Sequence[Any], target: Sequence[Any]) -> tuple[int, list[tuple[int, int]]]:
    """The longest sequence that both have in this order: its length and the pairs of places."""
    table = np.zeros((len(source) + 1, len(target) + 1), int)
    for i, s in enumerate(source, 1):
        for j, t in enumerate(target, 1):
            table[i, j] = table[i - 1, j - 1] + 1 if s == t else max(table[i, j - 1], table[i - 1, j])
    pairs: list[tuple[int, int]] = []
    i, j = len(source), len(target)
    while i and j and table[i, j]:
        if source[i - 1] == target[j - 1]:
            pairs.append((i - 1, j - 1))
            i, j = i - 1, j - 1
        elif table[i, j - 1] > table[i - 1, j]:
            j -= 1
        else:
            i -= 1
    return int(table[-1, -1]), pairs[::-1]


def orthogonally_resize(a: np.ndarray, new_shape: Sequence[int], window: int = 2) -> np.ndarray:
    """A matrix in another shape: groups of `window` rows are repeated or cut, the norm stays."""
    norm = np.linalg.norm(a)
    for axis, (old, new) in enumerate(zip(a.shape, new_shape, strict=True)):
        times = -(-new // old)
        if old != new and times > 1:
            if old % window:
                raise UserError(
                    "orthogonally_resize repeats groups of {window}. Received: {old}.", window=window, old=old
                )
            grouped = a.reshape(*a.shape[:axis], old // window, window, *a.shape[axis + 1 :])
            a = np.repeat(grouped, times, axis=axis).reshape(*a.shape[:axis], old * times, *a.shape[axis + 1 :])
    a = a[tuple(slice(None, size) for size in new_shape)]
    return a / np.linalg.norm(a) * norm
