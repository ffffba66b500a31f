"""What a rewritten text must satisfy, and how far it is from that. NumPy alone."""

import itertools
import re
from collections import Counter
from dataclasses import dataclass

from nlptasks.errors import UserError

_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*%?")


@dataclass(frozen=True, kw_only=True)
class Constraints:
    """What must hold of a text.

        Constraints(contain=("北京",), max_length=10).violations("我在上海")  # 1

    Attributes:
        contain, avoid: strings that must occur, or must not.
        min_length, max_length: numbers of characters, spaces left out; None: any.
        numbers: of these digits, none may be missing and no other be there; None: any digits.
        source, min_edits: the text must be at least so many characters away from the source, by insertions, deletions
            and replacements.
        repeats: whether two neighboring characters may occur more than once, and a character beside itself, oftener
            than in the source: to a masked language model, what is said twice is very likely.
    """

    contain: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()
    min_length: int | None = None
    max_length: int | None = None
    numbers: tuple[str, ...] | None = None
    source: str = ""
    min_edits: int = 0
    repeats: bool = True

    def __post_init__(self) -> None:
        if both := [word for word in self.contain for other in self.avoid if other in word]:
            raise UserError(
                "{word}: must be there by {field:contain}, and its characters must not by {field:avoid}.", word=both[0]
            )
        length = max((len(word) for word in self.contain), default=0)
        if self.max_length is not None and self.max_length < max(length, self.min_length or 0, 1):
            raise UserError(
                "{field:max_length} must be at least 1, {field:min_length} and the length of each word of "
                "{field:contain}. Received: {value}.",
                value=self.max_length,
            )

    def violations(self, text: str) -> int:
        """How much is wrong with a text, 0 where all holds: what is missing, too much, too long or too near."""
        wrong = sum(word not in text for word in self.contain) + sum(word in text for word in self.avoid)
        length = len("".join(text.split()))
        if self.min_length is not None:
            wrong += max(self.min_length - length, 0)
        if self.max_length is not None:
            wrong += max(length - self.max_length, 0)
        if self.numbers is not None:
            found, wanted = Counter(numbers_of(text)), Counter(self.numbers)
            wrong += ((found - wanted) + (wanted - found)).total()
        if self.min_edits:
            wrong += max(self.min_edits - edit_distance(text, self.source), 0)
        if not self.repeats:
            wrong += (_repeated(text) - _repeated(self.source)).total()
        return wrong


def _repeated(text: str) -> Counter[str]:
    """Pairs of neighbors that occur again, and how often they do; one of the same character does at once."""
    pairs = Counter(a + b for a, b in itertools.pairwise(text) if a.isalpha() and b.isalpha() and not a.isascii())
    return Counter({pair: count - (pair[0] != pair[1]) for pair, count in pairs.items()})


def numbers_of(text: str) -> tuple[str, ...]:
    """The numbers that are written in digits.

    numbers_of("3 月 5.2% 的 7 人")  # ('3', '5.2%', '7')
    """
    return tuple(_NUMBER.findall(text))


def edit_distance(first: str, second: str) -> int:
    """The fewest insertions, deletions and replacements of characters that turn one text into the other.

    edit_distance("今天天气好", "今天很好")  # 2
    """
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        former, row[0] = row[0], i
        for j, b in enumerate(second, 1):
            former, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, former + (a != b))
    return row[-1]
