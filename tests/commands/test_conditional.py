"""The script of conditional generation: what it learns, writes and prints, how it resumes, what it says to mistakes."""

import json
import shutil

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file

import nlptasks
import nlptasks.train.loop
import nlptasks.train.progress
from nlptasks.applications.conditional import commands
from nlptasks.metrics.generation import likelihood_gap
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

script = load_script("conditional_generation")
SMALL = ("--hidden-size", "24", "--num-layers", "1", "--num-heads", "2", "--ffn-size", "31", "--seq-length", "16")
TRAINING = ("--epochs", "3", "--batch-size", "16", "--learning-rate", "2e-2", "--dropout", "0", "--seed", "5")
COLUMNS = ("--columns", "kind,mood,text", "--label-columns", "kind", "mood", "--label-names", "mood:0=bad,1=good")
WORDS = {"0": ("差", "脏", "旧"), "1": ("好", "新", "香")}


def lines():
    """Sentences of a kind, in which the mood decides the words."""
    return [
        f"{kind}\t{mood}\t{kind}很{a}，也{b}。"
        for kind in ("房间", "苹果")
        for mood, words in WORDS.items()
        for a in words
        for b in words * 2
    ]


@pytest.fixture(scope="module", autouse=True)
def _models_opened_once():
    with models_opened_once(commands):
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "train.tsv").write_text("\n".join(lines()), encoding="utf-8")
    (folder / "valid.tsv").write_text("\n".join(lines()[::5]), encoding="utf-8")
    return folder


def train_arguments(files, output, *more):
    given = ("--train", files / "train.tsv", "--valid", files / "valid.tsv", "--output", output)
    return ("train", *given, *COLUMNS, *SMALL, *TRAINING, *more)


def run_arguments(files, output, *more):
    """A run long enough to learn, which holds its validation texts out of those that it is given."""
    longer = ("--epochs", "12", "--label-dropout", "0.3")
    given = ("--train", files / "train.tsv", "--output", output)
    return ("train", *given, *COLUMNS, *SMALL, *TRAINING, *longer, *more)


@pytest.fixture(scope="module")
def run(files, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "whole"
    result = call(script, *run_arguments(files, output))
    assert (result.status, result.out) == (0, ""), result.err
    assert "kind: 2 labels, mood: 2 labels (norm)" in result.err
    assert f"{output}: ready for generate and evaluate" in result.err
    return output


def test_training_leaves_a_generator_options_scores_log_and_curve(run):
    assert sorted(path.name for path in run.iterdir()) == run_files()
    log, scores = (json.loads((run / name).read_text(encoding="utf-8")) for name in ("log.json", "scores.json"))
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    assert scores == {"best": kept(log, "log_likelihood"), "epochs": log}
    assert np.isclose(log[0]["perplexity"], np.exp(-log[0]["log_likelihood"]))
    assert dict(nlptasks.load(run).conditions.labels) == {"kind": ("房间", "苹果"), "mood": ("bad", "good")}


def test_what_is_written_obeys_the_labels_that_are_given(run):
    given = ({"kind": "房间", "mood": "good"}, {"kind": "苹果", "mood": "bad"}, {"mood": "good"})
    found = nlptasks.load(run).generate_batch(given, 20, top_p=0.9, seed=1)
    good, bad, free = ([one.text for one in texts] for texts in found)
    for texts, kind, others in ((good, "房间", WORDS["0"]), (bad, "苹果", WORDS["1"])):
        assert sum(text.startswith(kind) for text in texts) >= 18
        assert sum(any(word in text for word in others) for text in texts) <= 2, texts
    assert {text[:2] for text in free} >= {"房间", "苹果"}


def test_generate_prints_or_writes_json_with_guidance_and_prompt(run, tmp_path):
    output = tmp_path / "found.jsonl"
    given = ("--model", run, "--condition", "mood=good", "--prompt", "苹果很", "--guidance", 2, "--max-length", 8)
    printed = call(script, "generate", *given, "--json")
    [row] = [json.loads(line) for line in printed.out.splitlines()]
    assert row["condition"] == {"mood": "good"}
    assert row["text"].startswith("苹果很")
    assert row["log_probability"] < 0 < row["num_tokens"] <= 8
    written = call(script, "generate", *given, "--output", output)  # the same seed: the same text
    assert (written.status, written.out) == (0, "")
    assert json.loads(output.read_text(encoding="utf-8")) == row


def test_evaluate_prints_the_gaps_that_the_model_gives(run, files):
    result = call(script, "evaluate", "--model", run, "--data", files / "valid.tsv", "--json")
    assert result.status == 0, result.err
    scores = json.loads(result.out.splitlines()[-1])["scores"]
    writer = nlptasks.load(run)
    rows = [line.split("\t") for line in lines()[::5]]
    moods, texts = ("bad", "good"), [text for _, _, text in rows]
    own = [{"kind": kind, "mood": moods[int(mood)]} for kind, mood, _ in rows]
    other = [{"kind": kind, "mood": moods[1 - int(mood)]} for kind, mood, _ in rows]
    (own, lengths), (other, _) = writer.score(texts, own), writer.score(texts, other)
    wanted = likelihood_gap(own, other, lengths)
    assert scores["mood"]["gap"] == pytest.approx(wanted.gap)
    assert scores["mood"]["low"] > 0.2
    assert scores["kind"]["gap"] > 0.2
    assert f"another mood: perplexity {wanted.other_perplexity:.2f}, {wanted.gap:+.4f} nats a token" in result.out


def test_an_interrupted_run_ends_as_an_uninterrupted_one(run, files, tmp_path, monkeypatch):
    output, done = tmp_path / "run", []

    def stop_in_the_second_epoch(items, description="", *arguments):
        for item in items:
            done.append(description)
            if done.count("epoch 2/12") == 3:
                raise KeyboardInterrupt  # as a second Ctrl-C: what was saved before is all there is
            yield item

    with monkeypatch.context() as patch:
        patch.setattr(nlptasks.train.loop, "SAVE_SECONDS", -1)  # after every batch
        patch.setattr(nlptasks.train.progress, "progress_bar", stop_in_the_second_epoch)
        assert call(script, *run_arguments(files, output)).status == 130
    resumed = call(script, *run_arguments(files, output, "--resume"))
    assert resumed.status == 0, resumed.err
    first, second = (load_file(path / "model.safetensors") for path in (run, output))
    assert first.keys() == second.keys()
    assert all((first[name] == second[name]).all() for name in first)


def older(record):
    """A record of options as version 0.1 wrote it."""
    new = {"seq_length": "max_length", "hold_out_share": "hold_out"}
    return {new.get(name, name): value for name, value in record.items() if name != "patience"}


def test_other_options_are_refused_even_before_the_first_state(files, tmp_path, monkeypatch):
    output = tmp_path / "run"
    given = (*train_arguments(files, output, "--epochs", "1"), "--ema", "0.5")

    def stop_at_once(items, *rest):
        raise KeyboardInterrupt

    monkeypatch.setattr(nlptasks.train.progress, "progress_bar", stop_at_once)
    assert call(script, *given).status == 130
    assert [path.name for path in output.iterdir()] == ["options.json"]
    record = older(json.loads((output / "options.json").read_text(encoding="utf-8")))
    (output / "options.json").write_text(json.dumps(record), encoding="utf-8")
    other = call(script, *given, "--resume", "--label-size", "7")
    assert (other.status, other.err.count("\n")) == (2, 1)
    assert "was started with label_size=128, now label_size=7" in other.err
    assert call(script, *given, "--resume").status == 130  # it goes on
    assert json.loads((output / "options.json").read_text(encoding="utf-8")) == record


def test_the_columns_in_an_old_record_are_read(run, files, tmp_path):
    output = tmp_path / "run"
    shutil.copytree(run, output)
    record = older(json.loads((output / "options.json").read_text(encoding="utf-8")))
    (output / "options.json").write_text(json.dumps(record), encoding="utf-8")
    assert call(script, "evaluate", "--model", output, "--data", files / "valid.tsv").status == 0


def python_data():
    """Texts and conditions of all lines, as the command reads them."""
    rows = [line.split("\t") for line in lines()]
    return [row[2] for row in rows], [{"kind": row[0], "mood": ("bad", "good")[int(row[1])]} for row in rows]


SIZES = {"hidden_size": 24, "num_layers": 1, "num_heads": 2, "ffn_size": 31, "seq_length": 16}
SETTINGS = {"epochs": 12, "batch_size": 16, "learning_rate": 2e-2, "dropout": 0.0, "seed": 5, "label_dropout": 0.3}


def test_python_trains_as_the_command_does(run, files, tmp_path):
    texts, conditions = python_data()
    trained = nlptasks.ConditionalGenerator.train(texts, conditions, None, tmp_path / "python", **SIZES, **SETTINGS)
    first, second = (load_file(path / "model.safetensors") for path in (tmp_path / "python", run))
    assert first.keys() == second.keys()
    assert all((first[name] == second[name]).all() for name in first)
    written = trained.predict(conditions[:1], max_length=5)
    assert [written] == trained.generate_batch(conditions[:1], max_length=5)
    assert written[0].text == trained.generate(conditions[0], max_length=5)[0]
    columns = ("--columns", "kind,mood,text", "--data", files / "valid.tsv")
    plain = call(script, "evaluate", "--model", tmp_path / "python", *columns)  # it has no record of columns
    assert (plain.status, plain.err) == (2, f"error: {files / 'valid.tsv'}:1: unknown mood '0'; known are bad, good.\n")


@pytest.mark.parametrize(
    ("texts", "conditions", "options", "message"),
    [
        (["好", " "], [{"mood": "good"}, {"mood": "bad"}], {}, "item 1: the text is empty"),
        (["好"], [], {}, "Received: 1 texts, 0 conditions"),
        (["好"], [{"mood": "good"}], {}, "1 training texts are too few to hold one out; give valid."),
        (["好", "坏"], [{"mood": "good"}, [1.0]], {}, "item 1: this model writes under labels; give those"),
        (["好", "坏"], [{}, {}], {}, "either labels or vector_size"),
        (["好"], [{"mood": "good"}], {"hold_out_share": 1.0}, "hold_out_share must lie between 0 and 1"),
        (["好"], [{"mood": "good"}], {"combine": "mean"}, "^combine must be one of sum, concat"),
        (["好"], [{"mood": "good"}], {"label_size": 0}, "^label_size must be at least 1"),
    ],
)
def test_python_is_told_what_does_not_fit(texts, conditions, options, message):
    valid = (["坏"], [{"mood": "good"}]) if len(texts) == 2 else None
    with pytest.raises(ValueError, match=message):
        nlptasks.ConditionalGenerator.train(texts, conditions, valid, **options)


def test_patience_ends_a_run_that_gets_no_better_and_shared_options_train_too(files, tmp_path):
    output = tmp_path / "run"
    shared = ("--accumulate", 2, "--ema", 0.5, "--fgm", 0.1, "--recompute", "--clip-norm", 1, "--decay")
    more = ("--learning-rate", "1e-12", "--epochs", "9", "--patience", "2", *shared, "--conditioning", "prefix")
    result = call(script, *train_arguments(files, output, *more))
    assert result.status == 0, result.err
    log, scores = (json.loads((output / name).read_text(encoding="utf-8")) for name in ("log.json", "scores.json"))
    assert len(log) < 9
    assert max(log, key=lambda row: row["log_likelihood"])["epoch"] == len(log) - 2
    assert scores["best"] == kept(log, "log_likelihood")


def test_vectors_train_from_json_and_from_numpy_files_alike(tmp_path, monkeypatch):
    vectors = np.random.default_rng(3).normal(0, 1, (8, 5)).round(3).astype("float32")
    texts = [line.split("\t")[2] for line in lines()[:8]]
    rows = [{"text": text, "v": [float(x) for x in v]} for text, v in zip(texts, vectors, strict=True)]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    (tmp_path / "a.tsv").write_text("text\n" + "\n".join(texts), encoding="utf-8")
    np.save(tmp_path / "v.npy", vectors)
    common = (*SMALL, *TRAINING, "--epochs", "1", "--hold-out-share", "0.2")
    batches, read = without_steps(monkeypatch), []
    for name, options in (
        ("json", ("--train", tmp_path / "a.jsonl", "--vector-column", "v")),
        ("npy", ("--train", tmp_path / "a.tsv", "--vectors", tmp_path / "v.npy")),
    ):
        batches.clear()
        result = call(script, "train", *options, *common, "--output", tmp_path / name)
        assert result.status == 0, result.err
        read.append(list(batches))
        assert "vectors of 5 numbers (norm)" in result.err
    assert len(read[0]) > 0
    keras.tree.map_structure(np.testing.assert_array_equal, *read)
    given = ("--model", tmp_path / "npy", "--data", tmp_path / "a.tsv", "--vectors", tmp_path / "v.npy")
    found = call(script, "evaluate", *given, "--json")
    assert json.loads(found.out.splitlines()[-1])["scores"]["vector"]["gap"] is not None
    np.save(tmp_path / "w.npy", vectors[:, :4])
    wrong = call(script, "generate", "--model", tmp_path / "npy", "--vector", tmp_path / "w.npy")
    assert (wrong.status, wrong.err) == (2, "error: expected a vector of 5 finite numbers. Received: shape (4,).\n")


def test_a_language_model_without_conditions_reads_lines_and_long_ones_in_pieces(tmp_path, monkeypatch):
    without_steps(monkeypatch)
    path, output = tmp_path / "a.txt", tmp_path / "run"
    path.write_text(
        "房间很好，也新。\n苹果很香，也好。房间很旧，也脏。苹果很差，也旧。\n房间\t很新\n", encoding="utf-8"
    )
    given = ("--train", path, "--valid", path, "--conditioning", "none", "--output", output)
    result = call(script, "train", *given, *SMALL, *TRAINING, "--epochs", "1", "--split")
    assert result.status == 0, result.err
    assert "5 texts, and 5 for validation" in result.err  # three lines, one of them in three pieces
    found = call(script, "evaluate", "--model", output, "--data", path, "--json")
    scores = json.loads(found.out.splitlines()[-1])["scores"]
    assert (scores["texts"], scores["tokens"]) == (5, 9 + 27 + 5)
    continued = call(script, "generate", "--model", output, "--prompt", "房间很", "--max-length", 3)
    assert continued.out.startswith("房间很")


def test_a_run_starts_from_a_checkpoint_without_conditions(files, tmp_path, monkeypatch):
    without_steps(monkeypatch)
    plain = tmp_path / "plain"
    assert call(script, *train_arguments(files, plain, "--conditioning", "none", "--epochs", "1")).status == 0
    output = tmp_path / "run"
    result = call(script, *from_checkpoint(plain, *train_arguments(files, output, "--epochs", "1")))
    assert result.status == 0, result.err
    texts = [line.split("\t")[2] for line in lines()[:3]]
    scores = [nlptasks.load(path).score(texts, [{}] * 3)[0] for path in (plain, output)]
    np.testing.assert_allclose(*scores, atol=1e-5)
    refused = call(script, "generate", "--model", plain, "--condition", "mood=good")
    assert (refused.status, refused.err) == (
        2,
        "error: the model writes under no condition. Received: {'mood': 'good'}.\n",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("房间\t1\t好\n房间\t1\n", "bad.tsv:2: expected 3 fields (kind, mood, text). Received: 2"),
        ("房间\t1\t \n", "bad.tsv:1: 'text' is empty"),
        ("房间\t3\t好\n", "bad.tsv:1: the mood '3' has no name in --label-names (0, 1)"),
        ("书\t1\t好\n", "bad.tsv:1: unknown kind '书'; known are 房间, 苹果."),
        ("", "bad.tsv: the file is empty"),
    ],
)
def test_a_bad_file_is_one_line_status_2_and_leaves_nothing(run, files, tmp_path, text, message):
    path, output = tmp_path / "bad.tsv", tmp_path / "run"
    path.write_text(text, encoding="utf-8")
    for arguments in (
        train_arguments(files, output, "--valid", path),
        ("evaluate", "--model", run, "--data", path),
    ):
        result = call(script, *arguments)
        assert_refused(result, message)
        assert not output.exists()


def test_bad_options_are_one_line_and_leave_nothing(run, files, tmp_path):
    output, other = tmp_path / "run", tmp_path / "x"
    gb = tmp_path / "gb.tsv"
    gb.write_bytes("房间\t1\t好\n".encode("gb18030"))
    vectors = tmp_path / "v.npy"
    np.save(vectors, np.ones((2, 3)))
    generate = ("generate", "--model", run)
    plain = ("--train", files / "train.tsv", "--columns", "kind,mood,text", "--output", output)
    for arguments, message in (
        (train_arguments(files, output, "--train", gb), "gb.tsv:1: expected UTF-8"),
        (train_arguments(files, output, "--train", tmp_path / "none.tsv"), "none.tsv: no such file"),
        (train_arguments(files, output, "--text-column", "words"), "the column 'words' must stand once"),
        (train_arguments(files, output, "--label-names", "mood=bad"), "expected column:label=name"),
        (train_arguments(files, output, "--vectors", vectors), "a condition is labels or a vector"),
        (
            train_arguments(files, output, "--conditioning", "token"),
            "--conditioning must be one of norm, prefix, none. Received: 'token'.",
        ),
        (train_arguments(files, output, "--label-dropout", "1"), "--label-dropout must lie in [0, 1)"),
        (train_arguments(files, output, "--epochs", "0"), "--epochs must be at least 1"),
        (from_checkpoint(other, *train_arguments(files, output)), "x"),
        (train_arguments(files, run), "holds a run already"),
        (train_arguments(files, tmp_path), "a new run goes into a new or empty folder"),
        (train_arguments(files, output, "--valid-vectors", vectors), "--valid-vectors goes with --vectors and --valid"),
        (train_arguments(files, output, "--vector-column", "v"), "a condition is labels or a vector"),
        (("train", *plain, "--vectors", vectors), "v.npy: expected 72 rows, one a text. Received: 2."),
        (("train", "--train", gb, "--output", output), "nothing to write under: give --label-columns"),
        ((*generate, "--vector", vectors, "--output", vectors), "is read, too, and would be lost"),
        (("evaluate", "--model", "similarity", "--data", gb), "holds a SentenceEncoder, expected a Conditional"),
        (train_arguments(files, output, "--resume"), "no interrupted run here"),
        ((*generate, "--condition", "mood=fine"), "unknown mood 'fine'; known are bad, good."),
        ((*generate, "--condition", "mood"), "--condition: expected column=label"),
        ((*generate, "--vector", vectors), "expected labels by column (kind, mood)."),
        ((*generate, "--vector", vectors, "--condition", "mood=good"), "give --condition or --vector, not both."),
        ((*generate, "--top-p", "2"), "top_p must be above 0 and at most 1"),
        ((*generate, "--count", "0"), "--count must be at least 1"),
        ((*generate, "--prompt", "房间很好" * 5), "the prompt has 20 tokens"),
        (("generate", "--model", "segmenter"), "holds a Segmenter, expected a ConditionalGenerator"),
        (("evaluate", "--model", run, "--data", other), "no such file"),
    ):
        result = call(script, *arguments)
        assert_refused(result, message)
        assert not output.exists(), arguments
