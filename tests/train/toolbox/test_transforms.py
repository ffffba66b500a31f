"""Transforms of gradients: their values, and what an optimizer makes of them."""

import keras
import numpy as np
import pytest
from keras import ops

from nlptasks.train.toolbox.extending import extend
from nlptasks.train.toolbox.transforms import centralized, clipped, frozen_until, noisy, normalized

GRADIENT = np.array([[3.0, -4.0], [0.5, 0.0], [-2.5, 1.0]], "float32")


def variable(value=GRADIENT, path="embeddings/kernel"):
    made = keras.Variable(np.zeros_like(value), name="kernel")
    made._path = path
    return made


def changed(transform, gradient=GRADIENT):
    return ops.convert_to_numpy(transform(ops.convert_to_tensor(gradient), variable(gradient)))


@pytest.mark.once
def test_values_are_clipped_centered_over_inputs_and_normalized():
    np.testing.assert_allclose(changed(clipped(1.0)), np.clip(GRADIENT, -1, 1))
    found = changed(centralized)
    np.testing.assert_allclose(found, GRADIENT - GRADIENT.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(changed(centralized, GRADIENT[0]), GRADIENT[0])  # a bias stays as it is
    assert np.linalg.norm(changed(normalized)) == pytest.approx(1.0, rel=1e-6)
    assert not changed(normalized, np.zeros_like(GRADIENT)).any()


def moves(transforms, steps):
    """What plain gradient descent takes away in each step."""
    weight, optimizer = variable(), extend(keras.optimizers.SGD(1.0), transforms=transforms)
    found, before = [], np.zeros_like(GRADIENT)
    for _ in range(steps):
        optimizer.apply([ops.convert_to_tensor(GRADIENT)], [weight])
        now = ops.convert_to_numpy(weight.value).copy()
        found.append(before - now)
        before = now
    return found, optimizer


def test_a_frozen_weight_waits_and_then_moves():
    found, _ = moves([frozen_until({"embeddings/*": 2, "other": 9})], 3)
    assert not found[0].any()
    assert not found[1].any()
    np.testing.assert_allclose(found[2], GRADIENT, rtol=1e-5)


def test_noise_has_its_variance_falls_and_its_seed_is_saved_with_the_optimizer():
    transform = noisy(scale=4.0, decay=1.0)
    wide = ops.zeros((200, 200))
    drawn = [ops.convert_to_numpy(transform.at(ops.convert_to_tensor(update), wide, None)) for update in (0, 3)]
    assert drawn[0].std() == pytest.approx(2.0, rel=0.02)
    assert drawn[1].std() == pytest.approx(1.0, rel=0.02)
    assert abs(np.corrcoef(drawn[0].ravel(), drawn[1].ravel())[0, 1]) < 0.05
    found, optimizer = moves([noisy(0.01)], 2)
    assert np.abs(found[0] - GRADIENT).max() > 1e-3
    assert any(each.shape == (2,) and "seed" in each.path for each in optimizer.variables)
