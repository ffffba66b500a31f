"""Counts of more distinct things than memory holds: sorted runs on disk, merged a range of keys at a time.

A thing is a row of unsigned 64-bit numbers, its key. A run is an array (columns + 1, rows), sorted by key, each key
once; its last row holds the counts.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from nlptasks.files import atomic_path

SAMPLE = 1024
"""keys of a run that are looked at to find where ranges end"""


def count_keys(*columns: np.ndarray) -> np.ndarray:
    """The run of some keys, which are given by columns, in any order and as often as they occur."""
    if len(columns) == 1 and len(columns[0]):  # by far the most frequent, and so the fastest
        ordered = np.sort(columns[0])
        starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        run = np.empty((2, len(starts)), "uint64")
        run[0], run[1] = ordered[starts], np.diff(starts, append=len(ordered))
        return run
    return add_up(np.stack([*columns, np.ones(len(columns[0]), "uint64")]))


def add_up(rows: np.ndarray) -> np.ndarray:
    """The run of rows in any order: equal keys become one, with the sum of their counts."""
    if not rows.shape[1]:
        return rows
    columns = len(rows) - 1
    order = np.argsort(rows[0], kind="stable") if columns == 1 else np.lexsort(rows[columns - 1 :: -1])
    rows = rows[:, order]
    starts = np.flatnonzero(np.concatenate([[True], (rows[:-1, 1:] != rows[:-1, :-1]).any(axis=0)]))
    return np.concatenate([rows[:-1, starts], np.add.reduceat(rows[-1:], starts, axis=1)])


class Counter:
    """Adds up runs, and writes what exceeds its share of the memory to disk.

    Args:
        path: the files are `path` with a number and the ending .npy.
        rows: so many rows are held in memory.
    """

    def __init__(self, path: Path, rows: int) -> None:
        self._path, self._most = path, rows
        self._held: list[np.ndarray] = []
        self._count = self._files = 0

    def add(self, run: np.ndarray) -> None:
        """Adds a run."""
        self._held.append(run)
        self._count += run.shape[1]
        if self._count > self._most:
            self._held = [add_up(np.concatenate(self._held, axis=1))]
            self._count = self._held[0].shape[1]
            if 2 * self._count > self._most:
                self.close()

    def close(self) -> None:
        """Writes what is in memory."""
        if self._count:
            with atomic_path(self._path.with_name(f"{self._path.name}-{self._files:04}.npy")) as path:
                np.save(path, add_up(np.concatenate(self._held, axis=1)))
            self._files += 1
        self._held, self._count = [], 0


def merge(paths: Iterable[Path], rows: int) -> Iterator[np.ndarray]:
    """The sum of all runs, in the order of the keys, as runs that come of about `rows` rows each."""
    runs = [run for run in (np.load(path, mmap_mode="r") for path in paths) if run.shape[1]]
    starts = [0] * len(runs)
    for stop in _range_ends(runs, rows):
        ends = [run.shape[1] if stop is None else int(np.searchsorted(run[0], stop)) for run in runs]
        parts = [run[:, start:end] for run, start, end in zip(runs, starts, ends, strict=True) if start < end]
        starts = ends
        if parts:
            yield add_up(np.concatenate(parts, axis=1))


def _range_ends(runs: Sequence[np.ndarray], rows: int) -> Iterator[np.uint64 | None]:
    """First keys at which a range ends, so that each range has about `rows` rows of all runs; at last None."""
    samples = []
    for run in runs:
        step = max(1, run.shape[1] // SAMPLE)
        samples.append([(key, step) for key in run[0, ::step]])
    seen, last = 0, None
    for key, weight in heapq.merge(*samples):
        if seen + weight > rows and seen and key != last:
            yield key
            seen = 0
        seen, last = seen + weight, key
    yield None
