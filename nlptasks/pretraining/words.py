"""Where words start: jieba's words, or those of the segmenter that comes with this package.

A cutter takes lines joined by line ends and returns a flag for each character, so that a batch costs a few array
operations.

`JiebaWords` gives the words of `jieba.lcut` (default dictionary, HMM on) without calling it: the search for words and
the hidden Markov model are written anew here, because they are most of the time that making shards takes. The best path
through the dictionary is one loop over dictionary entries with their logarithms ready, and what the dictionary does not
know goes through the hidden Markov model for all lines at once. The tables remain jieba's own, and some of them are
private. It relies on

- `jieba.Tokenizer.gen_pfdict` and `jieba.dt.get_dict_file`: the dictionary, with what only begins words at frequency 0;
- `jieba.finalseg.prob_start.P`, `prob_trans.P`, `prob_emit.P`: the model's logarithms, by the states B, E, M and S;
- the rules of `jieba.cut` and `jieba.finalseg.cut`: which characters may be a word, and which of equal paths wins.

All of that is jieba 0.42's, so another version is refused, and a test compares the words of 100,000 lines with
`jieba.lcut`. Words that a program adds (`jieba.add_word`) are not seen.
"""

import re
from collections.abc import Callable
from functools import cache, cached_property
from math import log
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nlptasks.errors import UserError
from nlptasks.text.units import code_points

if TYPE_CHECKING:
    from nlptasks.applications.segmentation.segmenter import Segmenter

SEGMENTERS = ("jieba", "fcn", "none")
JIEBA_VERSION = "0.42"
"""whose tables and rules these are"""
WordCutter = Callable[[str], np.ndarray]
"""text of N characters -> bool (N,), whether a word starts there; a character behind a line end starts one"""

# What jieba treats as text that its dictionary may know; everything else is cut into characters.
_KNOWN = r"[\u4E00-\u9FD5a-zA-Z0-9+#&\._%\-]+"
_FIRST_HAN, _LAST_HAN = 0x4E00, 0x9FD5
# Runs that its hidden Markov model leaves alone, and the words inside them.
_NO_HAN = re.compile(r"[^\u4E00-\u9FD5]+")
_LATIN = re.compile(r"([a-zA-Z0-9]+(?:\.\d+)?%?)")
_IMPOSSIBLE = -3.14e100
_STATES = "BEMS"
_B, _E, _M, _S = range(4)
_FIRST_FROM, _SECOND_FROM = (_E, _B, _B, _E), (_S, _M, _M, _S)
"""by state: the two states that may stand before it, in the order of their letters"""


def make_word_cutter(segmenter: str, user_dict: str | Path | None = None) -> WordCutter:
    """The cutter called `segmenter`: jieba, fcn (the bundled one), or none (every character).

    Args:
        segmenter: its name.
        user_dict: file of words that fcn prefers or avoids.

    Raises:
        ValueError: there is no such segmenter.
    """
    if segmenter == "jieba":
        return JiebaWords()
    if segmenter == "fcn":
        from nlptasks.opening import load

        found = load("segmenter")
        if user_dict is not None:
            found.dictionary = type(found.dictionary).from_file(user_dict)
        return SegmenterWords(found)
    if segmenter == "none":
        return lambda text: np.ones(len(text), bool)
    raise UserError(
        "{field:segmenter} must be one of {segmenters}. Received: {segmenter!r}.",
        segmenters=", ".join(SEGMENTERS),
        segmenter=segmenter,
    )


class SegmenterWords:
    """Words of a `Segmenter`."""

    def __init__(self, segmenter: "Segmenter"):
        self.segmenter = segmenter

    def __call__(self, text: str) -> np.ndarray:
        line_ends = np.flatnonzero(code_points(text) == 10)
        cuts = np.union1d(line_ends, line_ends + 1)
        flags = np.zeros(len(text), bool)
        flags[self.segmenter.word_starts(text, cuts=cuts[cuts < len(text)])] = True
        return flags


class JiebaWords:
    """Words of `jieba.lcut`.

    jieba's dictionary is read from its package, not from the cache that jieba keeps among the machine's temporary
    files.

    Raises:
        UserError: another version of jieba than 0.42.
    """

    def __init__(self) -> None:
        import jieba

        if jieba.__version__.split(".")[:2] != JIEBA_VERSION.split("."):
            raise UserError(
                "{field:segmenter} jieba finds words as jieba {wanted} does. Received: jieba {version}; pip install "
                "'jieba=={wanted}.*', or give {field:segmenter} fcn.",
                wanted=JIEBA_VERSION,
                version=jieba.__version__,
            )
        frequencies, total = jieba.Tokenizer.gen_pfdict(jieba.dt.get_dict_file())
        self._floor = log(1) - log(total)
        # the log probability of every word; None for what only begins words
        self._dictionary = {word: log(n) - log(total) if n else None for word, n in frequencies.items()}
        self._find_known = re.compile(_KNOWN).finditer

    @cached_property
    def _model(self) -> "UnknownWords":
        return UnknownWords()

    def __call__(self, text: str) -> np.ndarray:
        flags = ~_known_table().take(code_points(text))
        starts: list[int] = []
        unknown: list[tuple[int, int]] = []
        for match in self._find_known(text):
            begin, end = match.span()
            if end - begin == 1:
                starts.append(begin)
            else:
                self._cut(match.group(), begin, starts, unknown)
        flags[starts] = True
        if unknown:
            self._model(text, unknown, flags)
        return flags

    def _best_ends(self, text: str) -> list[int]:
        """Where the word ends that starts at each character, on the best path from there to the end of the text."""
        dictionary, floor, length = self._dictionary, self._floor, len(text)
        scores, ends = [0.0] * (length + 1), [0] * length
        for start in range(length - 1, -1, -1):
            end, best, best_end = start + 1, None, 0
            piece = text[start]
            while piece in dictionary:
                weight = dictionary[piece]
                if weight is not None:
                    score = weight + scores[end]
                    if best is None or score >= best:  # of equal ones the longest, as jieba
                        best, best_end = score, end
                if end == length:
                    break
                end += 1
                piece = text[start:end]
            if best is None:
                best, best_end = floor + scores[start + 1], start + 1
            scores[start], ends[start] = best, best_end
        return ends

    def _cut(self, text: str, offset: int, starts: list[int], unknown: list[tuple[int, int]]) -> None:
        """Adds word starts; runs of characters that the path leaves single go to `unknown`, as (start, end)."""
        ends, dictionary, length = self._best_ends(text), self._dictionary, len(text)
        start, run = 0, -1
        while start <= length:
            end = ends[start] if start < length else length + 1
            if end - start == 1 and start < length:
                if run < 0:
                    run = start
            else:
                if run >= 0:
                    if start - run == 1:
                        starts.append(offset + run)
                    elif dictionary.get(text[run:start]) is not None:
                        starts.extend(range(offset + run, offset + start))
                    else:
                        unknown.append((offset + run, offset + start))
                    run = -1
                if start < length:
                    starts.append(offset + start)
            start = end


class UnknownWords:
    """jieba's hidden Markov model of what its dictionary does not know, for many runs of characters at once.

    Every sum is made in the order of `jieba.finalseg.viterbi`, so that the same path wins.
    """

    def __init__(self) -> None:
        from jieba.finalseg.prob_emit import P as emissions
        from jieba.finalseg.prob_start import P as starts
        from jieba.finalseg.prob_trans import P as transitions

        self._start = np.array([starts[state] for state in _STATES])
        self._transitions = np.array([[transitions[a].get(b, _IMPOSSIBLE) for b in _STATES] for a in _STATES])
        self._emissions = np.full((4, _LAST_HAN - _FIRST_HAN + 1), _IMPOSSIBLE)
        for state, row in zip(_STATES, self._emissions, strict=True):
            for char, weight in emissions[state].items():
                if len(char) == 1 and _FIRST_HAN <= ord(char) <= _LAST_HAN:
                    row[ord(char) - _FIRST_HAN] = weight

    def __call__(self, text: str, runs: list[tuple[int, int]], flags: np.ndarray) -> None:
        """Sets the flags of the word starts in the runs (start, end) of the text."""
        han: list[tuple[int, int]] = []
        for start, end in runs:
            run = text[start:end]
            at = 0
            for match in _NO_HAN.finditer(run):
                if match.start() > at:
                    han.append((start + at, start + match.start()))
                begin = start + match.start()
                for part in _LATIN.split(match.group()):
                    if part:
                        flags[begin] = True
                        begin += len(part)
                at = match.end()
            if at < end - start:
                han.append((start + at, end))
        if han:
            starts, ends = np.array(han).T
            flags[starts] = True
            self._cut(code_points(text), starts, ends - starts, flags)

    def _cut(self, codes: np.ndarray, starts: np.ndarray, lengths: np.ndarray, flags: np.ndarray) -> None:
        """Viterbi over all runs in lock-step: step t of the runs that are longer than t."""
        order = np.argsort(-lengths, kind="stable")
        starts, lengths = starts[order], lengths[order]
        active = np.searchsorted(-lengths, -np.arange(lengths[0]), side="left")  # runs longer than t
        came = []
        score = self._start[:, None] + self._emissions[:, codes[starts] - _FIRST_HAN]
        for t in range(1, int(lengths[0])):
            k = int(active[t])
            moved, second = self._advance(score[:, :k], self._emissions[:, codes[starts[:k] + t] - _FIRST_HAN])
            came.append(second)
            score = np.concatenate([moved, score[:, k:]], axis=1)
        state = np.where(score[_S] >= score[_E], _S, _E)
        for t in range(int(lengths[0]) - 1, 0, -1):
            k = int(active[t])
            here = state[:k]
            second = came[t - 1][here, np.arange(k)]
            state[:k] = np.where(second, np.take(_SECOND_FROM, here), np.take(_FIRST_FROM, here))
            ended = (state[:k] == _E) | (state[:k] == _S)  # the word before ended, so one starts at t
            flags[starts[:k][ended] + t] = True

    def _advance(self, score: np.ndarray, emission: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The scores (4, runs) one character on, and whether each came from the second state that it may."""
        moved, second = np.empty_like(emission), np.empty(emission.shape, bool)
        for state in range(4):
            one, two = (
                score[before] + self._transitions[before, state] + emission[state]
                for before in (_FIRST_FROM[state], _SECOND_FROM[state])
            )
            second[state] = two >= one  # of equal ones the later letter, as jieba
            moved[state] = np.where(second[state], two, one)
        return moved, second


@cache
def _known_table() -> np.ndarray:
    """By code point: whether jieba's dictionary may know it."""
    table = np.zeros(0x110000, bool)
    table[_FIRST_HAN : _LAST_HAN + 1] = True
    table[[code for code in range(128) if re.match(_KNOWN, chr(code))]] = True
    return table
