"""Activations against their formulas, and their derivatives against differences."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from nlptasks.backend import value_and_gradient
from nlptasks.core.activations import ACTIVATIONS, smooth_maximum_erf, smooth_maximum_root
from nlptasks.core.layers import activation

POINTS = np.array([-5.0, -1.3, -0.2, 0.0, 0.4, 2.1, 6.0])
ERF = np.vectorize(math.erf)
FORMULAS = {
    "smu": lambda x: (1.25 * x + 0.75 * x * ERF(0.5**0.5 * 0.75 * x)) / 2,
    "smu_root": lambda x: (1.25 * x + np.sqrt((0.75 * x) ** 2 + 0.25)) / 2,
    "gelu": lambda x: x * (1 + ERF(x / 2**0.5)) / 2,
    "gelu_new": lambda x: x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))) / 2,
    "swish": lambda x: x / (1 + np.exp(-x)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_values_and_derivatives_are_those_of_the_formula(name):
    x = ops.convert_to_tensor(POINTS, "float32")
    function = activation(name)
    np.testing.assert_allclose(ops.convert_to_numpy(function(x)), FORMULAS[name](POINTS), rtol=2e-5, atol=2e-6)
    slopes = ops.convert_to_numpy(value_and_gradient(lambda t: ops.sum(function(t)), x)[1])
    by_steps = (FORMULAS[name](POINTS + 1e-5) - FORMULAS[name](POINTS - 1e-5)) / 2e-5
    np.testing.assert_allclose(slopes, by_steps, rtol=2e-4, atol=2e-5)


@pytest.mark.once
def test_the_smooth_maximum_is_gelu_at_slope_0_and_the_maximum_where_it_is_sharp():
    x = ops.convert_to_tensor(POINTS, "float32")
    np.testing.assert_allclose(ops.convert_to_numpy(smooth_maximum_erf(x, 0.0)), FORMULAS["gelu"](POINTS), atol=1e-5)
    wanted = np.maximum(POINTS, 0.25 * POINTS)
    np.testing.assert_allclose(ops.convert_to_numpy(smooth_maximum_erf(x, sharpness=1e4)), wanted, atol=1e-5)
    np.testing.assert_allclose(ops.convert_to_numpy(smooth_maximum_root(x, roundness=1e-4)), wanted, atol=1e-4)
    assert set(ACTIVATIONS) >= {"smu", "smu_root", "gelu_tanh"}
    assert activation("tanh") is keras.activations.tanh
