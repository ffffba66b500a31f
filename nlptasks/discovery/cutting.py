"""Documents as numbers of words, on disk: cut once, read as often as training likes."""

import itertools
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from nlptasks.discovery.spherical import Tokens
from nlptasks.files import atomic_path

DOCUMENTS_AT_ONCE = 4096
ALL, TOKENS, CUT = "all.bin", "kept.bin", "cut.npz"
FILES = (ALL, TOKENS, CUT)
"""what may be in the folder"""
_DTYPE = np.dtype("int32")


def cut_documents(
    documents: Iterable[str], cut: Callable[[list[str]], Sequence[Sequence[str]]], folder: Path, min_count: int
) -> tuple[Tokens, list[str], np.ndarray]:
    """Cuts documents into words and keeps the numbers of those that are frequent enough.

    Args:
        documents: the texts.
        cut: texts to lists of words.
        folder: receives `FILES`; the tokens are mapped from the second, and `open_cut` opens what is complete.
        min_count: words that occur less often are left out, and so is what has neither a letter nor a digit.

    Returns:
        The tokens; the words in the order of their numbers, the most frequent first; how often each occurs.
    """
    known: dict[str, int] = {}
    counts: Counter[int] = Counter()
    lengths = array("q")
    waiting = iter(documents)
    with open(folder / ALL, "wb") as file:
        while part := list(itertools.islice(waiting, DOCUMENTS_AT_ONCE)):
            for words in cut(part):
                ids = [known.setdefault(word, len(known)) for word in words if any(map(str.isalnum, word))]
                counts.update(ids)
                lengths.append(len(ids))
                file.write(np.array(ids, _DTYPE).tobytes())
    names = list(known)
    kept = sorted((i for i, n in counts.items() if n >= min_count), key=lambda i: (-counts[i], names[i]))
    final = np.full(len(names) + 1, -1, _DTYPE)
    final[kept] = np.arange(len(kept))
    starts = np.zeros(len(lengths) + 1, "int64")
    with open(folder / ALL, "rb") as source, open(folder / TOKENS, "wb") as target:
        for first in range(0, len(lengths), DOCUMENTS_AT_ONCE):
            sizes = np.array(lengths[first : first + DOCUMENTS_AT_ONCE])
            numbers = final[np.frombuffer(source.read(int(sizes.sum()) * _DTYPE.itemsize), _DTYPE)]
            of = np.repeat(np.arange(len(sizes)), sizes)[numbers >= 0]
            starts[first + 1 : first + len(sizes) + 1] = np.bincount(of, minlength=len(sizes))
            target.write(numbers[numbers >= 0].tobytes())
    (folder / ALL).unlink()
    spelled = np.frombuffer("\n".join(names[i] for i in kept).encode("utf-8", "surrogatepass"), "uint8")
    with atomic_path(folder / CUT) as path, open(path, "wb") as file:
        np.savez(file, starts=np.cumsum(starts), counts=np.array([counts[i] for i in kept], "int64"), words=spelled)
    found = open_cut(folder)
    assert found is not None
    return found


def open_cut(folder: Path) -> tuple[Tokens, list[str], np.ndarray] | None:
    """What `cut_documents` has left in a folder; None where it has not finished."""
    if not (folder / CUT).is_file():
        return None
    with np.load(folder / CUT) as file:
        starts, counts, words = file["starts"], file["counts"], file["words"].tobytes()
    tokens = np.memmap(folder / TOKENS, _DTYPE, "r") if starts[-1] else np.zeros(0, _DTYPE)
    return Tokens(tokens, starts), words.decode("utf-8", "surrogatepass").split("\n") if words else [], counts
