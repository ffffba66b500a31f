"""Where the sentences of a text end: the one rule that pretraining, conditional generation and labeling cut by."""

import functools
import itertools
import re
from collections.abc import Iterator

MARKS = "。！？!?…"
"""what ends a sentence, once or in a row"""
CLOSERS = "”’」』）)】》\"'"
"""what may stand between such a mark and the end: a sentence takes its closing quotes and brackets with it"""


@functools.cache
def _pattern(semicolons: bool, full_stops: bool, lines: bool) -> re.Pattern[str]:
    marks = MARKS + "；;" * semicolons
    pattern = f"[{marks}]+[{re.escape(CLOSERS)}]*"
    return re.compile(pattern + r"|\.(?=\s|$)" * full_stops + r"|\n" * lines)


def sentence_ends(
    text: str,
    start: int = 0,
    stop: int | None = None,
    *,
    semicolons: bool = False,
    full_stops: bool = False,
    lines: bool = False,
) -> Iterator[int]:
    """The positions behind the sentences of a text, in ascending order.

        list(sentence_ends("“走吧！”他说。好"))  # [5, 8]

    Args:
        text: any text; what stands behind its last mark is no sentence of its own here.
        start, stop: only this stretch of the text is read. A sentence is taken to end at `stop` if a mark stands before
            it, although more marks or a closing quote may follow there.
        semicolons: the clauses that semicolons part count as sentences, for a reader who wants cuts that are not far
            apart.
        full_stops: a full stop before white space ends a sentence, as in English. It also ends abbreviations ("No. 5"),
            so this is for those whom a wrong end costs little.
        lines: a sentence ends with its line. Whoever reads a text line by line does without it.

    Returns:
        An iterator over the positions, counted in characters from the beginning of the text.
    """
    pattern = _pattern(semicolons, full_stops, lines)
    return (match.end() for match in pattern.finditer(text, start, len(text) if stop is None else stop))


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, without the line ends between them; joined, they are the text without its line ends.

    split_sentences("“走吧！”他说。\\n好")  # ["“走吧！”", "他说。", "好"]
    """
    ends = [0, *sentence_ends(text, lines=True), len(text)]
    pieces = (text[start:end].removesuffix("\n") for start, end in itertools.pairwise(ends))
    return [piece for piece in pieces if piece]
