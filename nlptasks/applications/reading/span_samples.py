"""Turns questions with passages into the windows of a reader by spans, and finds the answers in them."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nlptasks.applications.reading.samples import comparable
from nlptasks.applications.reading.span import SpanBatch, first_of_text, row_arrays
from nlptasks.applications.reading.windows import Row, SpanLengths, encode_rows, offsets_of
from nlptasks.errors import UserError, told
from nlptasks.text import Passage, Question, TextTokenizer
from nlptasks.text.batches import length_sorted_batches
from nlptasks.train.progress import listed


@dataclass
class SpanCounts:
    """The number of passages by what happened to their answers; it is printed before training."""

    kept: int = 0
    """a window of the passage holds the answer"""
    inside: int = 0
    """of these, those where an end of the answer falls inside a token, wherever it stands: more than it is read"""
    repaired: int = 0
    """of these, those whose answer is not where the file says"""
    cut: int = 0
    """no window holds the whole answer: the passage is left out"""
    lost: int = 0
    """according to the file the passage answers, but no answer occurs in it literally: the passage is left out"""
    empty: int = 0
    """the passage has no answer: its windows point at `[CLS]`"""

    @property
    def inside_share(self) -> float:
        """The share of answers whose ends fall inside a token."""
        return self.inside / max(1, self.kept)

    def __str__(self) -> str:
        return listed(f"{told(name)} {count}" for name, count in dataclasses.asdict(self).items())


def occurrences(passage: Passage, answers: Sequence[str]) -> list[tuple[int, int]]:
    """Start and end of every place in a passage where one of the answers stands, compared without case.

    Where the file says that the answer begins (`Passage.start`) is not asked: in CMRC2018 it is wrong for 21 answers,
    and the model is free to take another occurrence.
    """
    text, found = comparable(passage.text), set()
    for answer in {comparable(answer.strip()) for answer in answers} - {""}:
        start = text.find(answer)
        while start >= 0:
            found.add((start, start + len(answer)))
            start = text.find(answer, start + 1)
    return sorted(found)


def covering(offsets: np.ndarray, start: int, end: int) -> tuple[int, int, bool] | None:
    """The first and the last token that lie on characters `start` to `end`, and whether they lie on no others.

    None where no token does.
    """
    first = int(np.searchsorted(offsets[:, 1], start, side="right"))
    last = int(np.searchsorted(offsets[:, 0], end, side="left")) - 1
    if first > last:
        return None
    return first, last, bool(offsets[first, 0] >= start and offsets[last, 1] <= end)


class SpanExamples:
    """The windows of a list of questions; an epoch visits all, or all with an answer and a share of the others.

    In a window with the answer every occurrence is a target (see `span.span_loss`). If some occurrences end at the ends
    of tokens and others do not, the former alone are.

    Args:
        questions: the data.
        tokenizer, lengths: as the reader's.
        negative_ratio: share of windows without an answer in an epoch, which are drawn anew for each; None: all of
            them are visited.
        seed: with the epoch's number it decides every draw and the order of batches.

    Attributes:
        counts: what happened to the answers.

    Raises:
        UserError: no window is left to learn from.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        tokenizer: TextTokenizer,
        lengths: SpanLengths,
        negative_ratio: float | None = None,
        seed: int = 0,
    ):
        self._tokenizer, self._lengths, self._seed = tokenizer, lengths, seed
        self.counts = SpanCounts()
        given = [(question.question, [passage.text for passage in question.passages]) for question in questions]
        rows = encode_rows(tokenizer, lengths, given)
        self._rows: list[Row] = []
        self._spans: list[list[tuple[int, int]]] = []
        first = 0
        for q, question in enumerate(questions):
            for p, passage in enumerate(question.passages):
                last = first
                while last < len(rows) and (rows[last].question, rows[last].passage) == (q, p):
                    last += 1
                self._add(rows[first:last], question, passage)
                first = last
        if not self._rows:
            raise UserError("no window of the training questions is left to learn from: {counts}.", counts=self.counts)
        self._most = max(map(len, self._spans))
        answering = np.array([spans != [(0, 0)] for spans in self._spans])
        self._answering, self._others = np.flatnonzero(answering), np.flatnonzero(~answering)
        self._num_others = len(self._others)
        if negative_ratio is not None and negative_ratio < 1 and len(self._answering):
            wanted = round(len(self._answering) * negative_ratio / (1 - negative_ratio))
            self._num_others = min(self._num_others, wanted)

    def _add(self, rows: Sequence[Row], question: Question, passage: Passage) -> None:
        """Appends the windows of a passage and where its answer is in each."""
        if not passage.answer:
            self.counts.empty += 1
            self._rows += rows
            self._spans += [[(0, 0)]] * len(rows)
            return
        places = occurrences(passage, question.answers)
        if not places:
            self.counts.lost += 1
            return
        found = [self._spans_of(row, places) for row in rows]
        if not any(found):
            self.counts.cut += 1
            return
        self.counts.kept += 1
        if passage.start is not None:
            self.counts.repaired += not passage.text.startswith(passage.answer, passage.start)
        exact = any(is_exact for spans in found for _, _, is_exact in spans)
        self.counts.inside += not exact
        self._rows += rows
        for spans in found:
            self._spans.append([(s, e) for s, e, is_exact in spans if is_exact or not exact] or [(0, 0)])

    def _spans_of(self, row: Row, places: Sequence[tuple[int, int]]) -> list[tuple[int, int, bool]]:
        """Positions in a row of the first and last token of every place that lies in its window as a whole."""
        offsets, first = offsets_of(row), first_of_text(row, self._tokenizer)
        if not len(offsets):
            return []
        begin, end = offsets[0, 0], offsets[-1, 1]
        found = (covering(offsets, *place) for place in places if begin <= place[0] and place[1] <= end)
        return [(first + s, first + e, is_exact) for s, e, is_exact in filter(None, found)]

    def __len__(self) -> int:
        return len(self._answering) + self._num_others

    def num_batches(self, epoch: int, size: int) -> int:
        """How many batches an epoch has."""
        return math.ceil(len(self) / size)

    def batches(self, epoch: int, size: int) -> list[np.ndarray]:
        """The windows of an epoch in batches of similar length; a function of seed, epoch and size alone."""
        random = np.random.default_rng((self._seed, epoch, 2))
        others = self._others
        if self._num_others < len(others):
            others = random.choice(others, self._num_others, replace=False)
        drawn = np.concatenate([self._answering, others])
        batches = length_sorted_batches([len(self._rows[i].source) for i in drawn], size, random)
        return [drawn[batch] for batch in batches]

    def weight(self, arrays: SpanBatch) -> float:
        """How many windows there are in a batch."""
        return arrays["weights"].sum()

    def arrays(self, batch: Sequence[int], size: int) -> SpanBatch:
        """One batch as arrays, padded to `size` rows and to as many occurrences as any window has."""
        token_ids, segment_ids, inside = row_arrays(
            [self._rows[i] for i in batch], size, self._lengths, self._tokenizer
        )
        starts, ends = (np.zeros((size, self._most), "int32") for _ in range(2))
        counted, weights = np.zeros((size, self._most), bool), np.zeros(size, "float32")
        weights[: len(batch)] = 1.0
        for r, i in enumerate(batch):
            spans = np.array(self._spans[i])
            starts[r, : len(spans)], ends[r, : len(spans)] = spans.T
            counted[r, : len(spans)] = True
        return SpanBatch(
            token_ids=token_ids,
            segment_ids=segment_ids,
            inside=inside,
            starts=starts,
            ends=ends,
            counted=counted,
            weights=weights,
        )
