"""Old optimizers make bert4keras' updates, in the order in which scripts nest them."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from nlptasks.bert4keras import optimizers as old
from nlptasks.bert4keras.backend import piecewise_linear
from nlptasks.train.toolbox.extended import Extended
from tests.golden import lamb_cases
from tests.golden import toolbox_cases as cases

GOLDEN = Path(__file__).parents[1] / "golden"
DECAY = {"weight_decay_rate": cases.DECAY}
RATES = {"paramwise_lr_schedule": cases.FACTORS}
KINDS = {
    "decay": (old.extend_with_weight_decay(old.Adam), DECAY | {"exclude_from_weight_decay": ["bias"]}),
    "rates": (old.extend_with_parameter_wise_lr(old.Adam), RATES),
    "average": (old.extend_with_exponential_moving_average_v2(old.Adam), {"ema_momentum": cases.MOMENTUM}),
    "lion": (old.LionV2, {}),
    "rates of decay": (old.extend_with_parameter_wise_lr(old.extend_with_weight_decay(old.Adam)), DECAY | RATES),
    "decay of rates": (old.extend_with_weight_decay(old.extend_with_parameter_wise_lr(old.Adam)), DECAY | RATES),
    "decay of schedule": (
        old.extend_with_weight_decay(old.extend_with_piecewise_linear_lr(old.Adam)),
        DECAY | {"lr_schedule": cases.SCHEDULE},
    ),
    "lazy": (old.extend_with_lazy_optimization(old.Adam), {"include_in_lazy_optimization": ["embeddings"]}),
    "uncorrected": (old.Adam, {"bias_correction": False}),
    "adafactor": (
        old.AdaFactor,
        {"beta1": 0.5, "min_dim_size_to_factor": cases.FACTORED, "exclude_from_parameter_scale": ["bias"]},
    ),
    "own rate": (old.AdaFactor, {"learning_rate": None, "beta2": 0.9}),
}


def variables_of(values):
    """Variables with these paths."""
    found = []
    for path, value in values.items():
        variable = keras.Variable(value, name=path.split("/")[-1])
        variable._path = path
        found.append(variable)
    return found


def steps(optimizer, values, rows):
    """The weights after each step, by path; where the optimizer keeps an average, that."""
    variables = variables_of(values)
    for step in range(len(next(iter(rows.values())))):
        optimizer.apply([ops.convert_to_tensor(rows[path][step]) for path in values], variables)
        averages = hasattr(optimizer, "apply_ema_weights")
        if averages:
            own = [ops.convert_to_numpy(variable.value) for variable in variables]
            optimizer.apply_ema_weights()
        yield {path: np.array(ops.convert_to_numpy(v.value)) for path, v in zip(values, variables, strict=True)}
        if averages:
            optimizer.reset_old_weights()
            assert all((ops.convert_to_numpy(v.value) == o).all() for v, o in zip(variables, own, strict=True))


def assert_recorded(found, held, name, atol=1e-6):
    for step, row in enumerate(found):
        for path, value in row.items():
            expected = held[f"{name}/{step}/{path}"]
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=atol, err_msg=f"{step} {path}")


@pytest.mark.parametrize("name", KINDS)
def test_updates_are_those_of_bert4keras(name):
    kind, settings = KINDS[name]
    optimizer = kind(**{"learning_rate": cases.RATE} | settings)
    rows = cases.gradients_of_rows() if name == "lazy" else cases.gradients()
    atol = (
        5e-6 if name == "uncorrected" else 1e-6
    )  # 1 - beta_2 is .0010000467 there, in float32; no correction cancels it
    assert_recorded(steps(optimizer, cases.weights(), rows), np.load(GOLDEN / "toolbox.npz"), name, atol)


def test_every_case_that_is_recorded_has_its_old_name():
    assert set(KINDS) == {*cases.CASES, *cases.NESTED}
    made = [value for name, value in vars(old).items() if name.startswith("extend_with_")]
    assert len(made) == 16
    assert all(issubclass(extend(old.Adam), Extended) for extend in made)


@pytest.mark.parametrize(("name", "unadapted"), [("lamb", ["bias", "gamma"]), ("adamw", [""])])
def test_lamb_out_of_three_extensions_is_that_of_bert4keras(name, unadapted):
    adapted = old.extend_with_layer_adaptation(old.extend_with_weight_decay(old.Adam))
    kind = old.extend_with_piecewise_linear_lr(adapted, name="Lamb")
    optimizer = kind(
        learning_rate=lamb_cases.RATE,
        weight_decay_rate=lamb_cases.DECAY,
        exclude_from_weight_decay=["bias", "gamma"],
        exclude_from_layer_adaptation=unadapted,
        lr_schedule=lamb_cases.SCHEDULE,
    )
    assert (kind.__name__, optimizer.name, optimizer.lr_schedule) == ("Lamb", "Lamb", lamb_cases.SCHEDULE)
    found = steps(optimizer, lamb_cases.weights(), lamb_cases.gradients())
    assert_recorded(found, np.load(GOLDEN / "lamb.npz"), name)


@pytest.mark.once
def test_an_extended_optimizer_comes_back_from_its_config():
    kind = old.extend_with_lookahead(old.extend_with_gradient_accumulation(old.extend_with_weight_decay(old.AdaFactor)))
    given = {"learning_rate": None, "beta2": 0.9, "grad_accum_steps": 3, "slow_step_size": 0.25, "clipvalue": 0.5}
    optimizer = kind(**given, exclude_from_weight_decay=["bias"])
    config = optimizer.get_config()
    assert {name: config[name] for name in given} == given
    again = kind.from_config(config)
    assert again.get_config() == config
    rows = cases.gradients()
    both = [list(steps(each, cases.weights(), rows)) for each in (optimizer, again)]
    for one, other in zip(*both, strict=True):
        assert all((one[path] == other[path]).all() for path in one)
    assert int(ops.convert_to_numpy(optimizer.iterations)) == len(both[0]) // 3
    scheduled = old.extend_with_weight_decay(old.Adam)(keras.optimizers.schedules.PolynomialDecay(0.1, 5))
    rate = type(scheduled).from_config(scheduled.get_config())._learning_rate
    assert rate.initial_learning_rate == 0.1


@pytest.mark.once
def test_old_arguments_and_names_are_understood():
    optimizer = old.extend_with_weight_decay(old.keras.optimizers.Adam, "AdamW")(lr=0.25)
    assert (optimizer.name, optimizer.weight_decay_rate) == ("AdamW", 0.01)
    assert float(ops.convert_to_numpy(optimizer.lr)) == 0.25
    assert keras.saving.get_custom_objects()["AdamW"] is type(optimizer)
    assert (old.Adam(lr=0.5).name, old.LionV2().beta_2) == ("Adam", 0.98)
    with pytest.raises(ValueError, match="weight decay of AdamW and of extend do not go together"):
        old.extend_with_lookahead(keras.optimizers.AdamW)(0.1)


@pytest.mark.once
def test_a_schedule_is_linear_between_its_points():
    assert [float(piecewise_linear(t, {2: 1, 4: 0.5})) for t in range(6)] == [0.0, 0.5, 1.0, 0.75, 0.5, 0.5]
    assert [float(piecewise_linear(t, {2: 1, 4: 0.5}, from_zero=False)) for t in (0, 1, 3)] == [1.0, 1.0, 0.75]
