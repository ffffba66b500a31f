"""`bert4keras.snippets`: strings, files, padding, generators of batches, decoders and a small server."""

import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

import keras as _keras
import numpy as np

from nlptasks.bert4keras.decoding import AutoRegressiveDecoder, ViterbiDecoder, softmax
from nlptasks.bert4keras.generators import DataGenerator
from nlptasks.bert4keras.helpers import (
    delete_arguments,
    insert_arguments,
    longest_common_subsequence,
    longest_common_substring,
    orthogonally_resize,
)
from nlptasks.bert4keras.parallel import parallel_apply, parallel_apply_generator
from nlptasks.bert4keras.serving import WebServing
from nlptasks.errors import UserError
from nlptasks.text.wordpiece import strip_accents

__all__ = [
    "AutoRegressiveDecoder",
    "DataGenerator",
    "ViterbiDecoder",
    "WebServing",
    "convert_to_str",
    "convert_to_unicode",
    "delete_arguments",
    "insert_arguments",
    "is_one_of",
    "is_py2",
    "is_string",
    "longest_common_subsequence",
    "longest_common_substring",
    "lowercase_and_normalize",
    "open",
    "orthogonally_resize",
    "parallel_apply",
    "parallel_apply_generator",
    "sequence_padding",
    "softmax",
    "strQ2B",
    "string_matching",
    "text_segmentate",
    "to_array",
    "truncate_sequences",
    "uniout",
]
is_py2 = False
basestring = str
uniout = ModuleType("uniout")
"""what `import uniout` did on Python 2; nothing here"""
_open_ = open


def to_array(*args: Any) -> Any:
    """Each argument as an array; a single one alone.

    token_ids, segment_ids = to_array([token_ids], [segment_ids])
    """
    found = [np.array(each) for each in args]
    return found[0] if len(found) == 1 else found


def is_string(s: Any) -> bool:
    """Whether this is a string."""
    return isinstance(s, str)


def is_one_of(x: Any, ys: Iterable[Any]) -> bool:
    """Whether this very object is among others."""
    return any(x is y for y in ys)


_WIDE_SPACE, _WIDE_FIRST, _WIDE_LAST, _WIDE_OFFSET = 0x3000, 0xFF01, 0xFF5E, 0xFEE0


def strQ2B(ustring: str) -> str:
    """Full-width characters as the half-width ones."""
    codes = (ord(ch) for ch in ustring)
    return "".join(
        " " if c == _WIDE_SPACE else chr(c - _WIDE_OFFSET if _WIDE_FIRST <= c <= _WIDE_LAST else c) for c in codes
    )


def string_matching(s: str, keywords: Iterable[str]) -> bool:
    """Whether one of these regular expressions is found in a string."""
    return any(re.search(keyword, s) for keyword in keywords)


def convert_to_unicode(text: Any, encoding: str = "utf-8", errors: str = "ignore") -> Any:
    """Bytes as a string; strings as they are."""
    return text.decode(encoding, errors=errors) if isinstance(text, bytes) else text


convert_to_str = convert_to_unicode


def lowercase_and_normalize(text: str) -> str:
    """Lower case without accents."""
    return strip_accents(text.lower())


class open:
    """A text file that can be read by line numbers.

        with open("data.txt", encoding="utf-8", indexable=True) as file:
            file[3]

    Args:
        indexable: find where each line starts; a string names a file that keeps this.
    """

    def __init__(
        self, name: Any, mode: str = "r", encoding: str | None = None, errors: str = "strict", indexable: Any = False
    ) -> None:
        self.name, self.encoding, self.errors = name, encoding, errors
        binary = "b" in mode
        encoding = None if binary else encoding or "utf-8"
        self.file = _open_(name, mode, encoding=encoding, errors=None if binary else errors)
        self.iterator: Any = None
        self.offsets: list[int] = []
        if not indexable:
            return
        if isinstance(indexable, str) and os.path.exists(indexable):
            with _open_(indexable, encoding="utf-8") as file:
                self.offsets = json.load(file)
            return
        self.create_indexes()
        if isinstance(indexable, str):
            with _open_(indexable, "w", encoding="utf-8") as file:
                json.dump(self.offsets, file)

    def create_indexes(self) -> None:
        """Finds where each line starts."""
        self.offsets, offset = [], 0
        while self.readline():
            self.offsets.append(offset)
            offset = self.tell()
        self.seek(0)

    def __getitem__(self, key: int) -> Any:
        self.seek(self.offsets[key])
        return self.readline()

    def __len__(self) -> int:
        return len(self.offsets)

    def __iter__(self) -> Iterator[Any]:
        yield from self.file

    def __next__(self) -> Any:
        if self.iterator is None:
            self.iterator = iter(self)
        return next(self.iterator)

    next = __next__

    def read(self) -> Any:
        """The rest of the file."""
        return self.file.read()

    def readline(self) -> Any:
        """One line."""
        return self.file.readline()

    def readlines(self) -> list[Any]:
        """The lines that are left."""
        return list(self.file)

    def write(self, text: Any) -> None:
        """Writes a string."""
        self.file.write(convert_to_str(text) if "b" not in self.file.mode else text)

    def flush(self) -> None:
        """Hands everything to the system."""
        self.file.flush()

    def close(self) -> None:
        """Closes the file."""
        self.file.close()

    def tell(self) -> int:
        """Where the next character is."""
        return self.file.tell()

    def seek(self, offset: int = 0) -> int:
        """Goes to a place."""
        return self.file.seek(offset)

    def __enter__(self) -> "open":
        return self

    def __exit__(self, type: Any, value: Any, tb: Any) -> None:
        self.close()


def sequence_padding(
    inputs: Sequence[Any], length: Any = None, value: Any = 0, seq_dims: int = 1, mode: str = "post"
) -> np.ndarray:
    """Sequences as one array, filled up or cut.

        sequence_padding([[1, 2, 3], [4]])  # [[1, 2, 3], [4, 0, 0]]

    Args:
        length: of the first `seq_dims` axes; None: the longest.
        value: what fills up.
        mode: "post" fills behind, "pre" before.
    """
    if mode not in ("post", "pre"):
        raise UserError("{field:mode} must be post or pre. Received: {mode!r}.", mode=mode)
    arrays = [np.asarray(x) for x in inputs]
    if length is None:
        length = [max(x.shape[i] for x in arrays) for i in range(seq_dims)]
    elif not hasattr(length, "__getitem__"):
        length = [length]
    rest = arrays[0].shape[seq_dims:]
    out = np.full((len(arrays), *(length[i] for i in range(seq_dims)), *rest), value, np.result_type(*arrays))
    for row, x in zip(out, arrays, strict=True):
        x = x[tuple(slice(None, length[i]) for i in range(seq_dims))]
        places = (
            slice(None, n) if mode == "post" else slice(length[i] - n, None) for i, n in enumerate(x.shape[:seq_dims])
        )
        row[tuple(places)] = x
    return out


def truncate_sequences(maxlen: int, indices: Any, *sequences: Any) -> list[Any]:
    """Takes entries out of the longest sequence until all together have at most `maxlen`.

    Args:
        indices: which entry to take out, for all sequences or for each.
    """
    kept = [s for s in sequences if s]
    places = indices if isinstance(indices, list | tuple) else [indices] * len(kept)
    while sum(map(len, kept)) > maxlen:
        longest = max(range(len(kept)), key=lambda i: len(kept[i]))
        kept[longest].pop(places[longest])
    return kept


def text_segmentate(text: str, maxlen: int, seps: Any = "\n", strips: str | None = None) -> list[str]:
    """A text cut at separators, the first ones first, into pieces of at most `maxlen` characters if possible.

    text_segmentate("一二。三四", 3, "。")  # ["一二。", "三四"]
    """
    text = text.strip().strip(strips)
    if not seps or len(text) <= maxlen:
        return [text]
    pieces = text.split(seps[0])
    found: list[str] = []
    joined = ""
    for i, piece in enumerate(pieces):
        if joined and piece and len(joined) + len(piece) > maxlen - 1:
            found += text_segmentate(joined, maxlen, seps[1:], strips)
            joined = ""
        joined += piece if i + 1 == len(pieces) else piece + seps[0]
    return found + (text_segmentate(joined, maxlen, seps[1:], strips) if joined else [])


class Hook:
    """A module with `uniout`, which Python 2 needed to print Chinese."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def __getattr__(self, attr: str) -> Any:
        return None if attr == "uniout" else getattr(self.module, attr)


def __getattr__(name: str) -> Any:
    found = {"np": np, "sys": sys, "unicodedata": unicodedata}
    if name in found:
        return found[name]
    if name in ("K", "keras"):
        from nlptasks.bert4keras import keras

        return keras if name == "keras" else keras.backend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


Progbar = _keras.utils.Progbar
