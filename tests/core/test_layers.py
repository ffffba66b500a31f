"""GELU and dropout: against formulas in float64 and against the binomial distribution."""

import functools
import math

import numpy as np
import pytest
from keras import ops

from nlptasks.backend import compile_function
from nlptasks.core.layers import Dropout, FeedForward, activation
from tests.gradients import gradient

X = np.concatenate([np.linspace(-9, 9, 127), [0.0, -1e-4, 1e-4]])


def below(x):
    """Share of the normal distribution below x, float64."""
    return np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in x])


@pytest.mark.parametrize("training", [False, True])
def test_gelu_is_the_exact_one(training):
    found = ops.convert_to_numpy(activation("gelu", training)(ops.convert_to_tensor(X.astype("float32"))))
    np.testing.assert_allclose(found, X * below(X), atol=2e-6)


@pytest.mark.parametrize("training", [False, True])
def test_the_gradient_of_gelu_is_its_derivative(training):
    act, upstream = activation("gelu", training), np.linspace(-2, 3, len(X))
    found = gradient(lambda x: ops.sum(act(x) * upstream.astype("float32")), X.astype("float32"))
    derivative = below(X) + X * np.exp(-X * X / 2) / math.sqrt(2 * math.pi)
    np.testing.assert_allclose(found, upstream * derivative, atol=5e-6)


def test_gelu_in_training_loses_no_more_than_the_last_rounding_to_bfloat16():
    x = ops.cast(ops.convert_to_tensor(X.astype("float32")), "bfloat16")
    found = ops.convert_to_numpy(ops.cast(activation("gelu", training=True)(x), "float32"))
    exact = ops.convert_to_numpy(ops.cast(x, "float32")).astype("float64")
    exact = exact * below(exact)
    assert (np.abs(found - exact) <= np.abs(exact) * 2.0**-8 + 2e-6).all()


def test_feed_forward_is_two_dense_layers_with_gelu_in_training_and_without(rng):
    B, T, D, F = 2, 5, 7, 11
    layer = FeedForward(D, F)
    layer.build((None, None, D))
    for weight in layer.weights:
        weight.assign(rng.normal(size=tuple(weight.shape)).astype("float32"))
    x = rng.normal(size=(B, T, D)).astype("float32")
    (w, b), (v, c) = ([np.asarray(p.value, "float64") for p in dense.weights] for dense in (layer.inner, layer.outer))
    inner = x @ w + b
    expected = (inner * below(inner.ravel()).reshape(inner.shape)) @ v + c
    for training in (False, True):
        call = compile_function(functools.partial(layer, training=training), None)
        np.testing.assert_allclose(layer(x, training=training), expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(ops.convert_to_numpy(call(x)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.93])
def test_dropout_keeps_the_share_it_should_and_the_mean(rate):
    layer, shape = Dropout(rate, seed=3), (211, 103, 7)
    found = ops.convert_to_numpy(layer(ops.ones(shape, "float32"), training=True))
    kept, count = found > 0, found.size
    share = 1 - round(rate * 65536) / 65536
    np.testing.assert_allclose(found[kept], 1 / share, rtol=1e-6)
    assert abs(kept.mean() - share) < 4.5 * math.sqrt(rate * (1 - rate) / count)
    flat = kept.ravel()
    for step in (1, 2, 7):  # of neighbours both are kept as often as if they were independent
        both = (flat[:-step] & flat[step:]).mean()
        assert abs(both - share**2) < 6 * math.sqrt(share**2 * (1 - share**2) / count)


def test_dropout_draws_anew_every_time_and_the_same_from_the_same_seed():
    x = np.ones((13, 17), "float32")
    one, other = Dropout(0.4, seed=5), Dropout(0.4, seed=5)
    first, second = (ops.convert_to_numpy(one(x, training=True)) for _ in range(2))
    assert (first != second).any()
    np.testing.assert_array_equal(first, other(x, training=True))


def test_dropout_passes_the_gradient_where_it_kept(rng):
    x = rng.normal(size=(11, 5)).astype("float32")
    kept = ops.convert_to_numpy(Dropout(0.4, seed=5)(np.ones_like(x), training=True))
    layer = Dropout(0.4, seed=5)
    np.testing.assert_allclose(gradient(lambda x: ops.sum(layer(x, training=True)), x), kept, rtol=1e-6)


def test_dropout_does_nothing_outside_of_training_or_at_rate_0(rng):
    x = rng.normal(size=(3, 5)).astype("float32")
    np.testing.assert_array_equal(Dropout(0.4)(x), x)
    np.testing.assert_array_equal(Dropout(0.0)(x, training=True), x)
    assert not np.any(ops.convert_to_numpy(Dropout(1.0)(x, training=True)))
