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
        """The largest possible number of windows of a text: that of a text whose characters are all tokens."""
        beyond = len(text) - (self.passage_length - 2)
        return 1 if self.stride is None or beyond <= 0 else 1 + -(-beyond // self.stride)

    @property
    def total(self) -> int:
        """The most tokens of a whole sample, which is the number of positions that the model needs."""
        return self.passage_length + self.question_length + self.answer_length


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


def split_windows(encoding: Encoding, length: int, stride: int) -> list[Encoding]:
    """The windows of `[CLS] text [SEP]`, each with its own `[CLS]` and `[SEP]` and at most `length` tokens long.

    They start `stride` tokens apart; the last one ends at the end of the text and is as long as the others.
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
    """The offsets, int32 `(tokens, 2)`, of an encoding that has them."""
    assert made.offsets is not None
    return made.offsets


class Row(NamedTuple):
    """A row of the reader: a window of a passage, with the question.

    Attributes:
        question, passage, window: index of the question, of the passage in the question, and of the window in the
            passage.
        source: ids of `[CLS] window [SEP] question [SEP]`.
        text: ids of the window alone.
        offsets: int32 `(tokens, 2)`: start and end of each token of `text` in the passage; decoding needs none.
    """

    question: int
    passage: int
    window: int
    source: Sequence[int]
    text: Sequence[int] | np.ndarray
    offsets: np.ndarray | None


def encode_rows(
    tokenizer: TextTokenizer, lengths: ReadingLengths, questions: Sequence[tuple[str, Sequence[str]]]
) -> list[Row]:
    """The rows of all windows of all passages of questions `(question, passages)`, in order."""
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
