"""Terms that stay whole: web and e-mail addresses, letters joined to digits, and two greetings.

The network reads a run of letters or of digits as one symbol, and its corpora cut most of these terms. Rules find them
in the text, and decoding is not allowed to cut them. docs/segmentation.md says under which standards.
"""

import re
from collections.abc import Iterator

import numpy as np

from nlptasks.applications.segmentation.dictionary import NEVER
from nlptasks.applications.segmentation.matches import Matches
from nlptasks.applications.segmentation.viterbi import E, S
from nlptasks.text.units import Units

WHOLE = 1e5
"""what a tag that cuts a term loses: more than any finite weight of a dictionary, less than a word that is always cut
out"""
STANDARDS = ("cnc", "weibo")
"""the standards that keep terms whole"""

# a sign that may stand in a term; half and full width
_LETTERS, _DIGITS = "A-Za-zＡ-Ｚａ-ｚ", "0-9０-９"
_ANY = _LETTERS + _DIGITS
_SIGNS_BEHIND_LETTERS, _OTHER_SIGNS = "-－.+#&@:", "_．/%?=~!$*,;'()[]"
_RUN = re.compile(rf"[{_ANY}][{_ANY}{re.escape(_SIGNS_BEHIND_LETTERS + _OTHER_SIGNS)}]*")
"""what is looked at: begins with a letter or a digit, and holds only signs that may stand in a term"""
_LETTER, _DIGIT, _BEHIND_LETTER, _OTHER_SIGN = range(1, 5)
"""classes of the characters of a run"""
_DOMAINS = (
    "com|cn|net|org|edu|gov|mil|int|io|info|biz|cc|me|tv|co|top|xyz|app|dev|ai|tech|site|online|shop|store|club|vip|wiki"
    "|live|cloud|hk|tw|mo|jp|kr|sg|my|th|vn|in|ru|uk|de|fr|it|es|nl|be|ch|at|se|no|dk|fi|pl|eu|us|ca|br|mx|au|nz"
)
"""endings that make a name with points in it a host where nothing else shows it"""
_LABELS = r"(?:[A-Za-z0-9_-]{1,63}\.){1,8}"
_HOST = rf"{_LABELS}(?i:{_DOMAINS})(?![A-Za-z0-9])"
_PATH = r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]"
_NO_END = r"(?<![.,;:!?'\[(])"
_TERM = re.compile(
    rf"(?i:https?|ftp)://{_PATH}+{_NO_END}"
    rf"|[A-Za-z0-9._+-]{{1,64}}@{_LABELS}[A-Za-z]{{2,24}}(?![A-Za-z0-9])"
    rf"|(?<![A-Za-z0-9@.])(?:{_HOST}|(?i:www)(?:\.[A-Za-z0-9-]{{1,63}}){{1,8}})(?:[:/?#]{_PATH}*)?{_NO_END}"
    r"|(?<![A-Za-z])[A-Z]{1,3}&[A-Z]{1,3}(?![A-Za-z])"
    rf"|(?:[{_LETTERS}][{_ANY}]*|[{_DIGITS}]+[{_LETTERS}][{_ANY}]*)(?:[-－][{_ANY}]+|[.．][{_DIGITS}]+)*"
    r"(?:(?<=[CFcf])#|(?<=[Cc])\+\+)?"
)
_GREETINGS = "你好", "您好"
_GREETS = re.compile(r"(?<![对为待比给让要])(?<!为了)..(?![^\W吗呀啊哦嘛哈我请])")
"""whether a greeting is one where it stands"""


def _class_table() -> np.ndarray:
    """The class of every code point, 0 outside of runs."""
    table = np.zeros(0x110000, "uint8")
    wide = 0xFEE0  # from a half-width sign to its full-width form
    for first, last, number in (("A", "Z", _LETTER), ("a", "z", _LETTER), ("0", "9", _DIGIT)):
        for shift in (0, wide):
            table[ord(first) + shift : ord(last) + shift + 1] = number
    for signs, number in ((_SIGNS_BEHIND_LETTERS, _BEHIND_LETTER), (_OTHER_SIGNS, _OTHER_SIGN)):
        table[[ord(sign) for sign in signs]] = number
    return table


_CLASSES = _class_table()


def _runs(text: str, codes: np.ndarray) -> Iterator[tuple[int, int]]:
    """The runs that may hold a term: a letter beside a digit, or before a sign."""
    classes = _CLASSES.take(codes)
    if not np.count_nonzero(classes):
        return
    here, behind = classes[:-1], classes[1:]
    begins = (here == _LETTER) & ((behind == _DIGIT) | (behind == _BEHIND_LETTER))
    begins |= (here == _DIGIT) & (behind == _LETTER)
    stop = 0
    for start in begins.nonzero()[0].tolist():
        if start >= stop:
            while start > stop and classes[start - 1]:
                start -= 1
            if run := _RUN.search(text, start):
                start, stop = run.span()
                yield start, stop


def find_terms(text: str, codes: np.ndarray) -> Matches | None:
    """The terms of a text in order, which do not overlap, each of the weight `WHOLE`; None where there is none.

    Args:
        codes: the code points of the text.
    """
    spans: list[tuple[int, int]] = []
    for start, stop in _runs(text, codes):
        spans += (term.span() for term in _TERM.finditer(text, start, stop))
    for greeting in _GREETINGS:
        start = text.find(greeting)
        while start >= 0:
            if _GREETS.match(text, start):
                spans.append((start, start + len(greeting)))
            start = text.find(greeting, start + 1)
    if not spans:
        return None
    starts, ends = zip(*sorted(spans), strict=True)
    return Matches(np.array(starts, "int64"), np.array(ends, "int64"), np.full(len(spans), WHOLE))


def keep_whole(scores: np.ndarray, terms: Matches, units: Units, words: Matches | None) -> None:
    """Takes `WHOLE` from the scores of the tags that would cut a term; the network decides what else is in its word.

    Args:
        scores: tag scores of the units, changed in place.
        terms: terms, in characters.
        words: dictionary words in units. A favored one that begins or ends inside a term and goes beyond it, or a
            forbidden one that is the term, sets the term aside.
    """
    bounds = np.append(units.starts, units.length)
    starts = np.searchsorted(bounds, terms.starts)
    ends = np.searchsorted(bounds, terms.ends)  # with the marks on its last character
    whole = bounds[starts] == terms.starts
    starts, ends = starts[whole], ends[whole]
    if words is not None and len(starts):
        favored, forbidden = words.select(words.weights > 0), words.select(words.weights == NEVER)
        first = np.searchsorted(starts, favored.starts, side="right") - 1  # the last term that starts before the word
        last = np.searchsorted(ends, favored.ends, side="right")  # the first one that ends behind it
        begins = (first >= 0) & (starts[first] < favored.starts) & (favored.starts < ends[first])
        begins &= ends[first] < favored.ends
        last_term = np.minimum(last, len(starts) - 1)
        stops = (last < len(starts)) & (starts[last_term] < favored.ends) & (favored.starts < starts[last_term])
        kept = np.ones(len(starts), bool)
        kept[first[begins]] = False
        kept[last[stops]] = False
        kept &= ~np.isin(starts << 32 | ends, forbidden.starts << 32 | forbidden.ends)
        starts, ends = starts[kept], ends[kept]
    inner = ends - starts - 1
    at = np.arange(inner.sum()) + np.repeat(starts - np.cumsum(inner) + inner, inner)  # all units but the last of each
    scores[at, S] -= WHOLE  # none of them ends a word, so that none behind them begins one
    scores[at, E] -= WHOLE
