"""Text found by search: Markov chains over lists of words, and what makes a list of words a good one."""

from nlptasks.rewriting.moves import Moves
from nlptasks.rewriting.sampler import Sampler

__all__ = ["Moves", "Sampler"]
