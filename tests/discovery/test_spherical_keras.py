"""Trainings of spherical vectors on Keras beside those on NumPy."""

import json
import random

import numpy as np
import pytest

from nlptasks import command
from nlptasks.discovery.spherical import SphericalOptions, SphericalTrainer, Tokens
from nlptasks.discovery.spherical_keras import KerasTrainer
from tests.commands.scripts import assert_refused, call

TOPICS = [["天气", "下雨", "气温"], *([f"词{n}甲", f"词{n}乙", f"词{n}丙"] for n in range(5))]


def test_trainings_are_those_on_numpy_and_go_on_from_their_states():
    draw = random.Random(5)
    documents = [draw.choices(range(5 * (n % 6), 5 * (n % 6) + 5), k=13) for n in range(30)]
    tokens = Tokens(np.concatenate(documents).astype("int32"), np.arange(31) * 13)
    options = SphericalOptions(vector_size=7, epochs=2, batch_size=64, margin=1.0, learning_rate=0.2)

    def trainer(kind):
        return kind(np.bincount(tokens.ids), np.zeros((30, 7), "float32"), options)

    plain, on_keras = trainer(SphericalTrainer), trainer(KerasTrainer)
    states = []

    def keep():
        states.append({name: array.copy() for name, array in on_keras.state().items()})

    losses = on_keras.train(tokens, keep=keep)
    assert losses == pytest.approx(plain.train(tokens), rel=1e-4)
    for name in ("words", "contexts", "documents"):
        np.testing.assert_allclose(getattr(on_keras, name), getattr(plain, name), atol=1e-4, err_msg=name)
    again = trainer(KerasTrainer)
    again.restore(states[1])  # behind the first epoch
    assert again.train(tokens) == pytest.approx(losses, rel=1e-6)
    np.testing.assert_allclose(again.words, on_keras.words, atol=1e-5)


def test_the_command_trains_on_keras(tmp_path):
    draw = random.Random(4)
    lines = [" ".join(draw.choices(TOPICS[n % 6], k=9)) for n in range(40)]
    (tmp_path / "lines.txt").write_text("\n".join(lines), encoding="utf-8")
    shared = ("vectors", "train", "--input", tmp_path / "lines.txt", "--segmenter", "spaces", "--vector-size", 11)
    told = []
    for engine in ("numpy", "keras"):
        done = call(command, *shared, "--epochs", 2, "--engine", engine, "--output", tmp_path / engine, "--json")
        assert done.status == 0, done.err
        told.append(json.loads(done.out))
    assert told[1]["losses"] == pytest.approx(told[0]["losses"], rel=1e-4)
    rows = [np.load(tmp_path / engine / "documents.npy") for engine in ("numpy", "keras")]
    np.testing.assert_allclose(rows[1], rows[0], atol=1e-4)
    refused = call(command, *shared, "--engine", "torch", "--output", tmp_path / "other")
    assert_refused(refused, "--engine must be one of numpy, keras. Received: 'torch'.")
