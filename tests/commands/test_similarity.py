"""The script of sentence similarity: what it writes and prints, how it resumes, and what it says about mistakes."""

import contextlib
import importlib.util
import io
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
from safetensors.numpy import load_file

import nlptasks
import nlptasks.train.loop
from tests.applications.similarity.similarity_cases import GROUPS, SENTENCES, random_encoder, write_groups

SCRIPT = Path(__file__).parents[2] / "tasks" / "sentence_similarity.py"
SMALL = ("--embedding-size", "11", "--vector-size", "13", "--min-count", "1", "--batch-size", "7", "--hold-out", "7")
TRAINING = (*SMALL, "--epochs", "3", "--learning-rate", "2e-2", "--seed", "5")
RUN_FILES = ["config.json", "curve.png", "log.json", "model.safetensors", "options.json", "resume.safetensors"]


def _load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sentence_similarity", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


script = _load_script()


class Result(NamedTuple):
    status: int
    out: str
    err: str


def call(*arguments: object) -> Result:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        status = script.main([str(argument) for argument in arguments])
    return Result(status, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def groups_file(tmp_path_factory):
    return write_groups(tmp_path_factory.mktemp("data") / "groups.tsv")


@pytest.fixture(scope="module")
def run_directory(groups_file, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "run"
    done = call("train", "--train", groups_file, "--output", directory, *TRAINING, "--sampled-classes", "7")
    assert done.status == 0, done.err
    assert "17 sentences in 7 groups, 0 groups of one sentence, 0 sentences in more than one group" in done.err
    assert "table of 6 groups: 0.0 MiB, 6 a step" in done.err
    return directory


def test_a_run_holds_the_model_its_options_and_its_scores(run_directory):
    assert sorted(path.name for path in run_directory.iterdir()) == sorted([*RUN_FILES, "scores.json", "vocab.txt"])
    scores = json.loads((run_directory / "scores.json").read_text(encoding="utf-8"))
    assert [row["epoch"] for row in scores["epochs"]] == [1, 2, 3]
    assert scores["best"]["top1"] == max(row["top1"] for row in scores["epochs"])
    options = json.loads((run_directory / "options.json").read_text(encoding="utf-8"))
    assert (options["vector_size"], options["loss"], options["seed"]) == (13, "am", 5)
    encoder = nlptasks.load(run_directory)
    assert encoder.encode(SENTENCES).shape == (17, 13)


def test_an_interrupted_run_resumed_ends_with_the_same_weights(groups_file, run_directory, tmp_path, monkeypatch):
    arguments = ("--train", groups_file, "--output", tmp_path / "r", *TRAINING, "--sampled-classes", "7")
    steps = []

    class StopInTheMiddle(nlptasks.train.loop.StopRequested):
        @property
        def requested(self):
            steps.append(1)
            return len(steps) >= 2

        @requested.setter
        def requested(self, value):
            pass

    with monkeypatch.context() as patched:
        patched.setattr(nlptasks.train.loop, "StopRequested", StopInTheMiddle)
        stopped = call("train", *arguments)
    assert stopped.status == 130
    assert "--resume continues it" in stopped.err
    assert call("train", *arguments, "--resume").status == 0
    expected, found = (load_file(path / "resume.safetensors") for path in (run_directory, tmp_path / "r"))
    assert expected.keys() == found.keys()
    assert any(name.startswith("table.") for name in found)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_a_transformer_trains_and_finds_its_own(groups_file, tmp_path):
    options = (*TRAINING, "--encoder", "transformer", "--vector-size", "12", "--num-layers", "1", "--seq-length", "14")
    done = call(
        "train", "--train", groups_file, "--output", tmp_path / "r", *options, "--pooling", "cls", "--loss", "arc"
    )
    assert done.status == 0, done.err
    done = call("evaluate", "--model", tmp_path / "r", "--data", groups_file, "--json")
    assert json.loads(done.out.splitlines()[-1])["scores"]["encoder"]["queries"] == 17


def test_the_options_of_the_recipe_reach_the_training(groups_file, run_directory, tmp_path):
    options = (*TRAINING, "--sampled-classes", "7", "--epochs", "1")
    found = {}
    for name, more in (
        ("plain", ()),
        ("same", ("--pooling", "last", "--order-noise", "0", "--class-norm", "1")),
        ("mean", ("--pooling", "mean")),
        ("noise", ("--order-noise", "5")),
        ("short", ("--class-norm", "0.1")),
    ):
        done = call("train", "--train", groups_file, "--output", tmp_path / name, *options, *more)
        assert done.status == 0, done.err
        found[name] = load_file(tmp_path / name / "model.safetensors")["kernel"]
    np.testing.assert_array_equal(found["same"], found["plain"])
    for name in ("mean", "noise", "short"):
        assert np.abs(found[name] - found["plain"]).max() > 1e-4, name
    assert nlptasks.load(tmp_path / "mean").model.runtime.pooling == "mean"


def test_retrieval_scores_equal_brute_force(groups_file, run_directory):
    done = call("evaluate", "--model", run_directory, "--data", groups_file, "--hybrid", "--baselines", "--json")
    assert done.status == 0, done.err
    scores = json.loads(done.out.splitlines()[-1])["scores"]
    assert list(scores) == ["encoder", "hybrid", "bm25", "tfidf"]
    encoder = nlptasks.load(run_directory)
    encoder.add(SENTENCES)
    owner = {sentence: name for name, group in GROUPS.items() for sentence in group}
    for name, hybrid in (("encoder", False), ("hybrid", True)):
        for k in (1, 5):
            hits = 0
            for sentence in SENTENCES:
                others = [m for m in encoder.most_similar(sentence, 17, hybrid) if m.text != sentence][:k]
                hits += any(owner[m.text] == owner[sentence] for m in others)
            assert scores[name][f"top{k}"] == pytest.approx(hits / 17)


def test_pairs_are_scored_by_their_cosines(run_directory, tmp_path):
    path = tmp_path / "p.tsv"
    path.write_text("密码怎么改\t密码怎么改\t1\n今天有雨吗\t这趟车几点开\t0\n怎么卖\t怎么卖\t1\n", encoding="utf-8")
    done = call("evaluate", "--model", run_directory, "--pairs", path, "--json")
    scores = json.loads(done.out.splitlines()[-1])["scores"]["encoder"]
    assert (scores["pairs"], scores["auc"], scores["accuracy"]) == (3, 1.0, 1.0)
    assert scores["threshold"] == pytest.approx(1.0, abs=1e-6)


def test_an_index_is_made_grown_and_searched(run_directory, tmp_path):
    corpus, more, index = tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "index"
    corpus.write_text("\n".join(SENTENCES[:9]) + "\n", encoding="utf-8")
    more.write_text("\n".join(SENTENCES[9:]) + "\n", encoding="utf-8")
    common = ("--model", run_directory)
    assert call("index", *common, "--corpus", corpus, "--output", index).status == 0
    again = call("index", *common, "--corpus", more, "--output", index)
    assert (again.status, "--add adds to it" in again.err) == (2, True)
    added = call("index", *common, "--corpus", more, "--output", index, "--add")
    assert "8 sentences added" in added.err
    assert added.err.endswith("17 in all\n")
    found = call("search", *common, "--index", index, "--query", SENTENCES[12], "--top", "3")
    score, text = found.out.splitlines()[0].split("\t")
    assert (text, len(found.out.splitlines())) == (SENTENCES[12], 3)
    assert float(score) == pytest.approx(1, abs=2e-3)
    queries = tmp_path / "q.txt"
    queries.write_text(f"{SENTENCES[3]}\n\n{SENTENCES[14]}\n", encoding="utf-8")
    found = call("search", *common, "--index", index, "--queries", queries, "--top", "2", "--hybrid", "--json")
    rows = json.loads(found.out)
    assert [next(m["position"] for m in row) for row in rows] == [3, 14]
    lines = call("search", *common, "--index", index, "--queries", queries, "--top", "1").out.splitlines()
    assert [line.split("\t")[::2] for line in lines] == [[SENTENCES[3]] * 2, [SENTENCES[14]] * 2]
    random_encoder().save(tmp_path / "other")
    refused = call("search", "--model", tmp_path / "other", "--index", index, "--query", "什么")
    assert (refused.status, refused.out) == (2, "")
    assert "the index was made by another model" in refused.err


def test_sentences_left_out_are_not_trained_on(groups_file, tmp_path):
    held = tmp_path / "held.tsv"
    held.write_text("怎么做红烧肉\t红烧肉的做法是什么\t1\n这趟车几点开\t随便\t0\n", encoding="utf-8")
    done = call(
        "train", "--train", groups_file, "--leave-out", held, "--output", tmp_path / "r", *TRAINING, "--epochs", "1"
    )
    assert done.status == 0, done.err
    assert "14 sentences in 7 groups, 2 groups of one sentence" in done.err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ("train", "--train", "{groups}", "--output", "{run}", "--hold-out", "7"),
            "holds a run already; --resume continues it",
        ),
        (("train", "--train", "{none}", "--output", "{new}"), "no such file"),
        (("train", "--train", "{latin}", "--output", "{new}"), "bad.tsv:2: expected UTF-8, received byte 0x"),
        (("train", "--train", "{empty}", "--output", "{new}"), "empty.tsv: the file is empty"),
        (
            ("train", "--train", "{groups}", "--output", "{new}", "--hold-out", "7", "--loss", "triplet"),
            "loss must be one of softmax, am",
        ),
        (
            ("train", "--train", "{groups}", "--output", "{new}", "--encoder", "lstm"),
            "encoder must be gru or transformer",
        ),
        (("train", "--train", "{groups}", "--output", "{new}", "--sampled-classes", "9"), "at least --batch-size"),
        (("train", "--train", "{groups}", "--output", "{new}", "--hold-out", "1"), "--hold-out must be at least 2"),
        (("train", "--train", "{groups}", "--output", "{new}", "--hold-out", "99"), "every 99th group holds no two"),
        (
            ("train", "--train", "{groups}", "--output", "{new}", "--hold-out", "7", "--pooling", "cls"),
            "pooling must be one of last, mean",
        ),
        (
            ("train", "--train", "{groups}", "--output", "{new}", "--hold-out", "7", "--order-noise", "-1"),
            "order_noise must be at least 0",
        ),
        (("train", "--train", "{groups}", "--output", "{new}", "--epochs", "0"), "--epochs must be at least 1"),
        (("evaluate", "--model", "{run}"), "give either --data (groups) or --pairs"),
        (("evaluate", "--model", "{run}", "--pairs", "{groups}"), "groups.tsv:1: expected 3 tab-separated fields"),
        (("evaluate", "--model", "segmenter", "--data", "{groups}"), "segmenter: not a sentence encoder"),
        (("evaluate", "--model", "{new}", "--data", "{groups}"), "no such directory"),
        (("search", "--model", "{run}", "--index", "{new}", "--query", "一"), "index.json: no such file"),
        (("search", "--model", "{run}", "--index", "{new}"), "give either --query or --queries"),
        (("index", "--model", "{run}", "--corpus", "{empty}", "--output", "{new}"), "empty.tsv: the file is empty"),
        (
            ("index", "--model", "{run}", "--corpus", "{groups}", "--output", "{new}", "--add"),
            "index.json: no such file",
        ),
    ],
)
def test_a_mistake_is_one_line_and_status_2(groups_file, run_directory, tmp_path, arguments, text):
    (tmp_path / "bad.tsv").write_bytes("1\t甲\n".encode() + "1\t乙\n".encode("gb18030"))
    (tmp_path / "empty.tsv").write_bytes(b"")
    places = {
        "groups": groups_file, "run": run_directory, "new": tmp_path / "new", "none": tmp_path / "none.tsv",
        "latin": tmp_path / "bad.tsv", "empty": tmp_path / "empty.tsv",
    }  # fmt: skip
    done = call(*(argument.format(**places) for argument in arguments))
    assert done.status == 2
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert text in errors[0]
    assert done.err.endswith(f"{errors[0]}\n")
    assert not (tmp_path / "new").exists()
