"""What a reader does beside running its network: questions to windows, tokens to answers. Imports no backend."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import numpy as np

from nlptasks.applications.reading.training import MODES
from nlptasks.applications.reading.windows import ReadingLengths, Row, SpanLengths, encode_rows, offsets_of
from nlptasks.errors import UserError
from nlptasks.text import TextTokenizer
from nlptasks.text.batches import round_rows

Asked = tuple[str, Sequence[str]]
"""a question and the passages to answer it from"""
_BATCHES = 16
"""batches of windows of which a reader by spans finds the answers at once"""


@dataclass(frozen=True)
class Evidence:
    """A passage that supports the answer (one that was not dropped at the first step).

    Attributes:
        passage: index of the passage.
        window: index of the window that was read (`ReadingLengths.stride`); 0 if the passage is not split.
        probability: probability of the whole answer, given this passage alone.
        start, end: the answer is `passages[passage][start:end]`; None if it does not occur there.
    """

    passage: int
    window: int
    probability: float
    start: int | None
    end: int | None


@dataclass(frozen=True)
class Answer:
    """The answer to a question.

    Attributes:
        text: the answer; "" if no passage answers.
        score: for "seq2seq" the sum over the tokens of log(vote) (see `voting.vote`), for "mlm" the log of the
            answer's vote (see `masked.MaskedAnswerDecoder`); comparable between answers to the same question. For
            "span" the logits of the best span minus those of no answer (see `span.best_spans`).
        evidence: the passages that support the answer, the most probable one first.
    """

    text: str
    score: float
    evidence: tuple[Evidence, ...]


class DecodedAnswer(NamedTuple):
    """An answer.

    Attributes:
        tokens: its ids, without the end token.
        score: the score from the search or the vote.
        log_probabilities: index of each remaining row -> log p of the answer given that row alone.
        places: index of a row -> which tokens of its text the answer is, where it is a place and not any equal tokens.
    """

    tokens: list[int]
    score: float
    log_probabilities: dict[int, float]
    places: Mapping[int, slice] = MappingProxyType({})


class AnswerFinder:
    """A reader whose network is in a subclass: on Keras, or exported.

    Args:
        tokenizer, lengths, method, threshold: as `Reader`.

    Attributes:
        _decoder: has the method `decode` of `voting.AnswerDecoder`, or of `spans.SpanDecoder` where the method is
            "span"; a subclass makes it.
    """

    task: ClassVar[str] = "reading_comprehension"
    _decoder: Any

    def __init__(
        self,
        tokenizer: TextTokenizer,
        lengths: ReadingLengths | SpanLengths,
        method: str,
        threshold: float | None = None,
    ) -> None:
        self.tokenizer, self.lengths, self.method, self.threshold = tokenizer, lengths, method, threshold

    def answer(
        self,
        question: str,
        passages: Sequence[str],
        mode: str = "extractive",
        beam_size: int = 1,
        stride: int | None = None,
    ) -> Answer:
        """Answers one question.

            reader.answer("沈月白生于哪年？", ["沈月白生于1921年。", "陶安的老家在青石县。"]).text

        Args:
            question: the question.
            passages: one or more texts. Of a passage longer than `passage_length` tokens the rest is not read, unless
                there is a stride.
            mode: "extractive": the answer is a piece of a passage, in its original characters; "generative": the
                answer may be any text.
            beam_size: number of beams; 1: greedy search.
            stride: longer passages are read in windows that start this many tokens apart; None: as in training.

        Returns:
            An `Answer`: `text` ("" if no passage answers), `score` and `evidence`.

        Raises:
            UserError: an empty question, no passages, an unknown mode, or `beam_size` is below 1.
        """
        return self.predict([(question, passages)], mode, beam_size, stride=stride)[0]

    def predict(
        self,
        questions: Sequence[Asked],
        mode: str = "extractive",
        beam_size: int = 1,
        rows: int = 64,
        progress: Callable[[Iterable], Iterable] = iter,
        stride: int | None = None,
    ) -> list[Answer]:
        """Answers many questions.

        Args:
            questions: pairs `(question, passages)`.
            mode, beam_size, stride: as in `answer`.
            rows: number of windows that are read together; more are faster and take more memory.
            progress: wraps the iteration over batches, for example `tqdm`.

        Returns:
            An `Answer` for each question.

        Raises:
            UserError: as `answer`.
        """
        if mode not in MODES:
            raise UserError(
                "{field:mode} must be one of {modes}. Received: {mode!r}.", modes=", ".join(MODES), mode=mode
            )
        for name, value in (("beam_size", beam_size), ("rows", rows)):
            if value < 1:
                raise UserError(
                    "{field:{name}} must be at least {least}. Received: {value}.", name=name, least=1, value=value
                )
        for index, (question, passages) in enumerate(questions):
            if not question.strip():
                raise UserError("question {index} is empty; ask something.", index=index)
            if isinstance(passages, str) or not len(passages):
                raise UserError("question {index} needs a list of at least one passage.", index=index)
        answers: dict[int, Answer] = {}
        lengths = self.lengths if stride is None else dataclasses.replace(self.lengths, stride=stride)
        together = rows * _BATCHES if self.method == "span" else rows
        most = [sum(map(lengths.most_windows, passages)) for _, passages in questions]
        size = min(rows, round_rows(sum(most)))  # of all batches of a reader by spans
        for group in progress(self._groups(questions, most, together)):
            found = self._answer_group([questions[i] for i in group], lengths, mode, beam_size, size)
            answers |= zip(group, found, strict=True)
        return [answers[index] for index in range(len(questions))]

    answer_batch = predict  # the name of version 0.1

    def _groups(self, questions: Sequence[Asked], most: Sequence[int], rows: int) -> list[list[int]]:
        """Indices of questions in groups of about `rows` windows or fewer; questions with long texts come together."""
        longest = [max(map(len, passages)) + len(question) for question, passages in questions]
        groups: list[list[int]] = []
        room = 0
        for index in np.argsort([-n for n in longest], kind="stable"):
            if most[index] > room:
                groups.append([])
                room = rows
            groups[-1].append(int(index))
            room -= most[index]
        return groups

    def _answer_group(
        self, questions: Sequence[Asked], lengths: ReadingLengths | SpanLengths, mode: str, beam_size: int, size: int
    ) -> Iterator[Answer]:
        rows, extractive = encode_rows(self.tokenizer, lengths, questions), mode == "extractive"
        if self.method == "span":
            decoded = self._decoder.decode(rows, size, beam_size, extractive, self.threshold)
        else:
            decoded = self._decoder.decode(rows, self.lengths.answer_length, beam_size, extractive)
        for found, (_, passages) in zip(decoded, questions, strict=True):
            yield self._answer(found, passages, rows, mode)

    def _answer(self, found: DecodedAnswer, passages: Sequence[str], rows: Sequence[Row], mode: str) -> Answer:
        evidence = []
        for index, log_probability in found.log_probabilities.items():
            row = rows[index]
            start, end = _place(found.places[index], row) if index in found.places else _find(found.tokens, row)
            evidence.append(Evidence(row.passage, row.window, float(np.exp(log_probability)), start, end))
        evidence.sort(key=lambda e: -e.probability)
        text = self.tokenizer.decode(found.tokens)
        if mode == "extractive":
            located = next((e for e in evidence if e.start is not None), None)
            text = passages[located.passage][located.start : located.end] if located else ""
        return Answer(text, found.score, tuple(evidence))


def _place(tokens: slice, row: Row) -> tuple[int, int]:
    """Where tokens of a row's text lie in its passage."""
    offsets = offsets_of(row)[tokens]
    return int(offsets[0][0]), int(offsets[-1][1])


def _find(tokens: Sequence[int], row: Row) -> tuple[int | None, int | None]:
    """The first occurrence of `tokens` in a row, as offsets in its passage; (None, None) if there is none."""
    if tokens and len(tokens) <= len(row.text):
        windows = np.lib.stride_tricks.sliding_window_view(row.text, len(tokens))
        starts = np.flatnonzero((windows == np.asarray(tokens)).all(axis=1))
        if len(starts):
            first, offsets = starts[0], offsets_of(row)
            return int(offsets[first][0]), int(offsets[first + len(tokens) - 1][1])
    return None, None
