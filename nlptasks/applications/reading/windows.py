"""The input of the reader: normalized passages, cut or in windows, and questions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nlptasks.errors import UserError
from nlptasks.text import Encoding, TextTokenizer

_COMMAS = str.maketrans(dict.fromkeys(" 、；，", ","))


@dataclass(frozen=True, kw_only=True)
class ReadingLengths:
    """The most tokens of each part of a sample, counting its special tokens.

    Raises:
        UserError: a part has no room for a token of text, or windows would skip text.
    """

    passage_length: int = 256
    """`[CLS]` passage `[SEP]`"""
    question_length: int = 64
    """question `[SEP]`"""
    answer_length: int = 32
    """answer `[SEP]`"""
    stride: int | None = None
    """longer passages are read in windows that start this many tokens apart; None: they are cut"""

    def __post_init__(self) -> None:
        for name, least in (("passage_length", 3), ("question_length", 2), ("answer_length", 2)):
            if getattr(self, name) < least:
                raise UserError(
                    "{field:{name}} must be at least {least}. Received: {value}.",
                    name=name,
                    least=least,
                    value=getattr(self, name),
                )
        if self.stride is not None and not 1 <= self.stride <= self.passage_length - 2:
            raise UserError(
                "{field:stride} must lie in 1 to {most}, the tokens of a window ({field:passage_length} - 2), or text "
                "between windows would not be read. Received: {value}.",
                most=self.passage_length - 2,
                value=self.stride,
            )

    def most_windows(self, text: str) -> int:
        """The largest possible number of windows of a text: that of a text whose characters are all tokens."""
        beyond = len(text) - (self.passage_length - 2)
        return 1 if self.stride is None or beyond <= 0 else 1 + -(-beyond // self.stride)

    @property
    def total(self) -> int:
        """The most tokens of a whole sample, which is the number of positions that the model needs."""
        return self.passage_length + self.question_length + self.answer_length


@dataclass(frozen=True, kw_only=True)
class SpanLengths:
    """The most tokens of each part of a window of a reader that points at spans.

    Raises:
        UserError: a part has no room for a token of text, or windows would skip text.
    """

    window_length: int = 384
    """`[CLS]` question `[SEP]` window `[SEP]`"""
    question_length: int = 64
    """question `[SEP]`; what is beyond is cut"""
    answer_length: int = 128
    """an answer"""
    stride: int = 0
    """windows of a passage start this many tokens apart; 0: half of what fits beside a longest question, at most 128"""
    width_multiple: int = 128
    """arrays are a multiple of this wide, at most `window_length`: a program is compiled for each width"""

    def __post_init__(self) -> None:
        least = {"window_length": self.question_length + 4, "question_length": 2, "answer_length": 1}
        for name, most in (least | {"width_multiple": 1}).items():
            if getattr(self, name) < most:
                raise UserError(
                    "{field:{name}} must be at least {least}. Received: {value}.",
                    name=name,
                    least=most,
                    value=getattr(self, name),
                )
        if not self.stride:
            object.__setattr__(self, "stride", max(1, min(128, self.least_room // 2)))
        if not 1 <= self.stride <= self.least_room:
            raise UserError(
                "{field:stride} must lie in 1 to {most}, the tokens of a window ({field:window_length} - "
                "{field:question_length} - 3), or text between windows would not be read. Received: {value}.",
                most=self.least_room,
                value=self.stride,
            )

    @property
    def least_room(self) -> int:
        """The tokens of the passage in a window beside the longest question; XLM-R has two `</s>` between them."""
        return self.window_length - self.question_length - 3

    def most_windows(self, text: str) -> int:
        """The largest possible number of windows of a text: that of a text whose characters are all tokens."""
        return len(window_starts(len(text), self.least_room, self.stride))

    @property
    def total(self) -> int:
        """The most tokens of a whole window, which is the number of positions that the model needs."""
        return self.window_length


def normalize(text: str) -> str:
    """Replaces each space, ideographic comma, semicolon and comma by `,`; lengths and offsets do not change.

    bert4keras' reader does this to passages; here it is also done to answers, or those with such a mark would be lost.
    """
    return text.translate(_COMMAS)


def source_ids(passage: Encoding, question: Encoding) -> list[int]:
    """Ids of `[CLS] passage [SEP] question [SEP]`, from those of `[CLS] passage [SEP]` and `[CLS] question [SEP]`."""
    return [*passage.token_ids.tolist(), *question.token_ids[1:].tolist()]


def encode_windows(
    tokenizer: TextTokenizer, lengths: ReadingLengths, passages: Sequence[str], with_offsets: bool = True
) -> list[list[Encoding]]:
    """The windows `[CLS] window [SEP]` of each normalized passage; without a stride it has one, which may be cut."""
    texts = [normalize(passage) for passage in passages]
    if lengths.stride is None:
        return [
            [e] for e in tokenizer.encode_batch(texts, max_length=lengths.passage_length, with_offsets=with_offsets)
        ]
    whole = tokenizer.encode_batch(texts, with_offsets=with_offsets)
    return [split_windows(encoding, lengths.passage_length, lengths.stride) for encoding in whole]


def window_starts(count: int, room: int, stride: int) -> list[int]:
    """Where the windows of a text of `count` tokens begin, each with room for `room` of them."""
    return [0] if count <= room else [*range(0, count - room, stride), count - room]


def split_windows(encoding: Encoding, length: int, stride: int) -> list[Encoding]:
    """The windows of `[CLS] text [SEP]`, each with its own `[CLS]` and `[SEP]` and at most `length` tokens long.

    They start `stride` tokens apart; the last one ends at the end of the text and is as long as the others.
    """
    room, count = length - 2, len(encoding) - 2
    starts = window_starts(count, room, stride)
    if len(starts) == 1:
        return [encoding]
    ends = np.array([0, len(encoding) - 1])
    places = [np.concatenate([ends[:1], 1 + np.arange(start, start + room), ends[1:]]) for start in starts]
    return [
        Encoding(
            encoding.token_ids[place],
            encoding.segment_ids[place],
            None if encoding.offsets is None else encoding.offsets[place],
        )
        for place in places
    ]


def offsets_of(made: "Encoding | Row") -> np.ndarray:
    """The offsets, int32 `(tokens, 2)`, of an encoding that has them."""
    assert made.offsets is not None
    return made.offsets


class Row(NamedTuple):
    """A row of the reader: a window of a passage, with the question.

    Attributes:
        question, passage, window: index of the question, of the passage in the question, and of the window in the
            passage.
        source: ids of `[CLS] window [SEP] question [SEP]`; for spans of `[CLS] question [SEP] window [SEP]`.
        text: ids of the window alone.
        offsets: int32 `(tokens, 2)`: start and end of each token of `text` in the passage; decoding needs none.
    """

    question: int
    passage: int
    window: int
    source: Sequence[int] | np.ndarray
    text: Sequence[int] | np.ndarray
    offsets: np.ndarray | None


def encode_rows(
    tokenizer: TextTokenizer, lengths: ReadingLengths | SpanLengths, questions: Sequence[tuple[str, Sequence[str]]]
) -> list[Row]:
    """The rows of all windows of all passages of questions `(question, passages)`, in order."""
    if isinstance(lengths, SpanLengths):
        return _encode_span_rows(tokenizer, lengths, questions)
    passages = [passage for _, given in questions for passage in given]
    windows = iter(encode_windows(tokenizer, lengths, passages))
    asked = tokenizer.encode_batch(
        [question for question, _ in questions], max_length=lengths.question_length + 1, with_offsets=False
    )
    return [
        Row(q, p, w, source_ids(window, asked[q]), window.token_ids[1:-1], offsets_of(window)[1:-1])
        for q, (_, given) in enumerate(questions)
        for p in range(len(given))
        for w, window in enumerate(next(windows))
    ]


def _encode_span_rows(
    tokenizer: TextTokenizer, lengths: SpanLengths, questions: Sequence[tuple[str, Sequence[str]]]
) -> list[Row]:
    """Rows of passages as they are written: an answer is a place in them, and no token has to be like another."""
    before, between, after = tokenizer.template.before, tokenizer.template.between, tokenizer.template.after
    texts = list(dict.fromkeys(passage for _, given in questions for passage in given))
    encoded = dict(zip(texts, tokenizer.encode_batch(texts), strict=True))
    most = lengths.question_length - 1 + len(before) + len(after)
    asked = tokenizer.encode_batch([question for question, _ in questions], max_length=most, with_offsets=False)
    tail, rows = np.array(after, "int32"), []
    for q, (_, given) in enumerate(questions):
        head = np.append(asked[q].token_ids[: len(asked[q]) - len(after)], between).astype("int32")
        room = lengths.window_length - len(head) - len(tail)
        for p, passage in enumerate(given):
            inside = slice(len(before), len(encoded[passage]) - len(after))
            ids, offsets = encoded[passage].token_ids[inside], offsets_of(encoded[passage])[inside]
            for w, start in enumerate(window_starts(len(ids), room, lengths.stride)):
                text = ids[start : start + room]
                rows.append(Row(q, p, w, np.concatenate([head, text, tail]), text, offsets[start : start + room]))
    return rows
