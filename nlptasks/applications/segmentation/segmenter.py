"""Chinese word segmentation: text in, words out; joined, the words are the text.

It runs on NumPy alone: neither Keras nor a backend is imported. docs/segmentation.md describes the recipe.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, overload

import numpy as np

from nlptasks.applications.segmentation.dictionary import ALWAYS, NEVER, UserDictionary
from nlptasks.applications.segmentation.matches import Matches, add_weights, in_units
from nlptasks.applications.segmentation.runtime import Runtime
from nlptasks.applications.segmentation.storage import TASK, load_segmenter, save_segmenter
from nlptasks.applications.segmentation.terms import STANDARDS, find_terms, keep_whole
from nlptasks.applications.segmentation.training import SegmenterOptions, train_segmenter
from nlptasks.applications.segmentation.viterbi import B, E, M, S, best_words, decode
from nlptasks.text.units import LINE_END, SPACE, Units, code_points, cut_at, split_units

CHUNK = 1 << 17
"""characters that are processed at a time; a longer line is split into stretches of this length"""
LOOK_AHEAD = 1024
"""characters after a stretch that are read with it"""
SEARCHED = 96
"""units on each side of a forbidden word that are searched again"""
ALWAYS_APART = "，。、；！？“”《》（）【】"
"""always single words, unless a dictionary word contains them; the text between them is decoded piece by piece"""
_APART = np.zeros(0x110000, bool)
_APART[[ord(char) for char in ALWAYS_APART]] = True
_WHITE = np.isin(np.arange(6), (SPACE, LINE_END))


class Segmenter:
    """Cuts text into words.

        segmenter = nlptasks.load("segmenter")
        segmenter.segment("今天天气很好。")  # ['今天', '天气', '很', '好', '。']

    Args:
        runtime: the network; `nlptasks.load` and `train` make it.
        standard: name of the annotation standard to follow; None: the first one of the network.
        dictionary: words to prefer or to avoid.

    Attributes:
        standard, dictionary: as given; you may assign new ones.

    Raises:
        ValueError: the network does not know the standard.
    """

    task: ClassVar[str] = TASK

    def __init__(self, runtime: Runtime, standard: str | None = None, dictionary: UserDictionary | None = None) -> None:
        self.runtime = runtime
        self.standard = standard or runtime.config.standards[0]
        self.dictionary = UserDictionary() if dictionary is None else dictionary
        runtime.config.standard_id(self.standard)

    @classmethod
    def train(
        cls,
        sentences: Mapping[str, Sequence[Sequence[str]]],
        valid: Mapping[str, Sequence[Sequence[str]]],
        output: str | Path | None = None,
        **options: Any,
    ) -> "Segmenter":
        """Trains a segmenter as `nlptasks segmentation train` does; the epoch with the best mean F1 on `valid` is kept.

            sentences = [["今天", "天气", "很", "好"], ["我们", "去", "公园"]]
            segmenter = Segmenter.train(
                {"mine": sentences}, valid={"mine": sentences}, epochs=20, min_count=1, min_pair_count=1
            )
            segmenter.segment("今天我们去公园")

        Args:
            sentences: for each annotation standard its sentences, as lists of words.
            valid: validation sentences of some or all of the standards.
            output: the run directory: new or empty, or with `resume=True` that of an interrupted run. None: no
                directory is kept.
            **options: fields of `SegmenterOptions`: `epochs`, `learning_rate`, `channels`, ...

        Raises:
            UserError: options or sentences that do not go together.
            TrainingInterrupted: after Ctrl-C; `resume=True` goes on.
        """
        from nlptasks.train.experiment import run_folder  # Keras, which segmenting does without

        with run_folder(output) as folder:
            settings = SegmenterOptions(output=folder, **options)
            train_segmenter(settings, list(sentences.items()), valid)
            return cls.from_directory(folder)

    def save(self, directory: str | Path) -> None:
        """Writes a directory that `nlptasks.load` opens: config and weights.

        The chosen standard and the dictionary are not saved. The tables of units and pairs are rounded to 8 and 4 bits.
        """
        save_segmenter(directory, self.runtime.config, self.runtime.vocab, self.runtime.arrays)

    @classmethod
    def from_directory(cls, directory: str | Path) -> "Segmenter":
        """Opens what `save` or a training run has written.

        Raises:
            ValueError, FileNotFoundError: one line: what is missing or does not fit.
        """
        return cls(Runtime(*load_segmenter(directory)))

    @property
    def standards(self) -> tuple[str, ...]:
        """Names of the annotation standards that it knows."""
        return self.runtime.config.standards

    @overload
    def segment(self, text: str, standard: str | None = None) -> list[str]: ...  # type: ignore[overload-overlap] # a str is a sequence of str, too
    @overload
    def segment(self, text: Sequence[str], standard: str | None = None) -> list[list[str]]: ...

    def segment(self, text: str | Sequence[str], standard: str | None = None) -> list[str] | list[list[str]]:
        """Cuts a text, or each text of a list, into words. A list is faster than one call per text.

            segmenter.segment(["今天天气很好。", "我们去公园"], standard="pku")

        Args:
            text: any characters; each line is segmented by itself.
            standard: the annotation standard to follow; None: the segmenter's own.

        Returns:
            The words (for a list: one list per text); joined, they are the text. A run of white space is a word.

        Raises:
            TypeError: something other than a string or strings.
            ValueError: an unknown standard.
        """
        if isinstance(text, str):
            return cut_at(text, self.word_starts(text, standard)) if text else []
        texts = list(text)
        if wrong := [item for item in texts if not isinstance(item, str)]:
            raise TypeError(f"segment takes a string or strings. Received: {type(wrong[0]).__name__}.")
        words: list[list[str]] = []
        for group in _groups(texts):
            words += self._segment_group(group, standard)
        return words

    def predict(self, items: Sequence[str], standard: str | None = None) -> list[list[str]]:
        """The words of each text of a list, as `segment` gives them."""
        if isinstance(items, str):
            raise TypeError("predict takes a list of texts; for one text call segment.")
        return self.segment(list(items), standard)

    def lcut(self, text: str) -> list[str]:
        """The words of a text as a list, like `jieba.lcut(text)`."""
        return self.segment(text)

    def cut(self, text: str) -> Iterator[str]:
        """Yields the words of a text, like `jieba.cut(text)`."""
        yield from self.segment(text)

    def _segment_group(self, texts: Sequence[str], standard: str | None) -> list[list[str]]:
        joined = "\n".join(texts)
        lengths = np.array([len(text) for text in texts])
        ends = np.cumsum(lengths + 1) - 1  # where the joining line ends stand
        cuts = np.unique(np.concatenate([ends[:-1], ends[:-1] + 1]))
        starts = self.word_starts(joined, standard, cuts[cuts < len(joined)])
        words = cut_at(joined, starts)
        first = np.searchsorted(starts, ends - lengths).tolist()
        last = np.searchsorted(starts, ends).tolist()
        return [words[a:b] for a, b in zip(first, last, strict=True)]

    def word_starts(self, text: str, standard: str | None = None, cuts: np.ndarray | None = None) -> np.ndarray:
        """Positions at which the words of a text start, in characters, ascending from 0.

        Args:
            cuts: positions at which a word must start; they must be next to line ends.
        """
        standard_id = self.runtime.config.standard_id(standard or self.standard)
        codes = code_points(text)
        if len(codes) <= CHUNK:
            return self._chunk(text, codes, standard_id, cuts)
        found = []
        for start, stop in _chunks(codes):
            part = text[start:stop]
            here = None if cuts is None else cuts[(cuts >= start) & (cuts < stop)] - start
            method = self._chunk if stop - start <= CHUNK + LOOK_AHEAD else self._long_line
            found.append(method(part, codes[start:stop], standard_id, here) + start)
        return np.concatenate(found) if found else np.zeros(0, "int64")

    def _chunk(self, text: str, codes: np.ndarray, standard_id: int, cuts: np.ndarray | None) -> np.ndarray:
        units, tags = self.tag_units(text, codes, standard_id, cuts)
        return units.starts[tags <= B]  # s or b

    def _long_line(self, text: str, codes: np.ndarray, standard_id: int, cuts: np.ndarray | None) -> np.ndarray:
        """Segments a long line in stretches; each is read with its context and ends at the end of a word."""
        found, at, context, length = [], 0, 0, CHUNK
        while at < len(codes):
            end = min(at + length + LOOK_AHEAD, len(codes))
            units, tags = self.tag_units(text[context:end], codes[context:end], standard_id, np.array([at - context]))
            starts = units.starts[(tags == S) | (tags == B)] + context
            starts = np.append(at, starts[starts > at])
            if end < len(codes):
                done = starts[starts <= at + length]
                if len(done) < 2:  # one word fills the stretch
                    length *= 2
                    continue
                found.append(done[:-1])
                at = int(done[-1])
            else:
                found.append(starts)
                at = end
            length = CHUNK
            before = units.starts[units.starts < at - context]
            context = int(before[max(0, len(before) - 2 * self.runtime.config.reach)] + context) if len(before) else at
        return np.concatenate(found)

    def tag_units(
        self, text: str, codes: np.ndarray, standard_id: int, cuts: np.ndarray | None = None
    ) -> tuple[Units, np.ndarray]:
        """The units of a text and their tags."""
        matches = Matches(*self.dictionary.find(text)) if len(self.dictionary) else None
        if matches is not None:
            certain = matches.weights == ALWAYS
            ends = np.concatenate([matches.starts[certain], matches.ends[certain]])
            cuts = np.concatenate([ends[ends < len(codes)], [] if cuts is None else cuts]).astype("int64")
        units = split_units(codes, cuts)
        if not len(units.starts):
            return units, np.zeros(0, "uint8")
        scores = self.runtime.scores(self.runtime.vocab.unit_ids(units), standard_id)
        apart = _apart(units, codes)
        if matches is not None:
            matches = in_units(matches, units)
            scores = add_weights(scores.astype("float64"), matches, apart)
        if self.standards[standard_id] in STANDARDS and (terms := find_terms(text, codes)) is not None:
            keep_whole(scores, terms, units, matches)
        if matches is None:
            return units, decode(scores, apart)
        tags = decode(scores, apart)
        never = (matches.weights == NEVER) & (matches.ends - matches.starts > 1)  # one unit has its weight already
        if never.any():
            self._without(matches.select(never), scores, apart, tags)
        return units, tags

    def _without(self, forbidden: Matches, scores: np.ndarray, apart: np.ndarray, tags: np.ndarray) -> None:
        """Searches again around every forbidden word that was found, between the nearest ends of pieces or words."""
        forbidden = forbidden.select(np.argsort(forbidden.starts, kind="stable"))
        spans = set(zip(forbidden.starts.tolist(), forbidden.ends.tolist(), strict=True))
        starts = np.flatnonzero((tags == S) | (tags == B))
        words = zip(starts.tolist(), np.append(starts[1:], len(tags)).tolist(), strict=True)
        done = 0
        for i, j in [word for word in words if word in spans and not apart[word[0]]]:
            if i < done:
                continue
            low, high = i, j
            while low and i - low < SEARCHED and not apart[low - 1]:
                low -= 1
            while low < i and tags[low] not in (S, B):
                low += 1
            while high < len(tags) and not apart[high] and (high - j < SEARCHED or tags[high] in (M, E)):
                high += 1
            low, done = max(low, done), high
            first, last = np.searchsorted(forbidden.starts, (low, high))
            near = zip(forbidden.starts[first:last].tolist(), forbidden.ends[first:last].tolist(), strict=True)
            inner = {(a - low, b - low) for a, b in near if b <= high}
            tags[low:high] = best_words(scores[low:high], inner)


def _apart(units: Units, codes: np.ndarray) -> np.ndarray:
    """Which units are words by themselves: white space, and `ALWAYS_APART` without marks."""
    if len(units.starts) == units.length:
        apart = _APART.take(codes)
    else:
        apart = _APART.take(codes.take(units.starts))
        apart[:-1] &= units.starts[1:] - units.starts[:-1] == 1
        apart[-1] &= units.length - units.starts[-1] == 1
    if np.count_nonzero(units.kinds):  # OTHER is 0
        apart |= _WHITE.take(units.kinds)
    return apart


def _groups(texts: Sequence[str]) -> Iterator[list[str]]:
    """Groups of texts with about CHUNK characters each."""
    group: list[str] = []
    size = 0
    for text in texts:
        if group and size + len(text) > CHUNK // 2:
            yield group
            group, size = [], 0
        group.append(text)
        size += len(text) + 1
    if group:
        yield group


def _chunks(codes: np.ndarray) -> Iterator[tuple[int, int]]:
    """(start, stop) of parts of a text with about CHUNK characters each; a part ends after a line end."""
    start = 0
    while len(codes) - start > CHUNK:
        stop = start + CHUNK
        line_ends = np.flatnonzero(codes[start:stop] == 10)
        if len(line_ends):
            stop = start + int(line_ends[-1]) + 1
        else:
            following = np.flatnonzero(codes[stop:] == 10)
            stop = stop + int(following[0]) + 1 if len(following) else len(codes)
        yield start, stop
        start = stop
    if start < len(codes):
        yield start, len(codes)
