"""The options of a search, checked when they are made. Imports no backend."""

from dataclasses import dataclass

from nlptasks.errors import UserError
from nlptasks.rewriting.constraints import Constraints
from nlptasks.rewriting.objective import Weights
from nlptasks.train.options import Options, require_at_least, require_positive


@dataclass(kw_only=True)
class SearchOptions(Options):
    """What a text must satisfy, and how it is searched for."""

    contain: tuple[str, ...] = ()
    """words that must occur"""
    avoid: tuple[str, ...] = ()
    """words that must not occur"""
    min_length: int | None = None
    """the fewest characters, spaces left out"""
    max_length: int | None = None
    """the most characters, spaces left out"""
    keep_numbers: bool = False
    """keep the numbers that are written in digits, and add none"""
    repeats: bool = False
    """let two neighboring characters occur more than once, also where they do not in the source"""
    min_edits: int = 2
    """the fewest characters that must differ from the source: inserted, deleted or replaced; 0: it may stay as it is"""
    fluency: float = 1.0
    """weight of fluency: the mean log probability of a token"""
    closeness: float = 8.0
    """weight of closeness: the logarithm of the cosine with the source; 0: the meaning does not matter"""
    violation: float = 2.0
    """what each violation of a constraint costs, in nats"""
    steps: int = 100
    """number of moves that each chain tries"""
    chains: int = 4
    """number of chains of each text, of which the best counts"""
    temperature: float = 0.2
    """temperature at the beginning; 1 with an equal last one: the texts are drawn from the distribution itself"""
    last_temperature: float = 0.02
    """temperature at the end"""
    replace: float = 3.0
    """how often a word is replaced, beside the other moves"""
    insert: float = 1.0
    """how often a word is inserted, and as often one is deleted"""
    swap: float = 0.5
    """how often two neighbors change places"""
    seed: int = 0
    """seed of the search"""

    @property
    def weights(self) -> Weights:
        """What counts how much."""
        return Weights(fluency=self.fluency, closeness=self.closeness, violation=self.violation)

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_at_least(self, 1, "steps", "chains", "min_length", "max_length")
        require_at_least(self, 0, "min_edits", "fluency", "closeness", "violation", "replace", "insert", "swap", "seed")
        require_positive(self, "temperature", "last_temperature")
        if self.last_temperature > self.temperature:
            raise UserError(
                "{field:last_temperature} must be at most {field:temperature}. Received: {last} and {first}.",
                last=self.last_temperature,
                first=self.temperature,
            )
        if not self.replace + self.insert + self.swap:
            raise UserError(
                "one of {field:replace}, {field:insert} and {field:swap} must be above 0. Received: 0 for all of them."
            )
        if "" in (*self.contain, *self.avoid):
            raise UserError("{field:contain} and {field:avoid} take words. Received: an empty one.")
        self.constraints()

    def constraints(self, *more: str) -> Constraints:
        """What holds for every text; `more`: words that must occur as well.

        Raises:
            UserError: it cannot hold.
        """
        contain = tuple(dict.fromkeys((*more, *self.contain)))
        return Constraints(
            contain=contain,
            avoid=self.avoid,
            min_length=self.min_length,
            max_length=self.max_length,
            repeats=self.repeats,
        )
