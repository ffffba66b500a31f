"""Losses at moved embeddings: gradients against central differences, and what they are where nothing is moved."""

from typing import NamedTuple

import keras
import numpy as np
import pytest
from keras import ops

from nlptasks.backend import compile_function, compile_train_step
from nlptasks.errors import UserError
from nlptasks.train.options import TransformerTraining
from nlptasks.train.toolbox.adversarial import (
    Answers,
    MovedTable,
    changed_loss,
    divergence,
    freelb,
    penalized,
    pgd,
    r_drop,
    virtual,
)

BATCH = {"ids": np.array([[1, 2, 4], [3, 1, 1]], "int32"), "targets": np.array([[1, 0, 0], [0, 0, 1]], "float32")}
RADIUS = 0.5


class Model(keras.Model):
    """A table, a smooth layer and three logits."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.table = keras.layers.Embedding(5, 4)
        self.drop = keras.layers.Dropout(dropout, seed=3)
        self.inner, self.head = keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(3)
        self(BATCH["ids"])
        random = np.random.default_rng(7)
        for weight in self.trainable_variables:
            weight.assign(random.normal(0, 0.7, weight.shape))

    def call(self, ids):
        return self.head(self.drop(self.inner(ops.mean(self.table(ids), axis=1)), training=True))


class Trained(NamedTuple):
    model: Model

    def answers(self, batch):
        logits = self.model(batch["ids"])
        loss = ops.mean(ops.categorical_crossentropy(batch["targets"], logits, from_logits=True))
        return Answers(loss, logits, ops.ones((2,)), False)

    def loss(self, batch):
        return self.answers(batch).loss


def made(dropout=0.0):
    trained = Trained(Model(dropout))
    return trained, MovedTable(trained.model, trained.model.table.embeddings)


def value(loss):
    return float(ops.convert_to_numpy(loss(BATCH)))


def compiled(trained, loss):
    """The loss as a program: central differences ask for it often."""
    run = compile_function(loss, trained.model)
    return lambda: float(ops.convert_to_numpy(run(BATCH)))


def gradient(trained, loss):
    """Of each weight, as a step of plain gradient descent shows it."""
    before = trained.model.get_weights()
    step = compile_train_step(trained.model, keras.optimizers.SGD(1.0), loss)
    step(BATCH)
    after = trained.model.get_weights()
    trained.model.set_weights(before)
    return [a - b for a, b in zip(before, after, strict=True)]


def central(weight, function, places, size=1e-2):
    """The derivative of `function()` by some numbers of a weight."""
    found = []
    for place in places:
        former = np.array(ops.convert_to_numpy(weight))
        values = []
        for sign in (1, -1):
            moved = former.copy()
            moved[place] += sign * size
            weight.assign(moved)
            values.append(function())
        weight.assign(former)
        found.append((values[0] - values[1]) / (2 * size))
    return np.array(found)


def numpy_gradient(trained):
    """Of the loss by the whole table."""
    table = trained.model.table.embeddings
    places = [(row, column) for row in (1, 2, 3, 4) for column in range(4)]  # row 0 is not in the batch
    found = np.zeros(table.shape)
    found[1:] = central(table, compiled(trained, trained.loss), places).reshape(4, 4)
    return found


def test_the_gradient_penalty_is_the_squared_gradient_and_has_its_derivative():
    trained, moved = made()
    loss = penalized(moved, trained.loss, 0.8)
    expected = value(trained.loss) + 0.4 * (numpy_gradient(trained) ** 2).sum()
    assert value(loss) == pytest.approx(expected, rel=2e-3)
    places = [(0, 1), (3, 2)]
    program = compiled(trained, loss)
    by_steps = central(trained.model.inner.kernel, program, places)
    kernel = [w.path for w in trained.model.weights].index(trained.model.inner.kernel.path)
    found = gradient(trained, loss)
    np.testing.assert_allclose([found[kernel][place] for place in places], by_steps, rtol=2e-2, atol=1e-3)
    table = central(trained.model.table.embeddings, program, places)
    np.testing.assert_allclose([found[0][place] for place in places], table, rtol=2e-2, atol=1e-3)


def ascent(trained, steps, size):
    """The moves of projected ascent and the losses on their way, by central differences."""
    table = trained.model.table.embeddings
    start, delta, losses = np.array(ops.convert_to_numpy(table)), 0.0, []
    for _ in range(steps):
        table.assign(start + delta)
        losses.append(value(trained.loss))
        g = numpy_gradient(trained)
        delta = delta + size * g / np.linalg.norm(g)
        delta = delta * min(1.0, RADIUS / np.linalg.norm(delta))
    table.assign(start + delta)
    losses.append(value(trained.loss))
    table.assign(start)
    return losses


def test_pgd_and_freelb_move_as_projected_ascent_does():
    trained, moved = made()
    plain, *between, last = ascent(trained, 2, 0.4)
    assert value(pgd(moved, trained.loss, RADIUS, 2, 0.4)) == pytest.approx(last, abs=1e-3)
    assert value(freelb(moved, trained.loss, RADIUS, 3, 0.4)) == pytest.approx(
        np.mean([plain, *between, last]), abs=1e-3
    )
    assert last > between[0] > plain
    assert value(trained.loss) == pytest.approx(plain, abs=1e-5)  # the table is where it was


def test_the_gradient_of_pgd_is_the_one_at_the_moved_table():
    trained, moved = made()
    found = gradient(trained, pgd(moved, trained.loss, RADIUS, 1, RADIUS))
    former = np.array(ops.convert_to_numpy(trained.model.table.embeddings))
    g = numpy_gradient(trained)
    trained.model.table.embeddings.assign(former + RADIUS * g / np.linalg.norm(g))
    for a, b in zip(found, gradient(trained, trained.loss), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)


def test_virtual_adversarial_training_adds_the_divergence_in_its_worst_direction():
    trained, moved = made()
    table = trained.model.table.embeddings
    apart = value(virtual(moved, trained.answers, RADIUS, rounds=4)) - value(trained.loss)
    first = trained.answers(BATCH)
    former, random, others = np.array(ops.convert_to_numpy(table)), np.random.default_rng(5), []
    for _ in range(8):
        direction = random.normal(size=former.shape)
        table.assign(former + RADIUS * direction / np.linalg.norm(direction))
        others.append(float(ops.convert_to_numpy(divergence(first, trained.answers(BATCH)))))
    assert apart > max(others) > 0


def test_r_drop_is_the_usual_loss_without_dropout_and_more_with_it():
    trained, _ = made()
    assert value(r_drop(trained.answers, 5.0)) == pytest.approx(value(trained.loss), rel=1e-6)
    dropping, _ = made(dropout=0.5)
    first, second = dropping.answers(BATCH), dropping.answers(BATCH)
    logits = [ops.convert_to_numpy(each.logits).astype("float64") for each in (first, second)]
    p, q = (np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in logits)
    expected = np.mean((p * np.log(p / q) + q * np.log(q / p)).sum(-1))
    both = float(ops.convert_to_numpy(divergence(first, second) + divergence(second, first)))
    assert both == pytest.approx(expected, rel=1e-4)
    assert expected > 0.01


def test_the_divergence_of_independent_labels_is_that_of_their_sigmoids():
    logits = np.array([[0.3, -2.0], [1.0, 0.5]]), np.array([[1.3, 1.0], [-1.0, 0.5]])
    p, q = (1 / (1 + np.exp(-x)) for x in logits)
    expected = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum(-1)
    first, second = (Answers(0.0, x.astype("float32"), np.array([1.0, 0.0], "float32"), True) for x in logits)
    assert float(ops.convert_to_numpy(divergence(first, second))) == pytest.approx(expected[0], rel=1e-5)


def test_a_compiled_step_draws_new_dropout_after_each_moved_loss():
    trained, moved = made(dropout=0.5)
    step = compile_train_step(trained.model, keras.optimizers.SGD(0.0), pgd(moved, trained.loss, RADIUS, 2))
    losses = {round(float(ops.convert_to_numpy(step(BATCH))), 6) for _ in range(4)}
    assert len(losses) > 1


def test_an_option_chooses_the_loss_and_a_run_has_one_of_them():
    trained, _ = made()

    def table(model, name):
        return model.table.embeddings

    for name, given in {"pgd": 0.5, "freelb": 0.5, "vat": 0.5, "gradient_penalty": 0.1, "r_drop": 1.0}.items():
        options = TransformerTraining(output="x", **{name: given})
        loss = changed_loss(trained, options, table)
        assert loss is not trained.loss
    plain = changed_loss(trained, TransformerTraining(output="x"), table)
    assert value(plain) == value(trained.loss)
    with pytest.raises(UserError, match="pgd and r_drop do not go together"):
        TransformerTraining(output="x", pgd=0.5, r_drop=1.0)
    with pytest.raises(UserError, match="r_drop compares the answers of a classifier; this model gives none"):
        changed_loss(object(), TransformerTraining(output="x", r_drop=1.0), table)
