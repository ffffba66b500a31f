"""The studies in examples/generative: what is exact in them, and that each runs."""

import importlib
import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from tests.gradients import gradient, gradients

pytestmark = pytest.mark.once
FOLDER = Path(__file__).parents[2] / "examples" / "generative"
ON_DIGITS = ("o_gan", "ign", "glann", "gan", "cascading_rejection", "joint_kl")


@pytest.fixture(autouse=True)
def _beside_each_other(monkeypatch):
    """The files import what they share from their own folder, as they do when they are run."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and FOLDER in Path(str(sys.modules[name].__file__)).parents:
            del sys.modules[name]


def test_every_file_is_read_in_a_sitting_and_says_where_its_idea_is_from():
    files = sorted(FOLDER.glob("*.py"))
    assert len(files) == 10
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 250, path.name
        if path.stem != "shared_parts":
            assert "arXiv" in text.split('"""')[1], path.name
            assert f"examples/generative/{path.name}" in text.split('"""')[1]


# Dirac-GAN


@pytest.mark.parametrize("how", ["simultaneous", "alternating", "extragradient"])
@pytest.mark.parametrize("k", [0.0, 0.5])
def test_trajectories_of_linear_games_are_their_closed_forms(how, k):
    dirac = importlib.import_module("dirac_gan")
    path = dirac.trajectory(300, 0.1, how, regularizer="r1" if k else "none", k=k)
    assert path == pytest.approx(dirac.closed_form(300, 0.1, how, k), rel=1e-9, abs=1e-9)


def test_a_game_without_friction_orbits_or_leaves_and_with_it_arrives():
    dirac = importlib.import_module("dirac_gan")
    h = 0.1
    radius = np.hypot(*dirac.trajectory(50, h).T)
    assert radius[1:] / radius[:-1] == pytest.approx((1 + h * h) ** 0.5)
    radius = np.hypot(*dirac.trajectory(50, h, "extragradient").T)
    assert radius[1:] / radius[:-1] == pytest.approx((1 - h**2 + h**4) ** 0.5)
    a, b = dirac.trajectory(500, h, "alternating").T
    assert a * a + b * b - h * a * b == pytest.approx(1)
    for loss in ("wgan", "gan"):  # in continuous time, which small steps come near to, the radius stays
        assert np.hypot(*dirac.trajectory(2000, 1e-3, loss=loss)[-1]) == pytest.approx(1, abs=2e-3)
    for k in (0.0, 0.5):
        times = np.arange(4001) * 1e-3
        stepped = dirac.trajectory(4000, 1e-3, regularizer="r1" if k else "none", k=k)
        assert stepped == pytest.approx(dirac.continuous(times, k), abs=4e-3)
    ends = {name: values["radius"] for name, values in dirac.study(400).items()}
    assert ends["simultaneous, R1"] < ends["extragradient"] < ends["alternating, WGAN-div"] < ends["alternating"]
    assert ends["simultaneous"] > 1
    for k in (1.0, 1.5):
        assert dirac.trajectory(600, h, "alternating", regularizer="gp", k=k)[-1] == pytest.approx(
            [-2 * k, 0], abs=1e-3
        )
    moving = dirac.trajectory(2000, h, "alternating", regularizer="gp", k=0.5)[-200:]
    assert np.ptp(moving, axis=0).min() > 1


def test_the_study_of_dirac_gan_prints_its_table(capsys, tmp_path):
    assert importlib.import_module("dirac_gan").main(["--quick", "--picture", str(tmp_path / "a.png")]) == 0
    assert len(json.loads(capsys.readouterr().out.splitlines()[-1])) == 8
    assert (tmp_path / "a.png").stat().st_size > 1000


# Scores


def test_the_true_slope_is_that_of_the_density_of_noisy_data():
    study = importlib.import_module("denoising_score")
    random, s = np.random.default_rng(2), 0.7
    points, total = random.normal(0, 2, (5, 2)), study.VARIANCE + s * s

    def log_density(y):
        parts = [
            w * np.exp(-((y - c) ** 2).sum() / (2 * total)) for w, c in zip(study.WEIGHTS, study.CENTERS, strict=True)
        ]
        return np.log(sum(parts))

    for y, found in zip(points, study.true_score(points, s), strict=True):
        steps = 1e-5 * np.eye(2)
        slopes = [(log_density(y + d) - log_density(y - d)) / 2e-5 for d in steps]
        assert found == pytest.approx(slopes, rel=1e-5, abs=1e-6)
    shares = study.shares(study.drawn(random, 20_000))
    assert shares == pytest.approx(study.WEIGHTS, abs=0.01)


def test_langevin_with_the_true_slope_gets_the_shares_right_only_when_annealed():
    study = importlib.import_module("denoising_score")
    random = np.random.default_rng(4)
    levels = np.geomspace(study.MOST, study.LEAST, study.LEVELS)
    start = study.MOST * random.normal(size=(1500, 2))
    annealed = study.walk(start, study.true_score, levels, 60, random)
    stuck = study.walk(start, study.true_score, [study.LEAST], 200, random)
    off = [np.abs(study.shares(points) - study.WEIGHTS).sum() / 2 for points in (annealed, stuck)]
    assert off[0] < 0.05 < 0.12 < off[1]


def test_the_study_of_scores_runs(capsys):
    assert importlib.import_module("denoising_score").main(["--quick"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(found["relative error of the slope"]) == {"4.00", "1.05", "0.27", "0.10"}


def test_the_study_of_flows_runs_and_its_banana_has_the_density_that_it_says(capsys):
    study = importlib.import_module("flows")
    side = np.arange(-9, 60, 0.05)
    grid = np.stack(np.meshgrid(side[side < 9], side), axis=-1).reshape(-1, 2)
    assert np.exp(study.log_density_of_banana(grid)).sum() * 0.05**2 == pytest.approx(1, abs=1e-3)
    x, y = study.banana(np.random.default_rng(2), 20_000).T.astype("float64")
    assert (x.mean(), y.mean(), y.var()) == pytest.approx((0, 0, 3), abs=0.15)
    assert study.main(["--quick"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert all(one["way back off"] < 1e-4 for one in found.values())


# Parts


def test_a_frozen_network_passes_the_gradient_of_its_input_and_none_of_its_weights():
    parts = importlib.import_module("shared_parts")
    network = parts.perceptron((3, 4, 2))
    x = np.random.default_rng(1).normal(0, 1, (5, 3)).astype("float32")
    assert ops.convert_to_numpy(parts.frozen(network, x)) == pytest.approx(ops.convert_to_numpy(network(x)))
    by_input = gradient(lambda a: ops.sum(ops.square(parts.frozen(network, a))), x)
    assert by_input == pytest.approx(gradient(lambda a: ops.sum(ops.square(network(a))), x), rel=1e-5, abs=1e-6)
    plain = gradients(lambda: ops.sum(network(x)), network.trainable_variables)
    both = gradients(
        lambda: ops.sum(network(x)) + ops.sum(ops.square(parts.frozen(network, x))), network.trainable_variables
    )
    assert all(a == pytest.approx(b, abs=1e-6) for a, b in zip(both, plain, strict=True))


def test_noise_has_the_mean_and_covariance_of_the_pictures_that_it_is_like():
    study, random = importlib.import_module("ign"), np.random.default_rng(3)
    pictures = (random.normal(0, 1, (500, 3)) @ [[1, 0.5, 0], [0, 1, 0], [0, 0, 0.2]] + [1, 2, 3]).astype("float32")
    drawn = study.noise_like(pictures)(random, 40_000)
    assert drawn.mean(axis=0) == pytest.approx(pictures.mean(axis=0), abs=0.03)
    assert np.cov(drawn, rowvar=False) == pytest.approx(np.cov(pictures, rowvar=False), abs=0.04)


def test_precision_and_recall_fail_noise_and_a_constant():
    parts = importlib.import_module("shared_parts")
    random = np.random.default_rng(3)
    data = random.normal(0, 1, (300, 4)) * [1, 1, 0.05, 0.05]
    same = random.normal(0, 1, (300, 4)) * [1, 1, 0.05, 0.05]
    precision, recall = parts.precision_and_recall(data, same)
    assert min(precision, recall) > 0.8
    assert parts.precision_and_recall(data, random.normal(0, 3, (300, 4)))[0] < 0.2
    assert parts.precision_and_recall(data, np.repeat(data[:1], 300, axis=0))[1] < 0.1
    a = random.normal(0, 1, (6, 9))
    assert parts.correlation(a, 3 * a + 1) == pytest.approx(1)
    assert parts.correlation(a, -a) == pytest.approx(-1)


def test_each_rejection_is_orthogonal_to_the_vector_before_it():
    study = importlib.import_module("cascading_rejection")
    layer = study.CascadingRejection(3)
    v = np.random.default_rng(2).normal(0, 1, (4, 7)).astype("float32")
    layer.build((None, 7))
    parts = [ops.convert_to_numpy(part) for part in layer.parts(ops.convert_to_tensor(v))]
    kernels = [ops.convert_to_numpy(w) for w in layer.kernels]
    for i, part in enumerate(parts[1:]):
        assert part @ kernels[i] == pytest.approx(0, abs=1e-5)
    scores = ops.convert_to_numpy(layer(v))
    assert scores == pytest.approx(
        np.concatenate([p @ w for p, w in zip(parts, kernels, strict=True)], axis=1), abs=1e-5
    )
    u = kernels[0] / np.linalg.norm(kernels[0])
    assert parts[1] == pytest.approx(v - v @ u @ u.T, abs=1e-5)


def test_kernels_of_a_spectral_critic_stay_within_one():
    study = importlib.import_module("gan")
    kernel = np.random.default_rng(2).normal(0, 1, (3, 3, 2, 5)).astype("float32")
    held = ops.convert_to_numpy(study.AtMostOne()(keras.Variable(kernel))).reshape(-1, 5)
    assert 0.9 < np.linalg.norm(held, 2) <= 1 + 1e-6
    small = (0.01 * kernel).astype("float32")
    assert ops.convert_to_numpy(study.AtMostOne()(keras.Variable(small))) == pytest.approx(small)


def test_the_vectors_of_rejections_stay_within_one_as_the_single_one_does():
    layer = importlib.import_module("cascading_rejection").CascadingRejection(2)
    layer.build((None, 7))
    far = [np.ones((7, 1), "float32"), -np.ones((7, 1), "float32")]
    keras.optimizers.SGD(9.0).apply([ops.convert_to_tensor(g) for g in far], layer.kernels)
    assert [np.linalg.norm(ops.convert_to_numpy(w)) for w in layer.kernels] == pytest.approx([1, 1], abs=1e-3)


def test_penalties_are_those_of_the_slopes_of_the_critic():
    study = importlib.import_module("gan")
    weights = np.random.default_rng(2).normal(0, 0.3, (64, 1)).astype("float32")
    x, made = np.random.default_rng(3).normal(0, 1, (2, 6, 64)).astype("float32")
    batch = {"x": x, "between": np.full((6, 1), 0.3, "float32")}
    length = np.linalg.norm(weights)

    def critic(a):
        return ops.matmul(a, weights)

    def found(regularizer):
        r, f = critic(x), critic(made)
        return ops.convert_to_numpy(study.penalty(critic, regularizer, batch, made, r, f))

    assert found("gp") == pytest.approx(np.full((6, 1), 10 * (length - 1) ** 2), rel=1e-4)
    assert found("div") == pytest.approx(np.full((6, 1), 2 * length**6), rel=1e-4)
    assert found("r1") == pytest.approx(np.full((6, 1), length**2), rel=1e-4)
    distance = np.abs(x - made).mean(axis=1, keepdims=True)
    assert found("qp") == pytest.approx(((x - made) @ weights) ** 2 / (20 * distance), rel=1e-3)
    assert study.penalty(critic, "none", batch, made, 0, 0) == 0.0


# Studies on digits, which are invented here where scikit-learn is not installed


def invented():
    """As `digits`: ten pictures, each many times with noise."""
    parts = importlib.import_module("shared_parts")
    random = np.random.default_rng(7)
    labels = np.arange(400) % 10
    means = np.sign(random.normal(0, 1, (10, 64)))
    pictures = np.clip(0.8 * means[labels] + random.normal(0, 0.15, (400, 64)), -1, 1).astype("float32")
    return parts.Digits(pictures[:300], labels[:300], pictures[300:], labels[300:])


@pytest.mark.parametrize("name", ON_DIGITS)
def test_a_study_on_digits_runs(name, capsys, monkeypatch):
    study = importlib.import_module(name)
    monkeypatch.setattr(study, "digits", invented)
    assert study.main(["--quick"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])


def test_neither_the_identity_nor_a_constant_passes_as_an_idempotent_generator():
    study, parts = importlib.import_module("ign"), importlib.import_module("shared_parts")
    data, random = invented(), np.random.default_rng(0)
    identity = study.verdict(lambda x: x, data, random)
    constant = study.verdict(lambda x: np.repeat(data.train[:1], len(x), axis=0), data, random)
    flat = study.verdict(study.flat(data.train, 5), data, random)
    memory = study.verdict(lambda x: data.train[parts.distances(x, data.train).argmin(axis=1)], data, random)
    assert not identity["passes"]
    assert not constant["passes"]
    assert not flat["passes"]
    assert flat["idempotence"] == pytest.approx(1)
    assert identity["reconstruction"] == pytest.approx(1)
    assert identity["precision"] < 0.05
    assert constant["recall"] < 0.2
    assert memory["idempotence"] == pytest.approx(1)  # the nearest picture is a projection
    assert memory["passes"]


def test_the_digits_are_those_of_scikit_learn():
    pytest.importorskip("sklearn", reason="the studies show scikit-learn's digits; it is not installed")
    parts = importlib.import_module("shared_parts")
    data = parts.digits()
    assert (data.train.shape, data.held_out.shape) == ((1500, 64), (297, 64))
    assert (data.train.min(), data.train.max()) == (-1, 1)
    assert 0.8 < parts.correlation(data.held_out, parts.class_means(data)) < 0.86
