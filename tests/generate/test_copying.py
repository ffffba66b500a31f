"""Constraints that tie a text to its source, against the rules written down plainly."""

import numpy as np
import pytest
from keras import ops

from nlptasks.generate import BeamSearch, Greedy, copying, near_length, no_repeat, whole_words
from nlptasks.generate.constraints import Batch
from tests.generate.tables import run
from tests.golden.search_cases import END, MOST, V, table

pytestmark = pytest.mark.on_jax
FIRST, PIECES = {3, 5}, {4, 6}


def tables(count=6):
    return np.array([table(seed) for seed in range(60, 60 + count)])


def batch(count):
    return Batch([[1]] * count, list(range(count)), V, END)


def follow(state, token):
    return state.follow(np.array([[token]], "int32"), None)


def test_tokens_of_the_source_gain_once_and_those_behind_the_last_one_twice():
    source, zeros = [3, 5, 3, 6], np.zeros((1, 1, V), "float32")
    state = copying([source], 0.5)(batch(1))

    def gains(state):
        return ops.convert_to_numpy(state.restrict(zeros, 0))[0, 0].tolist()

    known = [0.5 * (token in source) for token in range(V)]
    assert gains(state) == known
    behind = follow(state, 3)
    assert gains(behind) == [known[token] + 0.5 * (token in (5, 6)) for token in range(V)]
    assert gains(follow(behind, 6)) == gains(follow(behind, 1)) == known  # nothing stands behind the last token
    assert gains(copying([[]], 0.5)(batch(1))) == [0.0] * V


def next_tokens(text, written):
    """What may follow: words are a token of FIRST with the tokens of PIECES behind it."""
    start = len(written)
    while start and written[start - 1] in PIECES:
        start -= 1
    word = written[start - 1 :] if start and written[start - 1] in FIRST else []
    places = [
        i for i in range(len(text) - max(1, len(word)) + 1) if text[i] in FIRST and text[i : i + len(word)] == word
    ]
    behind = [text[i + len(word)] if i + len(word) < len(text) else None for i in places] if word else []
    found = {token for token in behind if token in PIECES}
    if not word or any(token not in PIECES for token in behind):
        found |= {token for token in range(V) if token not in FIRST | PIECES} | (FIRST & set(text))
    return found


def test_words_are_written_whole_and_as_they_stand_in_the_source(rng):
    zeros, steps = np.zeros((1, 1, V), "float32"), 0
    for _ in range(8):
        text = rng.integers(3, V, 7).tolist()
        text[0] = 3  # a text does not begin inside a word
        state, written = whole_words([text], sorted(FIRST), sorted(PIECES))(batch(1)), []
        for _ in range(6):
            allowed = set(np.flatnonzero(ops.convert_to_numpy(state.restrict(zeros, 0))[0, 0] == 0).tolist())
            assert allowed == next_tokens(text, written), (text, written)
            words = sorted(allowed & (FIRST | PIECES)) or sorted(allowed)
            written.append(int(rng.choice(words)))
            state, steps = follow(state, written[-1]), steps + (len(allowed) < V)
    assert steps > 20


@pytest.mark.parametrize(("search", "size"), [(Greedy(), 1), (BeamSearch(size=3, returned=3), 2)], ids=repr)
def test_no_run_comes_twice(search, size):
    def repeats(found):
        tokens = [one.tokens for of in found for one in of]
        runs = [[tuple(each[i : i + size]) for i in range(len(each) - size + 1)] for each in tokens]
        return sum(len(each) - len(set(each)) for each in runs)

    free, _ = run(search, tables(40), MOST)
    held, _ = run(search, tables(40), MOST, constraints=[no_repeat(size, MOST)(batch(40))])
    assert repeats(free) > repeats(held) == 0


def test_what_is_given_counts_as_written():
    rule = no_repeat(2, 5, given=[3, 5, 3])(batch(1))
    zeros = np.zeros((1, 1, V), "float32")
    allowed = np.isfinite(ops.convert_to_numpy(rule.restrict(zeros, 0)))[0, 0]
    assert allowed.tolist() == [token != 5 for token in range(V)]  # 3 5 stands there
    then = np.isfinite(ops.convert_to_numpy(follow(rule, 3).restrict(zeros, 1)))[0, 0]
    assert then.tolist() == [token not in (3, 5) for token in range(V)]  # 3 3 now, too
    one = no_repeat(1, 5, given=[4])(batch(1))
    assert not np.isfinite(ops.convert_to_numpy(one.restrict(zeros, 0)))[0, 0, 4]


def test_a_text_ends_near_its_goal():
    goals = [1, 2, 3, 4, 2, 3]
    found, _ = run(Greedy(), tables(), MOST, constraints=[near_length(goals, 100.0)(batch(6))])
    assert [len(one.tokens) for [one] in found] == goals
    free, _ = run(Greedy(), tables(), MOST)
    same, _ = run(Greedy(), tables(), MOST, constraints=[near_length(3, 0.0)(batch(6))])
    assert [one.tokens for [one] in same] == [one.tokens for [one] in free]


@pytest.mark.once
def test_wrong_values_are_refused():
    with pytest.raises(ValueError, match="no_repeat must be at least 1"):
        no_repeat(0, 5)
    with pytest.raises(ValueError, match="strength must be at least 0"):
        near_length(3, -1.0)
