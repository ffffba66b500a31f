"""The script of text classification: what it writes and prints, how it resumes, and what it says about mistakes."""

import json
import re

import pytest
from safetensors.numpy import load_file

import nlptasks
import nlptasks.train.loop
import nlptasks.train.progress
from nlptasks.applications.classification import commands
from nlptasks.metrics.classification import score_labels
from tests.applications.labeling.label_cases import BAD, GOOD
from tests.commands.scripts import (
    assert_refused,
    call,
    from_checkpoint,
    kept,
    load_script,
    models_opened_once,
    run_files,
    without_steps,
)

script = load_script("text_classification")
SMALL = ("--hidden-size", "22", "--num-layers", "1", "--num-heads", "2", "--ffn-size", "29", "--seq-length", "19")
TRAINING = ("--epochs", "4", "--batch-size", "4", "--learning-rate", "1e-2", "--seed", "5", "--pooling", "mean")


def rows(label_name="label"):
    return [{"text": text, label_name: label} for texts, label in ((GOOD, "good"), (BAD, "bad")) for text in texts]


@pytest.fixture(scope="module", autouse=True)
def _models_opened_once():
    with models_opened_once(commands):
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, part in (("train", rows()), ("valid", rows()[::3])):
        lines = [json.dumps(row, ensure_ascii=False) for row in part]
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def train_arguments(files, output, *more):
    given = ("--train", files / "train.jsonl", "--valid", files / "valid.jsonl", "--output", output)
    return ("train", *given, *SMALL, *TRAINING, *more)


@pytest.fixture(scope="module")
def run(files, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "whole"
    result = call(script, *train_arguments(files, output))
    assert (result.status, result.out) == (0, ""), result.err
    assert f"{output}: ready for evaluate and predict" in result.err
    assert re.search(r"^best epoch \d: accuracy [\d.]+, macro_f1 [\d.]+, micro_f1 [\d.]+$", result.err, re.MULTILINE)
    assert re.search(r"^epoch 4/4: 4 of 4 in \d\d:\d\d, loss 0\.\d{4}$", result.err, re.MULTILINE)
    assert len(result.err.encode()) < 2000  # it is no terminal: no bars
    return output


def test_training_leaves_a_classifier_options_scores_log_and_curve(run, files):
    assert sorted(path.name for path in run.iterdir()) == run_files()
    log, scores = (json.loads((run / name).read_text(encoding="utf-8")) for name in ("log.json", "scores.json"))
    assert log[3]["loss"] < 0.95 * log[0]["loss"]
    assert scores == {"best": kept(log, "accuracy"), "epochs": log}
    options = json.loads((run / "options.json").read_text(encoding="utf-8"))
    assert (options["epochs"], options["pooling"], options["label_column"]) == (4, "mean", "label")
    assert nlptasks.load(run).labels == ("bad", "good")


def test_an_interrupted_run_ends_as_an_uninterrupted_one(run, files, tmp_path, monkeypatch):
    output, done = tmp_path / "run", []

    def stop_in_the_second_epoch(items, description, *arguments):
        for item in items:
            done.append(description)
            if done.count("epoch 2/4") == 3:
                raise KeyboardInterrupt  # as a second Ctrl-C: what was saved before is all there is
            yield item

    with monkeypatch.context() as patch:
        patch.setattr(nlptasks.train.loop, "SAVE_SECONDS", -1)  # after every batch
        patch.setattr(nlptasks.train.progress, "progress_bar", stop_in_the_second_epoch)
        assert call(script, *train_arguments(files, output)).status == 130
    resumed = call(script, *train_arguments(files, output, "--resume"))
    assert resumed.status == 0, resumed.err
    whole, again = (load_file(path / "model.safetensors") for path in (run, output))
    assert whole.keys() == again.keys()
    assert all((whole[name] == again[name]).all() for name in whole)


def test_accumulation_averages_moved_embeddings_and_recomputation_train_too(files, tmp_path):
    extras = ("--accumulate", 2, "--ema", 0.5, "--fgm", 0.1, "--recompute", "--epochs", 1)
    result = call(script, *train_arguments(files, tmp_path / "run", *extras))
    assert result.status == 0, result.err
    assert nlptasks.load(tmp_path / "run").classify("菜很好吃").label in ("good", "bad")
    wrong = call(script, *train_arguments(files, tmp_path / "other", "--ema", 1))
    assert (wrong.status, wrong.err) == (2, "error: --ema must lie between 0 and 1. Received: 1.0.\n")


def test_an_extended_optimizer_and_two_passes_train_and_are_recorded(files, tmp_path):
    rates = (
        "--learning-rate-of",
        "embeddings*=0.5,classifier/*=2",
        "--layer-decay",
        0.9,
        "--piecewise-rate",
        "2=1,9=0.1",
    )
    extras = ("--optimizer", "tiger", "--weight-decay", 0.01, "--lookahead", 2, "--lazy-embeddings", "--r-drop", 1)
    given = (*rates, *extras, "--learning-rate", 1e-3, "--epochs", 1)
    result = call(script, *train_arguments(files, tmp_path / "run", *given))
    assert result.status == 0, result.err
    options = json.loads((tmp_path / "run" / "options.json").read_text(encoding="utf-8"))
    assert (options["optimizer"], options["lookahead"], options["r_drop"]) == ("tiger", 2, 1.0)
    other = call(script, *train_arguments(files, tmp_path / "run", *given, "--lookahead", 3, "--resume"))
    assert (other.status, "lookahead=2, now lookahead=3" in other.err) == (2, True)
    wrong = call(script, *train_arguments(files, tmp_path / "b", "--learning-rate-of", "nothing*=2"))
    assert wrong.status == 2
    assert wrong.err.splitlines()[-1].startswith("error: nothing*: fits no weight; the weights are ")


def test_evaluate_scores_the_predictions_it_writes(run, files, tmp_path):
    output = tmp_path / "predictions.jsonl"
    given = ("--model", run, "--data", files / "train.jsonl", "--predictions", output, "--json")
    result = call(script, "evaluate", *given)
    assert result.status == 0, result.err
    found = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in found] == [*GOOD, *BAD]
    wanted = score_labels([row["gold"] for row in found], [row["labels"] for row in found])
    assert json.loads(result.out.splitlines()[-1])["scores"] == wanted
    assert f"{'accuracy':24}{wanted['accuracy']:>10.2f}" in result.out


def test_predict_prints_or_writes_labels_as_the_model_gives_them(run, files, tmp_path):
    results = nlptasks.load(run).predict(["菜很好吃", "服务很差"])
    wanted, sure = [one.label for one in results], [f"{one.scores[one.label]:.3f}" for one in results]
    printed = call(script, "predict", "--model", run, "--texts", "菜很好吃", "服务很差")
    assert printed.out == f"{wanted[0]}\t{sure[0]}\t菜很好吃\n{wanted[1]}\t{sure[1]}\t服务很差\n"
    as_json = call(script, "predict", "--model", run, "--texts", "服务很差", "--json").out
    assert json.loads(as_json)["labels"] == [wanted[1]]
    data, output = tmp_path / "texts.tsv", tmp_path / "found.jsonl"
    data.write_text("菜很好吃\n服务很差" + "，很脏" * 9 + "\n", encoding="utf-8")
    result = call(script, "predict", "--model", run, "--data", data, "--columns", "text", "--output", output)
    assert (result.status, result.out) == (0, "")
    assert "1 of 2 texts are longer than 19 tokens; the rest of them is not read." in result.err
    assert json.loads(output.read_text(encoding="utf-8").splitlines()[0])["labels"] == [wanted[0]]


def test_other_options_are_refused_even_before_the_first_state(files, tmp_path, monkeypatch):
    output = tmp_path / "run"

    def stop_at_once(items, *rest):
        raise KeyboardInterrupt

    monkeypatch.setattr(nlptasks.train.progress, "progress_bar", stop_at_once)
    assert call(script, *train_arguments(files, output)).status == 130
    assert not (output / "resume.safetensors").exists()
    record = (output / "options.json").read_bytes()
    other = call(script, *train_arguments(files, output, "--resume", "--seed", "4"))
    assert (other.status, other.err.count("\n")) == (2, 1)
    assert "now seed=4" in other.err
    assert call(script, *train_arguments(files, output, "--resume")).status == 130  # it goes on
    assert (output / "options.json").read_bytes() == record


def test_python_trains_as_the_command_does(files, run, tmp_path, monkeypatch):
    read = [json.loads(line) for line in (files / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    texts, labels = [row["text"] for row in read], [row["label"] for row in read]
    options = {"seq_length": 19, "hidden_size": 22, "num_layers": 1, "num_heads": 2, "ffn_size": 29, "pooling": "mean"}
    options |= {"epochs": 4, "batch_size": 4, "learning_rate": 1e-2, "seed": 5}
    trained = nlptasks.Classifier.train(texts, labels, (texts[::3], labels[::3]), tmp_path / "a", **options)
    first, second = (load_file(path / "model.safetensors") for path in (tmp_path / "a", run))
    assert first.keys() == second.keys()
    assert all((first[name] == second[name]).all() for name in first)
    assert trained.predict(texts) == nlptasks.load(run).predict(texts)
    without_steps(monkeypatch)
    unkept = nlptasks.Classifier.train(texts, labels, valid=(texts, labels), **options)
    assert unkept.classify(texts[0]).label in set(labels)
    with pytest.raises(ValueError, match=r"^epochs must be at least 1. Received: 0.$"):
        nlptasks.Classifier.train(texts, labels, (texts, labels), **options | {"epochs": 0})


def test_patience_ends_a_run_that_gets_no_better(files, tmp_path, monkeypatch):
    without_steps(monkeypatch)
    output = tmp_path / "run"
    more = ("--epochs", "9", "--patience", "2")
    assert call(script, *train_arguments(files, output, *more)).status == 0
    log = json.loads((output / "log.json").read_text(encoding="utf-8"))
    assert len(log) == 3
    assert json.loads((output / "scores.json").read_text(encoding="utf-8"))["best"]["epoch"] == 1


def test_several_labels_and_pairs_train_and_load(tmp_path, monkeypatch):
    data = tmp_path / "a.tsv"
    data.write_text("甲好\tx,y\n乙好\tx\n丙\t\n甲\ty\n", encoding="utf-8")
    given = ("--train", data, "--valid", data, *SMALL, *TRAINING)
    several = call(script, "train", *given, "--output", tmp_path / "m", "--multi-label", "--columns", "text", "label")
    assert several.status == 0, several.err
    assert nlptasks.load(tmp_path / "m").multi_label
    assert call(script, "evaluate", "--model", tmp_path / "m", "--data", data, "--columns", "text", "label").status == 0
    without_steps(monkeypatch)  # the loss is that of texts
    data.write_text("a\tb\tlabel\n甲\t甲\t1\n乙\t甲\t0\n丙\t丙\t1\n", encoding="utf-8")
    columns = ("--text-column", "a", "--second-text-column", "b")
    pairs = call(script, "train", *given, *columns, "--output", tmp_path / "p")
    assert pairs.status == 0, pairs.err
    assert nlptasks.load(tmp_path / "p").pair
    found = call(script, "predict", "--model", tmp_path / "p", "--texts", "甲", "乙", "甲", "甲")
    assert [line.split("\t")[2] for line in found.out.splitlines()] == ["甲 / 乙", "甲 / 甲"]
    odd = call(script, "predict", "--model", tmp_path / "p", "--texts", "甲")
    assert (odd.status, odd.err) == (
        2,
        "error: --texts takes pairs for this classifier. Received: 1 texts; add one.\n",
    )
    alone = call(script, "evaluate", "--model", tmp_path / "p", "--data", data)
    assert alone.status == 2
    assert "reads pairs of texts; name the second column with --second-text-column" in alone.err


def test_a_run_starts_from_the_encoder_of_a_checkpoint(run, files, tmp_path, monkeypatch):
    without_steps(monkeypatch)
    output = tmp_path / "run"
    result = call(script, *from_checkpoint(run, *train_arguments(files, output, "--epochs", "1")))
    assert result.status == 0, result.err
    first, second = (load_file(path / "model.safetensors") for path in (run, output))
    name = "bert.encoder.layer.0.attention.self.query.weight"
    assert (first[name] == second[name]).all()
    assert abs(first["head.classifier.kernel"] - second["head.classifier.kernel"]).max() > 1e-3


@pytest.mark.parametrize(
    ("valid", "message"),
    [
        (
            '{"text": "菜", "label": "good"}\n{"text": "饭", "label": "fine"}\n',
            "valid.jsonl:2: the label 'fine' does not",
        ),
        ('{"text": "菜", "lable": "good"}\n', "valid.jsonl:1: the key 'label' is missing. Received: 'lable', 'text'"),
        ('{"text": "  ", "label": "good"}\n', "valid.jsonl:1: 'text' is empty"),
        ("", "valid.jsonl: the file is empty"),
        ("{", "valid.jsonl:1: invalid JSON"),
    ],
)
def test_a_bad_file_is_one_line_status_2_and_leaves_nothing(files, tmp_path, valid, message):
    path, output = tmp_path / "valid.jsonl", tmp_path / "run"
    path.write_text(valid, encoding="utf-8")
    result = call(script, *train_arguments(files, output, "--valid", path))
    assert_refused(result, message)
    assert not output.exists()


def test_bad_options_and_labels_are_one_line_and_leave_nothing(run, files, tmp_path):
    output = tmp_path / "run"
    gb = tmp_path / "gb.jsonl"
    gb.write_bytes('{"text": "a", "label": "good"}\n{"text": "菜", "label": "good"}\n'.encode("gb18030"))
    test = tmp_path / "test.jsonl"
    test.write_text('{"text": "菜", "label": "fine"}\n', encoding="utf-8")
    weights = (run / "model.safetensors").read_bytes()
    for arguments, message in (
        (train_arguments(files, run.parent), "a new run goes into a new or empty folder"),
        (("evaluate", "--model", run, "--data", test, "--predictions", test), "is read, too, and would be lost"),
        (train_arguments(files, output, "--train", gb), "gb.jsonl:2: expected UTF-8"),
        (train_arguments(files, output, "--pooling", "max"), "pooling must be one of"),
        (train_arguments(files, output, "--epochs", "0"), "--epochs must be at least 1"),
        (from_checkpoint(tmp_path / "none", *train_arguments(files, output)), "none"),
        (train_arguments(files, run), "holds a run already"),
        (("evaluate", "--model", run, "--data", test, "--predictions", output), "the label 'fine' does not occur"),
        (("predict", "--model", run), "give either --texts TEXT... or --data FILE."),
        (("predict", "--model", run, "--texts", "菜", " "), "text 2 is empty"),
        (("predict", "--model", run, "--data", tmp_path / "x"), "no such file"),
        (("predict", "--model", "segmenter", "--texts", "菜"), "holds a Segmenter, expected a Classifier"),
    ):
        result = call(script, *arguments)
        assert_refused(result, message)
        assert not output.exists()
    assert (run / "model.safetensors").read_bytes() == weights
