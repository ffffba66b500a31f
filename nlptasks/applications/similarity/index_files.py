"""An index of sentences in a folder: three files with a number in their names, and a header that names them.

A folder may hold other files; only those that the header names are removed.
"""

import json
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nlptasks.applications.similarity.vectors import GRAPH, ROWS, new_vectors, suffix_in, suffix_of
from nlptasks.errors import UserError
from nlptasks.files import atomic_path, read_json_object, write_text
from nlptasks.text.lexical import LexicalIndex

HEADER = "index.json"
_PARTS = ("vectors", "texts", "lexical")
_OWN_NAME = re.compile(rf"(vectors\.\d+\.({GRAPH}|{ROWS})|texts\.\d+\.txt|lexical\.\d+\.npz)")
_POSITIONS = "positions"


class IndexParts(NamedTuple):
    """What an index is made of; see `SentenceIndex`."""

    vectors: Any
    texts: Sequence[str]
    lexical: LexicalIndex
    positions: np.ndarray
    next_position: int
    vector_size: int
    fingerprint: str


def write_index(directory: Path, parts: IndexParts) -> Path:
    """Writes the files, then the header, then removes the files of the header that stood there.

    Returns:
        The path of the vectors.

    Raises:
        UserError: the header that stands there is of something else.
        ValueError: the parts do not belong together; nothing is written.
    """
    lengths = {len(part) for part in (parts.vectors, parts.texts, parts.lexical, parts.positions)}
    if len(lengths) > 1:
        raise ValueError(f"{directory}: nothing is written; the index in memory is damaged ({sorted(lengths)}).")
    directory.mkdir(parents=True, exist_ok=True)
    former = former_names(directory)
    suffixes = {"vectors": suffix_of(parts.vectors), "texts": "txt", "lexical": "npz"}
    names = _free_names(directory, former, suffixes)
    written = []
    try:
        with atomic_path(directory / names["vectors"]) as temporary:
            parts.vectors.save(str(temporary))
        written.append(names["vectors"])
        write_text(directory / names["texts"], "".join(f"{text}\n" for text in parts.texts))
        written.append(names["texts"])
        arrays = parts.lexical.arrays() | {_POSITIONS: parts.positions}
        with atomic_path(directory / names["lexical"]) as temporary, open(temporary, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type] # no array has the name of an argument
        written.append(names["lexical"])
        header = {"vector_size": parts.vector_size, "sentences": len(parts.texts), "fingerprint": parts.fingerprint}
        header |= {"next_position": parts.next_position, "files": names}
        write_text(directory / HEADER, json.dumps(header, indent=1) + "\n")
    except BaseException:
        for name in written:
            (directory / name).unlink(missing_ok=True)
        raise
    for name in former:
        (directory / name).unlink(missing_ok=True)
    return directory / names["vectors"]


def read_index(directory: Path, fingerprint: str | None) -> tuple[IndexParts, Path]:
    """What `write_index` wrote, the vectors memory-mapped, and their path.

    Raises:
        ValueError, FileNotFoundError: one line; another model made it, or it is damaged.
    """
    path = directory / HEADER
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; make an index with nlptasks similarity index.")
    header = read_json_object(path)
    try:
        names = {part: directory / header["files"][part] for part in _PARTS}
        size, made_by, count = int(header["vector_size"]), str(header["fingerprint"]), int(header["sentences"])
        following = int(header.get("next_position", count))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not an index of sentences ({error}); make it again.") from None
    if fingerprint is not None and made_by != fingerprint:
        raise ValueError(
            f"{directory}: the index was made by another model (its fingerprint is {made_by}, the "
            f"model's {fingerprint}), whose vectors mean something else; search with that one or index again."
        )
    vectors = new_vectors(size, suffix_in(names["vectors"]))
    try:
        vectors.view(str(names["vectors"]))
        texts = names["texts"].read_bytes().decode("utf-8").split("\n")[:-1]
        with open(names["lexical"], "rb") as file, np.load(file, allow_pickle=False) as arrays:
            lexical = LexicalIndex(**{name: arrays[name] for name in LexicalIndex.ARRAYS})
            # an index that is older than removing has them all
            positions = arrays[_POSITIONS] if _POSITIONS in arrays else np.arange(count)
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{directory}: the index is damaged ({error}); make it again.") from None
    if not len(vectors) == len(texts) == len(lexical) == len(positions) == count:
        raise ValueError(f"{directory}: the index is damaged (its files differ in length); make it again.")
    if suffix_in(names["vectors"]) == ROWS:
        vectors.keys = positions
    return IndexParts(vectors, texts, lexical, positions, following, size, made_by), names["vectors"]


def former_names(directory: Path) -> list[str]:
    """The files of the index that stands there, as its header names them.

    Raises:
        UserError: the header is of something else.
    """
    path = directory / HEADER
    if not path.is_file():
        return []
    try:
        files = read_json_object(path)["files"]
        names = [str(files[part]) for part in _PARTS]
    except (ValueError, KeyError, TypeError):
        names = []
    if not names or not all(_OWN_NAME.fullmatch(name) for name in names):
        raise UserError(
            "{path}: is not of an index of sentences, and is not written over; give another folder.", path=path
        )
    return names


def _free_names(directory: Path, former: Sequence[str], suffixes: dict[str, str]) -> dict[str, str]:
    """Names of the next number of which there is no file."""
    number = 1 + max((int(name.split(".")[1]) for name in former), default=-1)
    while True:
        names = {part: f"{part}.{number}.{suffix}" for part, suffix in suffixes.items()}
        if not any((directory / name).exists() for name in names.values()):
            return names
        number += 1
