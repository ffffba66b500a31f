"""The angles of random vectors: values by hand, by integration, and by drawing them."""

import math

import numpy as np
import pytest

from nlptasks.metrics.angles import (
    angle_moments,
    chance_among,
    kolmogorov_distance,
    log_density,
    log_tail,
    tail,
)

pytestmark = pytest.mark.once
COSINES = np.array([-1, -0.73, -0.2, 0, 0.11, 0.5, 0.93, 1])


def test_in_two_dimensions_the_angle_is_uniform_and_in_three_the_cosine():
    assert tail(COSINES, 2) == pytest.approx(np.arccos(COSINES) / math.pi, abs=1e-12)
    assert tail(COSINES, 3) == pytest.approx((1 - COSINES) / 2, abs=1e-12)
    assert angle_moments(2) == pytest.approx((math.pi / 2, math.pi**2 / 12), rel=1e-12)
    assert angle_moments(3)[1] == pytest.approx(math.pi**2 / 4 - 2, rel=1e-12)


@pytest.mark.parametrize("dimension", [5, 7.4, 31, 256.7])
def test_tail_and_variance_are_the_integrals_of_the_density(dimension):
    # cosine = sin(t): the integrand is smooth up to the ends
    t = np.linspace(-math.pi / 2, math.pi / 2, 200_001)
    density = np.exp(log_density(np.sin(t), dimension)) * np.cos(t)
    steps = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * (t[1] - t[0]))])
    assert steps[-1] == pytest.approx(1, abs=1e-8)
    upper = np.interp(np.arcsin(COSINES), t, steps[-1] - steps)
    assert tail(COSINES, dimension) == pytest.approx(upper, abs=1e-8)
    assert angle_moments(dimension)[1] == pytest.approx((density * t**2).sum() * (t[1] - t[0]), rel=1e-6)


def test_a_tail_that_no_number_holds_has_a_logarithm():
    n, cosine = 4001, 0.9
    # the integral of (1 - c^2)^((n - 3) / 2) from 0.9 on, to first order in 1 / n
    first_order = log_density(np.array([cosine]), n)[0] + math.log((1 - cosine**2) / ((n - 3) * cosine))
    assert tail(np.array([cosine]), n)[0] == 0
    assert log_tail(np.array([cosine]), n)[0] == pytest.approx(first_order, abs=1e-3)


def test_p_values_of_random_directions_are_uniform():
    draw = np.random.default_rng(3)
    first, second = draw.normal(size=(2, 20_000, 17))
    cosines = (first * second).sum(axis=1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    assert kolmogorov_distance(tail(cosines, 17)) < 1.63 / math.sqrt(20_000)  # 1 % level
    assert kolmogorov_distance(tail(cosines, 23)) > 0.02


def test_distance_and_chance_by_hand():
    assert kolmogorov_distance(np.array([0.5, 0.9])) == pytest.approx(0.5)
    assert kolmogorov_distance(np.array([0.25, 0.5])) == pytest.approx(0.5)
    assert chance_among(np.log([0.5, 1e-20, 1.0]), 3) == pytest.approx([0.875, 3e-20, 1.0], rel=1e-9)


def test_one_dimension_has_no_angles():
    with pytest.raises(ValueError, match=r"a dimension above 1. Received: 1"):
        tail(COSINES, 1)
