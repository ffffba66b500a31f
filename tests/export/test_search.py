"""Choosing tokens on NumPy."""

import numpy as np
import pytest

from nlptasks.runtime.search import _top

pytestmark = pytest.mark.once


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_largest_come_first_and_of_equal_ones_the_first(count):
    draw = np.random.default_rng(0)
    values = draw.integers(0, 4, (50, 9)).astype("float32")  # many are equal
    values[draw.random(values.shape) < 0.5] = -np.inf
    values[0] = -np.inf
    assert np.array_equal(_top(values, count), np.argsort(-values, axis=1, kind="stable")[:, :count])
