"""The moves of a chain over lists of words: replace, insert, delete, swap, and the probability of each.

A move is a kind, a place, and for two of the kinds a word. Its way back is one move as well: a replacement at the same
place, a deletion for an insertion and the other way round, the same swap. A list that several moves lead to needs no
sum over them: each is balanced with its own way back, and so is their sum.
"""

import functools
import math
from dataclasses import dataclass

State = tuple[str, ...]
"""the words of a text; they are never joined and cut anew"""
REPLACE, INSERT, DELETE, SWAP = "replace", "insert", "delete", "swap"
KINDS = (REPLACE, INSERT, DELETE, SWAP)
BACK = {REPLACE: REPLACE, INSERT: DELETE, DELETE: INSERT, SWAP: SWAP}
"""kind -> the kind of the way back"""


@dataclass(frozen=True, kw_only=True)
class Moves:
    """How often each kind is tried, and how many words there may be.

        Moves(insert=0, delete=0, swap=0).chances(3)  # {'replace': 1.0}

    Attributes:
        replace, insert, delete, swap: weights; 0: never. What a list of some length has no place for is left out, and
            the others share its weight.
        fewest, most: numbers of words.
    """

    replace: float = 3.0
    insert: float = 1.0
    delete: float = 1.0
    swap: float = 0.5
    fewest: int = 0
    most: int = 64

    def __post_init__(self) -> None:
        if (self.insert > 0) != (self.delete > 0):
            raise ValueError(f"insert and delete go together. Received: insert={self.insert}, delete={self.delete}.")
        if not 0 <= self.fewest <= self.most:
            raise ValueError(f"fewest must lie in [0, most]. Received: fewest={self.fewest}, most={self.most}.")

    def places(self, kind: str, length: int) -> int:
        """How many places a list of so many words has for a kind; 0 where it would leave the bounds."""
        if kind == INSERT:
            return length + 1 if length < self.most else 0
        if kind == DELETE:
            return length if length > self.fewest else 0
        return max(length - 1, 0) if kind == SWAP else length

    @functools.lru_cache(maxsize=4096)  # noqa: B019 - of few lengths
    def chances(self, length: int) -> dict[str, float]:
        """Kind -> the probability that a list of so many words tries it; empty where there is nothing to try."""
        weights = {kind: float(getattr(self, kind)) for kind in KINDS if self.places(kind, length)}
        total = sum(weights.values())
        return {kind: weight / total for kind, weight in weights.items() if weight > 0}

    def log_chance(self, kind: str, length: int) -> float:
        """The log probability of a kind and of one of its places."""
        chance = self.chances(length).get(kind, 0.0)
        return math.log(chance / self.places(kind, length)) if chance else -math.inf

    @functools.lru_cache(maxsize=4096)  # noqa: B019
    def log_ratio(self, kind: str, length: int) -> float:
        """log q(back) - log q(there) of kind and place, the words left out, of a move from a list of so many words."""
        after = length + (kind == INSERT) - (kind == DELETE)
        return self.log_chance(BACK[kind], after) - self.log_chance(kind, length)


def context_of(state: State, kind: str, place: int) -> tuple[State, State]:
    """The words before and behind the word that a move puts in or takes out."""
    return state[:place], state[place if kind == INSERT else place + 1 :]


def moved(state: State, kind: str, place: int, word: str | None = None) -> State:
    """The list after a move.

    moved(("a", "b"), SWAP, 0)  # ('b', 'a')
    """
    if kind == SWAP:
        return (*state[:place], state[place + 1], state[place], *state[place + 2 :])
    before, behind = context_of(state, kind, place)
    return (*before, *behind) if kind == DELETE else (*before, str(word), *behind)
