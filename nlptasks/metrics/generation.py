"""Measures of generated texts: likelihood under right and wrong conditions, diversity, copying."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LikelihoodGap:
    """How much less probable texts are under other conditions.

    Attributes:
        perplexity: per token, under the texts' own conditions.
        other_perplexity: per token, under the other ones.
        gap: nats per token that the other conditions cost.
        low, high: its 95% confidence interval.
    """

    perplexity: float
    other_perplexity: float
    gap: float
    low: float
    high: float


def likelihood_gap(
    scores: Sequence[float] | np.ndarray,
    other_scores: Sequence[float] | np.ndarray,
    num_tokens: Sequence[int] | np.ndarray,
    samples: int = 2000,
    seed: int = 0,
) -> LikelihoodGap:
    """Compare log probabilities of the same texts; the interval is a paired bootstrap over texts (percentiles).

    Args:
        scores, other_scores: log p of each text in nats, under its own and under another condition.
        num_tokens: tokens of each text.
        samples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ValueError: no texts, or lists of different lengths.
    """
    own, other, tokens = (np.asarray(x, "float64") for x in (scores, other_scores, num_tokens))
    if not len(own) or not len(own) == len(other) == len(tokens):
        raise ValueError(f"expected as many scores as texts, at least one. Received: {len(own)}, {len(other)}.")
    random, gaps = np.random.default_rng(seed), np.empty(samples)
    for i in range(samples):
        drawn = random.integers(0, len(own), len(own))
        gaps[i] = (own[drawn] - other[drawn]).sum() / tokens[drawn].sum()
    total = tokens.sum()
    low, high = np.quantile(gaps, [0.025, 0.975])
    perplexity, other_perplexity = (float(np.exp(-x.sum() / total)) for x in (own, other))
    return LikelihoodGap(perplexity, other_perplexity, float((own - other).sum() / total), float(low), float(high))


def ngrams(text: Sequence, n: int) -> list[tuple]:
    """The n-grams of a text (a string: of its characters), in order."""
    return list(zip(*(text[i:] for i in range(n)), strict=False))


def distinct(texts: Iterable[Sequence], n: int) -> float:
    """Share of different n-grams among all n-grams of the texts (arXiv 1510.03055); 0 where there are none.

    It falls with the amount of text: compare sets of like size.
    """
    found = [gram for text in texts for gram in ngrams(text, n)]
    return len(set(found)) / len(found) if found else 0.0


def self_bleu(texts: Sequence[Sequence], order: int = 4) -> float:
    """Mean BLEU of each text with all others as references (arXiv 1802.01886): 0 to 1, lower is more diverse.

    BLEU (Papineni et al., 2002) of single texts: n-grams up to `order`, clipped by the reference that holds each most
    often, geometric mean, brevity penalty by the reference of the nearest length (the shorter one, where two are).
    A precision of zero is smoothed to 1 / (2 x its n-grams), so that short texts do not vanish.

    Args:
        texts: at least two, none empty.

    Raises:
        ValueError: fewer, or an empty one.
    """
    if len(texts) < 2 or not all(len(text) for text in texts):
        raise ValueError("self-BLEU takes at least two texts, none of them empty.")
    counts = [[Counter(ngrams(text, n)) for text in texts] for n in range(1, order + 1)]
    two_most = [_two_largest(of_texts) for of_texts in counts]
    lengths = np.array([len(text) for text in texts])
    values = []
    for i in range(len(texts)):
        logs = []
        for of_texts, most in zip(counts, two_most, strict=True):
            total = sum(of_texts[i].values())
            if not total:
                break
            clipped = sum(
                min(count, most[gram][1] if most[gram][0] == count else most[gram][0])
                for gram, count in of_texts[i].items()
            )
            logs.append(np.log((clipped or 0.5) / total))
        others = np.delete(lengths, i)
        distance = np.abs(others - lengths[i])
        nearest = others[distance == distance.min()].min()
        values.append(np.exp(np.mean(logs) + min(0.0, 1.0 - nearest / lengths[i])))
    return float(np.mean(values))


def _two_largest(counters: Iterable[Counter]) -> dict[tuple, tuple[int, int]]:
    """For each n-gram its two largest counts in any text: without the text that has the largest, the second counts."""
    found: dict[tuple, tuple[int, int]] = {}
    for counter in counters:
        for gram, count in counter.items():
            first, second = found.get(gram, (0, 0))
            found[gram] = (count, first) if count >= first else (first, max(second, count))
    return found


class CopyDetector:
    """Finds what texts have in common with training texts, as runs of characters.

    Args:
        training: the texts that could be copied from.
        n: length of a run.
    """

    def __init__(self, training: Iterable[str], n: int = 8):
        self.n = n
        self._known = {hash(text[i : i + n]) for text in training for i in range(len(text) - n + 1)}

    def copied(self, text: str) -> int:
        """How many of the text's runs of n characters stand in a training text (by their hash)."""
        return sum(hash(text[i : i + self.n]) in self._known for i in range(len(text) - self.n + 1))

    def share(self, texts: Iterable[str]) -> float:
        """The share of such runs among all of the texts; 0 where all are shorter."""
        texts = list(texts)
        total = sum(max(0, len(text) - self.n + 1) for text in texts)
        return sum(map(self.copied, texts)) / total if total else 0.0
