"""Vectors on the sphere: a step beside the formula in float64 and numeric gradients, and whole trainings."""

import json
import random

import numpy as np
import pytest

from nlptasks import command
from nlptasks.discovery import vector_commands
from nlptasks.discovery.cutting import cut_documents
from nlptasks.discovery.spherical import (
    SphericalOptions,
    SphericalTrainer,
    Tokens,
    loss_and_gradients,
    read_word2vec,
    riemannian_step,
)
from tests.commands.scripts import assert_refused, call

pytestmark = pytest.mark.once


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_a_step_is_the_formula_of_the_article():
    draw = np.random.default_rng(1)
    x, g = unit(draw.normal(size=(7, 5))), draw.normal(size=(7, 5))
    moved = riemannian_step(x.astype("float32"), g.astype("float32"), 0.3)
    for row, vector, gradient in zip(moved, x, g, strict=True):
        projected = (np.eye(5) - np.outer(vector, vector)) @ gradient
        expected = vector - 0.3 * (1 + vector @ gradient / np.linalg.norm(gradient)) * projected
        assert row == pytest.approx(unit(expected), abs=1e-6)
    assert riemannian_step(x, 0 * g, 0.3) == pytest.approx(x)


def test_gradients_are_those_of_the_loss():
    draw = np.random.default_rng(2)
    center, context, document, other = unit(draw.normal(size=(4, 11, 3)))
    losses, at_word, at_rest = loss_and_gradients(center, context, document, other, 0.7)
    expected = 0.7 - np.einsum("pd,pd->p", center - other, context + document)
    assert losses == pytest.approx(np.maximum(expected, 0))
    assert {bool(loss) for loss in losses} == {False, True}
    for axis in range(3):
        step = np.zeros(3)
        step[axis] = 1e-6
        for number, gradient in ((0, at_word), (3, -at_word), (1, at_rest), (2, at_rest)):
            parts = [center, context, document, other]
            parts[number] = parts[number] + step
            numeric = (loss_and_gradients(*parts, 0.7)[0] - losses) / 1e-6
            assert gradient[:, axis] == pytest.approx(numeric, abs=1e-4)


def test_training_keeps_lengths_and_tells_topics_apart():
    draw = random.Random(5)
    topics = [range(5 * n, 5 * n + 5) for n in range(6)]
    documents = [draw.choices(topics[n % 6], k=13) for n in range(60)]
    tokens = Tokens(np.concatenate(documents).astype("int32"), np.arange(61) * 13)
    rows = np.zeros((60, 7), "float32")
    options = SphericalOptions(vector_size=7, epochs=4, batch_size=64, subsample=0, margin=1.0, learning_rate=0.2)
    trainer = SphericalTrainer(np.bincount(tokens.ids), rows, options)
    losses = trainer.train(tokens)
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    for vectors in (rows, trainer.words, trainer.contexts):
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(vectors)), abs=1e-5)
    cosines = rows @ rows.T
    assert cosines[::6, ::6].mean() > cosines[::6, 1::6].mean() + 0.5
    again = SphericalTrainer(np.bincount(tokens.ids), np.zeros_like(rows), options)
    again.train(tokens)
    assert (again.words == trainer.words).all()


def test_pairs_stay_within_a_document_and_a_window():
    tokens = Tokens(np.arange(12, dtype="int32"), np.array([0, 5, 5, 12]))
    options = SphericalOptions(window=2, batch_size=100, subsample=0)
    trainer = SphericalTrainer(np.ones(12), np.zeros((3, 100), "float32"), options)
    seen = set()
    for _ in range(40):
        for centers, contexts, documents in trainer._batches(tokens, 0, 3):
            seen |= set(zip(centers.tolist(), contexts.tolist(), documents.tolist(), strict=True))
    of = [0] * 5 + [2] * 7
    near = {(a, b) for a in range(12) for b in range(12) if 0 < abs(a - b) <= 2 and of[a] == of[b]}
    assert seen == {(a, b, of[a]) for a, b in near}


def test_documents_are_cut_once_and_rare_words_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr("nlptasks.discovery.cutting.DOCUMENTS_AT_ONCE", 2)
    documents = ["b a 。 a", "", "c a b", "d a", "。"]
    tokens, names, counts = cut_documents(documents, lambda texts: [text.split() for text in texts], tmp_path, 2)
    assert (names, counts.tolist()) == (["a", "b"], [4, 2])
    assert tokens.starts.tolist() == [0, 3, 3, 5, 6, 6]
    assert tokens.ids.tolist() == [1, 0, 0, 0, 1, 0]


def test_vectors_are_trained_written_and_compared(tmp_path):
    draw = random.Random(4)
    topics = [["天气", "下雨", "气温"], *([f"词{n}甲", f"词{n}乙", f"词{n}丙"] for n in range(7))]
    lines = [" ".join(draw.choices(topics[n % 8], k=9)) for n in range(80)]
    (tmp_path / "lines.txt").write_text("\n".join(lines), encoding="utf-8")
    shared = ("vectors", "train", "--input", tmp_path / "lines.txt", "--output", tmp_path / "out")
    done = call(
        command, *shared, "--segmenter", "spaces", "--vector-size", 11, "--subsample", 0, "--margin", 1, "--json"
    )
    assert done.status == 0, done.err
    told = json.loads(done.out)
    assert (told["words"], told["documents"], len(told["losses"])) == (24, 80, 10)
    assert np.load(tmp_path / "out" / "documents.npy").shape == (80, 11)
    names, vectors = read_word2vec(tmp_path / "out" / "words.txt")
    assert set(names) == {word for topic in topics for word in topic}
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(24), abs=1e-4)
    nearest = ("vectors", "nearest", "--vectors", tmp_path / "out", "--word", "下雨", "--top", 2)
    found = json.loads(call(command, *nearest, "--json").out)
    assert {row["word"] for row in found} == {"天气", "气温"}
    assert call(command, *nearest).out.splitlines()[0] == f"{found[0]['score']:.4f}\t{found[0]['word']}"
    assert_refused(call(command, *nearest[:-4], "--word", "山"), "has no vector for 山.")
    assert_refused(call(command, *shared, "--min-count", 10_000), "two words that occur --min-count times. Received: 0")
    assert not (tmp_path / "out" / "interrupted").exists()
    other = (*shared[:-1], tmp_path / "other", "--segmenter", "spaces")
    assert_refused(call(command, *other, "--min-count", 10_000), "two words that occur --min-count times. Received: 0")
    (tmp_path / "lines.txt").write_bytes(b"ab cd\n\xff\n")
    assert_refused(call(command, *other), "lines.txt:2: expected UTF-8. Received: byte 0xff")
    assert not (tmp_path / "other").exists()
    assert_refused(call(command, *shared, "--margin", 0), "--margin must be positive. Received: 0.0.")
    (tmp_path / "bad.txt").write_text("2 3\n天气 1 2 3\n下雨 1 2\n", encoding="utf-8")
    bad = call(command, "vectors", "nearest", "--vectors", tmp_path / "bad.txt", "--word", "山")
    assert_refused(bad, "bad.txt:3: expected word2vec's text format")


def test_a_training_that_is_ended_goes_on_and_ends_with_the_same_vectors(tmp_path, monkeypatch):
    draw = random.Random(8)
    lines = [" ".join(draw.choices(["天气", "下雨", "气温", "公园", "山水"], k=9)) for _ in range(50)]
    (tmp_path / "lines.txt").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setattr("nlptasks.discovery.spherical.BLOCK", 60)
    monkeypatch.setattr(vector_commands, "SAVE_SECONDS", 0.0)

    def train(name, *more):
        shared = ("--segmenter", "spaces", "--vector-size", 7, "--epochs", 3)
        return call(
            command, "vectors", "train", "--input", tmp_path / "lines.txt", "--output", tmp_path / name, *shared, *more
        )

    assert train("whole").status == 0
    assert_refused(train("parts", "--resume"), "no interrupted run here; leave --resume out to start one.")
    saves = []

    def die(keeper, keep=vector_commands.Keeper.keep):
        keep(keeper)
        saves.append(keeper)
        if len(saves) in (4, 9, 15):  # in the middle of an epoch, after the first, in the third
            raise KeyboardInterrupt

    monkeypatch.setattr(vector_commands.Keeper, "keep", die)
    assert train("parts").status == 130
    assert not (tmp_path / "parts" / "words.txt").exists()
    assert_refused(train("parts"), "holds an interrupted job; --resume goes on with it, or remove it.")
    assert_refused(train("parts", "--resume", "--window", 3), "is of a job with other files or options")
    assert train("parts", "--resume").status == 130
    assert train("parts", "--resume").status == 130
    assert train("parts", "--resume").status == 0
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == ["documents.npy", "words.txt"]
    for name in ("documents.npy", "words.txt"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
