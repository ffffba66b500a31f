"""Losses of several tasks: each strategy against its formula in float64, and what scales and constants change."""

import keras
import numpy as np
import pytest
from keras import ops

from nlptasks.backend import compile_train_step
from nlptasks.errors import UserError
from nlptasks.train.toolbox.strategies import ON_GRADIENTS, STRATEGIES
from nlptasks.train.toolbox.weighting import LossWeighting, gradient_shares, weighted_loss

LOSSES = np.array([0.7, 2.5, 0.1])
POINT = np.array([0.3, -0.8, 0.5])
TARGETS = np.array([[1.0, 0.2, -0.3], [-0.7, -1.5, 1.4]])
BENDS = np.array([[1.0, 0.5, 2.0], [0.3, 1.5, 0.7]])


def numpy_losses(w, scale=(1.0, 1.0), shift=(0.0, 0.0)):
    return np.array([s * (b * (w - t) ** 2).sum() + c for s, c, b, t in zip(scale, shift, BENDS, TARGETS, strict=True)])


def numpy_gradients(w, scale=(1.0, 1.0)):
    return np.array([s * 2 * b * (w - t) for s, b, t in zip(scale, BENDS, TARGETS, strict=True)])


@pytest.mark.parametrize(
    ("strategy", "given", "expected"),
    [
        ("fixed", {"weights": (1.0, 0.5, 3.0)}, (LOSSES * [1.0, 0.5, 3.0]).sum()),
        ("initial", {}, 3.0),
        ("prior", {"weights": (1.0, 0.5, 3.0)}, (LOSSES / [1.0, 0.5, 3.0]).sum()),
        ("real-time", {}, 3.0),
        ("generalized-mean", {"power": 3.0}, np.mean(LOSSES**3) ** (1 / 3)),
        ("generalized-mean", {"power": -1.0}, 3 / (1 / LOSSES).sum()),
        ("uncertainty", {}, LOSSES.sum() / 2),
    ],
)
def test_the_one_loss_is_that_of_its_formula(strategy, given, expected):
    weighting = LossWeighting(3, strategy, **given)
    found = float(ops.convert_to_numpy(weighting([ops.convert_to_tensor(x, "float32") for x in LOSSES])))
    assert found == pytest.approx(expected, rel=1e-5)
    if strategy == "initial":  # the first batch stays the measure
        again = weighting([ops.convert_to_tensor(2 * x, "float32") for x in LOSSES])
        assert float(ops.convert_to_numpy(again)) == pytest.approx(6.0, rel=1e-5)
    assert LossWeighting.from_config(weighting.get_config()).get_config() == weighting.get_config()


@pytest.mark.once
def test_learned_uncertainties_balance_the_losses():
    """At its best s_i = log L_i: half of the sum of 1 + log L_i is left."""
    weighting = LossWeighting(3, "uncertainty")
    weighting.log_variances.assign(np.log(LOSSES))
    found = weighting([ops.convert_to_tensor(x, "float32") for x in LOSSES])
    assert float(ops.convert_to_numpy(found)) == pytest.approx(0.5 * (1 + np.log(LOSSES)).sum(), rel=1e-5)


class Shared(keras.Model):
    def __init__(self, weighting):
        super().__init__()
        self.weighting = weighting
        self.point = self.add_weight(shape=(3,), initializer="zeros", name="point")
        self.point.assign(POINT)
        self.built = True

    def losses(self, batch):
        squares = []
        for i, (bend, target) in enumerate(zip(BENDS.astype("float32"), TARGETS.astype("float32"), strict=True)):
            square = ops.sum(bend * ops.square(self.point - target))
            squares.append(batch["scale"][i] * square + batch["shift"][i])
        return {"a": squares[0], "b": squares[1]}


def update(strategy, scale=(1.0, 1.0), shift=(0.0, 0.0), **given):
    """What a step of plain gradient descent takes away."""
    model = Shared(LossWeighting(2, strategy, **given))
    step = compile_train_step(model, keras.optimizers.SGD(1.0), weighted_loss(model, model.losses, model.weighting))
    step({"scale": np.array(scale, "float32"), "shift": np.array(shift, "float32")})
    return POINT - ops.convert_to_numpy(model.point)


def expected_update(strategy, w=POINT):
    losses, (a, b) = numpy_losses(w), numpy_gradients(w)
    if strategy in ("initial", "real-time"):
        return a / losses[0] + b / losses[1]
    if strategy == "generalized-mean":
        mean = np.mean(losses**2) ** 0.5
        return (losses[0] * a + losses[1] * b) / 2 / mean
    if strategy == "uncertainty":
        return (a + b) / 2
    if strategy == "normalized-gradients":
        return a / np.linalg.norm(a) + b / np.linalg.norm(b)
    if strategy == "pcgrad":
        assert a @ b < 0
        return a - a @ b / (b @ b) * b + b - a @ b / (a @ a) * a
    return a + b


@pytest.mark.parametrize("strategy", [each for each in STRATEGIES if each != "prior"])
def test_a_compiled_step_follows_the_formula(strategy):
    np.testing.assert_allclose(update(strategy), expected_update(strategy), rtol=1e-4, atol=1e-5)


def direction(x):
    return x / np.linalg.norm(x)


@pytest.mark.once
def test_which_strategies_are_blind_to_scales_and_constants():
    scale, shift = (7.0, 1.0), (3.0, 0.0)
    for strategy in ("initial", "real-time", "normalized-gradients"):
        np.testing.assert_allclose(direction(update(strategy, scale)), direction(update(strategy)), atol=1e-4)
    priors = update("prior", weights=(2.0, 1.0)), update("prior", scale, weights=(14.0, 1.0))
    np.testing.assert_allclose(priors[0], priors[1], rtol=1e-4)
    found = update("normalized-gradients", scale, shift)
    np.testing.assert_allclose(found, update("normalized-gradients"), atol=1e-4)
    assert np.abs(direction(update("real-time", shift=shift)) - direction(update("real-time"))).max() > 1e-2
    for strategy in ("fixed", "generalized-mean", "uncertainty", "pcgrad"):
        assert np.abs(direction(update(strategy, scale)) - direction(update(strategy))).max() > 1e-2, strategy


@pytest.mark.once
def test_gradients_that_agree_are_left_as_they_are():
    products = ops.convert_to_tensor([[2.0, 0.5], [0.5, 1.0]])
    np.testing.assert_allclose(ops.convert_to_numpy(gradient_shares("pcgrad", products)), [1.0, 1.0])


@pytest.mark.once
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"strategy": "best"}, "weighting must be one of fixed, initial"),
        ({"strategy": "prior"}, "the prior strategy needs the loss of one answer"),
        ({"strategy": "fixed", "weights": (1.0,)}, "weights must be 2 positive numbers"),
        ({"strategy": "generalized-mean", "power": 0.0}, "power must not be 0"),
    ],
)
def test_what_cannot_be_is_refused(given, message):
    assert set(ON_GRADIENTS) < set(STRATEGIES)
    with pytest.raises(UserError, match=message):
        LossWeighting(2, **given)
