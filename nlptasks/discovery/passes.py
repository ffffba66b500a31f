"""The three readings of a corpus: characters and pairs, then fragments, then the neighbors of words.

Each reading leaves sorted runs and a note of what it counted in a folder, unit by unit; a unit whose note is there is
not read again, so that an interrupted job goes on. Several processes share the units.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nlptasks.discovery.characters import PER_KEY, chunks, columns_of, keys_of, packed, runs_on, word_kinds
from nlptasks.discovery.counting import Counter, count_keys, merge
from nlptasks.files import write_text
from nlptasks.pretraining.corpus import CorpusFormat, Unit, read_blocks
from nlptasks.pretraining.workers import Report, run_all

CHUNK = 1 << 19
"""characters that are looked at together"""
UNIT_BYTES = 1 << 24
Numbers = dict[str, int]
Job = tuple[int, Unit]


@dataclass(frozen=True)
class Corpus:
    """Text to be read several times, and where the counts go.

    Attributes:
        units: from `plan_units`.
        form: how the files are read.
        folder: receives runs and notes.
        processes: how many read at a time.
        rows: rows of counts that each of them holds in memory.
        tell: receives the name of a reading and how many units of how many are done.
    """

    units: Sequence[Unit]
    form: CorpusFormat
    folder: Path
    processes: int = 1
    rows: int = 1 << 22
    tell: Callable[[str, int, int], None] = lambda name, done, count: None

    def read(self, name: str, count: "Count") -> tuple[Numbers, Callable[[str], Iterator[np.ndarray]]]:
        """Reads all units.

        Args:
            name: of this reading; its files begin with it.
            count: called with each unit's chunks, it yields (kind, run) and returns numbers.

        Returns:
            The sums of the numbers, and a function that gives the merged runs of a kind.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        jobs = list(enumerate(self.units))
        left = [job for job in jobs if not self._note(name, job[0]).is_file()]
        work = functools.partial(_read_unit, self.folder, name, self.form, self.rows, count)
        self.tell(name, len(jobs) - len(left), len(jobs))
        for done, _ in enumerate(run_all(work, left, self.processes, lambda _: None), len(jobs) - len(left) + 1):
            self.tell(name, done, len(jobs))
        notes = [json.loads(self._note(name, index).read_text(encoding="utf-8")) for index, _ in jobs]
        numbers = {key: sum(note["numbers"][key] for note in notes) for key in notes[0]["numbers"]}
        files = {kind: sorted(self.folder.glob(f"{name}-*-{kind}-*.npy")) for note in notes for kind in note["kinds"]}
        return numbers, lambda kind: merge(files.get(kind, []), self.rows)

    def _note(self, name: str, index: int) -> Path:
        return self.folder / f"{name}-{index:06}.json"


Count = Callable[[Iterable[np.ndarray]], Iterator[tuple[str, np.ndarray] | Numbers]]


def _read_unit(folder: Path, name: str, form: CorpusFormat, rows: int, count: Count, job: Job, _: Report) -> None:
    index, unit = job
    for path in folder.glob(f"{name}-{index:06}-*.npy"):  # of a process that was ended
        path.unlink()
    counters: dict[str, Counter] = {}
    numbers: Numbers = {}
    for found in count(chunks(read_blocks(unit, form, CHUNK), CHUNK)):
        if isinstance(found, dict):
            numbers = {key: numbers.get(key, 0) + value for key, value in found.items()}
        else:
            kind, run = found
            if kind not in counters:
                counters[kind] = Counter(folder / f"{name}-{index:06}-{kind}", rows)
            counters[kind].add(run)
    for counter in counters.values():
        counter.close()
    write_text(folder / f"{name}-{index:06}.json", json.dumps({"numbers": numbers, "kinds": sorted(counters)}))


def count_pairs(parts: Iterable[np.ndarray]) -> Iterator[tuple[str, np.ndarray] | Numbers]:
    """First reading: runs of `characters`, and of `pairs` of neighbors (the first one in the higher 16 of 32 bits)."""
    for units in parts:
        inside = word_kinds()[units] > 0
        pairs = inside[1:] & inside[:-1]
        keys = (units[:-1][pairs].astype("uint32") << np.uint32(16)) | units[1:][pairs]
        characters = np.bincount(units[inside], minlength=1)
        seen = np.flatnonzero(characters)
        yield "characters", np.stack([seen, characters[seen]]).astype("uint64")
        yield "pairs", count_keys(keys)
        yield {"characters": int(inside.sum()), "pairs": len(keys)}


@dataclass(frozen=True)
class StrongPairs:
    """Pairs of neighbors that are not cut, as bits of a square over the characters that occur in them.

    Attributes:
        ids: by character its number from 1, or 0: it is in no such pair; uint32 of 65536.
        bits: whether a pair is strong, eight pairs a byte.
        size: of the square.
    """

    ids: np.ndarray
    bits: np.ndarray
    size: int

    @classmethod
    def of(cls, keys: np.ndarray) -> "StrongPairs":
        """Those of some pairs, as `count_pairs` has them."""
        members = np.unique(np.concatenate([keys >> np.uint64(16), keys & np.uint64(0xFFFF)])).astype("int64")
        ids, size = np.zeros(0x10000, "uint32"), len(members) + 1
        ids[members] = np.arange(1, size)
        bits = np.zeros(size * size // 8 + 1, "uint8")
        places = ids[keys >> np.uint64(16)].astype("int64") * size + ids[keys & np.uint64(0xFFFF)]
        np.bitwise_or.at(bits, places >> 3, (1 << (places & 7)).astype("uint8"))
        return cls(ids, bits, size)

    def contain(self, units: np.ndarray) -> np.ndarray:
        """For each place of a text but the last: whether it makes a strong pair with the next."""
        ids = self.ids[units]
        places = ids[:-1].astype("int64") * self.size + ids[1:]
        return (self.bits[places >> 3] >> (places & 7).astype("uint8")) & 1 > 0


def count_fragments(
    strong: StrongPairs, longest: int, parts: Iterable[np.ndarray]
) -> Iterator[tuple[str, np.ndarray] | Numbers]:
    """Second reading: runs of the fragments between cuts, kind `1` of up to four characters, `2` of up to eight, ...

    Longer fragments than `longest` are counted in the total alone.
    """
    for units in parts:
        kinds = word_kinds()[units]
        inside = kinds > 0
        joined = (strong.contain(units) | runs_on(kinds)) & inside[1:] & inside[:-1]
        starts = np.flatnonzero(inside[1:] & ~joined) + 1  # the first unit of a chunk is a line end, and so is the last
        lengths = np.flatnonzero(inside[:-1] & ~joined) + 1 - starts
        yield {"fragments": len(starts)}
        quads, classes = packed(units), -(-lengths // PER_KEY)
        classes[lengths > longest] = 0
        for columns in range(1, columns_of(longest) + 1):
            of_class = classes == columns
            if of_class.any():
                keys = keys_of(quads, starts[of_class], lengths[of_class], columns)
                yield str(columns), count_keys(*keys)


def fingerprint(settings: Mapping[str, object]) -> str:
    """A short name of settings, which changes with them."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]
