"""The optimizer of the sphere beside the article's formula in float64, alone and in models."""

import keras
import numpy as np
import pytest
from keras import ops

from nlptasks.backend import compile_train_step
from nlptasks.train.toolbox.extending import extend
from nlptasks.train.toolbox.spheres import RiemannianSGD


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def expected_step(x, g, rate):
    """The article's formula, row by row; a row without a gradient rests."""
    found = x.copy()
    for row, (vector, gradient) in enumerate(zip(x, g, strict=True)):
        if np.any(gradient):
            along = (np.eye(len(vector)) - np.outer(vector, vector)) @ gradient
            found[row] = unit(vector - rate * (1 + vector @ gradient / np.linalg.norm(gradient)) * along)
    return found


def test_steps_are_the_formula_of_the_article_and_stay_on_the_sphere():
    draw = np.random.default_rng(1)
    x, gradients = unit(draw.normal(size=(7, 5))), draw.normal(size=(3, 7, 5))
    gradients[:, [2, 6]] = 0
    variable = keras.Variable(x.astype("float32"))
    optimizer = RiemannianSGD(0.3)
    for gradient in gradients:
        optimizer.apply([ops.convert_to_tensor(gradient.astype("float32"))], [variable])
        x = expected_step(x, gradient, 0.3)
        found = ops.convert_to_numpy(variable)
        np.testing.assert_allclose(found, x, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_weights_of_any_length_come_to_the_sphere_with_their_first_step():
    x = np.array([[3.0, 4.0], [0.5, 0.0]])
    variable = keras.Variable(x.astype("float32"))
    gradient = np.array([[1.0, -2.0], [0.0, 0.0]])
    RiemannianSGD(0.1).apply([ops.convert_to_tensor(gradient.astype("float32"))], [variable])
    found = ops.convert_to_numpy(variable)
    np.testing.assert_allclose(found[0], expected_step(unit(x), gradient, 0.1)[0], atol=1e-6)
    assert found[1].tolist() == [0.5, 0.0]


@pytest.mark.parametrize("extended", [False, True])
def test_embeddings_of_a_keras_model_learn_on_the_sphere(extended):
    """A loss whose gradient is known: rows that are read move, twice read ones by the sum."""
    table = keras.layers.Embedding(5, 3)
    model = keras.Sequential([keras.Input((2,), dtype="int32"), table])
    start = unit(np.random.default_rng(2).normal(size=(5, 3)))
    table.embeddings.assign(start)
    optimizer = RiemannianSGD(0.2)
    wanted = np.array([0.3, -1.0, 2.0], "float32")
    step = compile_train_step(
        model,
        extend(optimizer, lazy=["embeddings"]) if extended else optimizer,
        lambda ids: ops.sum(model(ids) * wanted),
    )
    step(np.array([[1, 4], [4, 3]], "int32"))
    gradient = np.zeros((5, 3))
    gradient[[1, 3]], gradient[4] = wanted, 2 * wanted
    found = ops.convert_to_numpy(table.embeddings)
    np.testing.assert_allclose(found, expected_step(start, gradient, 0.2), atol=1e-6)
    assert (found[[0, 2]] == start[[0, 2]].astype("float32")).all()


def test_the_optimizer_survives_its_config():
    again = RiemannianSGD.from_config(RiemannianSGD(0.25, clipnorm=1.0).get_config())
    assert (float(again.learning_rate), again.clipnorm) == (0.25, 1.0)
