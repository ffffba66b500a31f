"""Runs that are kept, and the tables that are made of them."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "benchmarks"))

from toolbox_training import FEW, MORE, SETS, WHOLE, Kept, Source, compared, plan, row_of, split

from nlptasks.text.labeled import Columns

pytestmark = pytest.mark.once


def test_what_is_finished_is_not_measured_again_and_nothing_is_begun_too_late(tmp_path):
    path, measured = tmp_path / "work" / "results.jsonl", []

    def measure(value):
        measured.append(value)
        return {"right": {"a": value}}

    assert Kept(path).of({"seed": 1, "set": "a"}, lambda: measure("10")) == {"right": {"a": "10"}}
    with path.open("a", encoding="utf-8") as file:
        file.write('{"key": {"seed": 2')  # ended as it wrote
    again = Kept(path)
    assert again.of({"set": "a", "seed": 1}, lambda: measure("00"))["right"] == {"a": "10"}
    assert again.of({"set": "a", "seed": 2}, lambda: measure("01"))["right"] == {"a": "01"}
    late = Kept(path, seconds=-1)
    assert late.of({"set": "a", "seed": 2}, lambda: measure("00"))["right"] == {"a": "01"}
    assert late.of({"set": "a", "seed": 3}, lambda: measure("00")) is None
    assert measured == ["10", "01"]


def test_a_row_has_the_spread_of_the_seeds_and_compares_those_that_both_have_run():
    base = [{"right": {"a": "1100"}}, {"right": {"a": "1000"}}, {"right": {"a": "0000"}}]
    ours = [{"right": {"a": "1110"}}, {"right": {"a": "1111"}}, None]
    row = row_of("mixup", ours, base, "a").split(" | ")
    assert row[1:4] == ["2, 1 not run", "87.5", "17.7, 75.0 to 100.0"]
    assert row[4].startswith("+50.0 (")
    assert row_of("none", base, base, "a").endswith("25.0 | 25.0, 0.0 to 50.0 |  |")
    assert row_of("mixup", [None], base[:1], "a") == "| mixup | 0 | not run | | |"


def test_an_interval_is_that_of_the_mean_over_the_texts():
    ours, base = np.array([[1.0] * 30 + [0.0] * 70]), np.zeros((1, 100))
    middle, low, _, high = compared(ours, base).replace("(", "").replace(")", "").split()
    assert float(middle) == 30
    assert float(high) - float(low) == pytest.approx(2 * 1.96 * 100 * np.sqrt(0.3 * 0.7 / 100), rel=0.1)


def test_texts_that_are_scored_are_the_same_for_all_seeds_and_never_trained_on(tmp_path, monkeypatch):
    lines = "".join(f"text{i}\t{i % 3}\n" for i in range(1000))
    (tmp_path / "a.tsv").write_text(lines, encoding="utf-8")
    monkeypatch.setitem(SETS, "numbers", Source("a.tsv", None, Columns(names=("text", "label"))))
    parts = [split(tmp_path, "numbers", 50, seed) for seed in (0, 1)]
    assert parts[0][1:] == parts[1][1:]
    assert parts[0][0] != parts[1][0]
    sets = [{text.text for text in part} for part in parts[0]]
    assert [len(one) for one in sets] == [50, 100, 600]
    assert len(set.union(*sets)) == 750
    assert len(split(tmp_path, "numbers", 0, 0)[0]) == 300
    assert [tuple(plan("titles", count).values()) for count in (100, 500, 0)] == [FEW, MORE, WHOLE]
