"""The sampler on a distribution that can be written down: all lists of up to three letters of an alphabet of three."""

import bisect
import functools
import itertools
import math

import numpy as np
import pytest

from nlptasks.rewriting import sampler as sampler_module
from nlptasks.rewriting.moves import DELETE, INSERT, KINDS, SWAP, Moves, context_of, moved
from nlptasks.rewriting.sampler import DRAWS, Filled, Gap, Sampler, acceptance, cooling, word_ratio

pytestmark = pytest.mark.once
LETTERS = ("a", "b", "c")
STATES = [state for length in range(4) for state in itertools.product(LETTERS, repeat=length)]
MOVES = Moves(replace=3, insert=1, delete=2, swap=1, most=3)
CHI_SQUARE_999 = 72.05  # of 39 degrees of freedom: one in a thousand is larger


@functools.cache
def log_p(state):
    """Long lists, b behind a, and c at an end are likely, in no simple way."""
    pairs = sum(first == "a" and second == "b" for first, second in itertools.pairwise(state))
    return 0.4 * len(state) + 0.9 * pairs - 0.7 * state.count("c") + 0.5 * (state[-1:] == ("c",))


class Toy:
    """A target, and a proposer whose words depend on their neighbors."""

    def __init__(self, bounded=False, gibbs=False):
        self.bounded, self.gibbs, self.asked = bounded, gibbs, 0

    def bounds(self, chains, states):
        return self._values(states) + 0.3 if self.bounded else np.full(len(states), np.inf)

    def log_probabilities(self, chains, states):
        self.asked += len(states)
        return self._values(states)

    def _values(self, states):
        return np.array([log_p(state) for state in states])

    def chances(self, before, behind):
        return _chances(before, behind, self.gibbs)[0]

    def fill(self, gaps):
        return [self._filled(gap) for gap in gaps]

    def _filled(self, gap):
        _, logs, sums = _chances(gap.before, gap.behind, self.gibbs)
        word = None
        if gap.draws is not None:
            word = LETTERS[min(bisect.bisect_right(sums, gap.draws[1]), 2)]
        return Filled(word, logs.get(word, math.nan), logs.get(gap.former, math.nan))


@functools.cache
def _chances(before, behind, gibbs):
    """Probabilities of the letters in a gap, their logs, and their cumulative sums."""
    if gibbs:
        weights = np.exp([log_p((*before, letter, *behind)) for letter in LETTERS])
    else:
        weights = np.array([1.0 + len(before), 2.0 + 3 * (behind[:1] == ("b",)), 0.5])
    chances = weights / weights.sum()
    return chances, dict(zip(LETTERS, np.log(chances).tolist(), strict=True)), np.cumsum(chances).tolist()


def kernel(toy, moves, temperature=1.0):
    """The transition matrix of a step, by enumeration of kind, place and word, with the sampler's own A."""
    number = {state: row for row, state in enumerate(STATES)}
    matrix = np.zeros((len(STATES), len(STATES)))
    for state in STATES:
        for kind, chance in moves.chances(len(state)).items():
            places = moves.places(kind, len(state))
            for place in range(places):
                for word, share in words_of(toy, state, kind, place):
                    log_ratio = moves.log_ratio(kind, len(state))
                    if kind != SWAP:
                        former = None if kind == INSERT else state[place]
                        gap = Gap(0, *context_of(state, kind, place), former, None)
                        filled = toy.fill([gap])[0]._replace(word=word, log_word=math.log(share))
                        log_ratio += word_ratio(kind, filled)
                    there = moved(state, kind, place, word)
                    accepted = math.exp(acceptance(log_p(state), log_p(there), log_ratio, temperature))
                    matrix[number[state], number[there]] += chance / places * share * accepted
        row = number[state]
        matrix[row, row] += 1 - matrix[row].sum()
    return matrix


def words_of(toy, state, kind, place):
    if kind in (DELETE, SWAP):
        return [(None, 1.0)]
    return list(zip(LETTERS, toy.chances(*context_of(state, kind, place)).tolist(), strict=True))


def exact(temperature=1.0):
    weights = np.exp([log_p(state) / temperature for state in STATES])
    return weights / weights.sum()


def chi_square(moves=MOVES, chains=1200, steps=80, seed=7, toy=None):
    """Of the end states of independent chains that all start from the empty list."""
    uniforms = np.random.default_rng(seed).random((steps, chains, DRAWS))
    toy = toy or Toy()
    states = Sampler(toy, toy, moves).run([()] * chains, uniforms, np.ones(steps)).states
    found = np.array([states.count(state) for state in STATES])
    expected = exact() * chains
    assert expected.min() > 3
    return float(((found - expected) ** 2 / expected).sum())


def test_end_states_of_independent_chains_have_the_exact_frequencies():
    assert chi_square() < CHI_SQUARE_999


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("the word", lambda kind, filled: 0.0),
        ("the former word", lambda kind, filled: -filled.log_word if kind != DELETE else 0.0),
    ],
)
def test_an_error_in_the_proposals_probability_shows_in_the_frequencies(monkeypatch, name, wrong):
    monkeypatch.setattr(sampler_module, "word_ratio", wrong)
    assert chi_square(chains=600) > 2 * CHI_SQUARE_999, name


def test_a_place_of_l_instead_of_l_plus_one_shows_in_the_frequencies(monkeypatch):
    def log_ratio(moves, kind, length):
        return 0.0  # as if there were as many places for the way back, and it as likely

    monkeypatch.setattr(Moves, "log_ratio", log_ratio)
    assert chi_square(chains=600) > 2 * CHI_SQUARE_999


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_the_kernel_is_in_detailed_balance_with_the_target(temperature):
    matrix, p = kernel(Toy(), MOVES, temperature), exact(temperature)
    flow = p[:, None] * matrix
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=0, atol=1e-12)
    assert matrix.min() >= 0
    np.testing.assert_allclose(flow, flow.T, rtol=0, atol=1e-15)
    np.testing.assert_allclose(p @ matrix, p, rtol=0, atol=1e-14)
    assert (np.linalg.matrix_power(matrix, 200) > 0).all()  # every list is reached from every other one


def test_the_sampler_moves_as_the_kernel_says():
    start, chains = ("a", "b"), 8000
    toy = Toy()
    uniforms = np.random.default_rng(3).random((1, chains, DRAWS))
    states = Sampler(toy, toy, MOVES).run([start] * chains, uniforms, [1.0]).states
    expected = kernel(toy, MOVES)[STATES.index(start)] * chains
    found = np.array([states.count(state) for state in STATES])
    assert (found[expected == 0] == 0).all()
    some = expected > 0
    assert ((found[some] - expected[some]) ** 2 / expected[some]).sum() < 40  # 18 reached lists


def test_words_from_their_own_conditional_distribution_are_always_accepted_which_is_gibbs_sampling():
    toy = Toy(gibbs=True)
    moves = Moves(insert=0, delete=0, swap=0)
    uniforms = np.random.default_rng(1).random((30, 2000, DRAWS))
    run = Sampler(toy, toy, moves).run([("c", "c", "c")] * 2000, uniforms, np.ones(30))
    assert run.accepted.all()
    kept = [state for state in STATES if len(state) == 3]
    expected = np.exp([log_p(state) for state in kept])
    expected *= 2000 / expected.sum()
    found = np.array([run.states.count(state) for state in kept])
    assert ((found - expected) ** 2 / expected).sum() < 54.05  # 26 degrees of freedom, one in a thousand


def test_a_bound_saves_evaluations_and_changes_nothing():
    uniforms = np.random.default_rng(2).random((50, 40, DRAWS))
    runs = []
    for bounded in (False, True):
        toy = Toy(bounded)
        runs.append(Sampler(toy, toy, MOVES).run([("a",)] * 40, uniforms, cooling(1, 0.05, 50)))
    assert runs[0].states == runs[1].states
    assert runs[1].evaluated < runs[0].evaluated
    np.testing.assert_array_equal(runs[0].log_p, runs[1].log_p)


def test_chains_do_not_depend_on_each_other_and_annealing_finds_the_likeliest_list():
    toy, steps = Toy(), 300
    uniforms = np.random.default_rng(4).random((steps, 24, DRAWS))
    temperatures = cooling(1.0, 0.02, steps)
    assert temperatures[[0, -1]].tolist() == pytest.approx([1.0, 0.02])
    run = Sampler(toy, toy, MOVES).run([()] * 24, uniforms, temperatures)
    alone = Sampler(toy, toy, MOVES).run([()], uniforms[:, 5:6], temperatures)
    assert alone.states[0] == run.states[5]
    assert sum(log_p(state) == max(map(log_p, STATES)) for state in run.states) >= 20


def test_what_a_step_moved_is_told_and_recorded():
    told = []
    toy = Toy()
    uniforms = np.random.default_rng(6).random((20, 3, DRAWS))
    run = Sampler(toy, toy, MOVES).run(
        [(), ("a",), ("b",)], uniforms, np.ones(20), lambda chains, states, values: told.append((list(chains), states))
    )
    assert told[0][0] == [0, 1, 2]
    assert sum(len(chains) for chains, _ in told) == 3 + run.accepted.sum()
    np.testing.assert_allclose(run.log_p[-1], [log_p(state) for state in run.states])
    assert set(np.unique(run.kinds)) <= set(range(len(KINDS)))


def test_moves_stay_within_bounds_and_know_their_ways_back():
    moves = Moves(replace=1, insert=1, delete=1, swap=1, fewest=1, most=2)
    assert moves.chances(1) == {"replace": 0.5, "insert": 0.5}
    assert moves.chances(2) == {"replace": 1 / 3, "delete": 1 / 3, "swap": 1 / 3}
    # insertion from 1 word: half the moves, two places; the deletion back: a third, two places
    assert moves.log_ratio(INSERT, 1) == pytest.approx(math.log((1 / 3 / 2) / (1 / 2 / 2)))
    assert moves.log_ratio(DELETE, 2) == pytest.approx(-moves.log_ratio(INSERT, 1))
    assert moved(("a", "b", "c"), SWAP, 1) == ("a", "c", "b")
    with pytest.raises(ValueError, match="insert and delete go together"):
        Moves(insert=0)
    with pytest.raises(ValueError, match="fewest must lie"):
        Moves(fewest=3, most=2)
