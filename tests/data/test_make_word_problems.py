"""The generator of word problems: reproducible, right, and nothing of the test problems is in training."""

import re
import subprocess
import sys

import pytest

from nlptasks.metrics.formulas import value_of
from tests.commands.scripts import ROOT, load_script

pytestmark = pytest.mark.once
script = load_script("make_word_problems", "data")
COUNTS = {"train": 3000, "valid": 200, "test": 1000}


@pytest.fixture(scope="module")
def made():
    return {split: list(script.problems(count, 3, split)) for split, count in COUNTS.items()}


def numbers(row):
    return {int(found) for found in re.findall(r"\d+", row["source"] + row["target"])}


@pytest.mark.parametrize(("split", "count"), [("train", 200), ("test", 60)])
def test_the_samples_are_what_their_commands_make(split, count, tmp_path):
    output = tmp_path / "a.jsonl"
    words = ["--count", str(count), "--seed", "1", "--split", split, "--output", output]
    subprocess.run([sys.executable, ROOT / "data" / "make_word_problems.py", *words], check=True)
    assert output.read_bytes() == (ROOT / "data" / f"word_problems_sample_{split}.jsonl").read_bytes()


def test_each_problem_stands_once_and_its_formula_has_a_value(made):
    for split, rows in made.items():
        assert len({row["source"] for row in rows}) == COUNTS[split]
        values = [value_of(row["target"]) for row in rows]
        assert all(value.denominator == 1 and 0 <= value <= script.LARGEST for value in values)
    assert list(script.problems(50, 3, "train")) == made["train"][:50]


def test_no_template_and_no_number_of_the_test_problems_occurs_in_training(made):
    test = {number for row in made["test"] for number in numbers(row)} - set(script.FACTORS)
    assert test <= set(script.NUMBERS["test"])
    for split in ("train", "valid"):
        values = {int(value_of(row["target"])) for row in made[split]}
        assert not test & (values | {number for row in made[split] for number in numbers(row)})
    texts = {split: {text for text, _ in of} for split, of in script.TEMPLATES.items()}
    assert not texts["test"] & texts["train"]
    assert not texts["test"] & texts["valid"]
    assert not {int(value_of(row["target"])) for row in made["test"]} & {
        *script.NUMBERS["train"],
        *script.NUMBERS["valid"],
    }


def test_more_problems_than_there_are_is_one_line():
    with pytest.raises(ValueError, match=r"only \d+ different problems were found; ask for fewer than 1000000\."):
        list(script.problems(10**6, 1, "valid"))
    with pytest.raises(ValueError, match="split must be one of train, valid, test"):
        next(script.problems(1, 1, "dev"))
