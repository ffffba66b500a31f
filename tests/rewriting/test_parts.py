"""Constraints, words, proposals and the objective, without a network."""

import math

import numpy as np
import pytest

from nlptasks.errors import UserError
from nlptasks.rewriting.constraints import Constraints, edit_distance, numbers_of
from nlptasks.rewriting.objective import Objective, Weights
from nlptasks.rewriting.options import SearchOptions
from nlptasks.rewriting.proposals import MaskedProposer
from nlptasks.rewriting.sampler import Gap
from nlptasks.rewriting.words import Lexicon, Vocabulary, bundled_words, joined

pytestmark = pytest.mark.once
SIGNS = "天气很好我们去公园看山水"


def tokenize(word):
    return [SIGNS.index(sign) for sign in word if sign in SIGNS]


class FakeModel:
    """Log probabilities of the signs at each mask, which depend on how many words stand around it."""

    def __init__(self):
        self.asked = 0

    def gap_logs(self, gaps):
        self.asked += len(gaps)
        return [self.logs(len(before), len(behind), length) for before, behind, length in gaps]

    def logs(self, before, behind, length):
        raw = np.random.default_rng([before, behind, length]).normal(size=(length, len(SIGNS)))
        return raw - np.log(np.exp(raw).sum(axis=1, keepdims=True))


def test_each_violation_counts():
    rules = Constraints(contain=("山", "水"), avoid=("风",), min_length=3, max_length=5, numbers=("3", "7"))
    assert rules.violations("3山水7") == 0
    assert rules.violations("山 水 3 7") == 0  # spaces are no characters
    assert rules.violations("山风37") == 1 + 1 + 3  # 水, 3 and 7 are missing, 风 and 37 too much
    assert rules.violations("3 7") == 2 + 1
    assert rules.violations("3山水7云云云") == 2
    near = Constraints(source="今天天气好", min_edits=3)
    assert [near.violations(text) for text in ("今天天气好", "今天很好", "明日下雨了")] == [3, 1, 0]


def test_what_is_said_twice_counts_where_the_source_does_not():
    rules = Constraints(source="看看天气", repeats=False)
    found = [rules.violations(text) for text in ("看看天气", "天气好天气坏", "好好看天气天气", "一点一点", "ok ok 3 3")]
    assert found == [0, 1, 2, 1, 0]
    assert Constraints(source="天").violations("天气天气") == 0


def test_constraints_that_cannot_hold_are_refused():
    with pytest.raises(UserError, match=r"红山: must be there by contain, and its characters must not by avoid\."):
        Constraints(contain=("红山",), avoid=("山",))
    for rules in ({"contain": ("自行车",), "max_length": 2}, {"min_length": 5, "max_length": 4}):
        with pytest.raises(UserError, match="max_length must be at least 1, min_length and the length of each word"):
            Constraints(**rules)


def test_numbers_and_edit_distance():
    assert numbers_of("2026 年 3 月涨 5.2%，到 1,200 点") == ("2026", "3", "5.2%", "1,200")
    cases = [("", "", 0), ("", "ab", 2), ("今天天气好", "今天很好", 2), ("kitten", "sitting", 3), ("ab", "ba", 2)]
    assert [edit_distance(a, b) for a, b, _ in cases] == [distance for *_, distance in cases]


def test_words_are_joined_as_they_are_written():
    assert joined(["我", "用", "iPhone", "15", "看", "3", "，", "ok"]) == "我用iPhone 15看3，ok"
    words = bundled_words()
    assert len(words) == len(set(words)) > 5000
    assert all("\u4e00" <= sign <= "\u9fff" for word in words for sign in word)


def test_probabilities_of_words_are_exact_and_sum_to_one_with_those_of_the_text_itself():
    common = Lexicon(["天气", "公园", "好", "去", "山水"], tokenize)
    vocabulary = Vocabulary(common, ("我们", "看山水", "好"), tokenize)
    assert vocabulary.shares == pytest.approx({1: 0.35 / 0.95, 2: 0.5 / 0.95, 3: 0.1 / 0.95})
    logs_MV = FakeModel().logs(1, 2, 2)
    logs = vocabulary.logs(2, logs_MV)
    words = [vocabulary.word_at(2, row) for row in range(len(logs))]
    assert words == ["天气", "公园", "山水", "我们"]
    assert [vocabulary.row_of(word) for word in words] == [0, 1, 2, 3]
    products = np.array([np.exp(sum(logs_MV[i, SIGNS.index(sign)] for i, sign in enumerate(word))) for word in words])
    np.testing.assert_allclose(np.exp(logs), products / products.sum(), rtol=1e-12)
    assert vocabulary.drawn_length(0.0) == 1
    assert vocabulary.drawn_length(0.9999999) == 3


def test_a_proposal_is_drawn_with_the_probability_that_it_states():
    model = FakeModel()
    vocabulary = Vocabulary(Lexicon(["天气", "公园", "好", "去"], tokenize), ("我们",), tokenize)
    proposer = MaskedProposer(model, [vocabulary])
    draw = np.random.default_rng(1)
    gaps = [Gap(0, ("去",), ("好",), "我们", tuple(draw.random(2))) for _ in range(6000)]
    found = proposer.fill(gaps)
    assert model.asked == 2  # the same gap at one and at two masks
    stated = {one.word: math.exp(one.log_word) for one in found}
    assert sum(stated.values()) == pytest.approx(1)
    assert math.exp(found[0].log_former) == pytest.approx(stated["我们"])
    counts = {word: sum(one.word == word for one in found) for word in stated}
    assert sum((counts[w] - 6000 * p) ** 2 / (6000 * p) for w, p in stated.items()) < 18.5  # 4 degrees, 1 in 1000
    only = proposer.fill([Gap(0, ("去",), ("好",), "我们", None)])[0]
    assert only.word is None
    assert only.log_former == found[0].log_former


def test_the_objective_is_the_weighted_sum_of_its_parts_and_below_its_bound():
    vectors = {"天气好": [1.0, 0.0], "天气很好": [0.8, 0.6], "公园": [-0.6, 0.8]}
    asked = []

    def fluency(states):
        asked.extend(states)
        return np.array([-0.5 * len(state) for state in states])

    target = Objective(
        fluency,
        lambda texts: np.array([vectors[text] for text in texts]),
        ["天气好", "公园"],
        [Constraints(contain=("很",)), Constraints()],
        Weights(fluency=2, closeness=3, violation=7),
        [0, 0, 1],
    )
    states = [("天气", "好"), ("天气", "很", "好"), ("公园",)]
    expected = [2 * -1.0 - 7, 4 / 3 * 2 * -1.5 + 3 * math.log(0.8), 2 * -0.5]  # the second is longer than the source
    np.testing.assert_allclose(target.log_probabilities([0, 1, 2], states), expected)
    np.testing.assert_allclose(target.bounds([0, 1, 2], states), [-7, 3 * math.log(0.8), 0], atol=1e-12)
    assert target.values([1], [states[0]])[0].violations == 1
    assert target.log_probabilities([0], [("公园",)])[0] == pytest.approx(-1 + 3 * math.log(0.01) - 7)
    assert len(asked) == target.evaluated == 4  # nothing twice, and of another text anew


def test_options_of_a_search_are_checked():
    for wrong, message in [
        ({"steps": 0}, "steps must be at least 1"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"temperature": 0.1, "last_temperature": 0.2}, "last_temperature must be at most temperature"),
        ({"replace": 0, "insert": 0, "swap": 0}, "must be above 0"),
        ({"contain": ("",)}, "take words"),
    ]:
        with pytest.raises(UserError, match=message):
            SearchOptions(**wrong)
