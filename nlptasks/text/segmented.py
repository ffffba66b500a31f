"""Readers of segmented text: one sentence a line, words separated by white space (SIGHAN's format)."""

from collections.abc import Sequence

import numpy as np

from nlptasks.files import PathLike, read_lines


def read_segmented(path: PathLike) -> list[list[str]]:
    """The sentences of a segmented file, as lists of words.

    Args:
        path: UTF-8, plain or gzip; words are separated by any white space, blank lines are left out.

    Raises:
        FileNotFoundError, ValueError: as `nlptasks.files.read_lines`.
    """
    return [line.split() for _, line in read_lines(path)]


def word_starts(words: Sequence[str]) -> np.ndarray:
    """Where each word starts in the text that the words make when they are joined, counted in characters."""
    return np.cumsum([0, *(len(word) for word in words[:-1])], dtype="int64")
