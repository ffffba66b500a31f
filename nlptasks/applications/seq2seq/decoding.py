"""How a text is written for a source: the search, and what may be written. Imports no backend."""

from dataclasses import dataclass

from nlptasks.errors import UserError
from nlptasks.train.options import (
    Options,
    require_at_least,
    require_finite,
    require_one_of,
    require_positive,
    require_seed,
)

SEARCHES = ("greedy", "beam", "sampling")


@dataclass(kw_only=True)
class Decoding(Options):
    """Options of writing. What is not given changes nothing.

    Raises:
        UserError: naming the option, what it may be and what arrived.
    """

    search: str = "greedy"
    """greedy: the most probable token each time; beam: the best of several texts; sampling: drawn by probability"""
    count: int = 1
    """number of texts for each source; beam: at most as many as there are beams"""
    beam_size: int = 4
    """beam: texts that are continued at a time"""
    length_penalty: float = 1.0
    """beam: compare log probabilities divided by the length to this power; 0: plain sums, which favors short texts"""
    temperature: float = 1.0
    """sampling: below 1: more probable tokens; above 1: more varied texts"""
    top_k: int | None = None
    """sampling: draw only from the k most probable tokens"""
    top_p: float | None = None
    """sampling: draw only from the most probable tokens whose probabilities add up to this"""
    seed: int = 0
    """sampling: seed of the draws; the same seed writes the same texts"""
    prompt: str = ""
    """the beginning of every text"""
    max_length: int | None = None
    """the most tokens to write behind the prompt; default: as many as the targets in training"""
    min_length: int = 1
    """the fewest tokens to write, counting the one that ends a text"""
    length: int | None = None
    """about so many tokens: an end before them is held back, one behind them is favored, by the length strength"""
    length_strength: float = 1.0
    """how much a token more or less changes the log probability of an end there"""
    only_source: bool = False
    """write only tokens that the source has"""
    only_characters: str | None = None
    """write only tokens of these characters: 0123456789+-*/() for formulas"""
    extract: bool = False
    """write a piece of the source, in the source's own characters"""
    copy_bonus: float = 0.0
    """added to the log probability of tokens of the source, and again to that of the one behind the last copied one"""
    whole_words: bool = False
    """numbers and words in Latin letters are written only as they stand in the source, none of them in part"""
    no_repeat: int | None = None
    """no run of so many tokens comes twice"""
    repetition_penalty: float = 1.0
    """a value above 1 makes tokens that are in the source or in the text already less likely"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_one_of(self, search=SEARCHES)
        require_at_least(self, 1, "count", "beam_size", "max_length", "min_length", "length", "top_k", "no_repeat")
        require_positive(self, "temperature", "repetition_penalty")
        require_at_least(self, 0, "length_strength", "length_penalty")
        require_finite(self, "length_strength", "length_penalty", "copy_bonus")
        require_seed(self, 64)
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UserError("{field:top_p} must lie above 0 and be at most 1. Received: {value}.", value=self.top_p)
        most = {"greedy": 1, "beam": self.beam_size, "sampling": self.count}[self.search]
        if self.count > most:
            raise UserError(
                "{field:count} must be at most {most} with {field:search} {search}. Received: {count}; sampling writes "
                "any number of texts.",
                most=most,
                search=self.search,
                count=self.count,
            )
        if self.only_characters is not None and not self.only_characters.strip():
            raise UserError("{field:only_characters} names no character; leave it out to allow all of them.")
        if self.max_length is not None and self.min_length > self.max_length:
            raise UserError(
                "{field:min_length} must be at most {field:max_length}. Received: {least} and {most}.",
                least=self.min_length,
                most=self.max_length,
            )
