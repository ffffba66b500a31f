"""Words that are typical of a group of texts."""

import math
from collections import Counter
from collections.abc import Sequence


def typical_words(texts: Sequence[Sequence[str]], groups: Sequence[int], top: int = 4) -> dict[int, list[str]]:
    """For each group the words that tell it best from the rest.

    A word's score is the number of the group's texts that have it, times the logarithm of how much more frequent it is
    there than in all texts. Words of one character count only where a group has no longer ones.

        typical_words([["手机", "好"], ["手机"], ["天气", "好"]], [0, 0, 1], 1)  # {0: ['手机'], 1: ['天气']}

    Args:
        texts: their words.
        groups: the group of each text.
        top: the most words of a group.
    """
    everywhere = Counter(word for words in texts for word in set(words) if _tells(word))
    within: dict[int, Counter[str]] = {}
    sizes = Counter(groups)
    for words, group in zip(texts, groups, strict=True):
        within.setdefault(group, Counter()).update(word for word in set(words) if _tells(word))
    found = {}
    for group, counts in within.items():

        def score(word: str, counts: Counter[str] = counts, size: int = sizes[group]) -> tuple[bool, float, str]:
            more = counts[word] / size / (everywhere[word] / len(texts))
            return len(word) > 1, counts[word] * math.log(1 + more), word

        found[group] = sorted(counts, key=score, reverse=True)[:top]
    return found


def _tells(word: str) -> bool:
    return any(character.isalpha() for character in word)
