"""Where tokens lie in the text that was given, through what normalization makes of it.

`tokenizers` and `sentencepiece` say which characters a token came from, each with habits of its own: a ▁ that is put
before the text is said to lie on its first character, a token that is one of several made of one character (㈱, ½) on
none of it, a mark that melted into the letter before it on nothing. Here a token lies on exactly the characters that it
came from, whole ones, and a ▁ on none.
"""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np

MARK = "▁"
"""what stands for a space in the pieces of `sentencepiece`, U+2581"""
# Characters that are read as a space or not at all, at which a piece that begins with ▁ may begin.
_BLANK = re.compile("[\\s\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def exact_offsets(
    text: str, tokens: Sequence[str], offsets: Sequence[tuple[int, int]], composes: bool
) -> list[tuple[int, int]]:
    """The (start, end) of the characters of `text` that each token came from.

    Args:
        text: what was encoded.
        tokens: its tokens, in order.
        offsets: what the library says of each.
        composes: whether a character that no token is said to lie on became a part of the one before it.

    Returns:
        A pair for each token; (start, start) for a token that stands for no character.
    """
    places = np.array(offsets, "int64").reshape(-1, 2)
    starts, ends = places[:, 0].copy(), places[:, 1].copy()
    marks = np.array([token.strip(MARK) == "" for token in tokens], bool)
    if _BLANK.search(text):
        for i in np.flatnonzero(~marks).tolist():
            starts[i], ends[i] = _trimmed(text, tokens[i], starts[i], ends[i])
    ends[marks] = starts[marks]
    later = np.minimum.accumulate(np.append(starts[1:], len(text))[::-1])[::-1]  # where what follows begins, at least
    for i in np.flatnonzero((starts == ends) & ~marks).tolist():  # of several tokens of one character
        following = ends[i + 1 :][ends[i + 1 :] > ends[i]]
        if len(following) and not text[starts[i]].isspace():
            ends[i] = following[0]
    if composes:
        for i in np.flatnonzero((ends < later) & ~marks).tolist():
            gap = text[ends[i] : later[i]]
            ends[i] += len(gap) - len(gap.lstrip("".join(filter(_melts, set(gap)))))
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def _trimmed(text: str, token: str, start: int, end: int) -> tuple[int, int]:
    """Start and end without the spaces that a token came from, too."""
    while start < end and (text[start].isspace() or (token.startswith(MARK) and _BLANK.match(text[start]))):
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def _melts(char: str) -> bool:
    return not char.isspace() and unicodedata.category(char) not in ("Cc", "Cf", "Cs")
