"""Adam against the formulas of its paper in float64, step by step."""

import keras
import numpy as np
import pytest
from keras import ops

from nlptasks.backend import compile_train_step
from nlptasks.train.adam import Adam
from nlptasks.train.optimizers import make_adam

RATES = [0.03, 0.02, 0.05, 0.01, 0.04]


class Rates(keras.optimizers.schedules.LearningRateSchedule):
    """One rate after the other."""

    def __call__(self, step):
        return ops.take(ops.convert_to_tensor(RATES, "float32"), ops.cast(step, "int32"))


def adam_in_float64(weight, gradients, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    """The weight after each update (arXiv 1412.6980, the order of computation at the end of section 2)."""
    m = v = 0.0
    for step, (gradient, rate) in enumerate(zip(gradients, RATES, strict=True), 1):
        m = beta_1 * m + (1 - beta_1) * gradient
        v = beta_2 * v + (1 - beta_2) * gradient**2
        weight = weight - rate * np.sqrt(1 - beta_2**step) / (1 - beta_1**step) * m / (np.sqrt(v) + epsilon)
        yield weight


@pytest.mark.parametrize("settings", [{}, {"beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-3}])
def test_updates_are_those_of_the_paper(rng, settings):
    start, gradients = rng.normal(size=(7, 5)), rng.normal(size=(5, 7, 5)) * np.logspace(-6, 1, 5)
    variable, optimizer = keras.Variable(start.astype("float32")), Adam(Rates(), **settings)
    for gradient, expected in zip(gradients, adam_in_float64(start, gradients, **settings), strict=True):
        optimizer.apply([ops.convert_to_tensor(gradient.astype("float32"))], [variable])
        np.testing.assert_allclose(ops.convert_to_numpy(variable.value), expected, rtol=1e-5, atol=1e-6)


def test_amsgrad_takes_the_largest_second_moment(rng):
    weights = [keras.Variable(np.ones((3, 5), "float32")) for _ in range(2)]
    both = [kind(0.1, amsgrad=True) for kind in (Adam, keras.optimizers.Adam)]
    for scale in (9.0, 0.1, 0.1):
        gradient = ops.convert_to_tensor((scale * rng.normal(size=(3, 5))).astype("float32"))
        for optimizer, weight in zip(both, weights, strict=True):
            optimizer.apply([gradient], [weight])
    np.testing.assert_array_equal(*(ops.convert_to_numpy(weight.value) for weight in weights))


def test_clipping_averages_and_decay_are_keras_own(rng):
    x, y = rng.normal(size=(11, 3)).astype("float32"), rng.normal(size=(11, 2)).astype("float32")
    found = []
    for make in (make_adam, keras_adam):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        optimizer = make(0.1, 5, 0.4, True, 0.3, 0.7)
        step = compile_train_step(model, optimizer, lambda batch, m=model: ops.mean((m(batch["x"]) - batch["y"]) ** 2))
        losses = [float(step({"x": x, "y": y})) for _ in range(5)]
        found.append([losses, *(ops.convert_to_numpy(v.value) for v in optimizer.variables)])
    for mine, reference in zip(*found, strict=True):
        np.testing.assert_allclose(mine, reference, rtol=2e-5, atol=1e-6)


def keras_adam(*arguments):
    """The same settings in Keras' own class."""
    return keras.optimizers.Adam.from_config(make_adam(*arguments).get_config())
