"""What the tokenizer returns, and how its parts are put together."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

# The tokens of one text without special ones: ids, and where each lies in the text (None: not asked for).
Pieces = tuple[list[int], list[tuple[int, int]] | None]


@dataclass(frozen=True)
class Template:
    """Ids that stand around texts: ``before text after``, or ``before text between text after``.

    Attributes:
        before, between, after: [CLS], [SEP], [SEP] of BERT; <s>, </s></s>, </s> of RoBERTa.
        second_segment: the segment of the second text and of what is behind it.
    """

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    second_segment: int = 1


@dataclass(frozen=True, eq=False, slots=True)
class Encoding:
    """One encoded text or pair of texts, T tokens.

    Attributes:
        token_ids: int32 [T]: [CLS] text [SEP], or [CLS] text [SEP] second text [SEP].
        segment_ids: int32 [T]: 0 up to the first [SEP], 1 after it.
        offsets: int32 [T, 2]: start and end; the token stands for ``text[start:end]`` of its own text; (0, 0) for
            special tokens. None where offsets were not asked for.
    """

    token_ids: np.ndarray
    segment_ids: np.ndarray
    offsets: np.ndarray | None

    def __len__(self) -> int:
        return len(self.token_ids)


def truncated_lengths(first: int, second: int, room: int) -> tuple[int, int]:
    """What is left of two lengths when the longer one (the first, where equal) shrinks by one until both fit.

    Args:
        first: the length of the first text.
        second: the length of the second text.
        room: the largest sum, not negative.

    Returns:
        The new lengths.
    """
    excess = max(first + second - room, 0)
    levelling = min(excess, abs(first - second))  # the longer one comes down to the other first
    if first > second:
        first -= levelling
    else:
        second -= levelling
    excess -= levelling
    return first - (excess + 1) // 2, second - excess // 2


def assemble(first: Pieces, second: Pieces | None, room: int | None, template: Template) -> Encoding:
    """Truncate, and put the special tokens around.

    Args:
        first: the tokens of the text.
        second: those of the second text, None where there is none.
        room: how many tokens the texts may take together, None for any number.
        template: what stands around them.

    Returns:
        The encoding.
    """
    first_ids, first_offsets = first
    second_ids, second_offsets = second or ([], [])
    kept, kept_second = len(first_ids), len(second_ids)
    if room is not None:
        kept, kept_second = truncated_lengths(kept, kept_second, room)
    before, between = template.before, () if second is None else template.between
    token_ids = np.array([*before, *first_ids[:kept], *between, *second_ids[:kept_second], *template.after], np.int32)
    start, second_start = len(before), len(before) + kept + len(between)
    segment_ids = np.zeros(len(token_ids), np.int32)
    if second is not None:
        segment_ids[second_start:] = template.second_segment
    offsets = None
    if first_offsets is not None and second_offsets is not None:
        offsets = np.zeros((len(token_ids), 2), np.int32)
        offsets[start : start + kept] = _pairs(first_offsets[:kept])
        offsets[second_start : second_start + kept_second] = _pairs(second_offsets[:kept_second])
    return Encoding(token_ids, segment_ids, offsets)


def _pairs(offsets: Sequence[tuple[int, int]]) -> np.ndarray:
    """An array [n, 2]; four times as fast as np.array."""
    return np.fromiter(chain.from_iterable(offsets), np.int32, 2 * len(offsets)).reshape(-1, 2)
