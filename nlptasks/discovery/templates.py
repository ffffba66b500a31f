"""Templates: words that many sentences share in the same order, with slots between them, and what fills the slots."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nlptasks.train.options import Options, require_at_least

SLOT = "*"
LONGEST = 30
"""words of a sentence; longer ones are passed over"""
Parts = tuple[str | None, ...]
"""words, and None for a slot of one word or more"""


@dataclass(kw_only=True)
class TemplateRules(Options):
    """What counts as a template."""

    min_count: int = 5
    """leave out templates that fit fewer sentences"""
    min_fillers: int = 3
    """leave out templates with a slot that fewer different fillers fill"""
    min_words: int = 2
    """leave out templates with fewer fixed words, not counting punctuation"""

    def check(self) -> None:
        """Refuses values that are out of range."""
        super().check()
        require_at_least(self, 1, "min_count", "min_fillers", "min_words")


class Template(NamedTuple):
    """A template that was found.

    Attributes:
        parts: its words, None where a slot is.
        frequency: how many sentences it fits.
        fillers: for each slot what fills it, with numbers of sentences.
    """

    parts: Parts
    frequency: int
    fillers: list[Counter[str]]

    def __str__(self) -> str:
        return " ".join(SLOT if part is None else part for part in self.parts)


def find_templates(sentences: Sequence[Sequence[str]], rules: TemplateRules | None = None) -> list[Template]:
    """The templates of sentences, those first that save the most words: frequency times (fixed words - 1).

    Of a sentence of n words, its k most frequent words (by sentences) are kept and the others become slots, for each k:
    so the words that many sentences share stand still, and what differs fills the slots.

        sentences = [["怎样", "修改", name] for name in ("密码", "邮箱", "地址")]
        find_templates(sentences, TemplateRules(min_count=3))[0].parts  # ('怎样', '修改', None)

    Args:
        sentences: the words of each; equal sentences count once.
        rules: what counts as a template.
    """
    rules = rules or TemplateRules()
    distinct = [words for words in dict.fromkeys(map(tuple, sentences)) if 1 < len(words) <= LONGEST]
    frequencies = Counter(word for words in distinct for word in set(words))
    counts = Counter(parts for words in distinct for parts in _candidates(words, frequencies, rules))
    fillers: dict[Parts, list[Counter[str]]] = {
        parts: [Counter() for part in parts if part is None] for parts, n in counts.items() if n >= rules.min_count
    }
    for words in distinct:
        for parts in _candidates(words, frequencies, rules):
            if parts in fillers:
                for counter, filler in zip(fillers[parts], _fill(parts, words), strict=True):
                    counter[filler] += 1
    found = [
        Template(parts, counts[parts], slots)
        for parts, slots in fillers.items()
        if min(map(len, slots)) >= rules.min_fillers
    ]
    return sorted(found, key=lambda each: (-each.frequency * (_fixed(each.parts) - 1), str(each)))


def _candidates(words: Sequence[str], frequencies: Counter[str], rules: TemplateRules) -> Iterator[Parts]:
    """The templates that a sentence may be an example of, each once."""
    ranked = sorted(set(words), key=lambda word: (-frequencies[word], word))
    seen = set()
    for count in range(1, len(ranked)):
        if frequencies[ranked[count - 1]] < rules.min_count:
            return
        kept = set(ranked[:count])
        parts: list[str | None] = []
        for word in words:
            if word in kept:
                parts.append(word)
            elif not parts or parts[-1] is not None:
                parts.append(None)
        if _fixed(parts) >= rules.min_words and tuple(parts) not in seen:
            seen.add(tuple(parts))
            yield tuple(parts)


def _fixed(parts: Sequence[str | None]) -> int:
    """How many fixed words there are, without punctuation."""
    return sum(part is not None and any(map(str.isalnum, part)) for part in parts)


def _fill(parts: Parts, words: Sequence[str]) -> list[str]:
    """What fills the slots of a template that was made of this sentence."""
    fixed = {part for part in parts if part is not None}
    fillers: list[str] = []
    within = False
    for word in words:
        if word in fixed:
            within = False
        elif within:
            fillers[-1] += word
        else:
            fillers.append(word)
            within = True
    return fillers
