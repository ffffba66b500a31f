"""Optimizers and schedules against bert4keras and against their definitions."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from nlptasks.train.optimizers import UNDECAYED, Lamb, PiecewiseLinear
from tests.golden.lamb_cases import DECAY, RATE, SCHEDULE, SHAPES, STEPS, gradients, weights

GOLDEN = Path(__file__).parents[1] / "golden" / "lamb.npz"


def variables_of(values):
    return [keras.Variable(value, name=path.replace("/", "_")) for path, value in values.items()]


@pytest.mark.parametrize(("name", "unadapted"), [("lamb", UNDECAYED), ("adamw", ("",))])
def test_updates_are_those_of_bert4keras(name, unadapted):
    golden = np.load(GOLDEN, allow_pickle=False)
    variables, rows = variables_of(weights()), gradients()
    optimizer = Lamb(PiecewiseLinear(RATE, SCHEDULE), weight_decay_rate=DECAY, exclude_from_layer_adaptation=unadapted)
    for step in range(STEPS):
        optimizer.apply([ops.convert_to_tensor(rows[path][step]) for path in SHAPES], variables)
        for path, variable in zip(SHAPES, variables, strict=True):
            expected = golden[f"{name}/{step}/{path}"]
            np.testing.assert_allclose(ops.convert_to_numpy(variable), expected, rtol=2e-6, atol=5e-7, err_msg=path)


def test_a_weight_moves_by_the_rate_times_its_own_length():
    """The first update of LAMB without decay: rate x |w|, whatever the gradient's size."""
    start = np.array([3.0, -4.0], "float32")
    for scale in (1e-3, 1.0, 1e3):
        (variable,) = variables_of({"kernel": start})
        Lamb(0.1, weight_decay_rate=0.0).apply([ops.convert_to_tensor(scale * start)], [variable])
        moved = np.linalg.norm(ops.convert_to_numpy(variable) - start)
        assert moved == pytest.approx(0.1 * 5.0, rel=1e-3 / scale if scale < 1 else 1e-5)


def test_a_schedule_is_linear_between_its_steps_and_constant_after_them():
    schedule = PiecewiseLinear(2.0, {10: 1.0, 30: 0.5})
    found = [float(schedule(step)) for step in (0, 5, 10, 20, 30, 1000)]
    np.testing.assert_allclose(found, [0.0, 1.0, 2.0, 1.5, 1.0, 1.0], rtol=1e-6)
    np.testing.assert_allclose([schedule.at(step) for step in (0, 5, 10, 20, 30, 1000)], found, rtol=1e-6)
    again = PiecewiseLinear.from_config(schedule.get_config())
    assert float(again(20)) == pytest.approx(1.5)
    assert float(PiecewiseLinear(1.0, {0: 0.25, 4: 0.75})(2)) == pytest.approx(0.5)


@pytest.mark.parametrize("points", [{}, {-1: 1.0}, {3: -0.5}, {3: float("nan")}])
def test_a_schedule_that_means_nothing_is_refused(points):
    with pytest.raises(ValueError, match="a schedule maps steps from 0 on to multipliers from 0 on"):
        PiecewiseLinear(1.0, points)


def test_the_optimizer_survives_its_config():
    optimizer = Lamb(0.5, weight_decay_rate=0.125, exclude_from_weight_decay=["x"], global_clipnorm=1.0)
    again = Lamb.from_config(optimizer.get_config())
    assert again.get_config() == optimizer.get_config()
    assert again.undecayed == ("x",)
