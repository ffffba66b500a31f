"""The script of sequence to sequence: what it learns, writes and prints, how it resumes, what it says to mistakes."""

import importlib.util
import json

import pytest
from safetensors.numpy import load_file

import nlptasks
import nlptasks.train.loop
import nlptasks.train.progress
from nlptasks.applications.seq2seq import commands
from nlptasks.metrics.overlap import MODULES
from tests.commands.scripts import (
    assert_refused,
    call,
    from_checkpoint,
    load_script,
    models_opened_once,
    run_files,
    without_steps,
)

pytestmark = pytest.mark.once
script = load_script("seq2seq")
SMALL = ("--hidden-size", "24", "--num-layers", "1", "--num-heads", "2", "--ffn-size", "31")
LENGTHS = ("--source-length", "12", "--target-length", "6")
TRAINING = ("--epochs", "12", "--batch-size", "12", "--learning-rate", "3e-2", "--dropout", "0", "--seed", "5")
COLUMNS = ("--source-column", "abst", "--target-column", "title")
PLACES, WEATHER = ("山上", "河边", "城里", "海上"), {"下雪": "雪", "起风": "风", "有雾": "雾"}
ROUGE = all(importlib.util.find_spec(module) for module in MODULES)
needs_rouge = pytest.mark.skipif(not ROUGE, reason=f"{', '.join(MODULES)} not installed: the extra test brings them")


def rows():
    """The weather is what is written."""
    return [
        {"abst": f"{hour}{place}{what}了", "title": short}
        for hour in ("早", "晚", "昨", "今", "前", "后")
        for place in PLACES
        for what, short in WEATHER.items()
    ]


@pytest.fixture(scope="module", autouse=True)
def _models_opened_once():
    with models_opened_once(commands):
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, some in (("train.jsonl", rows()), ("valid.jsonl", rows()[::9])):
        lines = [json.dumps(row, ensure_ascii=False) for row in some]
        (folder / name).write_text("\n".join(lines), encoding="utf-8")
    return folder


def train_arguments(files, output, *more):
    given = ("--train", files / "train.jsonl", "--valid", files / "valid.jsonl", "--output", output)
    return ("train", *given, *COLUMNS, *SMALL, *LENGTHS, *TRAINING, *more)


@pytest.fixture(scope="module")
def run(files, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "whole"
    result = call(script, *train_arguments(files, output))
    assert (result.status, result.out) == (0, ""), result.err
    assert "72 sources with 72 targets, and 8 for validation" in result.err
    assert f"{output}: ready for generate and evaluate" in result.err
    return output


def test_training_leaves_a_model_that_writes_what_it_has_learned(run):
    assert sorted(path.name for path in run.iterdir()) == run_files()
    scores = json.loads((run / "scores.json").read_text(encoding="utf-8"))
    assert scores["best"] == max(scores["epochs"], key=lambda row: row["log_likelihood"])
    writer = nlptasks.load(run)
    written = [one.text for one in writer.predict([row["abst"] for row in rows()[:64]])]
    assert sum(text == row["title"] for text, row in zip(written, rows(), strict=False)) >= 60


def test_generate_reads_texts_files_and_prints_writes_or_streams(run, tmp_path):
    first = rows()[0]["abst"]
    given = ("generate", "--model", run)
    printed = call(script, *given, "--texts", first)
    assert printed.status == 0, printed.err
    (tmp_path / "a.txt").write_text(f"{first}\n", encoding="utf-8")
    (tmp_path / "a.jsonl").write_text(json.dumps({"abst": first}), encoding="utf-8")
    (tmp_path / "a.tsv").write_text(f"{first}\tx\n", encoding="utf-8")
    for more in (
        ("--data", tmp_path / "a.txt"),
        ("--data", tmp_path / "a.jsonl"),
        ("--data", tmp_path / "a.jsonl", "--columns", "()"),
        ("--data", tmp_path / "a.tsv", "--columns", "abst", "x"),  # no target is read
        ("--texts", first, "--stream"),
    ):
        assert call(script, *given, *more).out == printed.out
    row = json.loads(call(script, *given, "--texts", first, "--json").out)
    assert (row["source"], row["text"], row["complete"]) == (first, printed.out.splitlines()[0], True)
    written = call(script, *given, "--texts", first, "--output", tmp_path / "b.jsonl")
    assert (written.status, written.out) == (0, "")
    assert json.loads((tmp_path / "b.jsonl").read_text(encoding="utf-8")) == row
    longer = call(script, *given, "--texts", "早山上下雪了" * 3)
    assert "1 of 1 sources are longer than 12 tokens; the rest of them is not read." in longer.err


@needs_rouge
def test_evaluate_prints_scores_beside_baselines(run, files, tmp_path):
    found = call(
        *(script, "evaluate", "--model", run, "--data", files / "train.jsonl", "--lead", 2, "--limit", 16),
        *("--predictions", tmp_path / "p.jsonl", "--json"),
    )
    assert found.status == 0, found.err
    last = json.loads(found.out.splitlines()[-1])
    assert (last["texts"], list(last["scores"])) == (16, ["model", "lead", "first_sentence", "copy"])
    assert (
        last["scores"]["model"]["rouge_1"] > 80 > last["scores"]["copy"]["rouge_1"] > last["scores"]["lead"]["rouge_1"]
    )
    table = found.out.splitlines()[1:6]
    assert table[0].split() == ["rouge_1", "rouge_2", "rouge_l", "bleu"]
    assert [line.split()[0] for line in table[1:]] == ["model", "lead", "first_sentence", "copy"]
    predictions = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text(encoding="utf-8").splitlines()]
    assert predictions[0].keys() == {"source", "targets", "written"}


def test_an_interrupted_run_ends_as_an_uninterrupted_one(run, files, tmp_path, monkeypatch):
    output, done = tmp_path / "run", []

    def stop_in_the_second_epoch(items, description="", *arguments):
        for item in items:
            done.append(description)
            if done.count("epoch 2/12") == 2:
                raise KeyboardInterrupt  # as a second Ctrl-C: what was saved before is all there is
            yield item

    with monkeypatch.context() as patch:
        patch.setattr(nlptasks.train.loop, "SAVE_SECONDS", -1)  # after every batch
        patch.setattr(nlptasks.train.progress, "progress_bar", stop_in_the_second_epoch)
        assert call(script, *train_arguments(files, output)).status == 130
    other = call(script, *train_arguments(files, output, "--resume", "--target-length", "5"))
    assert_refused(other, "was started with target_length=6, now target_length=5")
    resumed = call(script, *train_arguments(files, output, "--resume"))
    assert resumed.status == 0, resumed.err
    first, second = (load_file(path / "model.safetensors") for path in (run, output))
    assert first.keys() == second.keys()
    assert all((first[name] == second[name]).all() for name in first)


def test_prepare_makes_pairs_of_questions(tmp_path):
    passages = [{"passage": "沈月住在山上。", "answer": "山上"}, {"passage": "河边起风。", "answer": ""}]
    questions = [{"id": "1", "question": "沈月住在哪里？", "passages": passages}]
    (tmp_path / "q.json").write_text(json.dumps(questions), encoding="utf-8")
    for kind, source, target in (
        ("question", "山上|沈月住在山上。", "沈月住在哪里？"),
        ("pair", "沈月住在山上。", "山上|沈月住在哪里？"),
    ):
        output = tmp_path / f"{kind}.jsonl"
        result = call(script, "prepare", "--data", tmp_path / "q.json", "--kind", kind, "--output", output)
        assert (result.status, result.err) == (0, f"{output}: 1 texts\n")
        assert json.loads(output.read_text(encoding="utf-8")) == {"source": source, "target": [target]}


def test_mistakes_are_one_line_and_leave_nothing(run, files, tmp_path, monkeypatch):
    without_steps(monkeypatch)
    output, bad, words = tmp_path / "run", tmp_path / "bad.jsonl", tmp_path / "vocab.txt"
    bad.write_text('{"abst": " ", "title": "雪"}\n', encoding="utf-8")
    words.write_text("[PAD]\n[UNK]\n山\n", encoding="utf-8")
    long = ("--source-length", "20", "--target-length", "6")
    train = train_arguments(files, output)
    for arguments, message in (
        ((*train, "--target-column", "words"), "train.jsonl:1: the key 'words' is missing. Received: 'abst', 'title'"),
        ((*train, "--train", bad), "bad.jsonl:1: 'abst' is empty; write the text, or leave the line out."),
        ((*train, "--target-column", "abst"), "--source-column and --target-column must be two columns."),
        (
            (*train, "--vocab", words),
            "vocab.txt: the token [CLS] is missing among 3 tokens; expected a BERT vocabulary",
        ),
        ((*train, "--target-length", "1"), "--target-length must be at least 2. Received: 1."),
        ((*train, "--seed", "-1"), "--seed must be from 0 to 4294967295. Received: -1."),
        ((*train, "--best-by", "bleu"), "--best-by must be one of likelihood, rouge_l. Received: 'bleu'."),
        (
            (*from_checkpoint(run, *train), *long),
            "--source-length + --target-length = 26 is more than the model's 18 positions; make one of them smaller.",
        ),
        (("generate", "--model", run), "give either --texts TEXT... or --data FILE."),
        (
            ("generate", "--model", run, "--texts", "山", " "),
            "--texts: text 2 is empty; there is nothing to",
        ),
        (("generate", "--model", run, "--texts", "山", "--stream", "--json"), "--stream prints texts; leave --output"),
        (("generate", "--model", "similarity", "--texts", "山"), "holds a SentenceEncoder, expected a Seq2Seq; give"),
        (("generate", "--model", run, "--texts", "山", "--max-length", "99"), "--max-length must be at most 7"),
        (("prepare", "--data", bad, "--kind", "title", "--output", output), "--kind must be one of question, pair."),
    ):
        result = call(script, *arguments)
        assert_refused(result, message)
        assert not output.exists()
