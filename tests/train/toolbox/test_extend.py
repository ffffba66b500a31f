"""`extend` against its equations in float64, against bert4keras, and in its combinations."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from nlptasks.backend import compile_train_step
from nlptasks.bert4keras.optimizers import Adam as OldAdam
from nlptasks.errors import UserError
from nlptasks.train.adam import Adam
from nlptasks.train.averages import averaged_weights
from nlptasks.train.optimizers import Lamb, PiecewiseLinear, WarmupLinearDecay
from nlptasks.train.toolbox.extending import extend
from nlptasks.train.toolbox.kinds import Tiger
from tests.golden import toolbox_cases as golden

SHAPES = {"embeddings/token/embeddings": (7, 3), "block_0/kernel": (3, 5), "block_0/bias": (5,)}
STEPS, RATE = 7, 0.05


def start():
    random = np.random.default_rng(1)
    return {path: random.normal(0, 0.5, shape).astype("float32") for path, shape in SHAPES.items()}


def gradients():
    """For each step one by path; rows 1 and 4 of the embedding never have one, row 2 only in the third step."""
    random = np.random.default_rng(2)
    found = [
        {path: random.normal(0, 1, shape).astype("float32") for path, shape in SHAPES.items()} for _ in range(STEPS)
    ]
    for step, row in enumerate(found):
        row["embeddings/token/embeddings"][[1, 4] if step == 2 else [1, 2, 4]] = 0
    return found


def weights(values=None):
    """Variables with these paths."""
    found = []
    for path, value in (values or start()).items():
        variable = keras.Variable(value, name=path.split("/")[-1])
        variable._path = path
        found.append(variable)
    return found


def run(optimizer, rows=None, between=None):
    """The weights after each step."""
    variables, seen = weights(), []
    optimizer.build(variables)
    for row in rows or gradients():
        given = [ops.convert_to_tensor(row[path]) for path in SHAPES]
        if keras.backend.backend() == "jax":  # as a compiled step does
            values, slots = optimizer.stateless_apply(
                [v.value for v in optimizer.variables], given, [v.value for v in variables]
            )
            for variable, value in zip([*variables, *optimizer.variables], [*values, *slots], strict=True):
                variable.assign(value)
        else:
            optimizer.apply(given)
        seen.append({path: ops.convert_to_numpy(v.value) for path, v in zip(SHAPES, variables, strict=True)})
    return seen


class Reference:
    """Adam in float64 with the extensions, as the papers write them."""

    def __init__(self, decay=0.0, adapted=False, factors=None, multiplier=lambda t: 1.0, lazy=False):
        self.decay, self.adapted, self.factors = decay, adapted, factors or {}
        self.multiplier, self.lazy = multiplier, lazy
        self.weights = {path: value.astype("float64") for path, value in start().items()}
        self.m = {path: np.zeros_like(value) for path, value in self.weights.items()}
        self.v = {path: np.zeros_like(value) for path, value in self.weights.items()}
        self.t = 0

    def step(self, row):
        rate, self.t = RATE * self.multiplier(self.t), self.t + 1
        for path, w in self.weights.items():
            g, own = row[path].astype("float64"), rate * self.factors.get(path, 1.0)
            moves = np.ones(w.shape, bool)
            if self.lazy and "embeddings" in path:
                moves = np.broadcast_to((g != 0).any(-1, keepdims=True), w.shape)
            self.m[path] = np.where(moves, 0.9 * self.m[path] + 0.1 * g, self.m[path])
            self.v[path] = np.where(moves, 0.999 * self.v[path] + 0.001 * g * g, self.v[path])
            # Keras' epsilon stands beside the uncorrected root
            correction = np.sqrt(1 - 0.999**self.t) / (1 - 0.9**self.t)
            u = correction * self.m[path] / (np.sqrt(self.v[path]) + 1e-7)
            usual = not path.endswith("bias")
            u = u + (self.decay * w if usual else 0)
            if self.adapted and usual:
                u = u * np.linalg.norm(w) / np.linalg.norm(u)
            self.weights[path] = w - np.where(moves, own * u, 0)
        return {path: value.copy() for path, value in self.weights.items()}


def adam():
    return Adam(RATE)


def assert_equal(found, expected, rtol=1e-4, atol=2e-6):
    for step, (row, other) in enumerate(zip(found, expected, strict=True)):
        for path in SHAPES:
            np.testing.assert_allclose(row[path], other[path], rtol=rtol, atol=atol, err_msg=f"{step} {path}")


CASES = {
    "nothing": ({}, {}),
    "decay": ({"weight_decay": 0.1}, {"decay": 0.1}),
    "adaptation": ({"weight_decay": 0.1, "layer_adaptation": True}, {"decay": 0.1, "adapted": True}),
    "schedule": ({"piecewise_lr": {0: 1, 4: 0.5}}, {"multiplier": lambda t: max(0.5, 1 - t / 8)}),
    "rates": (
        {"rates": {"embeddings*": 0.1, "block_0/*": 0.5}, "weight_decay": 0.1},
        {
            "factors": dict.fromkeys(SHAPES, 0.5) | {"embeddings/token/embeddings": 0.1},
            "decay": 0.1,
        },
    ),
    "layers": (
        {"layer_decay": 0.5},
        {"factors": dict.fromkeys(SHAPES, 0.5) | {"embeddings/token/embeddings": 0.25}},
    ),
    "lazy": ({"lazy": ("token/embeddings",), "weight_decay": 0.1}, {"lazy": True, "decay": 0.1}),
}


@pytest.mark.parametrize("name", CASES)
def test_updates_are_those_of_the_equations(name):
    given, reference = CASES[name]
    reference = Reference(**reference)
    assert_equal(run(extend(adam(), **given)), [reference.step(row) for row in gradients()])


def test_an_extension_of_nothing_is_the_optimizer_bit_for_bit():
    found, plain = run(extend(adam()))[-1], run(adam())[-1]
    assert all((found[path] == plain[path]).all() for path in SHAPES)


def test_accumulated_batches_make_one_update_of_their_mean_and_are_not_counted():
    rows = gradients()[:6]
    optimizer = extend(adam(), accumulate=3, piecewise_lr={0: 1, 1: 0.5}, weight_decay=0.1)
    found = run(optimizer, rows)
    means = [{path: np.mean([row[path] for row in rows[i : i + 3]], 0) for path in SHAPES} for i in (0, 3)]
    reference = Reference(decay=0.1, multiplier=lambda t: 1 - t / 2)
    expected = [reference.step(row) for row in means]
    first = start()
    assert_equal(found, [first, first, expected[0], expected[0], expected[0], expected[1]])
    assert int(ops.convert_to_numpy(optimizer.iterations)) == 2


def test_lookahead_begins_with_the_weights_and_keeps_the_moments():
    optimizer, reference = extend(adam(), lookahead=3, lookahead_rate=0.25), Reference()
    slow, expected = {path: value.astype("float64") for path, value in start().items()}, []
    for step, row in enumerate(gradients(), 1):
        fast = reference.step(row)
        if step % 3 == 0:
            slow = {path: slow[path] + 0.25 * (fast[path] - slow[path]) for path in SHAPES}
            reference.weights = {path: value.copy() for path, value in slow.items()}
        expected.append({path: value.copy() for path, value in reference.weights.items()})
    assert_equal(run(optimizer), expected)
    assert_equal([dict(zip(SHAPES, map(ops.convert_to_numpy, optimizer.kept_weights()), strict=True))], [slow])


def test_the_average_weighs_all_updates_alike_from_the_first_on():
    optimizer, reference = extend(adam(), average=0.9), Reference()
    run(optimizer)
    weights = [reference.step(row) for row in gradients()]
    shares = 0.1 * 0.9 ** np.arange(STEPS)[::-1]
    expected = {path: sum(s * w[path] for s, w in zip(shares, weights, strict=True)) / shares.sum() for path in SHAPES}
    assert_equal([dict(zip(SHAPES, map(ops.convert_to_numpy, optimizer.kept_weights()), strict=True))], [expected])


def test_tiger_and_kerass_lion_follow_their_equations():
    rows = gradients()
    for optimizer, beta_1, beta_2 in ((Tiger(RATE, 0.8), 0.8, 0.8), (keras.optimizers.Lion(RATE), 0.9, 0.99)):
        found = run(optimizer)
        for path, w in start().items():
            m, w = np.zeros(w.shape), w.astype("float64")
            for step, row in enumerate(rows):
                g = row[path].astype("float64")
                w = w - RATE * np.sign(beta_1 * m + (1 - beta_1) * g)
                m = beta_2 * m + (1 - beta_2) * g
                np.testing.assert_allclose(found[step][path], w, atol=1e-6)
    relative, w = run(Tiger(RATE, relative=True))[0], start()
    size = np.sqrt(np.mean(w["block_0/kernel"] ** 2))
    assert np.abs(relative["block_0/kernel"] - w["block_0/kernel"]).max() == pytest.approx(RATE * size, rel=1e-4)
    assert np.abs(relative["block_0/bias"] - w["block_0/bias"]).max() == pytest.approx(RATE * 0.5, rel=1e-4)


def test_kerass_adafactor_follows_its_paper():
    found = run(keras.optimizers.Adafactor(RATE, relative_step=False))
    for path, w in start().items():
        w, r, c, v = w.astype("float64"), 0.0, 0.0, 0.0
        for t, row in enumerate(gradients(), 1):
            g2, beta = row[path].astype("float64") ** 2 + 1e-30, 1 - t**-0.8
            if w.ndim > 1:
                r, c = beta * r + (1 - beta) * g2.mean(-1), beta * c + (1 - beta) * g2.mean(-2)
                v = np.outer(r, c) / r.mean()
            else:
                v = beta * v + (1 - beta) * g2
            u = row[path] / np.sqrt(v)
            u = u / max(1.0, np.sqrt(np.mean(u**2)))
            w = w - max(1e-3, np.sqrt(np.mean(w**2))) * min(RATE, t**-0.5) * u
            np.testing.assert_allclose(found[t - 1][path], w, rtol=2e-4, atol=1e-5)


def test_the_extended_lamb_is_ours():
    options = {"weight_decay": 0.1, "layer_adaptation": True}
    found = run(extend(keras.optimizers.Adam(RATE, epsilon=1e-10), **options))
    lamb = run(Lamb(RATE, epsilon=1e-10, weight_decay_rate=0.1))
    assert_equal(found, lamb, rtol=2e-3, atol=1e-4)


# Saved and resumed


EVERYTHING = {
    "weight_decay": 0.1,
    "piecewise_lr": {0: 1, 4: 0.5},
    "rates": {"block_0/*": 0.5},
    "accumulate": 2,
    "lookahead": 2,
    "lazy": ("token/embeddings",),
}


def test_state_put_into_a_new_optimizer_of_the_same_config_goes_on_bit_for_bit():
    rows = gradients()
    optimizer = extend(adam(), **EVERYTHING)
    config = optimizer.get_config()
    whole = run(optimizer, rows)
    half, variables = extend(adam(), **EVERYTHING), weights()
    half.build(variables)
    again = type(half).from_config(config)
    assert again.get_config() == config
    others = weights()
    again.build(others)
    for row in rows[:3]:
        half.apply([ops.convert_to_tensor(row[path]) for path in SHAPES])
    for new, old in zip([*others, *again.variables], [*variables, *half.variables], strict=True):
        new.assign(ops.copy(old.value))
    for row in rows[3:]:
        again.apply([ops.convert_to_tensor(row[path]) for path in SHAPES])
    for path, variable in zip(SHAPES, others, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable.value), whole[-1][path])


# In a compiled step


def embedded():
    keras.utils.set_random_seed(3) if keras.backend.backend() == "tensorflow" else None
    layers = [keras.layers.Embedding(11, 4, name="token"), keras.layers.Dense(1, name="head")]
    model = keras.Sequential([keras.Input((3,), dtype="int32"), *layers])
    random = np.random.default_rng(4)
    model.set_weights([random.normal(0, 1, w.shape) for w in model.get_weights()])
    return model


def trained(optimizer, ids):
    model = embedded()
    step = compile_train_step(model, optimizer, lambda batch: ops.mean(ops.square(model(batch) - 1.0)))
    for row in ids:
        step(row)
    return model.get_weights()


@pytest.mark.parametrize("base", [lambda: Adam(RATE), lambda: keras.optimizers.SGD(RATE, momentum=0.9)])
def test_rows_without_a_gradient_stay_in_a_compiled_step_and_repeated_rows_are_summed(base):
    ids = [np.array([[1, 1, 2]], "int32"), np.array([[2, 3, 2]], "int32")]
    lazy = trained(extend(base(), lazy=("embeddings",), weight_decay=0.1), ids)[0]
    first = embedded().get_weights()[0]
    unused = [row for row in range(11) if row not in (1, 2, 3)]
    np.testing.assert_array_equal(lazy[unused], first[unused])
    plain = trained(extend(base(), weight_decay=0.1), ids)[0]
    assert np.abs(lazy[2] - plain[2]).max() < 1e-6  # moves in both steps
    assert np.abs(lazy[1] - first[1]).max() > 1e-3
    assert np.abs(lazy[1] - plain[1]).max() > 1e-3  # the second step has no gradient of it
    assert np.abs(plain[unused] - first[unused]).max() > 1e-5  # the decay of the plain one


@pytest.mark.once
def test_a_gradient_of_all_rows_is_told_of_once(caplog):
    run(extend(adam(), lazy=("token/embeddings",)))
    assert caplog.text.count("token/embeddings: its gradient has all rows (an output layer may share it)") == 1


def test_slow_weights_are_those_that_are_saved():
    model = embedded()
    optimizer = extend(Adam(RATE), lookahead=2)
    step = compile_train_step(model, optimizer, lambda batch: ops.mean(ops.square(model(batch) - 1.0)))
    for _ in range(3):
        step(np.array([[1, 2, 3]], "int32"))
    own = model.get_weights()
    with averaged_weights(model, optimizer):
        kept = model.get_weights()
    slow = [ops.convert_to_numpy(each) for each in optimizer.kept_weights()]
    assert all((a == b).all() for a, b in zip(kept, slow, strict=True))
    assert all((a == b).all() for a, b in zip(own, model.get_weights(), strict=True))
    assert not (own[0] == kept[0]).all()


@pytest.mark.parametrize("accumulated", [False, True])
def test_a_scaled_loss_makes_the_step_of_a_plain_one(accumulated):
    x, found = np.arange(8.0, dtype="float32").reshape(2, 4) / 8, []
    for factor in (None, 8.0):
        model = keras.Sequential([keras.layers.Dense(3)])
        model.build((None, 4))
        model.set_weights([np.ones((4, 3), "float32"), np.zeros(3, "float32")])
        optimizer = keras.optimizers.SGD(0.1, loss_scale_factor=factor)
        step = compile_train_step(model, optimizer, lambda batch: ops.mean(ops.square(model(batch) - 2.0)))  # noqa: B023
        loss = step([x, x], np.array([0.5, 0.5])) if accumulated else step(x)
        found.append((float(ops.convert_to_numpy(loss)), *model.get_weights()))
    for plain, scaled in zip(*found, strict=True):
        np.testing.assert_allclose(scaled, plain, rtol=1e-6)
    assert (found[0][1] != 1).all()


# What is refused


@pytest.mark.parametrize(
    ("optimizer", "given", "message"),
    [
        (adam, {"lookahead": 2, "average": 0.9}, "both say which weights are saved"),
        (lambda: Adam(0.1, use_ema=True), {"average": 0.9}, "the average of Adam and of extend do not go together"),
        (adam, {"lazy": ("x",), "layer_adaptation": True}, "layer adaptation needs the whole weight"),
        (lambda: Lamb(0.1), {"lazy": ("x",)}, "layer adaptation needs the whole weight"),
        (lambda: keras.optimizers.Lamb(0.1), {"lazy": ("x",)}, "layer adaptation needs the whole weight"),
        (lambda: Tiger(0.1, relative=True), {"lazy": ("x",)}, "layer adaptation needs the whole weight"),
        (lambda: Adam(0.1, loss_scale_factor=8.0), {"lazy": ("x",)}, "leave out the optimizer's loss_scale_factor"),
        (
            lambda: Adam(0.1, use_ema=True, ema_overwrite_frequency=2),
            {},
            "leave out the optimizer.s ema_overwrite",
        ),
        (adam, {"accumulate": 0}, "accumulate must be at least 1"),
        (adam, {"lookahead_rate": 0.0}, r"lookahead_rate must lie in \(0, 1\]"),
        (adam, {"rates": {"a": -1.0}}, "a: a factor of the rate is a number from 0 on"),
        (lambda: keras.optimizers.AdamW(0.1), {}, "weight decay of AdamW"),
        (lambda: keras.optimizers.Nadam(0.1), {}, "Nadam: does more in a step"),
        (lambda: keras.optimizers.Adafactor(0.1), {"layer_adaptation": True}, "layer adaptation of Adafactor"),
        (lambda: Lamb(0.1), {"weight_decay": 0.1}, "weight decay of Lamb"),
        (lambda: keras.optimizers.SGD(0.1, gradient_accumulation_steps=2), {}, "accumulation of SGD"),
        (lambda: Adam(WarmupLinearDecay(0.1, 0, 5)), {"piecewise_lr": {1: 1}}, "the schedule of Adam"),
        (lambda: Adam(PiecewiseLinear(0.1, {3: 1})), {"piecewise_lr": {1: 1}}, "the schedule of Adam"),
    ],
)
def test_what_makes_no_sense_is_refused(optimizer, given, message):
    with pytest.raises(UserError, match=message):
        extend(optimizer(), **given)


@pytest.mark.parametrize(
    ("optimizer", "given", "message"),
    [
        (adam, {"rates": {"nothing*": 2.0}}, r"nothing\*: fits no weight; the weights are embeddings/token"),
        (lambda: keras.optimizers.Adafactor(0.1), {"lazy": ("token/*",)}, "for each row alone. Received: Adafactor"),
    ],
)
def test_what_does_not_fit_the_model_is_refused_when_it_is_built(optimizer, given, message):
    with pytest.raises(UserError, match=message):
        extend(optimizer(), **given).build(weights())


# bert4keras


GOLDEN = {
    "decay": lambda: extend(OldAdam(golden.RATE), weight_decay=golden.DECAY),
    "rates": lambda: extend(OldAdam(golden.RATE), rates={f"*{name}*": f for name, f in golden.FACTORS.items()}),
    "average": lambda: extend(OldAdam(golden.RATE), average=golden.MOMENTUM),
    "lion": lambda: extend(keras.optimizers.Lion(golden.RATE, beta_1=0.95, beta_2=0.98)),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_updates_are_those_of_bert4keras(name):
    held = np.load(Path(__file__).parents[2] / "golden" / "toolbox.npz", allow_pickle=False)
    optimizer, variables, rows = GOLDEN[name](), weights(golden.weights()), golden.gradients()
    for step in range(golden.STEPS):
        optimizer.apply([ops.convert_to_tensor(rows[path][step]) for path in golden.SHAPES], variables)
        values = optimizer.kept_weights() or [variable.value for variable in variables]
        for path, found in zip(golden.SHAPES, values, strict=True):
            expected = held[f"{name}/{step}/{path}"]
            np.testing.assert_allclose(ops.convert_to_numpy(found), expected, rtol=1e-5, atol=1e-6, err_msg=path)
