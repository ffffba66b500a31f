"""Tokens of many lines at once: the ids of a tokenizer, with the character that each begins at.

With WordPiece a Chinese character or a punctuation mark is one token wherever it stands, so those are looked up in a
table; only what stands between them (Latin words, numbers) is encoded, and each such run once.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nlptasks.text import TextTokenizer, Tokenizer
from nlptasks.text.units import code_points
from nlptasks.text.wordpiece import encode_text, has_rare_character, is_ideograph, is_punctuation, is_removed

RUN, SPACE = -1, -2
"""what the table says of characters that are no token of their own: part of a run, or between tokens"""
REMEMBERED = 1 << 18
"""runs whose tokens are kept"""
LONGEST_REMEMBERED = 64
"""characters of such a run; whole lines with rare characters are not worth keeping"""
_LAST_PUNCTUATION, _LAST = 0x20000, 0x30000
_RARE_LINE = re.compile("[^\n]+")


class Tokens(NamedTuple):
    """The tokens of a text.

    Attributes:
        ids: int32 (T,).
        begins: int64 (T,), the character that each begins at, ascending.
        continues: bool (T,), whether it is a ``##`` piece.
    """

    ids: np.ndarray
    begins: np.ndarray
    continues: np.ndarray


class LineTokenizer:
    """Encodes lines joined by line ends, as the tokenizer's `encode` encodes each of them, without special tokens.

    Args:
        tokenizer: gives the rules and the vocabulary.
    """

    def __init__(self, tokenizer: TextTokenizer):
        self.tokenizer = tokenizer
        self._table: np.ndarray | None = None
        if isinstance(tokenizer, Tokenizer) and tokenizer.context_free:
            self._table = _character_table(tokenizer)
        self._is_continuation = np.zeros(tokenizer.vocab_size, bool)
        continuations = [i for token, i in tokenizer.vocab.items() if token.startswith("##")]
        self._is_continuation[continuations] = True
        self._known: dict[str, tuple[list[int], list[int]]] = {}

    def __call__(self, text: str) -> Tokens:
        if self._table is None:
            return self._line_by_line(text)
        codes = code_points(text)
        kinds = self._table.take(codes)
        if has_rare_character(text):
            for match in _RARE_LINE.finditer(text):
                if has_rare_character(match.group()):
                    kinds[match.start() : match.end()] = RUN
        single = np.flatnonzero(kinds >= 0)
        ids, begins = kinds[single], single
        edges = np.flatnonzero(np.diff(kinds == RUN, prepend=False, append=False))
        if len(edges):
            run_ids, run_begins = self._runs(text, edges[::2].tolist(), edges[1::2].tolist())
            ids = np.concatenate([ids, np.array(run_ids, "int32")])
            begins = np.concatenate([begins, np.array(run_begins, "int64")])
            order = np.argsort(begins, kind="stable")
            ids, begins = ids[order], begins[order]
        return Tokens(ids, begins, self._is_continuation.take(ids))

    def _line_by_line(self, text: str) -> Tokens:
        lines, before, after = text.split("\n"), self.tokenizer.template.before, self.tokenizer.template.after
        starts = np.cumsum([0, *(len(line) + 1 for line in lines)])
        ids, begins = [np.zeros(0, "int32")], [np.zeros(0, "int64")]
        for start, encoding in zip(starts[:-1], self.tokenizer.encode_batch(lines), strict=True):
            assert encoding.offsets is not None  # asked for by default
            inner = slice(len(before), len(encoding) - len(after))
            ids.append(encoding.token_ids[inner])
            begins.append(start + encoding.offsets[inner, 0])
        found = np.concatenate(ids)
        return Tokens(found, np.concatenate(begins).astype("int64"), self._is_continuation.take(found))

    def _runs(self, text: str, starts: Sequence[int], ends: Sequence[int]) -> tuple[list[int], list[int]]:
        """Ids and beginnings of the tokens of all runs."""
        runs = [text[start:end] for start, end in zip(starts, ends, strict=True)]
        if len(self._known) > REMEMBERED:
            self._known.clear()
        known = self._known
        new = [run for run in dict.fromkeys(runs) if run not in known]
        for run, encoding in zip(new, self.tokenizer.encode_batch(new), strict=True):
            assert encoding.offsets is not None  # asked for by default
            known[run] = encoding.token_ids[1:-1].tolist(), encoding.offsets[1:-1, 0].tolist()
        ids: list[int] = []
        begins: list[int] = []
        for start, run in zip(starts, runs, strict=True):
            run_ids, offsets = known[run]
            ids += run_ids
            begins += [start + offset for offset in offsets]
        for run in new:
            if len(run) > LONGEST_REMEMBERED:
                del known[run]
        return ids, begins


def _character_table(tokenizer: Tokenizer) -> np.ndarray:
    """By code point: the id of a character that is a token wherever it stands, RUN, or SPACE; int32 of 0x110000."""
    vocab, unk_id, lowercase = tokenizer.vocab, tokenizer.unk_id, tokenizer.lowercase
    table = np.full(0x110000, RUN, "int32")
    for code in range(_LAST):
        char = chr(code)
        if is_ideograph(char):
            if has_rare_character(char):
                continue
            if unicodedata.normalize("NFD", char) == char:
                table[code] = vocab.get(char, unk_id)
                continue
        elif code > _LAST_PUNCTUATION or not is_punctuation(char) or has_rare_character(char):
            if char.isspace() and not is_removed(char):
                table[code] = SPACE
            continue
        ids, _ = encode_text(char, vocab, unk_id, lowercase)
        if len(ids) == 1:
            table[code] = ids[0]
    return table
