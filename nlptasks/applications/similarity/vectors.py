"""Where the vectors of an index lie: in a graph of usearch's, or, where that is not installed, in rows of NumPy's.

Both keep half precision and have the same methods. Legend: N vectors, Q queries, D size of a vector.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nlptasks.backend.packages import is_installed, require_packages

CONNECTIVITY, EXPANSION_ADD, EXPANSION_SEARCH = 16, 96, 256
"""edges of a node, and how many candidates are followed when one is added and when one is searched for: of a million
vectors 0.97 of the nearest ten are found (benchmarks/similarity.md)"""
GRAPH, ROWS = "usearch", "npy"
"""suffixes of their files"""
SCORES_AT_ONCE = 1 << 24
ADDED_AT_ONCE = 512
"""vectors after which it is looked whether somebody has pressed Ctrl-C"""


class Matches(NamedTuple):
    """What a search has found: keys (Q, k) and distances (Q, k), 1 - cosine, ascending."""

    keys: np.ndarray
    distances: np.ndarray


class Rows:
    """Vectors that are compared one by one.

    Args:
        size: D.
    """

    def __init__(self, size: int) -> None:
        self._rows = np.zeros((0, size), "float16")
        self.keys = np.zeros(0, "int64")

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, keys: np.ndarray, vectors: np.ndarray, threads: int = 0) -> None:
        """Puts vectors behind those that are there; `keys` are their numbers, above all that are there."""
        self._rows = np.concatenate([self._rows, vectors.astype("float16")])
        self.keys = np.concatenate([self.keys, keys.astype("int64")])

    def get(self, keys: np.ndarray) -> np.ndarray:
        """Vectors by their numbers."""
        return self._rows[np.searchsorted(self.keys, keys.astype("int64"))]

    def contains(self, keys: np.ndarray) -> np.ndarray:
        """Which numbers are there."""
        return np.isin(keys.astype("int64"), self.keys)

    def remove(self, keys: np.ndarray) -> None:
        """Takes vectors out by their numbers."""
        kept = ~np.isin(self.keys, keys.astype("int64"))
        self._rows, self.keys = self._rows[kept], self.keys[kept]

    def search(self, vectors: np.ndarray, count: int, threads: int = 0, exact: bool = True) -> Matches:
        """The nearest `count` of each query (Q, D), the nearest first."""
        rows = self._rows.astype("float32")
        keys, distances = [], []
        step = max(1, SCORES_AT_ONCE // len(rows))
        for start in range(0, len(vectors), step):
            found = 1 - vectors[start : start + step] @ rows.T
            best = np.argpartition(found, count - 1)[:, :count]
            found = np.take_along_axis(found, best, 1)
            order = np.argsort(found, kind="stable")
            keys.append(self.keys[np.take_along_axis(best, order, 1)])
            distances.append(np.take_along_axis(found, order, 1))
        return Matches(np.concatenate(keys), np.concatenate(distances))

    def save(self, path: str) -> None:
        """Writes a file that `view` and `load` read."""
        with open(path, "wb") as file:
            np.save(file, self._rows)

    def view(self, path: str) -> None:
        """Reads a file as it is needed; nothing may be added then."""
        self._rows = self._checked(np.load(path, mmap_mode="r", allow_pickle=False))
        self.keys = np.arange(len(self._rows))

    def load(self, path: str) -> None:
        """Reads a file into memory."""
        self._rows = self._checked(np.load(path, allow_pickle=False))
        self.keys = np.arange(len(self._rows))

    def _checked(self, rows: np.ndarray) -> np.ndarray:
        if rows.dtype != np.float16 or rows.shape[1:] != self._rows.shape[1:]:
            raise ValueError(f"vectors of {rows.dtype} {rows.shape}")
        return rows


def new_vectors(size: int, suffix: str | None = None) -> Any:
    """No vectors yet, of this size.

    Args:
        suffix: GRAPH or ROWS; None: a graph where usearch is installed.

    Raises:
        MissingPackageError: a graph was asked for, and usearch is not installed.
    """
    if suffix == ROWS or (suffix is None and not is_installed("usearch")):
        return Rows(size)
    require_packages("usearch")
    from usearch.index import Index  # here: who only encodes does without it

    return Index(
        ndim=size,
        metric="ip",
        dtype="f16",
        connectivity=CONNECTIVITY,
        expansion_add=EXPANSION_ADD,
        expansion_search=EXPANSION_SEARCH,
    )


def suffix_of(vectors: Any) -> str:
    """The suffix of the file that they are saved in."""
    return ROWS if isinstance(vectors, Rows) else GRAPH


def suffix_in(path: Path) -> str:
    """The suffix of a file's name, GRAPH or ROWS."""
    return ROWS if path.suffix == f".{ROWS}" else GRAPH


def add_all(vectors: Any, keys: np.ndarray, rows: np.ndarray, threads: int = 0) -> None:
    """Adds rows (N, D) with their numbers (N,), all of them, or none where that fails or is interrupted."""
    with _held_interrupts() as caught:  # usearch's own loop would end in the middle, with another error
        try:
            for start in range(0, len(keys), ADDED_AT_ONCE):
                part = slice(start, start + ADDED_AT_ONCE)
                vectors.add(keys[part], rows[part], threads=threads)
                if caught:
                    raise KeyboardInterrupt
        except BaseException:
            if len(there := keys[np.asarray(vectors.contains(keys), bool)]):
                vectors.remove(there)
            raise


@contextlib.contextmanager
def _held_interrupts() -> Iterator[list[int]]:
    """Within the block Ctrl-C only puts its number into the list."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # only that one is interrupted
        yield caught
        return
    former = signal.signal(signal.SIGINT, lambda number, frame: caught.append(number))
    try:
        yield caught
    finally:
        signal.signal(signal.SIGINT, former)
