"""The rows that the benchmarks of masked-LM training learn from, in memory, in their order, and packed to travel.

Keras is not imported: processes that only make batches start without it.
"""

import json
import lzma
from pathlib import Path

import numpy as np

from nlptasks.files import atomic_path
from nlptasks.pretraining.shards import Row

LONGEST_RUN = 1 << 20
"""rows that are put in order at the start; no run is longer"""


class Rows:
    """Packed rows of all domains, kept as flat arrays of any whole numbers.

    Attributes:
        names: of the domains.
        domains: int (R,), each row's.
        held_out: bool (R,).
        lengths: int64 (R,), tokens with [CLS] and [SEP].
    """

    def __init__(self, arrays: dict[str, np.ndarray]):
        self.arrays, self.names = arrays, [str(name) for name in arrays["names"]]
        self.domains, self.held_out = arrays["domains"], arrays["held_out"]
        self.lengths = arrays["lengths"].astype("int64")
        self._starts = np.cumsum(self.lengths) - self.lengths

    def __getitem__(self, i: int) -> Row:
        part = slice(self._starts[i], self._starts[i] + self.lengths[i])
        ids, words, documents = (self.arrays[name][part] for name in ("token_ids", "word_starts", "document_starts"))
        return Row(ids.astype("int32", copy=False), words, documents)


def training_order(rows: Rows, power: float, seed: int, count: int = LONGEST_RUN) -> np.ndarray:
    """Numbers of `count` rows: domains at random by their size to a power, each in passes over its own rows."""
    own = [np.flatnonzero((rows.domains == d) & ~rows.held_out) for d in range(len(rows.names))]
    sizes = np.array([rows.lengths[numbers].sum() for numbers in own], "float64") ** power
    random = np.random.default_rng(seed)
    drawn = random.choice(len(own), count, p=sizes / sizes.sum())
    order = np.zeros(count, "int64")
    for domain, numbers in enumerate(own):
        places = np.flatnonzero(drawn == domain)
        passes = -(-len(places) // max(1, len(numbers)))
        if passes:
            order[places] = np.concatenate([random.permutation(numbers) for _ in range(passes)])[: len(places)]
    return order


def pack_rows(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Writes rows as one xz stream: a line of JSON, then the arrays."""
    lengths, domains = arrays["lengths"].astype("uint16"), arrays["domains"].astype("uint8")
    parts = [
        ("lengths", lengths),
        ("domains", domains),
        ("held_out", np.packbits(arrays["held_out"])),
        ("word_starts", np.packbits(arrays["word_starts"])),
        ("document_starts", np.packbits(arrays["document_starts"])),
        ("token_ids", arrays["token_ids"].astype("uint16")),
    ]
    head = {"names": [str(name) for name in arrays["names"]], "parts": [[n, a.dtype.str, len(a)] for n, a in parts]}
    with atomic_path(path) as temporary, lzma.open(temporary, "wb", preset=6) as file:
        file.write(json.dumps(head).encode() + b"\n")
        for _, array in parts:
            file.write(array.tobytes())


def unpack_rows(path: Path) -> dict[str, np.ndarray]:
    """The arrays that `pack_rows` was given."""
    with lzma.open(path, "rb") as file:
        head = json.loads(file.readline())
        arrays = {}
        for name, dtype, count in head["parts"]:
            arrays[name] = np.frombuffer(file.read(count * np.dtype(dtype).itemsize), dtype)
    total, rows = int(arrays["lengths"].astype("int64").sum()), len(arrays["lengths"])
    for name, size in (("held_out", rows), ("word_starts", total), ("document_starts", total)):
        arrays[name] = np.unpackbits(arrays[name], count=size).astype("bool")
    return arrays | {"names": np.array(head["names"])}
