"""How good a list of words is: fluency x closeness x constraints.

log p = f * l * the mean log probability of a token + c * log(cosine with the source) - v * violations

where l is 1, or for a text that is longer than the source the ratio of their lengths: each character more has its
price, and nothing is won by leaving one out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nlptasks.rewriting.constraints import Constraints
from nlptasks.rewriting.moves import State
from nlptasks.rewriting.words import joined

LEAST_COSINE = 0.01
"""a lower cosine counts as this one, so that it has a logarithm"""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What counts how much.

    Attributes:
        fluency: weight of the mean log probability of a token, in nats.
        closeness: weight of the logarithm of the cosine with the source; 0: its meaning does not matter.
        violation: what each violation of a constraint costs, in nats.
    """

    fluency: float = 1.0
    closeness: float = 8.0
    violation: float = 2.0


class Value(NamedTuple):
    """What a text is worth: `log_p`, and the parts of it."""

    log_p: float
    fluency: float
    closeness: float
    violations: int


class Objective:
    """The target of the chains; those of the same text share a source.

    Args:
        fluency: lists of words -> mean log probability of a token, none above 0.
        encode: texts -> vectors of length 1; None: closeness is left out.
        sources: the texts.
        constraints: of each text.
        weights: what counts how much.
        of: the text of each chain.
    """

    def __init__(
        self,
        fluency: Callable[[Sequence[State]], np.ndarray],
        encode: Callable[[list[str]], np.ndarray] | None,
        sources: Sequence[str],
        constraints: Sequence[Constraints],
        weights: Weights,
        of: Sequence[int],
    ) -> None:
        self._fluency, self._encode = fluency, encode if weights.closeness else None
        self.constraints, self.weights, self.of = constraints, weights, of
        least = [max(each.min_length or 0, 1) for each in constraints]
        self._lengths = [max(len("".join(text.split())), n) for text, n in zip(sources, least, strict=True)]
        self._vectors = None if self._encode is None else self._encode(list(sources))
        self._cheap: dict[tuple[int, State], tuple[float, int]] = {}
        self._known: dict[tuple[int, State], Value] = {}
        self.evaluated = 0

    def bounds(self, chains: Sequence[int], states: Sequence[State]) -> np.ndarray:
        """What the log probabilities would be if every token were certain."""
        keys = [(self.of[chain], state) for chain, state in zip(chains, states, strict=True)]
        self._look(keys)
        return np.array([self._bound(*self._cheap[key]) for key in keys])

    def log_probabilities(self, chains: Sequence[int], states: Sequence[State]) -> np.ndarray:
        """Log probabilities (N,), up to a constant."""
        return np.array([value.log_p for value in self.values(chains, states)])

    def values(self, chains: Sequence[int], states: Sequence[State]) -> list[Value]:
        """What each state of a chain is worth; computed once for each state."""
        keys = [(self.of[chain], state) for chain, state in zip(chains, states, strict=True)]
        self._look(keys)
        new = [key for key in dict.fromkeys(keys) if key not in self._known]
        if new:
            self.evaluated += len(new)
            for key, fluency in zip(new, self._fluency([state for _, state in new]).tolist(), strict=True):
                closeness, violations = self._cheap[key]
                longer = max(1.0, len("".join(key[1])) / self._lengths[key[0]])
                log_p = self.weights.fluency * longer * fluency + self._bound(closeness, violations)
                self._known[key] = Value(log_p, fluency, closeness, violations)
        return [self._known[key] for key in keys]

    def _bound(self, closeness: float, violations: int) -> float:
        near = self.weights.closeness * float(np.log(max(closeness, LEAST_COSINE))) if self._encode else 0.0
        return near - self.weights.violation * violations

    def _look(self, keys: Sequence[tuple[int, State]]) -> None:
        """Cosines and violations of what is new."""
        new = [key for key in dict.fromkeys(keys) if key not in self._cheap]
        if not new:
            return
        texts = [joined(state) for _, state in new]
        cosines = np.zeros(len(new))
        if self._encode is not None and self._vectors is not None:
            cosines = (self._encode(texts) * self._vectors[[number for number, _ in new]]).sum(axis=1).clip(-1, 1)
        for key, text, cosine in zip(new, texts, cosines.tolist(), strict=True):
            self._cheap[key] = (cosine, self.constraints[key[0]].violations(text))
