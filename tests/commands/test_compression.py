"""The script of compression: three stages in one command, how each resumes, and what it says about mistakes."""

import dataclasses
import json
import shutil

import pytest
from safetensors.numpy import load_file

import nlptasks
import nlptasks.train.loop
import nlptasks.train.progress
from nlptasks.applications.classification.classifier import Classifier, classification_model
from nlptasks.applications.compression.training import STAGES, CompressionOptions, compress
from nlptasks.applications.labeling.labeler import Labeler, labeling_model
from nlptasks.applications.reading.reader import Reader
from nlptasks.applications.reading.windows import ReadingLengths
from nlptasks.applications.scratch import scratch_config, transformer_from_scratch
from nlptasks.opening import DISTILLABLE, distillable
from nlptasks.text import Tokenizer, build_character_vocab
from nlptasks.train.run import start_run
from tests.applications.labeling.label_cases import BAD, GOOD
from tests.commands.scripts import call, load_script, run_files

script = load_script("theseus_compression")
NAME = "沈月去了南山。"
QUICK = ("--batch-size", "4", "--learning-rate", "1e-2", "--seed", "5", "--successor-layers", "1")
EPOCHS = ("--predecessor-epochs", "2", "--replacement-epochs", "2", "--successor-epochs", "2")


def transformer(tokens, attention="bidirectional", with_mlm=False):
    start_run(3)
    config = scratch_config(tokens.vocab_size, 26, 10, 2, 2, 13, 0.1, attention=attention)
    return transformer_from_scratch(config, with_mlm=with_mlm)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Data files, and predecessors that nobody has fine-tuned."""
    folder = tmp_path_factory.mktemp("files")
    texts = {"good": GOOD, "bad": BAD}
    single = [{"text": text, "label": label} for label in texts for text in texts[label]]
    pairs = [
        {"text": a, "second": b, "label": "yes" if side == other else "no"}
        for side in texts
        for other in texts
        for a, b in zip(texts[side][:3], texts[other][3:], strict=False)
    ]
    entities = [{"text": NAME, "label": {"name": {"沈月": [[0, 1]]}, "place": {"南山": [[4, 5]]}}}] * 4
    questions = [
        {"id": str(i), "question": "谁？", "passages": [{"passage": NAME, "answer": "沈月"}]} for i in range(4)
    ]
    for name, rows in (("single", single), ("pairs", pairs), ("entities", entities), ("questions", questions)):
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    tokens = Tokenizer(build_character_vocab([*GOOD, *BAD, NAME, "谁？"]))
    model = classification_model(transformer(tokens), 2)
    Classifier(model, tokens, ("bad", "good"), 19, pooling="mean").save(folder / "classifier")
    Classifier(model, tokens, ("no", "yes"), 19, pair=True).save(folder / "pair_classifier")
    types = ("name", "place")
    labeler = labeling_model(transformer(tokens), "global-pointer", 2, head_size=4)
    Labeler(labeler, tokens, types, "global-pointer", 19).save(folder / "labeler")
    lengths = ReadingLengths(passage_length=12, question_length=5, answer_length=4)
    Reader(transformer(tokens, "unilm", "linear"), tokens, lengths).save(folder / "reader")
    return folder


def arguments(files, output, task="classification", data="pairs", *more):
    given = ("--train", files / f"{data}.jsonl", "--valid", files / f"{data}.jsonl", "--output", output)
    return ("train", "--task", task, *given, *QUICK, *EPOCHS, *more)


def whole_arguments(files, output, *more):
    """Pairs of texts, from a checkpoint without a head."""
    pairs = ("--second-text-column", "second", "--seq-length", "15", "--pooling", "mean")
    return arguments(files, output, "classification", "pairs", "--checkpoint", files / "classifier", *pairs, *more)


@pytest.fixture(scope="module")
def run(files, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "whole"
    result = call(script, *whole_arguments(files, output))
    assert result.status == 0, result.err
    return output, result


def test_one_command_runs_all_stages_and_leaves_an_ordinary_small_model(run):
    output, result = run
    assert sorted(path.name for path in output.iterdir()) == run_files(("predecessor", "replacement"))
    assert [line for line in result.err.splitlines() if line.startswith("stage")] == [
        "stage 1 of 3: predecessor",
        "stage 2 of 3: replacement",
        "stage 3 of 3: successor",
    ]
    small, whole = nlptasks.load(output), nlptasks.load(output / "predecessor")
    assert (small.labels, small.seq_length, small.pair, small.pooling) == (("no", "yes"), 15, True, "mean")
    configs = [
        json.loads((path / "config.json").read_text(encoding="utf-8")) for path in (output, output / "predecessor")
    ]
    assert configs[0] == configs[1] | {"num_hidden_layers": 1}
    assert not [name for name in load_file(output / "model.safetensors") if ".layer.1." in name]
    table = [line.split() for line in result.out.splitlines()]
    assert table[0] == ["layers", "parameters", "MB", "accuracy"]
    assert [row[:2] for row in table[1:]] == [["predecessor", "2"], ["replacement", "1"], ["successor", "1"]]
    assert [row[2] for row in table[1:]] == [f"{x.model.count_params():,}" for x in (whole, small, small)]
    scores = json.loads((output / "scores.json").read_text(encoding="utf-8"))
    assert table[3][4] == f"{max(row['accuracy'] for row in scores['epochs']):.2f}"
    replaced = json.loads((output / "replacement" / "scores.json").read_text(encoding="utf-8"))
    first = json.loads((output / "predecessor" / "scores.json").read_text(encoding="utf-8"))
    assert replaced["predecessor"]["accuracy"] == pytest.approx(first["best"]["accuracy"])


def stopping(after_epochs):
    """A progress bar that interrupts the run within the epoch that follows so many."""
    begun = []

    def bar(items, *rest):
        begun.append(rest)
        for i, item in enumerate(items):
            if len(begun) > after_epochs and i == 1:
                raise KeyboardInterrupt  # as a second Ctrl-C: what was saved before is all there is
            yield item

    return bar


def test_a_run_interrupted_between_stages_and_in_one_ends_as_an_uninterrupted_one(run, files, tmp_path, monkeypatch):
    """In the one that trains what no other run does; the others are resumed as every training is."""
    output = tmp_path / "run"
    shutil.copytree(run[0] / "predecessor", output / "predecessor")  # all that there is after the first stage
    shutil.copy(run[0] / "options.json", output)
    monkeypatch.setattr(nlptasks.train.loop, "SAVE_SECONDS", -1)  # after every batch
    for bar, status, stages in ((stopping(1), 130, ["2"]), (lambda items, *rest: items, 0, ["2", "3"])):
        monkeypatch.setattr(nlptasks.train.progress, "progress_bar", bar)
        result = call(script, *whole_arguments(files, output, "--resume"))
        assert result.status == status, result.err
        assert [line.split()[1] for line in result.err.splitlines() if line.startswith("stage")] == stages
    for folder in ("predecessor", "replacement", "."):
        whole, again = (load_file(path / folder / "model.safetensors") for path in (run[0], output))
        assert whole.keys() == again.keys()
        assert all((whole[name] == again[name]).all() for name in whole), folder
    done = call(script, *whole_arguments(files, output, "--resume"))
    assert (done.status, done.out) == (0, run[1].out)
    assert "stage" not in done.err


def test_python_compresses_as_the_command_does(run, files):
    output, result = run
    options = CompressionOptions(
        task="classification",
        train=(files / "pairs.jsonl",),
        valid=files / "pairs.jsonl",
        checkpoint=str(files / "classifier"),
        second_text_column="second",
        seq_length=15,
        pooling="mean",
        **{"batch_size": 4, "learning_rate": 1e-2, "seed": 5, "successor_layers": 1},
        **{f"{stage}_epochs": 2 for stage in STAGES},
        output=output,
        resume=True,
    )
    found = compress(options)
    assert [stage.name for stage in found.stages] == list(STAGES)
    printed = [line.split() for line in result.out.splitlines()[1:]]
    shown = [[str(s.layers), f"{s.parameters:,}", f"{s.megabytes:.1f}", f"{s.score:.2f}"] for s in found.stages]
    assert shown == [row[1:] for row in printed]
    with pytest.raises(ValueError, match=r"^random weights are nothing to compress: give checkpoint DIR"):
        dataclasses.replace(options, checkpoint="none")


def test_other_options_are_refused_even_before_the_first_state_and_old_records_are_read(files, tmp_path, monkeypatch):
    output = tmp_path / "run"
    given = arguments(files, output, "classification", "single", "--predecessor", files / "classifier", "--rate", "1")

    def stop_at_once(items, *rest):
        raise KeyboardInterrupt

    monkeypatch.setattr(nlptasks.train.progress, "progress_bar", stop_at_once)
    assert call(script, *given).status == 130
    assert [path.name for path in output.iterdir()] == ["options.json"]
    record = json.loads((output / "options.json").read_text(encoding="utf-8"))
    new = {"seq_length": "max_length", "text_column": "text", "second_text_column": "second_text"}
    new["label_column"] = "label"
    older = {new.get(name, name): value for name, value in record.items()} | {"checkpoint": None}
    for name in ("accumulate", "ema", "patience"):  # younger than version 0.1
        del older[name]
    (output / "options.json").write_text(json.dumps(older), encoding="utf-8")
    other = call(script, *given, "--resume", "--ema", "0.5")
    assert (other.status, other.err.count("\n")) == (2, 1)
    assert "was started with ema=None, now ema=0.5" in other.err
    assert json.loads((output / "options.json").read_text(encoding="utf-8")) == older
    result = call(script, *given, "--resume", "--checkpoint", "none")
    assert result.status == 130, result.err  # it goes on
    assert "stage 2 of 3: replacement" in result.err


@pytest.mark.parametrize("name", DISTILLABLE)
def test_what_can_be_compressed_says_what_its_directories_say(name):
    found = distillable(name)
    assert found.application == name
    assert {"classification": Classifier, "labeling": Labeler, "reading": Reader}[name].task == found.task


def compressed(files, output, task, data, predecessor, *more):
    """The compressed model of a run that leaves its predecessor as it is."""
    before = load_file(files / predecessor / "model.safetensors")
    result = call(script, *arguments(files, output, task, data, "--predecessor", files / predecessor, *more))
    assert result.status == 0, result.err
    assert not (output / "predecessor").exists()
    after = load_file(files / predecessor / "model.safetensors")
    assert all((before[name] == after[name]).all() for name in before)
    return nlptasks.load(output)


def test_a_labeler_is_compressed_with_averages_accumulation_and_patience(files, tmp_path):
    output = tmp_path / "run"
    shared = ("--accumulate", 2, "--ema", 0.5, "--clip-norm", 1, "--decay", "--patience", 1)
    more = ("--mixing", "anneal", "--rate", "0", "--schedule", "cosine", "--batch-size", 2)
    slow = ("--learning-rate", "1e-12", "--successor-epochs", 4)
    small = compressed(files, output, "labeling", "entities", "labeler", *shared, *more, *slow)
    assert all(NAME[e.start : e.end] == e.text for e in small.label(NAME))
    assert (small.types, small.seq_length) == (("name", "place"), 19)
    log = {name: json.loads((output / name / "log.json").read_text(encoding="utf-8")) for name in ("replacement", ".")}
    assert (len(log["replacement"]), len(log["."])) == (2, 2)  # the schedule of the replacement runs to its end
    first, last = (load_file(folder / "model.safetensors") for folder in (output / "replacement", output))
    assert all(abs(first[name] - last[name]).max() < 1e-6 for name in first)


def test_a_reader_is_compressed(files, tmp_path):
    more = ("--schedule", "constant", "--init", "even", "--replacement-epochs", "1", "--successor-epochs", "1")
    small = compressed(files, tmp_path / "run", "reading", "questions", "reader", *more)
    assert (small.lengths.passage_length, small.model.config.num_layers) == (12, 1)


def test_what_does_not_fit_is_one_line_and_leaves_nothing(run, files, tmp_path):
    output = tmp_path / "run"
    vocab = tmp_path / "vocab"
    vocab.mkdir()
    for path in (files / "classifier").iterdir():
        text = path.read_bytes()
        (vocab / path.name).write_bytes(text + "多\n".encode() if path.name == "vocab.txt" else text)
    whole = whole_arguments(files, output)

    def given(*more, task="classification", data="single"):
        return arguments(files, output, task, data, *more)

    ours = ("--predecessor", files / "classifier")
    for case, message in (
        (given("--predecessor", files / "labeler"), "holds no text classification model"),
        (given(*ours, task="labeling", data="entities"), "holds no sequence labeling model"),
        (
            given(*ours, data="pairs"),
            "does not know 2 of the 2 labels of the training files (no, yes; it knows bad, good)",
        ),
        (given("--predecessor", vocab), "The tokenizer has"),
        (given("--predecessor", files / "pair_classifier"), "reads pairs of texts; name the second column"),
        (given(*ours, "--second-text-column", "label"), "reads texts; leave out --second-text-column."),
        (given(*ours, "--seq-length", "17"), "--seq-length 17 is not what"),
        (given(*ours, "--successor-layers", "2"), "2 layers, 2 successor layers; it can have 1."),
        (given(*ours, "--init", "last"), "init must be one of"),
        (given(*ours, "--mixing", "dice"), "--mixing must be one of coin, anneal. Received: 'dice'."),
        (given(*ours, "--schedule", "step"), "schedule must be one of"),
        (given(*ours, "--rate", "1.5"), "--rate must lie in [0, 1]. Received: 1.5."),
        (given(*ours, "--rate", "0", "--schedule", "constant"), "--schedule constant with --rate 0 trains nothing"),
        (given(*ours, "--rise-share", "0"), "--rise-share must lie above 0"),
        (given(*ours, "--replacement-epochs", "0"), "--replacement-epochs must be at least 1"),
        (given(*ours, "--replacement-learning-rate", "0"), "--replacement-learning-rate must be positive"),
        (given(*ours, task="classify"), "--task must be one of classification, labeling, reading."),
        (given("--checkpoint", "none"), "give --checkpoint DIR (to fine-tune first) or --predecessor RUN_DIR."),
        (given(*ours, "--checkpoint", files / "classifier"), "give either --checkpoint DIR"),
        (given("--predecessor", tmp_path / "none"), "none"),
        (
            given("--predecessor", files / "reader", "--replace-embeddings", task="reading", data="questions"),
            "--replace-embeddings does not go with --task reading",
        ),
        ((*whole, "--resume"), "no interrupted run here"),
        (given(*ours, "--output", tmp_path), "a new run goes into a new or empty folder"),
        (given(*ours, "--output", files / "classifier"), "a new run goes into a new or empty folder"),
        (given(*ours, "--head", "crf"), "--head does not go with --task classification; leave it out."),
        (given(*ours, "--dropout", "1"), "--dropout must lie in [0, 1). Received: 1.0."),
        (given(*ours, "--ema", "2"), "--ema must lie between 0 and 1"),
        (given("--checkpoint", files / "classifier", "--pooling", "max"), "--pooling must be one of first, mean"),
        (whole_arguments(files, run[0]), "holds a run already"),
        (whole_arguments(files, run[0], "--resume", "--rate", "0.6"), "was started with rate=0.5, now rate=0.6"),
    ):
        result = call(script, *case)
        assert (result.status, result.out) == (2, ""), case
        assert message in result.err, result.err
        assert result.err.splitlines()[-1].startswith("error: ")
        assert len([line for line in result.err.splitlines() if not line.startswith("stage")]) == 1, result.err
        assert not output.exists()
