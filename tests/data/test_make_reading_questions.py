"""The generator of reading questions: reproducible, consistent, and not to be solved without reading."""

import copy
import gzip
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from nlptasks.metrics.baselines import fit_baselines
from nlptasks.metrics.reading import score_reading

DATA = Path(__file__).parents[2] / "data"


def _load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reading_questions", DATA / "make_reading_questions.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


script = _load_script()


@pytest.fixture(scope="module")
def train_items():
    return list(script.generate_questions(2000, 7, "train"))


@pytest.fixture(scope="module")
def test_items():
    return list(script.generate_questions(500, 7, "test"))


def _question(item: dict) -> SimpleNamespace:
    passages = tuple(SimpleNamespace(text=p["passage"], answer=p["answer"]) for p in item["passages"])
    answers = tuple(dict.fromkeys(p.answer for p in passages if p.answer))
    return SimpleNamespace(id=item["id"], question=item["question"], passages=passages, answers=answers)


@pytest.mark.parametrize(("split", "count"), [("train", 200), ("test", 100)])
def test_documented_command_gives_the_committed_sample_byte_for_byte(split, count, tmp_path):
    sample = f"data/reading_sample_{split}.json"
    arguments = f"data/make_reading_questions.py --count {count} --seed 1 --split {split} --output "
    assert f"`python {arguments}{sample}`" in (DATA / "README.md").read_text(encoding="utf-8")
    output = tmp_path / "made.json"
    subprocess.run([sys.executable, *arguments.split(), str(output)], cwd=DATA.parent, check=True)
    assert output.read_bytes() == (DATA.parent / sample).read_bytes()


def test_committed_samples_are_small():
    assert sum(path.stat().st_size for path in DATA.glob("reading_sample_*.json")) < 250_000


def test_smaller_count_is_the_beginning_of_a_larger_one(train_items):
    assert list(script.generate_questions(23, 7, "train")) == train_items[:23]
    assert list(script.generate_questions(23, 8, "train")) != train_items[:23]


def test_gzip_output_holds_the_same_list_and_is_reproducible(tmp_path):
    for name in ("one.json.gz", "two.json.gz", "plain.json"):
        script.write_questions(script.generate_questions(5, 3, "valid"), tmp_path / name)
    data = (tmp_path / "one.json.gz").read_bytes()
    assert data == (tmp_path / "two.json.gz").read_bytes()
    assert data[4:8] == bytes(4)  # gzip's time stamp
    assert gzip.decompress(data) == (tmp_path / "plain.json").read_bytes()
    lines = gzip.decompress(data).decode("utf-8").splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("[", "]", 7)
    assert json.loads("\n".join(lines)) == list(script.generate_questions(5, 3, "valid"))


def test_output_folder_is_made_where_it_does_not_exist(tmp_path):
    script.write_questions(script.generate_questions(2, 3, "valid"), tmp_path / "new" / "folder" / "a.json")
    assert len(json.loads((tmp_path / "new" / "folder" / "a.json").read_text(encoding="utf-8"))) == 2


def test_every_item_passes_the_check(train_items, test_items):
    for item in train_items + test_items:
        script.check(item)


def _answered(items: list[dict]) -> tuple[dict, dict, dict]:
    """Return copies of an item, its first answer passage and its first passage without the answer."""
    for item in copy.deepcopy(items):
        with_answer = [passage for passage in item["passages"] if passage["answer"]]
        without = [passage for passage in item["passages"] if not passage["answer"]]
        if len(with_answer) == 1 and without:
            return item, with_answer[0], without[0]
    raise AssertionError("no item has both kinds of passages")


def test_check_finds_each_kind_of_broken_item(train_items):
    item, passage, _ = _answered(train_items)
    passage["answer"] = "不在文中"
    with pytest.raises(ValueError, match="occurs once where it answers and nowhere else, found 0 times"):
        script.check(item)
    item, passage, other = _answered(train_items)
    other["passage"] = other["passage"] + passage["answer"]
    with pytest.raises(ValueError, match="nowhere else, found 1 times"):
        script.check(item)
    item, passage, _ = _answered(train_items)
    item["question"] += passage["answer"].split()[0]
    with pytest.raises(ValueError, match="the question does not hold its answer"):
        script.check(item)
    item, passage, other = _answered(train_items)
    other["passage"], other["answer"] = other["passage"][:30] + "别的", "别的"
    with pytest.raises(ValueError, match="all passages that answer give the same answer"):
        script.check(item)
    item, passage, _ = _answered(train_items)
    item["passages"] = [passage, *item["passages"]]
    with pytest.raises(ValueError, match=r"passages differ|a question has"):
        script.check(item)
    item, passage, other = _answered(train_items)
    other["passage"] = "太短。"
    with pytest.raises(ValueError, match=re.escape(f"a passage has {script.LENGTH_LIMITS} characters")):
        script.check(item)


def test_amounts_are_what_the_constants_say(train_items):
    numbers = script.statistics(train_items)
    mean, shortest, longest = numbers["passage_characters_mean_min_max"]
    assert 15 < mean < 35
    assert (shortest >= script.LENGTH_LIMITS[0], longest <= script.LENGTH_LIMITS[1]) == (True, True)
    assert 0.12 < numbers["unanswerable_share"] < 0.18
    assert 0.15 < numbers["two_answer_passages"] / 2000 < 0.28
    assert 20 < numbers["multi_part_answers"] < 300
    assert numbers["distinct_answers"] > 1000
    assert numbers["distinct_characters"] < 2500
    starts = numbers["answer_starts_by_tenth"]
    assert max(starts) < 0.25 * sum(starts)


def test_names_do_not_cross_splits(train_items, test_items):
    """Names are found by how they are written, so this does not trust the generator's own bookkeeping."""
    pattern = re.compile(r"《(\w+)》|(\w\w大桥)|(\w\w出版社)")

    def names(items: list[dict]) -> set[str]:
        texts = [text for item in items for text in (item["question"], *(p["passage"] for p in item["passages"]))]
        return {name for text in texts for found in pattern.findall(text) for name in found if name}

    train, test = names(train_items), names(test_items)
    assert len(train) > 500
    assert len(test) > 100
    assert not train & test
    assert {script.split_of(name) for name in train} == {"train"}
    assert {script.split_of(name) for name in test} == {"test"}


def test_rivals_make_the_asked_name_necessary(train_items):
    """Most questions on a title have passages that tell of another title."""
    titles = [(item, re.search(r"《(\w+)》", item["question"])) for item in train_items]
    titles = [(item, found[1]) for item, found in titles if found]

    def has_rival(item: dict, name: str) -> bool:
        return any(set(re.findall(r"《(\w+)》", p["passage"])) - {name} for p in item["passages"])

    assert len(titles) > 100
    assert sum(has_rival(item, name) for item, name in titles) > len(titles) * 0.6


def test_trivial_readers_stay_far_below_a_reader(train_items, test_items):
    questions = [_question(item) for item in test_items]
    baselines = fit_baselines([_question(item) for item in train_items])
    scores = {
        name: score_reading(questions, {q.id: predict(q) for q in questions}) for name, predict in baselines.items()
    }
    assert len(scores) == 4
    for name, section in scores.items():
        assert section["answerable"]["cmrc_em"] < 10, name
        assert section["all"]["cmrc_em"] < 20, name
    assert scores["best_lexical_match"]["answerable"]["cmrc_f1"] > 10  # it does read something


def test_unknown_split_is_an_error_that_lists_the_splits():
    with pytest.raises(ValueError, match="split must be one of train, valid, test"):
        next(script.generate_questions(1, 1, "dev"))
