"""Words for gaps, drawn by a masked language model.

First the number of the word's tokens is drawn, then the word, with the product of its tokens' probabilities at as many
masks, over all words of so many tokens. So the distribution depends on the words around the gap alone, and its
probabilities are exact.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from nlptasks.rewriting.moves import State
from nlptasks.rewriting.sampler import Filled, Gap
from nlptasks.rewriting.words import Vocabulary


class MaskedWords(Protocol):
    """A masked language model."""

    def gap_logs(self, gaps: Sequence[tuple[State, State, int]]) -> list[np.ndarray]:
        """For words before, words behind and M masks between: log probabilities of all tokens at each mask, (M, V)."""


class _Asked(NamedTuple):
    before: State
    behind: State
    length: int


class MaskedProposer:
    """Draws words.

    Args:
        model: the masked language model.
        vocabularies: the words of each chain.
    """

    def __init__(self, model: MaskedWords, vocabularies: Sequence[Vocabulary]) -> None:
        self.model, self.vocabularies = model, vocabularies

    def fill(self, gaps: Sequence[Gap]) -> list[Filled]:
        """A `Filled` for each gap."""
        wanted: dict[_Asked, None] = {}
        lengths: list[tuple[int | None, int | None]] = []
        for gap in gaps:
            vocabulary = self.vocabularies[gap.chain]
            new = None if gap.draws is None else vocabulary.drawn_length(gap.draws[0])
            former = None if gap.former is None else vocabulary.length_of(gap.former)
            lengths.append((new, former))
            wanted |= {_Asked(gap.before, gap.behind, length): None for length in (new, former) if length is not None}
        asked = list(wanted)
        found = dict(zip(asked, self.model.gap_logs(asked), strict=True))
        filled = []
        for gap, (new, former) in zip(gaps, lengths, strict=True):
            vocabulary = self.vocabularies[gap.chain]
            word, log_word, log_former = None, math.nan, math.nan
            logs = np.zeros(0)
            if new is not None and gap.draws is not None:
                logs = vocabulary.logs(new, found[_Asked(gap.before, gap.behind, new)])
                row = min(int(np.searchsorted(np.cumsum(np.exp(logs)), gap.draws[1], side="right")), len(logs) - 1)
                word, log_word = vocabulary.word_at(new, row), float(logs[row]) + math.log(vocabulary.shares[new])
            if former is not None and gap.former is not None:
                if former != new:
                    logs = vocabulary.logs(former, found[_Asked(gap.before, gap.behind, former)])
                log_former = float(logs[vocabulary.row_of(gap.former)]) + math.log(vocabulary.shares[former])
            filled.append(Filled(word, log_word, log_former))
        return filled
