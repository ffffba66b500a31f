"""Damaged files through the command line: an answer or one line, never a traceback, never a half-written output.

NLPTASKS_FUZZ=2000 tries that many instead of the 60 of every run; NLPTASKS_FUZZ=1000:2000 the second half of them (a
process keeps some memory of each).
"""

import gzip
import json
import os
import random

import pytest

from nlptasks.applications.classification import commands as classification
from nlptasks.applications.reading import commands as reading_commands
from nlptasks.applications.reading.reader import Reader
from nlptasks.applications.reading.windows import ReadingLengths
from nlptasks.core import Transformer, TransformerConfig
from nlptasks.text import Tokenizer, build_character_vocab
from tests.applications.labeling.label_cases import classifier
from tests.commands.scripts import ROOT, call, load_script, models_opened_once

FIRST, LAST = map(int, ("0:" + os.environ.get("NLPTASKS_FUZZ", "60")).split(":")[-2:])
QUESTIONS = (ROOT / "data" / "reading_sample_test.json").read_bytes().splitlines(keepends=True)
REVIEWS = (ROOT / "data" / "reviews_sample.tsv").read_bytes().splitlines(keepends=True)
SMALL = {"hidden_size": 8, "num_layers": 1, "num_heads": 2, "ffn_size": 8}
ODD = [None, True, 0, -1.5, "", " ", [], {}, [None], {"a": 1}, "\ud800", "\x00", "１" * 300, "[SEP]"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tokenizer = Tokenizer(build_character_vocab([b"".join(QUESTIONS).decode()]))
    model = Transformer(
        TransformerConfig(vocab_size=tokenizer.vocab_size, max_positions=41, attention="unilm", **SMALL),
        with_mlm="linear",
    )
    model.build()
    Reader(model, tokenizer, ReadingLengths(passage_length=24, question_length=12, answer_length=5)).save(folder / "r")
    classifier().save(folder / "c")
    with models_opened_once(reading_commands, classification):
        yield folder


def squad(choose):
    """A file of SQuAD's form."""
    paragraphs = [
        {
            "context": "长江流过上海。",
            "qas": [{"id": f"a{i}", "question": "哪里？", "answers": [{"text": "上海", "answer_start": 4}]}],
        }
        for i in range(choose.randint(1, 4))
    ]
    return json.dumps({"data": [{"paragraphs": paragraphs}]}, ensure_ascii=False).encode()


def questions(choose):
    """A file of WebQA's form, as a list or as lines."""
    lines = [line.strip().strip(b",[]") for line in choose.sample(QUESTIONS[1:-1], choose.randint(1, 4))]
    lines = [line for line in lines if line.startswith(b"{")] or [b"{}"]
    return b"[" + b",\n".join(lines) + b"]" if choose.random() < 0.5 else b"\n".join(lines)


def reviews(choose):
    return b"".join(choose.sample(REVIEWS, choose.randint(1, 4)))


def with_another_value(content, choose):
    """JSON in which one value, at any depth, is of another kind."""
    try:
        data = json.loads(content)
    except ValueError:
        return with_other_bytes(content, choose)
    place = data
    while isinstance(place, dict | list) and place:
        key = choose.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if choose.random() < 0.35 or not isinstance(place[key], dict | list):
            if choose.random() < 0.3:
                del place[key]
            else:
                place[key] = choose.choice(ODD)
            break
        place = place[key]
    return json.dumps(data, ensure_ascii=choose.random() < 0.5).encode("utf-8", "surrogatepass")


def with_other_bytes(content, choose):
    damaged = bytearray(content)
    for _ in range(choose.randint(1, 6)):
        damaged[choose.randrange(len(damaged))] = choose.randrange(256)
    return bytes(damaged)


def cut(content, choose):
    return content[: choose.randrange(len(content))]


def repeated(content, choose):
    start = choose.randrange(len(content))
    return content[:start] + content[start : start + choose.randint(1, 60)] * choose.randint(2, 4) + content[start:]


def in_another_encoding(content, choose):
    return content.decode("utf-8", "ignore").encode(
        choose.choice(["gb18030", "utf-16", "utf-8-sig", "big5hkscs"]), "ignore"
    )


DAMAGES = (with_another_value, with_other_bytes, cut, repeated, in_another_encoding)
reading, labels = load_script("reading_comprehension"), load_script("text_classification")


def damaged_call(seed, models, folder):
    """A damaged file, and what the command line says to it."""
    choose = random.Random(seed)
    kind = choose.choice(["webqa", "squad", "prepare", "tsv"])
    content = {"squad": squad, "tsv": reviews}.get(kind, questions)(choose)
    if choose.random() < 0.3:
        packed = bytearray(gzip.compress(content, mtime=0))
        damage = choose.choice([cut, with_other_bytes])
        content = damage(bytes(packed), choose)
        if choose.random() < 0.5:
            content = gzip.compress(damage(content or b"\n", choose), mtime=0)
    else:
        for _ in range(choose.choice([0, 1, 1, 2])):
            content = choose.choice(DAMAGES)(content, choose) or b"\n"
    path, output = folder / f"in{seed}.{'tsv' if kind == 'tsv' else 'json'}", folder / f"out{seed}"
    path.write_bytes(content)
    if kind == "tsv":
        names = ("--columns", "category", "sentiment", "text")
        return (
            path,
            output,
            call(labels, "predict", "--model", models / "c", "--data", path, "--output", output, *names),
        )
    if kind == "prepare":
        return path, output, call(reading, "prepare", "--webqa", path, "--sogouqa", path, "--output", output)
    return path, output, call(reading, "predict", "--model", models / "r", "--data", path, "--output", output)


def test_damaged_files_get_an_answer_or_one_line(models, tmp_path):
    answered = 0
    for seed in range(FIRST, LAST):
        path, output, result = damaged_call(seed, models, tmp_path)
        assert result.status in (0, 2), (seed, result)
        assert "Traceback" not in result.err, (seed, result.err)
        if result.status == 0:
            answered += 1
            assert output.exists(), seed
        else:
            lines = [line for line in result.err.splitlines() if line.startswith("error: ")]
            assert lines == result.err.splitlines()[-1:], (seed, result.err)
            assert path.name in lines[0] or "questions cannot be split" in lines[0], (seed, result.err)
            assert not output.exists() or not list(output.iterdir()), seed
        assert not [p for p in tmp_path.iterdir() if p not in (path, output)], seed
        path.unlink()
        for leftover in output.iterdir() if output.is_dir() else ():
            leftover.unlink()
        if output.exists():
            output.rmdir() if output.is_dir() else output.unlink()
    assert 0.05 < answered / (LAST - FIRST) < 0.9  # both happen
