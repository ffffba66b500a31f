"""The script of word segmentation: what it writes and prints, how it resumes, and what it says about mistakes."""

import functools
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file

import nlptasks
import nlptasks.train.loop
import nlptasks.train.progress
from nlptasks.metrics.segmentation import score_segmentation
from nlptasks.text.segmented import read_segmented
from tests.applications.similarity.similarity_cases import random_encoder
from tests.commands import scripts
from tests.commands.scripts import ROOT, kept, load_script, run_files, without_steps

call = functools.partial(scripts.call, load_script("word_segmentation"))
SAMPLE = ROOT / "data" / "segmentation_sample.txt"
SMALL = ("--unit-size", "12", "--pair-size", "6", "--channels", "16", "16", "--min-count", "1", "--min-pair-count", "1")
TRAINING = ("--epochs", "3", "--batch-units", "256", "--learning-rate", "2e-2", "--seed", "5")
RUN_FILES = [name for name in run_files() if name not in ("tokenizer_config.json", "vocab.txt")]


@pytest.fixture(scope="module")
def normalised(tmp_path_factory) -> Path:
    """The sample as a normalised file would have it: a number, and a masked word."""
    path = tmp_path_factory.mktemp("files") / "normalised.txt"
    lines = SAMPLE.read_text(encoding="utf-8").replace("2019", "0").replace("图书馆", "L").replace("收音机", "L")
    path.write_text(lines.replace("Windows", "X").replace("赶上", "加利福尼亚"), encoding="utf-8")
    return path


def train_arguments(normalised, output, *more):
    files = ("--train", SAMPLE, normalised, "--standard", "plain", "masked", "--normalised", "masked")
    return ("train", *files, "--hold-out-every", "5", "--output", output, *SMALL, *TRAINING, *more)


@pytest.fixture(scope="module")
def run(normalised, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "whole"
    result = call(*train_arguments(normalised, output))
    assert (result.status, result.out) == (0, "")
    assert f"{output}: ready for evaluate and segment" in result.err
    return output


def test_training_leaves_a_segmenter_options_scores_log_and_curve(run, normalised):
    assert sorted(path.name for path in run.iterdir()) == RUN_FILES
    options = json.loads((run / "options.json").read_text(encoding="utf-8"))
    assert (options["train"], options["hold_out_every"], options["epochs"]) == ([str(SAMPLE), str(normalised)], [5], 3)
    log, scores = (json.loads((run / name).read_text(encoding="utf-8")) for name in ("log.json", "scores.json"))
    assert log[2]["loss"] < 0.9 * log[0]["loss"]
    assert scores == {"best": kept(log, "mean_f1"), "epochs": log}
    segmenter = nlptasks.load(run)
    assert segmenter.standards == ("plain", "masked")
    assert "".join(segmenter.segment("今天天气很好。")) == "今天天气很好。"


def test_the_held_out_lines_are_scored_and_not_trained_on(run, tmp_path, monkeypatch):
    lines = SAMPLE.read_text(encoding="utf-8").splitlines()
    held_out = [line.split() for line in lines[4::5]]
    segmenter = nlptasks.load(run)
    scores = score_segmentation(held_out, segmenter.segment(["".join(words) for words in held_out], "plain"))
    best = json.loads((run / "scores.json").read_text(encoding="utf-8"))["best"]
    assert 100 * scores["f1"] == pytest.approx(best["plain_f1"], abs=2)  # the saved tables are rounded to 8 bits
    for i in range(4, len(lines), 5):
        lines[i] = "甲 乙丙 丁"
    changed = tmp_path / "changed.txt"
    changed.write_text("\n".join(lines), encoding="utf-8")
    output = tmp_path / "run"
    one = ("--standard", "plain", "--hold-out-every", "5", *SMALL, *TRAINING, "--epochs", "1")
    batches, read = without_steps(monkeypatch), []
    for path, to in ((SAMPLE, output), (changed, tmp_path / "other")):
        batches.clear()
        assert call("train", "--train", path, "--output", to, *one).status == 0
        read.append(list(batches))
    assert len(read[0]) > 0
    keras.tree.map_structure(np.testing.assert_array_equal, *read)
    first, second = load_file(output / "model.safetensors"), load_file(tmp_path / "other" / "model.safetensors")
    assert all((first[name] == second[name]).all() for name in first)


def test_an_interrupted_run_ends_as_an_uninterrupted_one(run, normalised, tmp_path, monkeypatch):
    output, done = tmp_path / "run", []

    def stop_in_the_second_epoch(items, description, *arguments):
        for item in items:
            done.append(description)
            if done.count("epoch 2/3") == 2:
                raise KeyboardInterrupt  # as a second Ctrl-C: what was saved before is all there is
            yield item

    with monkeypatch.context() as patch:
        patch.setattr(nlptasks.train.loop, "SAVE_SECONDS", -1)  # after every batch
        patch.setattr(nlptasks.train.progress, "progress_bar", stop_in_the_second_epoch)
        assert call(*train_arguments(normalised, output)).status == 130
    assert len(json.loads((output / "log.json").read_text(encoding="utf-8"))) == 1
    resumed = call(*train_arguments(normalised, output, "--resume"))
    assert resumed.status == 0, resumed.err
    whole, again = (load_file(path / "model.safetensors") for path in (run, output))
    assert all((whole[name] == again[name]).all() for name in whole)


def test_other_options_are_refused_even_before_the_first_state(normalised, tmp_path, monkeypatch):
    output = tmp_path / "run"

    def stop_at_once(items, *rest):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(nlptasks.train.progress, "progress_bar", stop_at_once)
        assert call(*train_arguments(normalised, output)).status == 130
    assert not (output / "resume.safetensors").exists()
    record = (output / "options.json").read_bytes()
    other = call(*train_arguments(normalised, output, "--resume", "--unit-drop", "0.4"))
    assert (other.status, other.err.count("\n")) == (2, 1)
    assert "started with unit_drop=0.3, now unit_drop=0.4" in other.err
    assert (output / "options.json").read_bytes() == record


def test_a_record_of_older_names_goes_on(run, normalised, tmp_path):
    output = tmp_path / "run"
    shutil.copytree(run, output)
    options = json.loads((output / "options.json").read_text(encoding="utf-8"))
    options["hold_out"] = options.pop("hold_out_every")
    for name in ("decay", "clip_norm", "accumulate", "ema", "patience", "precision"):  # younger than the record
        del options[name]
    (output / "options.json").write_text(json.dumps(options), encoding="utf-8")
    again = call(*train_arguments(normalised, output, "--resume"))
    assert again.status == 0, again.err
    other = call(*train_arguments(normalised, output, "--resume", "--hold-out-every", "4"))
    assert "started with hold_out_every=[5], now hold_out_every=[4]" in other.err


def test_python_trains_as_the_command_does(run, normalised, tmp_path):
    kept, held_out = {}, {}
    for standard, path in (("plain", SAMPLE), ("masked", normalised)):
        lines = read_segmented(path)
        kept[standard] = [words for i, words in enumerate(lines, 1) if i % 5]
        held_out[standard] = [words for words in lines[4::5] if standard == "plain" or "L" not in words]
    options = {"unit_size": 12, "pair_size": 6, "channels": (16, 16), "min_count": 1, "min_pair_count": 1}
    options |= {"epochs": 3, "batch_units": 256, "learning_rate": 2e-2, "seed": 5, "normalised": ("masked",)}
    trained = nlptasks.Segmenter.train(kept, held_out, tmp_path / "run", **options)
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (run / name).read_bytes()
    texts = ["今天天气很好。", "我们"]
    assert trained.predict(texts) == nlptasks.load(run).predict(texts)
    with pytest.raises(ValueError, match=r"^batch_units must be at least 1. Received: 0.$"):
        nlptasks.Segmenter.train(kept, held_out, **options | {"batch_units": 0})
    with pytest.raises(ValueError, match=r"no sentence is held out, so no epoch can be chosen"):
        nlptasks.Segmenter.train(kept, {"plain": []}, **options)
    with pytest.raises(ValueError, match=r"of the standard 'other', which is not trained; trained are plain, masked"):
        nlptasks.Segmenter.train(kept, {"other": kept["plain"]}, **options)


def test_the_options_of_every_training_train_too(normalised, tmp_path):
    shared = ("--accumulate", "2", "--ema", "0.5", "--clip-norm", "1", "--precision", "bfloat16")
    shared += ("--no-decay", "--warmup-share", "0", "--epochs", "1")
    result = call(*train_arguments(normalised, tmp_path / "run", *shared))
    assert result.status == 0, result.err
    assert "".join(nlptasks.load(tmp_path / "run").segment("今天天气很好。")) == "今天天气很好。"


def test_patience_ends_a_run_that_gets_no_better(normalised, tmp_path, monkeypatch):
    without_steps(monkeypatch)
    output = tmp_path / "run"
    more = ("--epochs", "9", "--patience", "2")
    assert call(*train_arguments(normalised, output, *more)).status == 0
    log = json.loads((output / "log.json").read_text(encoding="utf-8"))
    assert len(log) == 3
    assert json.loads((output / "scores.json").read_text(encoding="utf-8"))["best"]["epoch"] == 1


def test_what_would_be_overwritten_is_refused(run, normalised, tmp_path):
    encoder, gold = tmp_path / "encoder", tmp_path / "gold.txt"
    random_encoder().save(encoder)
    gold.write_bytes(SAMPLE.read_bytes())
    weights = (encoder / "model.safetensors").read_bytes()
    for arguments, message in (
        (train_arguments(normalised, run), "holds a run already"),
        (train_arguments(normalised, encoder), "a new run goes into a new or empty folder"),
        (("evaluate", "--model", run, "--gold", gold, "--output", gold), "is read, too, and would be lost"),
        (("evaluate", "--model", encoder, "--gold", gold), "holds a SentenceEncoder, expected a Segmenter"),
        (("segment", "--model", encoder, "--text", "好"), "holds a SentenceEncoder, expected a Segmenter"),
        (train_arguments(normalised, tmp_path / "r", "--teacher", encoder), "holds a SentenceEncoder, expected a Seg"),
    ):
        result = call(*arguments)
        assert (result.status, result.out, result.err.count("\n")) == (2, "", 1), arguments
        assert message in result.err
    assert gold.read_bytes() == SAMPLE.read_bytes()
    assert (encoder / "model.safetensors").read_bytes() == weights
    assert not (tmp_path / "r").exists()


def test_a_student_learns_from_teachers(run, normalised, tmp_path):
    output = tmp_path / "student"
    result = call(*train_arguments(normalised, output, "--teacher", run, run, "--epochs", "1"))
    assert result.status == 0, result.err
    options = json.loads((output / "options.json").read_text(encoding="utf-8"))
    assert options["teacher"] == [str(run), str(run)]


def test_the_original_preset_trains(normalised, tmp_path):
    output = tmp_path / "original"
    more = ("--preset", "original", "--unit-size", "16", "--pair-size", "0", "--channels", "16", "8", "--epochs", "1")
    assert call(*train_arguments(normalised, output, *more)).status == 0
    assert "pair" not in load_file(output / "model.safetensors")
    assert "".join(nlptasks.load(output).segment("今天天气很好。")) == "今天天气很好。"


def test_evaluate_counts_as_the_scorer(run, tmp_path):
    output = tmp_path / "words.txt"
    result = call("evaluate", "--model", run, "--gold", SAMPLE, "--train-words", SAMPLE, "--output", output, "--json")
    assert result.status == 0
    gold = read_segmented(SAMPLE)
    expected = score_segmentation(gold, read_segmented(output), {word for words in gold for word in words})
    assert json.loads(result.out.splitlines()[-1])["scores"] == expected
    assert f"f1               {expected['f1']:>10.4f}" in result.out
    assert expected["oov_words"] == 0
    again = call("evaluate", "--gold", SAMPLE, "--predictions", output, "--json")
    assert json.loads(again.out.splitlines()[-1])["scores"]["f1"] == expected["f1"]
    fifth = ("--gold", SAMPLE, "--hold-out-every", "5", "--json")  # of predictions for the whole file, too
    one, other = (call("evaluate", *more, *fifth) for more in (("--model", run), ("--predictions", output)))
    assert json.loads(one.out.splitlines()[-1])["scores"] == json.loads(other.out.splitlines()[-1])["scores"]
    third = call("evaluate", "--model", run, "--gold", SAMPLE, "--hold-out-every", "3", "--skip", "会议", "--json")
    kept = [words for words in gold[2::3] if "会议" not in words]
    assert json.loads(third.out.splitlines()[-1])["scores"]["gold_words"] == sum(map(len, kept)) > 0


def test_segment_prints_words(run, tmp_path):
    dictionary, text = tmp_path / "words.txt", tmp_path / "text.txt"
    dictionary.write_text("今天天气,inf\n", encoding="utf-8")
    text.write_text("今天天气 好\r\n\n今天天气\n", encoding="utf-8")
    more = ("--model", run, "--user-dict", dictionary)
    assert call("segment", *more, "--text", "今天天气 好").out == "今天天气 好\n"
    assert json.loads(call("segment", *more, "--text", "今天天气 好", "--json").out)["words"] == [
        "今天天气",
        " ",
        "好",
    ]
    assert call("segment", *more, text).out == "今天天气 好\r\n\n今天天气\n"
    unended = tmp_path / "unended.txt"
    unended.write_text("今天天气\u200b好", encoding="utf-8")  # a space that `str.split` does not see
    assert call("segment", *more, unended, text).out == "今天天气 \u200b 好\n今天天气 好\r\n\n今天天气\n"
    lines = call("segment", *more, text, "--json").out.splitlines()
    assert [json.loads(line)["words"] for line in lines] == [["今天天气", " ", "好"], [], ["今天天气"]]


def test_processes_have_the_dictionary_that_was_read(run, tmp_path):
    dictionary, text = tmp_path / "words.txt", tmp_path / "text.txt"
    dictionary.write_text("今天天气,inf\n", encoding="gb18030")
    text.write_text("今天天气好\n" * 30_000, encoding="gb18030")
    given = ("segment", "--model", run, "--user-dict", dictionary, "--encoding", "gb18030", text)
    result = call(*given, "--processes", "2")
    assert (result.status, result.out) == (0, "今天天气 好\n" * 30_000)


ONE = ("train", "--train", SAMPLE, "--standard", "x", "--output", "r")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--train", "a", "b", "--standard", "x", "--output", "r"), "--standard takes one name a training"),
        (("train", "--train", "no", "--standard", "x", "--output", "r"), "no: no such file"),
        ((*ONE, "--hold-out-every", "0"), "no line is held out"),
        ((*ONE, "--hold-out-every", "1"), "--hold-out-every takes 0 or 2"),
        ((*ONE, "--preset", "y"), "--preset must be one of"),
        ((*ONE, "--epochs", "0"), "--epochs must be at least 1"),
        ((*ONE, "--channels", "3", "4"), "residual needs"),
        ((*ONE, "--teacher", "no"), "no: no such directory"),
        (("evaluate", "--gold", "no", "--model", "no"), "no: no such file"),
        (("evaluate", "--gold", SAMPLE, "--model", "no"), "no: no such directory"),
        (
            ("evaluate", "--gold", SAMPLE, "--hold-out-every", "1000"),
            f"{SAMPLE}: no line is left to score of 30; make --hold-out-every smaller, or give no --skip.",
        ),
        (("segment", "a.txt", "--text", "好"), "give either files or --text."),
    ],
)
def test_mistakes_are_one_line_and_status_2(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert result.status == 2
    assert result.err.startswith(f"error: {message}"), result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_a_teacher_of_other_standards_is_refused(run, tmp_path):
    result = call(
        "train",
        "--train",
        SAMPLE,
        "--standard",
        "x",
        "--hold-out-every",
        "5",
        "--output",
        tmp_path / "r",
        "--teacher",
        run,
    )
    assert result.status == 2
    assert "the standards of a --teacher must be x. Received: plain, masked." in result.err


def test_random_numbers_of_a_run_come_from_its_seed(normalised, tmp_path, monkeypatch):
    batches, heads, read = without_steps(monkeypatch), [], []
    for seed in ("5", "5", "6"):
        batches.clear()
        output = tmp_path / f"{len(heads)}"
        assert call(*train_arguments(normalised, output, "--epochs", "1", "--seed", seed)).status == 0
        heads.append(load_file(output / "model.safetensors")["head"])
        read.append([array.tobytes() for array in keras.tree.flatten(batches)])
    assert np.array_equal(heads[0], heads[1])
    assert not np.array_equal(heads[0], heads[2])
    assert read[0] == read[1] != read[2]
