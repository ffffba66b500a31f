"""The commands of sequence to sequence on a T5: what they leave, write and print, and how a run goes on."""

import json

import pytest
from safetensors.numpy import load_file

import nlptasks
import nlptasks.train.loop
import nlptasks.train.progress
from nlptasks.applications.seq2seq import commands
from tests.commands.scripts import call, load_script, models_opened_once, run_files
from tests.commands.test_seq2seq import needs_rouge
from tests.t5 import save_t5

pytestmark = pytest.mark.once
script = load_script("seq2seq")
ROWS = [("屏幕很清楚", "清楚"), ("快递很慢", "慢"), ("书的质量不错", "不错"), ("很满意，推荐购买", "推荐")]
TRAINING = ("--epochs", "2", "--batch-size", "2", "--learning-rate", "1e-2", "--seed", "5")


@pytest.fixture(scope="module", autouse=True)
def _models_opened_once():
    with models_opened_once(commands):
        yield


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    """Those of a training run, without its folder."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "t5").mkdir()
    save_t5(folder / "t5", num_layers=1, decoder_layers=1)
    lines = [json.dumps({"source": source, "target": target}, ensure_ascii=False) for source, target in ROWS]
    (folder / "pairs.jsonl").write_text("\n".join(lines), encoding="utf-8")
    files = ("--train", folder / "pairs.jsonl", "--valid", folder / "pairs.jsonl")
    return ("train", *files, "--checkpoint", folder / "t5", *TRAINING)


@pytest.fixture(scope="module")
def run(arguments, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "whole"
    result = call(script, *arguments, "--output", output)
    assert (result.status, result.out) == (0, ""), result.err
    return output


def test_a_run_is_a_model_that_transformers_names_and_that_writes(run):
    names = [name for name in run_files(("spiece.model",)) if name != "vocab.txt"]
    assert sorted(path.name for path in run.iterdir()) == names
    values = json.loads((run / "config.json").read_text())
    assert (values["model_type"], values["nlptasks"]["task"]) == ("t5", "sequence_to_sequence")
    assert values["vocab_size"] == nlptasks.load(run).tokenizer.vocab_size
    given = ("generate", "--model", run, "--texts", ROWS[0][0], "--max-length", "5")
    printed = call(script, *given, "--json")
    assert printed.status == 0, printed.err
    row = json.loads(printed.out)
    assert row["source"] == ROWS[0][0]
    assert call(script, *given, "--stream").out == row["text"] + "\n"


@needs_rouge
def test_it_is_evaluated_as_any_other(run, arguments):
    found = call(script, "evaluate", "--model", run, "--data", arguments[2], "--max-length", "5", "--json")
    assert found.status == 0, found.err
    last = json.loads(found.out.splitlines()[-1])
    best = json.loads((run / "scores.json").read_text())["best"]
    assert last["scores"]["model"]["log_likelihood"] == pytest.approx(best["log_likelihood"], rel=1e-5)


def test_an_interrupted_run_ends_as_an_uninterrupted_one(run, arguments, tmp_path, monkeypatch):
    output, done = tmp_path / "run", []

    def stop_in_the_second_epoch(items, description="", *more):
        for item in items:
            done.append(description)
            if done.count("epoch 2/2") == 2:
                raise KeyboardInterrupt  # as a second Ctrl-C: what was saved before is all there is
            yield item

    with monkeypatch.context() as patch:
        patch.setattr(nlptasks.train.loop, "SAVE_SECONDS", -1)  # after every batch
        patch.setattr(nlptasks.train.progress, "progress_bar", stop_in_the_second_epoch)
        assert call(script, *arguments, "--output", output).status == 130
    resumed = call(script, *arguments, "--output", output, "--resume")
    assert resumed.status == 0, resumed.err
    first, second = (load_file(path / "model.safetensors") for path in (run, output))
    assert first.keys() == second.keys()
    assert all((first[name] == second[name]).all() for name in first)
