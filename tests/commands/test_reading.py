"""The script of reading comprehension: what it writes and prints, how it resumes, and what it says about mistakes."""

import contextlib
import functools
import gzip
import io
import json
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import nlptasks
import nlptasks.train.progress
from nlptasks import build_transformer_model
from nlptasks.applications.reading import commands
from nlptasks.checkpoints.huggingface import save_directory
from nlptasks.core import Transformer, TransformerConfig
from nlptasks.metrics.reading import score_reading
from nlptasks.text import Tokenizer, build_character_vocab, read_questions
from tests.commands import scripts
from tests.commands.scripts import ROOT, Result, from_checkpoint, kept, load_script, run_files

call = functools.partial(scripts.call, load_script("reading_comprehension"))
LENGTHS = ("--passage-length", "64", "--question-length", "24", "--answer-length", "12")
SMALL = (*LENGTHS, "--hidden-size", "16", "--num-layers", "1", "--num-heads", "2", "--ffn-size", "16")
TRAINING = ("--epochs", "3", "--batch-size", "4", "--learning-rate", "1e-2", "--negative-ratio", "0.0")
# what TensorFlow itself says on standard error when it is imported; no setting of ours keeps it from that
TENSORFLOW_BANNER = re.compile(r"WARNING: All log messages before absl|[IWE]0000 |To enable the following instructions")
RUN_FILES = run_files()


def call_alone(*arguments: object) -> Result:
    """The script in a process of its own."""
    command = [sys.executable, str(ROOT / "tasks" / "reading_comprehension.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=600, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


def files_under(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


class Files(NamedTuple):
    train: Path
    valid: Path


def laughing(number: int, answerable: bool = True) -> dict:
    """A question whose answer repeats one character: a reader of a few steps writes it, and never nothing."""
    passages = [
        {"passage": f"第{number}号山，高{3 * number}米；没有人笑。", "answer": ""},
        {"passage": f"大家在第{number}号 Hill 笑{'哈' * 8}，笑了{number}天。", "answer": "哈" * 8},
    ]
    return {
        "id": f"q{number}",
        "question": f"第{number}号山上，大家怎么笑？",
        "passages": passages[:: 1 if number % 2 else -1] if answerable else passages[:1],
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Files:
    """16 questions to train on and 6 to score, two of them without an answer."""
    folder = tmp_path_factory.mktemp("files")
    found = Files(folder / "train.json", folder / "valid.json.gz")
    training = [laughing(number) for number in range(16)]
    valid = [laughing(number, answerable=number < 24) for number in range(20, 26)]
    found.train.write_text(json.dumps(training, ensure_ascii=False), encoding="utf-8")
    found.valid.write_bytes(gzip.compress(json.dumps(valid, ensure_ascii=False).encode()))
    return found


def train_arguments(files: Files, output: Path, *more: object) -> tuple:
    return ("train", "--train", files.train, "--valid", files.valid, "--output", output, *SMALL, *TRAINING, *more)


@pytest.fixture(scope="module")
def run(files, tmp_path_factory) -> Path:
    """A run that was never interrupted."""
    output = tmp_path_factory.mktemp("runs") / "whole"
    result = call(*train_arguments(files, output))
    assert (result.status, result.out) == (0, "")
    passages = [passage for question in read_questions(files.train) for passage in question.passages]
    kept = sum(bool(passage.answer) for passage in passages)
    assert f"16 questions; answers by passage: kept {kept}, cut 0, lost 0, empty {len(passages) - kept}\n" in result.err
    assert (f"{output}: ready for evaluate, answer and predict" in result.err) != ("nothing is learned" in result.err)
    assert ", learning rate " in result.err
    return output


@pytest.fixture(scope="module", autouse=True)
def opened_once(run):
    """The reader of the run, whose decoding compiles at its first answer, is one object for all commands."""
    readers = {}
    directory = Path(run)

    def load(path, expect):
        if Path(path) != directory:
            return nlptasks.load(path, expect)
        if directory not in readers:
            readers[directory] = nlptasks.load(path, expect)
        return readers[directory]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands, "load", load)
        yield


@pytest.fixture(scope="module")
def checkpoint(files, tmp_path_factory) -> Path:
    """A plain BERT as transformers would save it, with room for a sample of LENGTHS."""
    directory = tmp_path_factory.mktemp("checkpoint")
    texts = [text for q in read_questions(files.train) for text in (q.question, *(p.text for p in q.passages))]
    tokenizer = Tokenizer(build_character_vocab(texts))
    config = TransformerConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=12, num_layers=2, num_heads=3, ffn_size=20, max_positions=101
    )
    model = Transformer(config, with_pool=True, with_mlm=True)
    model.build()
    tokenizer.save(directory)
    save_directory(model, directory)
    return directory


def copied(directory: Path, target: Path) -> Path:
    return Path(shutil.copytree(directory, target))


def copied_file(path: Path, target: Path) -> Path:
    return Path(shutil.copy(path, target))


# What a run leaves


def test_training_leaves_model_options_scores_log_and_curve_and_nothing_half_written(run, files):
    assert files_under(run) == RUN_FILES
    assert files_under(run.parent) == sorted(["whole", *(f"whole/{name}" for name in RUN_FILES)])
    options = json.loads((run / "options.json").read_text(encoding="utf-8"))
    assert (options["train"], options["hidden_size"], options["negative_ratio"]) == ([str(files.train)], 16, 0.0)
    log, scores = (json.loads((run / name).read_text(encoding="utf-8")) for name in ("log.json", "scores.json"))
    assert [row["epoch"] for row in log] == [1, 2, 3]
    assert log[2]["loss"] < log[0]["loss"]
    assert scores["epochs"] == log
    assert scores["best"] == kept(log, "cmrc_f1")
    assert (run / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_saved_run_carries_its_sizes_lengths_and_vocabulary(run, files):
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert config["nlptasks"] == {
        "task": "reading_comprehension",
        "method": "seq2seq",
        "passage_length": 64,
        "question_length": 24,
        "answer_length": 12,
        "stride": None,
    }
    assert (config["hidden_size"], config["num_hidden_layers"], config["max_position_embeddings"]) == (16, 1, 100)
    vocab = (run / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert len(vocab) == config["vocab_size"]
    assert {c for q in read_questions(files.train) for c in q.question if "\u4e00" <= c <= "\u9fa5"} <= set(vocab)


# evaluate


def rows_of(table: str) -> dict[str, list[str]]:
    """The rows of a printed table; a row of a section is named by the row it stands under, too."""
    found, above = {}, ""
    for line in table.splitlines()[1:]:
        name, *cells = line.split()
        above = above if line.startswith(" ") else name
        found[name if name == above else f"{above}/{name}"] = cells
    return found


@pytest.fixture(scope="module")
def evaluated(run, files, tmp_path_factory) -> tuple[Result, Path]:
    """`evaluate` with everything it can print."""
    output = tmp_path_factory.mktemp("evaluated") / "new folder" / "predictions.tsv"
    options = ("--predictions", output, "--baselines", files.train, "--json")
    return call("evaluate", "--model", run, "--data", files.valid, *options), output


def test_evaluate_prints_results_to_standard_output_and_progress_to_standard_error(evaluated):
    result, predictions = evaluated
    assert result.status == 0
    header = result.out.splitlines()[0].split()
    assert header == ["questions", "sogou_accuracy", "sogou_f1", "sogou_final", "cmrc_em", "cmrc_f1"]
    assert "6 questions in" not in result.out
    assert re.search(r"^6 questions in \d+\.\d s$", result.err, re.MULTILINE)
    assert f"{predictions}: 6 answers" in result.err
    assert "answering" in result.err  # the bar


def test_evaluate_shows_reader_and_baselines_over_all_answerable_and_unanswerable_questions(evaluated):
    *table, last = evaluated[0].out.splitlines()
    rows = rows_of("\n".join(table))
    names = ["reader", "always_empty", "position_prior", "best_bigram_sentence", "best_lexical_match"]
    assert [name for name in rows if "/" not in name] == names
    for name in names:
        counts = [rows[row][0] for row in (name, f"{name}/answerable", f"{name}/unanswerable")]
        assert counts == ["6", "4", "2"], name
    assert rows["always_empty"][4] == "33.33"
    assert rows["always_empty/answerable"] == ["4", "0.0000", "0.0000", "0.0000", "0.00", "0.00"]
    assert rows["always_empty/unanswerable"] == ["2", "1.0000", "1.0000", "1.0000", "100.00", "100.00"]
    scores = json.loads(last)["scores"]
    assert list(scores) == names
    assert scores["reader"].keys() == {"all", "answerable", "unanswerable"}
    for name in names:
        assert rows[name][5] == f"{scores[name]['all']['cmrc_f1']:.2f}"


def test_predictions_of_evaluate_are_what_was_scored_one_line_a_question(evaluated, files):
    result, path = evaluated
    questions = read_questions(files.valid)
    lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    assert [fields[0] for fields in lines] == [question.id for question in questions]
    assert files_under(path.parent) == ["predictions.tsv"]
    scores = json.loads(result.out.splitlines()[-1])["scores"]["reader"]
    assert scores == score_reading(questions, dict(lines))
    for question, (_, answer) in zip(questions, lines, strict=True):
        assert any(answer in passage.text for passage in question.passages)
    assert any(answer for _, answer in lines)


def test_blank_question_of_a_squad_file_is_answered_with_nothing(run, tmp_path, caplog):
    qas = [
        {"id": "1", "question": "", "answers": [{"text": "米糕"}]},
        {"id": "2", "question": "谁？", "answers": [{"text": "米糕"}]},
    ]
    data = tmp_path / "cmrc.json"
    data.write_text(json.dumps({"data": [{"paragraphs": [{"context": "米糕。", "qas": qas}]}]}), encoding="utf-8")
    result = call("evaluate", "--model", run, "--data", data, "--predictions", tmp_path / "a.tsv")
    assert result.status == 0
    assert "the question '1' is empty" in caplog.text
    lines = (tmp_path / "a.tsv").read_text(encoding="utf-8").splitlines()
    assert [line.split("\t")[0] for line in lines] == ["1", "2"]
    assert lines[0] == "1\t"


# answer and predict


def test_answer_answers_a_question_from_passages_and_tells_its_evidence(run, files):
    question = read_questions(files.train)[0]
    texts = [passage.text for passage in question.passages]
    arguments = ("answer", "--model", run, "--question", question.question, "--passage", *texts)
    shown, as_json = call(*arguments), call(*arguments, "--json")
    assert (shown.status, as_json.status) == (0, 0)
    (line,) = as_json.out.splitlines()
    answer = json.loads(line)
    assert answer.keys() == {"text", "score", "evidence"}
    assert shown.out.splitlines()[0] == (answer["text"] or "(no answer)")
    assert len(shown.out.splitlines()) == 1 + len(answer["evidence"])
    assert answer["text"]
    assert any(evidence["start"] is not None for evidence in answer["evidence"])
    for line, evidence in zip(shown.out.splitlines()[1:], answer["evidence"], strict=True):
        assert line.startswith(f"  passage {evidence['passage'] + 1}: probability {evidence['probability']:.3f}, ")
        if evidence["start"] is not None:
            assert texts[evidence["passage"]][evidence["start"] : evidence["end"]] == answer["text"]


def test_answer_draws_where_the_answer_came_from(run, files, tmp_path):
    question = read_questions(files.valid)[0]
    picture = tmp_path / "where" / "answer.html"
    texts = [passage.text for passage in question.passages]
    given = ("--model", run, "--question", question.question, "--passage", *texts)
    result = call("answer", *given, "--picture", picture)
    assert result.status == 0
    page = picture.read_text(encoding="utf-8")
    assert f"<h1>{question.question}</h1><p>{result.out.splitlines()[0]}</p>" in page


def test_predict_with_a_question_is_still_understood_with_a_note(run, files):
    question = read_questions(files.train)[0]
    given = ("--model", run, "--question", question.question, "--passage", question.passages[0].text)
    old, new = call("predict", *given), call("answer", *given)
    assert (old.status, old.out) == (new.status, new.out) == (0, new.out)
    assert old.err == "note: `reading predict --question` is now `reading answer --question`.\n" + new.err


def test_predict_writes_the_answers_of_a_file_as_evaluate_does(run, files, evaluated, tmp_path):
    result = call("predict", "--model", run, "--data", files.valid, "--output", tmp_path / "answers.tsv")
    assert (result.status, result.out) == (0, "")
    assert (tmp_path / "answers.tsv").read_bytes() == evaluated[1].read_bytes()
    assert files_under(tmp_path) == ["answers.tsv"]


def test_predict_prints_all_answers_as_json_on_the_last_line(run, files, evaluated):
    result = call("predict", "--model", run, "--data", files.valid, "--json", "--show", "1")
    assert result.status == 0
    written = [line.split("\t") for line in evaluated[1].read_text(encoding="utf-8").splitlines()]
    assert {key: " ".join(text.split()) for key, text in json.loads(result.out.splitlines()[-1]).items()} == dict(
        written
    )


def test_predict_shows_as_many_questions_as_asked_with_passages_and_gold_answers(run, files):
    result = call("predict", "--model", run, "--data", files.valid, "--show", "2", "--seed", "3")
    assert result.status == 0
    assert result.out.count("question ") == 2
    questions, shown = read_questions(files.valid), result.out.split("\n\n")
    drawn = random.Random(3).sample(questions, 2)
    assert drawn != questions[:2]
    for question, text in zip(drawn, shown, strict=True):
        assert f"question {question.question}\npassage 1 {question.passages[0].text}\n" in text
        assert text.rstrip("\n").endswith(f"expected {' / '.join(question.answers) or '(no answer)'}")
    pairs = [text.rstrip("\n").split("\nanswer ")[1].split("    expected ") for text in shown]
    right = sum(answer == gold for answer, gold in pairs)
    assert f"right: {right} of 2 questions, by exact match.\n" in result.err


# Interruption and resumption

OTHER_OPTIONS = r": the run was started with seed=0, now seed=1; resume with the same options"
HOLDS_A_RUN = r"holds a run already; --resume continues it, or give another --output\."


@pytest.fixture(scope="module")
def interrupted(files, tmp_path_factory) -> tuple[Result, Path]:
    """A run that got Ctrl-C in its second epoch."""
    output = tmp_path_factory.mktemp("interrupted") / "run"

    def interrupt(items, description, *rest):
        for number, item in enumerate(items):
            if (description, number) == ("epoch 2/3", 1):
                signal.raise_signal(signal.SIGINT)
            yield item

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nlptasks.train.progress, "progress_bar", interrupt)
        return call(*train_arguments(files, output)), output


def test_ctrl_c_saves_the_run_and_tells_how_to_go_on(interrupted):
    result, output = interrupted
    assert (result.status, result.out) == (130, "")
    assert result.err.splitlines()[-1] == (
        "interrupted; the run is saved: the same command with --resume continues it."
    )
    assert "Traceback" not in result.err
    assert "resume.safetensors" in files_under(output)
    assert "scores.json" not in files_under(output)
    assert not [name for name in files_under(output) if name.startswith(".")]


def test_resumed_run_ends_as_the_uninterrupted_one_even_where_it_was_moved(interrupted, run, files, tmp_path):
    output = copied(interrupted[1], tmp_path / "moved")
    result = call(*train_arguments(files, output, "--resume"))
    assert result.status == 0
    assert "epoch 3/3" in result.err
    assert "epoch 1/3" not in result.err  # it went on, it did not start anew
    assert files_under(output) == RUN_FILES
    assert (output / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
    resumed, whole = (json.loads((folder / "log.json").read_text(encoding="utf-8")) for folder in (output, run))
    for row, reference in zip(resumed, whole, strict=True):
        assert row | {"training_seconds": 0} == reference | {"training_seconds": 0}


def test_resuming_with_other_options_is_refused_and_leaves_the_run_as_it_was(interrupted, files, tmp_path):
    output = copied(interrupted[1], tmp_path / "run")
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    result = call(*train_arguments(files, output, "--resume", "--seed", "7"))
    assert result.status == 2
    assert re.search(OTHER_OPTIONS.replace("1", "7"), result.err)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before


def test_other_options_are_refused_even_before_the_first_state(files, tmp_path, monkeypatch):
    output = tmp_path / "run"

    def stop_at_once(items, *rest):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(nlptasks.train.progress, "progress_bar", stop_at_once)
        assert call(*train_arguments(files, output)).status == 130
    assert files_under(output) == ["options.json"]
    record = (output / "options.json").read_bytes()
    other = call(*train_arguments(files, output, "--resume", "--seed", "1"))
    assert (other.status, other.err.count("\n")) == (2, 1)
    assert re.search(OTHER_OPTIONS, other.err)
    assert (output / "options.json").read_bytes() == record


def test_resuming_a_run_that_never_started_is_refused(files, tmp_path):
    result = call(*train_arguments(files, tmp_path / "none", "--resume"))
    assert result.status == 2
    assert re.search(r"^error: .*none: no interrupted run here; leave --resume out to start one\.$", result.err)
    assert files_under(tmp_path) == []


def test_starting_over_an_existing_run_is_refused_and_leaves_it_as_it_was(run, files):
    before = {name: (run / name).read_bytes() for name in RUN_FILES}
    result = call(*train_arguments(files, run))
    assert result.status == 2
    assert re.search(rf"^error: .*whole: {HOLDS_A_RUN}", result.err)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_python_trains_as_the_command_does(run, files, tmp_path):
    training, valid = read_questions(files.train), read_questions(files.valid)
    options = {"passage_length": 64, "question_length": 24, "answer_length": 12, "hidden_size": 16, "num_layers": 1}
    options |= {"num_heads": 2, "ffn_size": 16, "epochs": 3, "batch_size": 4, "learning_rate": 1e-2}
    reader = nlptasks.Reader.train(training, valid, tmp_path / "run", **options, negative_ratio=0.0)
    assert (type(reader), reader.lengths) == (nlptasks.Reader, nlptasks.load(run).lengths)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
    with pytest.raises(ValueError, match=r"^epochs must be at least 1. Received: 0.$"):
        nlptasks.Reader.train(training, valid, **options | {"epochs": 0})
    with pytest.raises(ValueError, match="at least one question is needed to train on"):
        nlptasks.Reader.train(training, [], **options)
    with pytest.raises(ValueError, match="ids of validation questions must be unique"):
        nlptasks.Reader.train(training, [*valid, valid[0]], **options)


# From a checkpoint


def test_a_run_from_a_checkpoint_starts_at_its_weights_with_the_tokens_in_use_and_ends_when_it_gets_no_better(
    files, checkpoint, tmp_path
):
    padded, output = tmp_path / "padded", tmp_path / "run"
    tokens = (checkpoint / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    wide = [*tokens[:5], "[unused1]", "##山", "...", *tokens[5:]]  # three that no text makes
    model = build_transformer_model(checkpoint, with_pool=True, with_mlm=True, vocab_size=len(wide))
    rng = np.random.default_rng(3)
    for weight in model.trainable_variables:
        weight.assign(rng.normal(0, 0.1, tuple(weight.shape)))
    save_directory(model, padded)
    Tokenizer({token: i for i, token in enumerate(wide)}).save(padded)
    options = (*LENGTHS, "--checkpoint", padded, "--epochs", "9", "--learning-rate", "1e-7", "--valid-limit", "2")
    arguments = ("train", "--train", files.train, "--valid", files.valid, "--output", output, *options)
    assert call(*arguments, "--simplify-vocab", "--patience", "1").status == 0
    assert files_under(output) == RUN_FILES
    log, scores = (json.loads((output / name).read_text(encoding="utf-8")) for name in ("log.json", "scores.json"))
    assert len(log) == 2
    assert scores["best"] == kept(log, "cmrc_f1")
    assert (output / "vocab.txt").read_bytes() == (checkpoint / "vocab.txt").read_bytes()
    trained, start = load_file(output / "model.safetensors"), load_file(padded / "model.safetensors")
    assert trained.keys() == start.keys() - {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    for name, value in trained.items():
        sliced = "word_embeddings" in name or name.startswith("cls.predictions.bias")
        wanted = np.delete(start[name], [5, 6, 7], axis=0) if sliced else start[name]
        np.testing.assert_allclose(value, wanted, rtol=0, atol=2e-6, err_msg=name)
    assert any((value != start[name]).any() for name, value in trained.items() if value.shape == start[name].shape)
    config = json.loads((output / "config.json").read_text(encoding="utf-8"))
    assert (config["model_type"], config["hidden_size"], config["num_attention_heads"]) == ("nlptasks", 12, 3)
    again = train_arguments(files, tmp_path / "other", "--simplify-vocab")
    assert "--simplify-vocab goes with --checkpoint DIR" in call(*again).err


def test_the_reader_by_masks_trains_with_windows_and_every_extra_and_answers(files, tmp_path):
    output = tmp_path / "run"
    extras = ("--accumulate", 2, "--ema", 0.5, "--fgm", 0.1, "--recompute")
    result = call(*train_arguments(files, output, "--method", "mlm", "--passage-length", 16, "--stride", 6, *extras))
    assert result.status == 0, result.err
    assert "answers by passage: kept 16, cut 0" in result.err
    found = call("predict", "--model", output, "--data", files.valid, "--json")
    assert len(json.loads(found.out.splitlines()[-1])) == 6
    long = "大家在第3号 Hill 笑哈哈哈哈哈哈哈哈，笑了3天。" * 3
    answer = call("answer", "--model", output, "--question", "大家怎么笑？", "--passage", long, "--json")
    for e in json.loads(answer.out)["evidence"]:
        assert long[e["start"] : e["end"]] == json.loads(answer.out)["text"]
    beams = call("answer", "--model", output, "--question", "谁", "--passage", long, "--beam-size", 2)
    message = "error: a reader by masked tokens has no beams: --beam-size must be 1. Received: 2.\n"
    assert (beams.status, beams.err) == (2, message)


def test_prepare_mixes_both_sets_as_the_recipe_does(tmp_path):
    sogou, webqa, output = (tmp_path / name for name in ("sogou.json", "webqa.json", "mixed"))
    sogou.write_text(json.dumps([laughing(i) for i in range(10)], ensure_ascii=False), encoding="utf-8")
    webqa.write_text(json.dumps([laughing(i) for i in range(8, 13)], ensure_ascii=False), encoding="utf-8")
    arguments = ("prepare", "--webqa", webqa, "--sogouqa", sogou, "--output", output)
    result = call(*arguments)
    assert (result.status, result.out) == (0, "")
    training, valid = (read_questions(output / name) for name in ("train.json", "valid.json"))
    assert len(valid) == 4
    assert len(training) == 2 * 6 + 5
    of_sogou = [q.id for q in training[:6]]
    assert {q.id for q in valid} | set(of_sogou) == {f"q{i}" for i in range(10)}
    assert [q.id for q in training[6:12]] == [f"{name}#2" for name in of_sogou]
    assert [q.id.removeprefix("webqa/") for q in training[12:]] == [f"q{i}" for i in range(8, 13)]
    by_id = {q.id: q for q in read_questions(sogou)}
    assert all(q == by_id[q.id] for q in valid)
    first = (output / "train.json").read_bytes()
    call(*arguments)
    assert (output / "train.json").read_bytes() == first
    call(*arguments, "--seed", 1)
    assert (output / "train.json").read_bytes() != first
    missing = call("prepare", "--webqa", tmp_path / "x.json", "--sogouqa", sogou, "--output", tmp_path / "none")
    assert missing.status == 2
    assert "x.json: no such file" in missing.err
    assert not (tmp_path / "none").exists()


# Mistakes. Each case makes its files in a folder and returns the arguments.


def written(folder: Path, content: str | bytes, name: str = "bad.json") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def item(**changes: object) -> dict:
    return {"id": "a", "question": "谁？", "passages": [{"passage": "沈月。", "answer": "沈月"}]} | changes


def training_on(content: str | bytes | list, name: str = "bad.json"):
    """A case: `train` on a file with this content."""
    content = json.dumps(content, ensure_ascii=False) if isinstance(content, list) else content

    def case(folder, files, **_):
        path = written(folder, content, name)
        return ("train", "--train", files.train, path, "--valid", files.valid, "--output", folder / "out", *SMALL)

    return case


def training_with(*options: object):
    """A case: `train` on good files with these options."""
    return lambda folder, files, **_: train_arguments(files, folder / "out", *options)


def training_from(change):
    """A case: `train` from a copy of the checkpoint that `change(directory)` spoils."""

    def case(folder, files, checkpoint, **_):
        directory = copied(checkpoint, folder / "checkpoint")
        change(directory)
        return from_checkpoint(directory, *train_arguments(files, folder / "out"))

    return case


def answering(*options: object):
    """A case: `answer` with these options."""
    return lambda run, **_: ("answer", "--model", run, *options)


def without_a_tensor(directory: Path) -> None:
    tensors = load_file(directory / "model.safetensors")
    del tensors["bert.encoder.layer.1.output.dense.bias"]
    save_file(tensors, directory / "model.safetensors")


def with_one_more_token(directory: Path) -> None:
    with open(directory / "vocab.txt", "a", encoding="utf-8") as file:
        file.write("[unused1]\n")


def change_config(**changes: object):
    def change(directory: Path) -> None:
        values = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        (directory / "config.json").write_text(json.dumps(values | changes), encoding="utf-8")

    return change


def missing_training_file(folder, files, **_):
    return ("train", "--train", folder / "trian.json", "--valid", files.valid, "--output", folder / "out")


def missing_validation_file(folder, files, **_):
    return ("train", "--train", files.train, "--valid", folder / "valid.json", "--output", folder / "out")


def output_is_a_file(folder, files, **_):
    return train_arguments(files, written(folder, "x", "out"))


def output_holds_a_checkpoint(files, checkpoint, **_):
    return train_arguments(files, checkpoint)


def output_is_below_a_file(folder, files, **_):
    return train_arguments(files, written(folder, "x", "notes.txt") / "out")


def missing_checkpoint(folder, files, **_):
    return from_checkpoint(folder / "chinese_L-12", *train_arguments(files, folder / "out"))


def model_is_no_directory(folder, files, **_):
    return ("evaluate", "--model", folder / "none", "--data", files.valid)


def model_is_a_segmenter(files, **_):
    return ("evaluate", "--model", "segmenter", "--data", files.valid)


def model_of_an_answer_is_a_segmenter(**_):
    return ("answer", "--model", "segmenter", "--question", "谁？", "--passage", "沈月。")


def model_is_a_plain_checkpoint(files, checkpoint, **_):
    return ("evaluate", "--model", checkpoint, "--data", files.valid)


def model_is_damaged(folder, files, run, **_):
    directory = copied(run, folder / "run")
    with open(directory / "model.safetensors", "rb+") as file:
        file.truncate(1000)
    return ("evaluate", "--model", directory, "--data", files.valid)


def model_has_another_vocabulary(folder, files, run, **_):
    directory = copied(run, folder / "run")
    with_one_more_token(directory)
    return ("evaluate", "--model", directory, "--data", files.valid)


def predictions_are_a_folder(folder, files, run, **_):
    return ("evaluate", "--model", run, "--data", files.valid, "--predictions", folder)


def predictions_are_the_data(folder, files, run, **_):
    data = copied_file(files.valid, folder / "valid.json.gz")
    return ("evaluate", "--model", run, "--data", data, "--predictions", data)


def answers_are_the_data(folder, files, run, **_):
    data = copied_file(files.valid, folder / "valid.json.gz")
    return ("predict", "--model", run, "--data", data, "--output", folder / "." / "valid.json.gz")


def prepared_over_its_input(folder, files, **_):
    data = copied_file(files.train, folder / "train.json")
    return ("prepare", "--webqa", files.train, "--sogouqa", data, "--output", folder)


def answers_are_below_a_file(folder, files, run, **_):
    return ("predict", "--model", run, "--data", files.valid, "--output", written(folder, "x", "notes.txt") / "a.tsv")


def baselines_are_missing(folder, files, run, **_):
    return ("evaluate", "--model", run, "--data", files.valid, "--baselines", folder / "train.json")


def data_without_output(files, run, **_):
    return ("predict", "--model", run, "--data", files.valid)


def too_few_to_prepare(folder, **_):
    sogou = written(folder, json.dumps([item()], ensure_ascii=False), "sogou.json")
    return ("prepare", "--webqa", sogou, "--sogouqa", sogou, "--output", folder / "qa")


def prepared_below_a_file(folder, files, **_):
    place = written(folder, "x", "notes.txt") / "qa"
    return ("prepare", "--webqa", files.train, "--sogouqa", files.train, "--output", place)


def picture_is_a_folder(folder, run, **_):
    return ("answer", "--model", run, "--question", "谁？", "--passage", "山。", "--picture", folder)


def model_of_another_method(folder, files, run, **_):
    directory = copied(run, folder / "run")
    values = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    values["nlptasks"]["method"] = "mlm"
    (directory / "config.json").write_text(json.dumps(values), encoding="utf-8")
    return ("evaluate", "--model", directory, "--data", files.valid)


def unknown_mode(files, run, **_):
    return ("evaluate", "--model", run, "--data", files.valid, "--mode", "extractiv")


BROKEN = '[\n{"id": "a", "question": "谁？",\n "passages": [}\n]'
MISTAKES = {
    "missing training file": (missing_training_file, r"trian\.json: no such file .*; check the spelling of the path\."),
    "missing validation file": (missing_validation_file, r"valid\.json: no such file .*; check the spelling"),
    "empty file": (training_on(""), r"bad\.json: the file is empty; expected a list of \{id, question, passages"),
    "broken JSON": (training_on(BROKEN), r"bad\.json:3: invalid JSON at column 15: .*; correct the file there\."),
    "JSON of another shape": (
        training_on('{"questions": []}'),
        r"bad\.json: expected a list of .*. Received: an object with the keys 'questions'\.",
    ),
    "item of another shape": (
        training_on([item(), "沈月"]),
        r"bad\.json: item 2: expected an object. Received: a string\.",
    ),
    "passage without text": (
        training_on([item(), item(id="b", passages=[{"passage": "山。"}, {"answer": "沈月"}])]),
        r"bad\.json: item 2, passage 2: the key 'passage' is missing. Received: 'answer'; add it\.",
    ),
    "question without passages": (
        training_on([item(passages=[])]),
        r"bad\.json: item 1: the question has no passages; give it at least one, or leave it out\.",
    ),
    "empty question": (
        training_on([item(question=" ")]),
        r"bad\.json: item 1: the question is empty; write it, or leave the item out\.",
    ),
    "GB18030 bytes": (
        training_on(json.dumps([item()], ensure_ascii=False, indent=1).encode("gb18030")),
        r"bad\.json:4: expected UTF-8. Received: byte 0xa3 at .*; convert the file .* or give --encoding gb18030\.",
    ),
    "truncated gzip": (
        training_on(gzip.compress(json.dumps([item()] * 9).encode())[:-20], "bad.json.gz"),
        r"bad\.json\.gz: expected a whole gzip file. Received: a damaged or truncated one .*; copy it again\.",
    ),
    "duplicate ids": (
        training_on([item(), item(id="b"), item()]),
        r"bad\.json: item 3: the id 'a' stands at .*bad\.json: item 1 already; ids must be unique",
    ),
    "no question left": (training_on("[]"), r"bad\.json: the file holds no question; expected a list of"),
    "checkpoint missing": (missing_checkpoint, r"chinese_L-12.*: no such "),
    "checkpoint without vocabulary": (
        training_from(lambda directory: (directory / "vocab.txt").unlink()),
        r"checkpoint: holds none of vocab\.txt, tokenizer\.json",
    ),
    "checkpoint without config": (
        training_from(lambda directory: (directory / "config.json").unlink()),
        r"checkpoint: holds neither config\.json nor bert_config\.json\.",
    ),
    "checkpoint of another architecture": (
        training_from(change_config(model_type="t5")),
        r"config\.json: model_type 't5' is another architecture; known are bert",
    ),
    "config of another vocabulary size": (
        training_from(change_config(vocab_size=41)),
        r"checkpoint: the checkpoint does not fit the model\. of another shape: embeddings\.word_embeddings\.weight",
    ),
    "vocabulary of another size": (
        training_from(with_one_more_token),
        r"The tokenizer has \d+ tokens and the model \(config\.json\) \d+; give the vocabulary",
    ),
    "checkpoint without a tensor": (
        training_from(without_a_tensor),
        r"checkpoint: the checkpoint does not fit the model\. missing: encoder\.layer\.1\.output\.dense\.bias\.",
    ),
    "checkpoint with too few positions": (
        lambda checkpoint, **others: (
            *training_from(lambda directory: None)(checkpoint=checkpoint, **others),
            *("--passage-length", "66"),
        ),
        r"--passage-length \+ --question-length \+ --answer-length = 102 is more than the model's 101 positions; make",
    ),
    "passage length without room": (
        training_with("--passage-length", "2"),
        r"--passage-length must be at least 3\. Received: 2\.",
    ),
    "negative ratio above 1": (
        training_with("--negative-ratio", "1.5"),
        r"--negative-ratio must lie in \[0, 1\]\. Received: 1\.5\.",
    ),
    "unknown precision": (
        training_with("--precision", "float8"),
        r"--precision must be one of float32, bfloat16\. Received: 'float8'\.",
    ),
    "heads that do not divide the hidden size": (
        training_with("--num-heads", "5"),
        r"hidden_size must be a multiple of num_heads .*Received: hidden_size=16, num_heads=5\.",
    ),
    "batch of nothing": (training_with("--batch-size", "0"), r"--batch-size must be at least 1\. Received: 0\."),
    "no epochs": (training_with("--epochs", "0"), r"--epochs must be at least 1\. Received: 0\."),
    "no validation": (training_with("--valid-limit", "0"), r"--valid-limit must be at least 1\. Received: 0\."),
    "negative learning rate": (
        training_with("--learning-rate", "-1"),
        r"--learning-rate must be positive\. Received: -1\.0\.",
    ),
    "warm-up longer than the run": (
        training_with("--warmup-share", "1.1", "--decay"),
        r"--warmup-share must lie in \[0, 1\]\. Received: 1\.1\.",
    ),
    "output is a file": (
        output_is_a_file,
        r"out: cannot be a folder, because .*out is a file; give another --output\.",
    ),
    "output below a file": (
        output_is_below_a_file,
        r"out: cannot be a folder, because .*notes\.txt is a file; give another --output\.",
    ),
    "output holds a checkpoint": (
        output_holds_a_checkpoint,
        r"holds config\.json, .* already; a new run goes into a new or empty folder: give another --output\.",
    ),
    "model is no directory": (model_is_no_directory, r"none: no such "),
    "model is a segmenter": (
        model_is_a_segmenter,
        r"segmenter: holds a Segmenter, expected a Reader; give a directory",
    ),
    "model of an answer is a segmenter": (model_of_an_answer_is_a_segmenter, r"holds a Segmenter, expected a Reader"),
    "model is a plain checkpoint": (
        model_is_a_plain_checkpoint,
        r"holds no application of this library \(task None; known: reading_comprehension, .*word_segmentation.*\)",
    ),
    "model is damaged": (model_is_damaged, r"model\.safetensors: not a readable safetensors file"),
    "model has another vocabulary": (
        model_has_another_vocabulary,
        r"run: The tokenizer has \d+ tokens and the model \(config\.json\) \d+; give the vocabulary",
    ),
    "predictions are a folder": (
        predictions_are_a_folder,
        r"expected a file to write. Received: a folder; name a file",
    ),
    "predictions are the data": (predictions_are_the_data, r"valid\.json\.gz: is read, too, and would be lost; give"),
    "answers are the data": (answers_are_the_data, r"valid\.json\.gz: is read, too, and would be lost; give"),
    "prepared over its input": (prepared_over_its_input, r"train\.json: is read, too, and would be lost; give"),
    "answers below a file": (answers_are_below_a_file, r"a\.tsv: cannot be written, because .*notes\.txt is a file"),
    "baselines are missing": (baselines_are_missing, r"train\.json: no such file"),
    "unknown mode": (unknown_mode, r"--mode must be one of extractive, generative\. Received: 'extractiv'\."),
    "beam of nothing": (
        answering("--question", "谁？", "--passage", "山。", "--beam-size", "0"),
        r"--beam-size must be at least 1\. Received: 0\.",
    ),
    "question without passage": (
        answering("--question", "谁？"),
        r"--question needs --passage TEXT\.\.\. or --passages FILE\.",
    ),
    "blank question": (answering("--question", " ", "--passage", "山。"), r"--question is empty; ask something\."),
    "data without output": (data_without_output, r"--data needs --output FILE, --show N or --json\."),
    "stride wider than a window": (
        training_with("--passage-length", "16", "--stride", "15"),
        r"--stride must lie in 1 to 14, the tokens of a window \(--passage-length - 2\), or text .*Received: 15\.",
    ),
    "stride that goes nowhere": (training_with("--stride", "0"), r"--stride must lie in 1 to \d+.*Received: 0\."),
    "unknown method": (
        training_with("--method", "copy"),
        r"--method must be one of seq2seq, mlm, span\. Received: 'copy'\.",
    ),
    "practice for masked tokens": (
        training_with("--method", "mlm", "--practice-share", "0.2"),
        r"--practice-share goes with --method seq2seq\. Received: mlm\.",
    ),
    "practice share above 1": (
        training_with("--practice-share", "1.5"),
        r"--practice-share must lie in \[0, 1\]\. Received: 1\.5\.",
    ),
    "vocabulary to cut without a checkpoint": (
        training_with("--simplify-vocab"),
        r"--simplify-vocab goes with --checkpoint DIR, whose vocabulary it cuts\.",
    ),
    "a size beside a checkpoint": (
        training_with("--checkpoint", "mini", "--hidden-size", "64"),
        r"--hidden-size goes with random weights\. Received: --checkpoint mini; leave one of them out\.",
    ),
    "no batch to accumulate": (training_with("--accumulate", "0"), r"--accumulate must be at least 1\. Received: 0\."),
    "average without memory": (training_with("--ema", "1.0"), r"--ema must lie between 0 and 1\. Received: 1\.0\."),
    "perturbation of nothing": (training_with("--fgm", "0"), r"--fgm must be positive\. Received: 0\.0\."),
    "clipping to nothing": (
        training_with("--clip-norm", "0"),
        r"--clip-norm must be positive\. Received: 0\.0\.",
    ),
    "warm-up without decay": (
        training_with("--warmup-share", "0.1"),
        r"--warmup-share goes with --decay\. Received: 0\.1 without it\.",
    ),
    "model of another method": (
        model_of_another_method,
        r"run: method must be one of .*, span and fit the model's attention .*Received: 'mlm', and a model with",
    ),
    "picture is a folder": (picture_is_a_folder, r"expected a file to write. Received: a folder; name a file inside"),
    "too few questions to split": (
        too_few_to_prepare,
        r"sogou\.json: 1 questions cannot be split; at least 2 are needed\.",
    ),
    "prepared below a file": (prepared_below_a_file, r"train\.json: cannot be written, because .*notes\.txt is a file"),
    "JSON nested too deeply": (
        training_on("[" * 100_000 + "]" * 100_000),
        r"bad\.json:1: the JSON is nested too deeply; expected a list of",
    ),
    "answer of a kind that is no text": (
        training_on([item(passages=[{"passage": "沈月。", "answer": 3}])]),
        r"bad\.json: item 1, passage 1: 'answer' must be a string. Received: a number\.",
    ),
    "SQuAD paragraph without questions": (
        training_on('{"data": [{"paragraphs": [{"context": "沈月。"}]}]}'),
        r"bad\.json: item 1, paragraph 1: the key 'qas' is missing. Received: 'context'; add it\.",
    ),
}


def documented_mistakes() -> list[tuple[str, str]]:
    """Mistake and message of each row of the first table of docs/errors.md."""
    table = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8").split("## ")[0]
    rows = [re.fullmatch(r"\| (.+?) \| `{1,2}(.+?)`{1,2} \|", line) for line in table.splitlines()]
    return [row.groups() for row in rows if row]


def test_the_table_of_mistakes_has_at_least_30_and_each_is_tested():
    documented = documented_mistakes()
    assert len(documented) >= 30
    for name, message in documented:
        message = message.replace("FORMATS", "{id, question, passages")
        patterns = [OTHER_OPTIONS, HOLDS_A_RUN, *(pattern for _, pattern in MISTAKES.values())]
        assert any(re.search(pattern, message) for pattern in patterns), f"{name}: {message}"


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_one_line_with_status_2_and_leaves_nothing_behind(
    name, files, run, checkpoint, tmp_path, monkeypatch
):
    case, message = MISTAKES[name]
    arguments = case(folder=tmp_path, files=files, run=run, checkpoint=checkpoint)
    monkeypatch.chdir(tmp_path)
    before = [files_under(folder) for folder in (tmp_path, run, checkpoint)]
    result = call(*arguments)
    assert (result.status, result.out) == (2, "")
    *progress, last = result.err.splitlines()
    assert re.search(rf"^error: .*{message}", last), last
    assert not [line for line in progress if "error" in line or "Traceback" in line]
    assert [files_under(folder) for folder in (tmp_path, run, checkpoint)] == before


def test_mistake_ends_the_command_with_status_2_and_one_line_on_standard_error(tmp_path):
    result = call_alone("answer", "--model", tmp_path / "none", "--question", "谁？", "--passage", "沈月。")
    assert (result.status, result.out) == (2, "")
    (line,) = [line for line in result.err.splitlines() if not TENSORFLOW_BANNER.match(line)]
    assert re.search(r"^error: .*none: no such ", line)


@pytest.mark.parametrize(
    "arguments", [["train"], ["train", "--batchsize", "3"], ["predict", "--beam-size", "x"], ["answer"], []]
)
def test_command_line_that_cannot_be_read_exits_with_status_2(arguments):
    with pytest.raises(SystemExit) as stopped, contextlib.redirect_stderr(io.StringIO()):
        call(*arguments)
    assert stopped.value.code == 2
