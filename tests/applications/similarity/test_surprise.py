"""Which null distribution is used, and what it gives."""

import json

import numpy as np
import pytest

from nlptasks import command
from nlptasks.applications.similarity import surprise
from nlptasks.applications.similarity.surprise import Null
from nlptasks.errors import UserError
from nlptasks.metrics.angles import tail
from tests.commands.scripts import assert_refused, call

pytestmark = pytest.mark.once


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_the_formula_finds_mean_and_dimension_of_random_vectors():
    draw = np.random.default_rng(1)
    rows = draw.normal(size=(4001, 13)) + 2.0
    null = Null.of(rows)
    assert null.holds
    assert null.dimension == pytest.approx(13, rel=0.03)
    a, b = rows[:2] - rows.mean(axis=0)
    expected = tail(np.array([a @ b / np.linalg.norm(a) / np.linalg.norm(b)]), 13)
    assert np.exp(null.log_p_values(rows[:1], rows[1:2])) == pytest.approx(expected, abs=0.03)
    assert str(null).startswith("p-values by the formula, for centered vectors of effective dimension 1")


def test_the_empirical_distribution_is_used_where_the_formula_does_not_hold():
    draw = np.random.default_rng(2)
    rows = unit(draw.normal(size=(3000, 29)) * 0.6 ** np.arange(29) + draw.integers(0, 2, (3000, 1)) * 3)
    null = Null.of(rows)
    assert not null.holds
    assert null.empirical_distance < 0.03
    sample = draw.integers(0, 3000, (2, 50_000))
    cosines = (rows[sample[0]] * rows[sample[1]]).sum(axis=1)
    value = (rows[0] * rows[1]).sum()
    p = np.exp(null.log_p_values(rows[:1], rows[1:2]))[0]
    assert p == pytest.approx((cosines >= value).mean(), abs=0.02)
    assert np.exp(null.log_p_values(rows[:1], rows[:1]))[0] == pytest.approx(1 / 200_001)
    assert "counted on 200000 random pairs" in str(null)


def test_too_few_sentences_are_refused():
    with pytest.raises(UserError, match=r"at least 200 sentences, of which random pairs are drawn\. Received: 7"):
        Null.of(np.ones((7, 3)))


def test_search_shows_p_values(tmp_path, monkeypatch):
    monkeypatch.setattr(surprise, "PAIRS", 5000)
    subjects, actions, things = "我你他她", ["想买", "卖掉了", "修好了", "弄丢了", "借走了"], "书灯伞钟车船鞋帽琴画茶糖"
    lines = [f"{who}{what}一件{thing}" for who in subjects for what in actions for thing in things]
    (tmp_path / "lines.txt").write_text("\n".join(lines), encoding="utf-8")
    assert (
        call(command, "similarity", "index", "--corpus", tmp_path / "lines.txt", "--output", tmp_path / "i").status == 0
    )
    shared = ("similarity", "search", "--index", tmp_path / "i", "--query", lines[0], "--top", 3)
    found = call(command, *shared, "--p-value", "--json")
    rows = json.loads(found.out)
    assert [row["p_value"] for row in rows] == sorted(row["p_value"] for row in rows)
    assert all(0 < row["p_value"] < row["p_value_of_any"] <= 1 for row in rows)
    assert "p-values" in found.err
    shown = call(command, *shared, "--p-value").out.splitlines()
    assert shown[0].split("\t") == [
        f"{rows[0]['score']:.4f}",
        f"{rows[0]['p_value']:.1e}",
        f"{rows[0]['p_value_of_any']:.1e}",
        lines[0],
    ]
    assert json.loads(call(command, *shared, "--json").out) == [
        {name: row[name] for name in ("text", "score", "position")} for row in rows
    ]
    assert_refused(call(command, *shared, "--p-value", "--hybrid"), "--p-value is of the cosine alone")
