"""Search is handed tables, not a model: what it finds is compared with every sequence there is, and with bert4keras."""

import itertools
import json

import numpy as np
import pytest
from keras import ops

from nlptasks.generate import BeamSearch, Bert4kerasBeamSearch, Greedy
from nlptasks.generate.search import take_continuations
from tests.generate.tables import log_softmax, run
from tests.golden.search_cases import CASES, END, MOST, NODES, TABLES, V, child, table


def score(logs, sequence):
    node, total = 0, 0.0
    for token in sequence:
        total += logs[node][token]
        node = child(node, token)
    return total


def every_sequence(most):
    others = [i for i in range(V) if i != END]
    for n in range(most + 1):
        for body in itertools.product(others, repeat=n):
            yield (*body, END) if n < most else body


def body(sequence):
    return [token for token in sequence if token != END]


@pytest.mark.parametrize("penalty", [0.0, 1.0, 0.7])
@pytest.mark.on_jax
def test_a_wide_beam_finds_the_best_of_all_sequences(penalty):
    tables = np.array([table(seed) for seed in range(4)])
    found, _ = run(BeamSearch(size=300, length_penalty=penalty, returned=3, patient=True), tables, 4)
    for logs, hypotheses in zip(log_softmax(tables.astype("float64")), found, strict=True):
        ranked = sorted(every_sequence(4), key=lambda s: -score(logs, s) / len(s) ** penalty)
        for hypothesis, expected in zip(hypotheses, ranked, strict=False):
            assert hypothesis.tokens == body(expected)
            assert hypothesis.score == pytest.approx(score(logs, expected) / len(expected) ** penalty, abs=1e-5)
            assert hypothesis.finished == (expected[-1] == END)


def test_greedy_takes_the_best_token_each_time():
    tables = np.array([table(seed) for seed in range(20, 31)])
    found, _ = run(Greedy(), tables, MOST)
    for logs, [hypothesis] in zip(log_softmax(tables.astype("float64")), found, strict=True):
        sequence, node = (), 0
        while len(sequence) < MOST and END not in sequence:
            sequence += (int(logs[node].argmax()),)
            node = child(node, sequence[-1])
        assert hypothesis.tokens == body(sequence)
        assert hypothesis.score == pytest.approx(score(logs, sequence), abs=1e-5)
        assert hypothesis.finished == (END in sequence)


@pytest.mark.once
def test_the_bert4keras_rule_finds_the_sequence_and_score_that_bert4keras_finds(golden):
    recorded = iter(json.loads((golden / "bert4keras" / "search.json").read_text()))
    tables = np.array([table(seed) for seed in range(TABLES)])
    ends_inside = 0
    for case in CASES:
        search = Bert4kerasBeamSearch(size=case["topk"], min_ends=case["min_ends"], temperature=case["temperature"])
        found, _ = run(search, tables, MOST, case["minlen"])
        for [hypothesis], expected in zip(found, recorded, strict=False):
            assert hypothesis.tokens + [END] * hypothesis.finished == expected["ids"]
            assert hypothesis.score == pytest.approx(expected["score"], abs=1e-5)
            ends_inside += END in hypothesis.tokens
    assert ends_inside > 20
    assert next(recorded, None) is None


@pytest.mark.on_jax
def test_beams_that_keep_their_places_find_the_best_of_all_sequences():
    tables = np.array([table(seed) for seed in range(4)])
    found, _ = run(Bert4kerasBeamSearch(size=300, keep_ended=True), tables, 4)
    for logs, [hypothesis] in zip(log_softmax(tables.astype("float64")), found, strict=True):
        best = max(every_sequence(4), key=lambda s: score(logs, s))
        assert hypothesis.tokens == body(best)
        assert hypothesis.score == pytest.approx(score(logs, best), abs=1e-5)


SEARCHES = [
    Greedy(),
    BeamSearch(size=3, returned=2),
    BeamSearch(size=3, first_come=True),
    Bert4kerasBeamSearch(size=3),
    Bert4kerasBeamSearch(size=3, keep_ended=True),
]


@pytest.mark.parametrize("search", SEARCHES, ids=repr)
@pytest.mark.on_jax
def test_a_sample_finds_the_same_whatever_else_is_in_the_batch(search):
    tables = np.array([table(seed) for seed in range(40, 49)])
    together, _ = run(search, tables, MOST)
    for found, one in zip(together, tables, strict=True):
        [alone], _ = run(search, [one], MOST)
        assert [h.tokens for h in found] == [h.tokens for h in alone]
        assert [h.score for h in found] == pytest.approx([h.score for h in alone], abs=1e-5)


@pytest.mark.parametrize("search", SEARCHES, ids=repr)
@pytest.mark.on_jax
def test_the_loop_stops_when_all_are_done(search):
    logits = np.zeros((1, NODES, V), "float32")
    logits[:, 1:, END] = 20.0  # every second token is the end
    found, state = run(search, logits, MOST)
    assert int(ops.convert_to_numpy(state["time"])) == 2
    assert len(found[0][0].tokens) == 1
    assert found[0][0].finished


@pytest.mark.on_jax
def test_where_nothing_is_possible_a_sequence_ends():
    logits = np.full((1, NODES, V), -np.inf, "float32")
    [[greedy]], _ = run(Greedy(), logits, MOST)
    assert greedy.tokens == []
    [[beams]], _ = run(BeamSearch(size=2), logits, MOST)
    assert beams.tokens == []
    assert not beams.finished


@pytest.mark.once
def test_log_scores_are_not_normalized_again():
    scores = np.full((1, NODES, V), -5.0, "float32")
    scores[:, :, END] = -0.25
    [[hypothesis]], _ = run(Greedy(), scores, MOST, normalized=True)
    assert hypothesis.score == -0.25


def test_one_continuation_is_the_parent_of_every_beam():
    x = np.array([[[1, 2]], [[3, 4]]])
    parents = np.array([[0, 1, 2], [0, 0, 0]], "int32")
    found = ops.convert_to_numpy(take_continuations(ops.convert_to_tensor(x), parents))
    assert found.tolist() == [[[1, 2]] * 3, [[3, 4]] * 3]
    wide = np.arange(6).reshape(2, 3)
    found = ops.convert_to_numpy(take_continuations(ops.convert_to_tensor(wide), parents))
    assert found.tolist() == [[0, 1, 2], [3, 3, 3]]


@pytest.mark.once
def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match=r"1 <= returned <= size\. Received: size=2, returned=3"):
        BeamSearch(size=2, returned=3)
    with pytest.raises(ValueError, match="size and min_ends must be at least 1"):
        Bert4kerasBeamSearch(size=0)
