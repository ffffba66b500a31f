"""What constraints leave possible, against the rule written down plainly."""

import itertools

import numpy as np
import pytest
from keras import ops

from nlptasks.generate import BeamSearch, Greedy, Sampling, allow_only, extractive, forbid, min_length
from nlptasks.generate.constraints import Batch, Substring, repetition_penalty
from tests.generate.tables import run
from tests.golden.search_cases import END, MOST, V, table

BATCH = Batch([[1, 3], [4], []], [0, 1, -1], V, END)


def tables(count=6):
    return np.array([table(seed) for seed in range(60, 60 + count)])


def batch(count):
    return Batch([[1]] * count, list(range(count)), V, END)


@pytest.mark.parametrize("search", [Greedy(), BeamSearch(size=3, returned=3), Sampling(count=4)], ids=repr)
@pytest.mark.on_jax
def test_forbidden_tokens_never_come(search):
    free, _ = run(search, tables(), MOST)
    held, _ = run(search, tables(), MOST, constraints=[forbid([4, 6])(batch(6)), forbid([0])(batch(6))])
    assert {4, 6, 0} & {token for of in free for one in of for token in one.tokens}
    assert not {4, 6, 0} & {token for of in held for one in of for token in one.tokens}


@pytest.mark.on_jax
def test_each_source_may_have_its_own_allowed_tokens():
    sets = [[1], [3, 4], [5], [0, 6], [1, 5], [3]]
    found, _ = run(Greedy(), tables(), MOST, constraints=[allow_only(sets)(batch(6))])
    for allowed, [one] in zip(sets, found, strict=True):
        assert set(one.tokens) <= set(allowed)
    assert any(one.finished for [one] in found)  # the end token needs no permission
    state = allow_only([1, 3])(BATCH)
    assert np.flatnonzero(np.asarray(state.allowed_Q1V)[0, 0]).tolist() == [1, END, 3]


@pytest.mark.on_jax
def test_no_end_comes_before_the_fewest_tokens():
    found, _ = run(Greedy(), tables(20), MOST, constraints=[min_length(3)(batch(20))])
    lengths = {len(one.tokens) + one.finished for [one] in found}
    assert min(lengths) == 3
    free, _ = run(Greedy(), tables(20), MOST)
    assert min(len(one.tokens) + one.finished for [one] in free) < 3


def test_repetition_is_punished_in_the_source_and_in_what_was_generated():
    state = repetition_penalty(2.0)(BATCH)
    scores = np.tile(np.array([1.0, 1.0, -1.0, -1.0, 1.0, 1.0, 1.0], "float32"), (3, 1, 1))
    first = ops.convert_to_numpy(state.restrict(scores, 0))
    assert first[0, 0].tolist() == [1.0, 0.5, -1.0, -2.0, 1.0, 1.0, 1.0]
    assert first[1, 0].tolist() == [1.0, 1.0, -1.0, -1.0, 0.5, 1.0, 1.0]
    state = state.follow(np.array([[5, 6], [2, 0], [0, 0]], "int32"), np.zeros((3, 2), "int32"))
    later = ops.convert_to_numpy(state.restrict(scores, 1))
    assert later[0].tolist() == [[1.0, 0.5, -1.0, -2.0, 1.0, 0.5, 1.0], [1.0, 0.5, -1.0, -2.0, 1.0, 1.0, 0.5]]
    assert later[1, 0].tolist() == [1.0, 1.0, -2.0, -1.0, 0.5, 1.0, 1.0]


def continuations(texts, prefix):
    n = len(prefix)
    return {text[i + n] for text in texts for i in range(len(text) - n) if tuple(text[i : i + n]) == prefix}


def test_a_substring_constraint_equals_brute_force(rng):
    texts = [[rng.integers(3, 6, n).tolist() for n in lengths] for lengths in ((9, 1, 6), (4,), ())]
    flat = [(text, q) for q, of in enumerate(texts) for text in of]
    zeros, checked = np.zeros((3, 1, V), "float32"), 0
    for length in range(4):
        for prefix in itertools.product(range(3, 6), repeat=length):
            state = Substring.start([text for text, _ in flat], [q for _, q in flat], END, 8)
            for token in prefix:
                state = state.follow(np.full((3, 1), token, "int32"), None)
            allowed = ops.convert_to_numpy(state.restrict(zeros, 0))[:, 0] == 0
            for q, of in enumerate(texts):
                assert set(np.flatnonzero(allowed[q]).tolist()) == continuations(of, prefix) | {END}
                checked += bool(continuations(of, prefix))
    assert checked > 20


@pytest.mark.parametrize("search", [Greedy(), BeamSearch(size=4, returned=4), Sampling(count=5)], ids=repr)
@pytest.mark.on_jax
def test_an_extractive_sequence_is_a_piece_of_one_of_its_own_texts(search, rng):
    texts = [[rng.integers(3, V, n).tolist() for n in (9, 4)] for _ in range(6)]
    found, _ = run(search, tables(), MOST, constraints=[extractive(texts)(batch(6))])
    several = 0
    for of, hypotheses in zip(texts, found, strict=True):
        for one in hypotheses:
            n = len(one.tokens)
            pieces = [text[i : i + n] for text in of for i in range(len(text) - n + 1)]
            assert one.tokens in pieces
            several += n > 1
    assert several


@pytest.mark.once
def test_wrong_ids_are_refused():
    with pytest.raises(ValueError, match=r"token ids must be 0 to 6. Received: \[3, 7\]"):
        forbid([3, 7])(BATCH)
    with pytest.raises(ValueError, match="repetition_penalty must be above 0"):
        repetition_penalty(0)
