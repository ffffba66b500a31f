"""Metropolis-Hastings over lists of words, many chains at once. NumPy alone.

A move to y is accepted with A = min(1, p(y) q(y -> x) / (p(x) q(x -> y))), p being raised to 1 / temperature. With a
temperature that falls, this is simulated annealing; where words are drawn from their own conditional distribution
under p, and only replaced, every move is accepted, which is Gibbs sampling.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from nlptasks.rewriting.moves import DELETE, INSERT, REPLACE, SWAP, Moves, State, context_of, moved

DRAWS = 5
"""uniform numbers of a step of a chain: kind, place, two for the word, acceptance"""
NOTHING = -1


class Gap(NamedTuple):
    """A place for a word.

    Attributes:
        chain: number of the chain that asks.
        before, behind: the words around it.
        former: the word whose log probability is wanted; None: of none.
        draws: two uniform numbers to draw a word with; None: no word is wanted.
    """

    chain: int
    before: State
    behind: State
    former: str | None
    draws: tuple[float, float] | None


class Filled(NamedTuple):
    """What fills a gap: the word that was drawn, and log probabilities given the gap; None where none was wanted."""

    word: str | None
    log_word: float
    log_former: float


class Proposer(Protocol):
    """Draws words for gaps, from a distribution that depends on the words around a gap only."""

    def fill(self, gaps: Sequence[Gap]) -> list[Filled]:
        """A `Filled` for each gap."""


class Target(Protocol):
    """An unnormalized distribution of lists of words; each chain may have its own."""

    def bounds(self, chains: Sequence[int], states: Sequence[State]) -> np.ndarray:
        """Upper bounds of the log probabilities (N,) that cost little; infinity where there is none."""

    def log_probabilities(self, chains: Sequence[int], states: Sequence[State]) -> np.ndarray:
        """Log probabilities (N,), up to a constant of the chain."""


@dataclass
class Run:
    """What chains did: S steps of N chains.

    Attributes:
        states: where each chain ended.
        log_p: log probability of each chain's state after each step, float64 (S + 1, N), the first one of the start.
        accepted: bool (S, N).
        kinds: the kind that was tried, as its number among `KINDS`, int8 (S, N); -1: none.
        evaluated: how many lists the target was asked for.
    """

    states: list[State]
    log_p: np.ndarray
    accepted: np.ndarray
    kinds: np.ndarray
    evaluated: int = 0


@dataclass
class _Trial:
    """A move that a chain tries."""

    chain: int
    kind: str
    place: int
    state: State
    log_ratio: float
    word: str | None = None
    target: State = field(default=())


class Sampler:
    """Chains that walk over lists of words.

        sampler = Sampler(target, proposer, Moves(most=20))
        uniforms, temperatures = chain_uniforms(0, 0, 100)[:, None], cooling(1.0, 0.1, 100)
        sampler.run([("今天", "天气", "好")], uniforms, temperatures).states

    Args:
        target: the distribution.
        proposer: draws words.
        moves: kinds of moves, or for each chain its own.
    """

    def __init__(self, target: Target, proposer: Proposer, moves: Moves | Sequence[Moves]) -> None:
        self.target, self.proposer, self.moves = target, proposer, moves

    def run(
        self,
        starts: Sequence[State],
        uniforms: np.ndarray,
        temperatures: Sequence[float] | np.ndarray,
        watch: Callable[[Sequence[int], Sequence[State], np.ndarray], None] = lambda chains, states, log_p: None,
        progress: Callable[[Iterable[int]], Iterable[int]] = iter,
    ) -> Run:
        """Walks.

        Args:
            starts: a list of words for each of N chains.
            uniforms: numbers in [0, 1), (S, N, `DRAWS`): all that is random.
            temperatures: of each of S steps.
            watch: called with the starts, and then with what a step has moved: chains, states, log probabilities.
            progress: wraps the iteration over steps (`tqdm`).
        """
        steps, count = uniforms.shape[:2]
        states = list(starts)
        log_p = np.empty((steps + 1, count))
        run = Run(states, log_p, np.zeros((steps, count), bool), np.full((steps, count), NOTHING, "int8"), count)
        everyone = list(range(count))
        log_p[0] = self.target.log_probabilities(everyone, states)
        watch(everyone, states, log_p[0])
        for step in progress(range(steps)):
            log_p[step + 1] = log_p[step]
            trials = self._trials(states, uniforms[step])
            for trial in trials:
                run.kinds[step, trial.chain] = _NUMBERS[trial.kind]
            won = self._accepted(trials, log_p[step], uniforms[step, :, 4], float(temperatures[step]), run)
            for trial, value in won:
                states[trial.chain] = trial.target
                log_p[step + 1, trial.chain] = value
                run.accepted[step, trial.chain] = True
            if won:
                watch([t.chain for t, _ in won], [t.target for t, _ in won], np.array([value for _, value in won]))
        return run

    def _moves_of(self, chain: int) -> Moves:
        return self.moves if isinstance(self.moves, Moves) else self.moves[chain]

    def _trials(self, states: Sequence[State], uniforms: np.ndarray) -> list[_Trial]:
        """A move for each chain that has one, with the log of q(back) / q(there), the words' share included."""
        trials, gaps = [], []
        for chain, (state, draws) in enumerate(zip(states, uniforms.tolist(), strict=True)):
            moves = self._moves_of(chain)
            chances = moves.chances(len(state))
            if not chances:
                continue
            kind = _drawn(chances, draws[0])
            place = min(int(draws[1] * moves.places(kind, len(state))), moves.places(kind, len(state)) - 1)
            trial = _Trial(chain, kind, place, state, moves.log_ratio(kind, len(state)))
            trials.append(trial)
            if kind != SWAP:
                before, behind = context_of(state, kind, place)
                former = None if kind == INSERT else state[place]
                gaps.append(Gap(chain, before, behind, former, None if kind == DELETE else (draws[2], draws[3])))
        found = iter(self.proposer.fill(gaps) if gaps else ())
        for trial in trials:
            if trial.kind != SWAP:
                filled = next(found)
                trial.word = filled.word
                trial.log_ratio += word_ratio(trial.kind, filled)
            trial.target = moved(trial.state, trial.kind, trial.place, trial.word)
        return trials

    def _accepted(
        self, trials: Sequence[_Trial], log_p: np.ndarray, uniforms: np.ndarray, temperature: float, run: Run
    ) -> list[tuple[_Trial, float]]:
        """The trials that are accepted, with the log probability of where they lead."""
        still = [(trial, float(log_p[trial.chain])) for trial in trials if trial.target == trial.state]
        asked = [trial for trial in trials if trial.target != trial.state]
        logs = {trial.chain: math.log(max(float(uniforms[trial.chain]), 1e-300)) for trial in asked}

        def passing(some: Sequence[_Trial], values: np.ndarray) -> list[tuple[_Trial, float]]:
            return [
                (trial, value)
                for trial, value in zip(some, values.tolist(), strict=True)
                if logs[trial.chain] < acceptance(float(log_p[trial.chain]), value, trial.log_ratio, temperature)
            ]

        bounds = self.target.bounds([t.chain for t in asked], [t.target for t in asked]) if asked else np.zeros(0)
        asked = [trial for trial, _ in passing(asked, bounds)]  # the others are refused whatever they are
        if not asked:
            return still
        run.evaluated += len(asked)
        return still + passing(
            asked, self.target.log_probabilities([t.chain for t in asked], [t.target for t in asked])
        )


def word_ratio(kind: str, filled: Filled) -> float:
    """The words' share of log q(back) - log q(there)."""
    return (filled.log_former if kind != INSERT else 0.0) - (filled.log_word if kind != DELETE else 0.0)


def acceptance(log_x: float, log_y: float, log_ratio: float, temperature: float) -> float:
    """log A of a move from x to y; `log_ratio` is log q(y -> x) - log q(x -> y)."""
    if log_y == -math.inf:
        return -math.inf
    if log_x == -math.inf:
        return 0.0  # from where nothing should be, anything is better
    return min(0.0, (log_y - log_x) / temperature + log_ratio)


_NUMBERS = {kind: number for number, kind in enumerate((REPLACE, INSERT, DELETE, SWAP))}


def _drawn(chances: dict[str, float], uniform: float) -> str:
    total = 0.0
    for kind, chance in chances.items():
        total += chance
        if uniform < total:
            return kind
    return kind


def chain_uniforms(seed: int, number: int, steps: int) -> np.ndarray:
    """The uniform numbers (S, `DRAWS`) of a chain: a function of seed and its number alone."""
    return np.random.default_rng([seed, number]).random((steps, DRAWS))


def cooling(first: float, last: float, steps: int) -> np.ndarray:
    """Temperatures (S,) that fall by the same factor from step to step."""
    return first * (last / first) ** (np.arange(steps) / max(steps - 1, 1))
