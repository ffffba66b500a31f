"""What the reader reads: normalized passages, cut or in windows, and questions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nlptasks.errors import UserError
from nlptasks.text import Encoding, Tokenizer

_COMMAS = str.maketrans(dict.fromkeys(" 、；，", ","))


@dataclass(frozen=True, kw_only=True)
class ReadingLengths:
    """Most tokens of each part of a sample, its special tokens included.

    Raises:
        UserError: a part has no room for one token of text, or windows would leave text out.
    """

    passage_length: int = 256
    """`[CLS]` passage `[SEP]`"""
    question_length: int = 64
    """question `[SEP]`"""
    answer_length: int = 32
    """answer `[SEP]`"""
    stride: int | None = None
    """a longer passage is read in windows that begin this many tokens apart; left out, it is cut"""

    def __post_init__(self) -> None:
        for name, least in (("passage_length", 3), ("question_length", 2), ("answer_length", 2)):
            if getattr(self, name) < least:
                raise UserError(
                    f"{{field:{name}}} must be at least {least}. Received: {{value}}.", value=getattr(self, name)
                )
        if self.stride is not None and not 1 <= self.stride <= self.passage_length - 2:
            raise UserError(
                "{field:stride} must lie in 1 to {most}, the tokens of a window ({field:passage_length} - 2), or text "
                "between windows would not be read. Received: {value}.",
                most=self.passage_length - 2,
                value=self.stride,
            )

    def most_windows(self, text: str) -> int:
        """The most windows that a text can make: as many as if each of its characters were a token."""
        beyond = len(text) - (self.passage_length - 2)
        return 1 if self.stride is None or beyond <= 0 else 1 + -(-beyond // self.stride)

    @property
    def total(self) -> int:
        """Most tokens of a whole sample: positions the model needs."""
        return self.passage_length + self.question_length + self.answer_length


def normalize(text: str) -> str:
    """The text with `,` for space, ideographic comma, semicolon and comma: one character for one, so offsets stay true.

    bert4keras' reader rewrites passages so; here answers are rewritten alike, or those with such a mark are lost.
    """
    return text.translate(_COMMAS)


def source_ids(passage: Encoding, question: Encoding) -> list[int]:
    """Ids of `[CLS] passage [SEP] question [SEP]`, from those of `[CLS] passage [SEP]` and `[CLS] question [SEP]`."""
    return [*passage.token_ids.tolist(), *question.token_ids[1:].tolist()]


def encode_windows(
    tokenizer: Tokenizer, lengths: ReadingLengths, passages: Sequence[str], with_offsets: bool = True
) -> list[list[Encoding]]:
    """The windows `[CLS] window [SEP]` of each normalized passage; without a stride it has one, which may be cut."""
    texts = [normalize(passage) for passage in passages]
    if lengths.stride is None:
        return [
            [e] for e in tokenizer.encode_batch(texts, max_length=lengths.passage_length, with_offsets=with_offsets)
        ]
    whole = tokenizer.encode_batch(texts, with_offsets=with_offsets)
    return [split_windows(encoding, lengths.passage_length, lengths.stride) for encoding in whole]


def split_windows(encoding: Encoding, length: int, stride: int) -> list[Encoding]:
    """The windows of `[CLS] text [SEP]`, each as such and at most `length` tokens long.

    They begin `stride` tokens apart; the last one ends where the text does and is as long as the others.
    """
    room, count = length - 2, len(encoding) - 2
    if count <= room:
        return [encoding]
    starts = [*range(0, count - room, stride), count - room]
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
    """The offsets, int32 `(tokens, 2)`, of what was made with them."""
    assert made.offsets is not None
    return made.offsets


class Row(NamedTuple):
    """What is read at once: a window of a passage, with the question.

    Attributes:
        question, passage, window: its place, each counted from 0: which question, which passage of that question, which
            window of that passage.
        source: ids of `[CLS] window [SEP] question [SEP]`.
        text: ids of the window alone.
        offsets: int32 `(tokens, 2)`: where each token of `text` begins and ends in the passage; decoding needs none.
    """

    question: int
    passage: int
    window: int
    source: Sequence[int]
    text: Sequence[int] | np.ndarray
    offsets: np.ndarray | None


def encode_rows(
    tokenizer: Tokenizer, lengths: ReadingLengths, questions: Sequence[tuple[str, Sequence[str]]]
) -> list[Row]:
    """All windows of all passages of questions, `(question, passages)` each, in the order of their places."""
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
