"""Losses over groups: equal to a float64 evaluation, finite where cosines are +-1, and unbiased when sampled."""

import itertools
import math

import keras
import numpy as np
import pytest
from keras import ops

from nlptasks.train.group_losses import cosines, group_losses, sample_classes, unit_vectors, with_margin
from nlptasks.train.margins import MARGINS

B, C, D = 5, 11, 7
KINDS = [("softmax", 0.0), ("am", 0.35), ("am", 0.1), ("a", 0.0), ("arc", 0.5), ("arc", 1.2)]


def expected_target(angle, kind, margin):
    """float64, written with angles instead of polynomials."""
    if kind == "am":
        return math.cos(angle) - margin
    if kind == "a":
        return min(math.cos(4 * angle), math.cos(angle))
    if kind == "arc":
        beyond = angle + margin > math.pi
        return math.cos(angle) - margin * math.sin(margin) if beyond else math.cos(angle + margin)
    return math.cos(angle)


def expected_losses(x, w, labels, kind, scale, margin, counts=None):
    """float64: minus log of a share of a sum over groups, group by group."""
    counts = np.ones(len(w)) if counts is None else counts
    x, w = x.astype("float64"), w.astype("float64")
    losses = []
    for row, label in zip(x, labels, strict=True):
        cosine = [float(np.clip(row @ g / math.sqrt((row @ row) * (g @ g)), -1, 1)) for g in w]
        z = [scale * c for c in cosine]
        z[label] = scale * expected_target(math.acos(cosine[label]), kind, margin)
        total = math.fsum(n * math.exp(value - z[label]) for n, value in zip(counts, z, strict=True))
        losses.append(math.log(total / counts[label]))
    return np.array(losses)


def batch(rng):
    x, w = rng.normal(size=(B, D)).astype("float32"), rng.normal(size=(C, D)).astype("float32")
    return 3 * x, 0.1 * w, np.array([3, 10, 0, 3, 7], "int32")


def gradients(function, *arrays):
    """Gradients of a sum, by the backend at hand."""
    if keras.backend.backend() == "jax":
        import jax

        return [
            np.array(g) for g in jax.grad(lambda values: ops.sum(function(*values)))([np.asarray(a) for a in arrays])
        ]
    import tensorflow as tf

    values = [tf.Variable(array) for array in arrays]
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(function(*values))
    return [g.numpy() for g in tape.gradient(total, values)]


@pytest.mark.parametrize(("kind", "margin"), KINDS)
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_losses_equal_a_float64_evaluation(rng, kind, margin, scale):
    x, w, labels = batch(rng)
    x[1], x[2] = 2.5 * w[10], -w[0]  # on and opposite to their own group
    found = ops.convert_to_numpy(group_losses(x, w, labels, kind, scale, margin))
    np.testing.assert_allclose(found, expected_losses(x, w, labels, kind, scale, margin), rtol=2e-5, atol=2e-5 * scale)


@pytest.mark.parametrize(("kind", "margin"), KINDS)
def test_the_own_groups_cosine_equals_a_float64_evaluation_at_every_angle(kind, margin):
    angles = np.linspace(0, math.pi, 1009)
    angles = angles[np.abs(angles + margin - math.pi) > 1e-3]  # "arc" jumps there
    found = ops.convert_to_numpy(with_margin(np.cos(angles).astype("float32"), kind, margin or None))
    expected = [expected_target(angle, kind, margin) for angle in angles]
    # near 0 and pi a float32 cosine no longer tells the angle: 1 - cos t is known to 6e-8, t to 3.5e-4
    np.testing.assert_allclose(found, expected, atol=4e-4 if kind == "arc" else 2e-6)


@pytest.mark.parametrize(("kind", "margin"), KINDS)
def test_gradients_equal_differences_of_the_float64_evaluation(rng, kind, margin):
    x, w, labels = batch(rng)
    found_x, found_w = gradients(lambda a, b: group_losses(a, b, labels, kind, 5.0, margin), x, w)
    for array, found, rebuild in ((x, found_x, lambda a: (a, w)), (w, found_w, lambda a: (x, a))):
        for index in [(0, 0), (1, 3), (3, 2), (4, 6)]:
            step = np.zeros(array.shape)
            step[index] = 1e-5
            up, down = (
                expected_losses(*rebuild(array.astype("float64") + sign * step), labels, kind, 5.0, margin).sum()
                for sign in (1, -1)
            )
            assert found[index] == pytest.approx((up - down) / 2e-5, rel=2e-3, abs=2e-4)


@pytest.mark.parametrize("kind", list(MARGINS))
def test_gradients_are_finite_where_cosines_are_one_and_minus_one(kind):
    w = np.eye(C, D, dtype="float32")
    x = np.stack([w[0], -w[1], 1e-20 * w[2], np.zeros(D, "float32"), w[4]])
    labels = np.array([0, 1, 2, 3, 5], "int32")
    for gradient in gradients(lambda a, b: group_losses(a, b, labels, kind), x, w):
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 0
    (slope,) = gradients(lambda c: with_margin(c, kind), np.array([-1.0, -1 + 6e-8, 1 - 6e-8, 1.0, 0.0], "float32"))
    assert np.isfinite(slope).all()
    assert np.abs(slope).max() < 2e3


@pytest.mark.parametrize("kind", ["am", "arc"])
def test_a_larger_margin_makes_a_larger_loss_and_a_larger_angle_a_smaller_logit(rng, kind):
    x, w, labels = batch(rng)
    losses = [ops.convert_to_numpy(group_losses(x, w, labels, kind, 30.0, m)) for m in (0.0, 0.1, 0.35, 0.6, 1.1)]
    assert all((larger > smaller).all() for smaller, larger in itertools.pairwise(losses))
    np.testing.assert_array_equal(losses[0], ops.convert_to_numpy(group_losses(x, w, labels, "softmax")))
    for margin in (0.1, 0.5, 1.1, 2.0):
        logits = ops.convert_to_numpy(with_margin(np.cos(np.linspace(0.01, 3.13, 997)).astype("float32"), kind, margin))
        assert (np.diff(logits) < 0).all()


def test_the_simpler_a_softmax_never_exceeds_the_cosine():
    cosine = np.linspace(-1, 1, 1013).astype("float32")
    assert (ops.convert_to_numpy(with_margin(cosine, "a")) <= cosine).all()


def test_large_scales_neither_overflow_nor_cancel(rng):
    x, w, labels = batch(rng)
    found = ops.convert_to_numpy(group_losses(x, w, labels, "am", 1e4, 0.35))
    np.testing.assert_allclose(found, expected_losses_large(x, w, labels), rtol=1e-4)


def expected_losses_large(x, w, labels):
    cosine = (x / np.linalg.norm(x, axis=1, keepdims=True)) @ (w / np.linalg.norm(w, axis=1, keepdims=True)).T
    z = 1e4 * cosine.astype("float64")
    own = z[np.arange(B), labels] - 1e4 * 0.35
    z[np.arange(B), labels] = own
    return z.max(axis=1) + np.log(np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1)) - own


def test_vectors_have_length_one_and_cosines_stay_in_range(rng):
    x = (rng.normal(size=(B, D)) * 10.0 ** np.arange(-2, 3)[:, None]).astype("float32")
    unit = ops.convert_to_numpy(unit_vectors(x))
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(unit * np.linalg.norm(x, axis=1, keepdims=True), x, rtol=1e-5)
    same = ops.convert_to_numpy(cosines(unit, unit))
    assert np.abs(same).max() <= 1.0


# Sampled groups


def test_the_batchs_groups_come_first_and_none_comes_twice(rng):
    for num_classes, count in ((11, 5), (11, 11), (11, 50), (1_000_003, 97), (3, 3)):
        labels = rng.integers(num_classes, size=7)
        classes, log_counts = sample_classes(labels, num_classes, count, rng)
        own = np.unique(labels)
        np.testing.assert_array_equal(classes[: len(own)], own)
        assert len(set(classes.tolist())) == len(classes) == max(len(own), min(count, num_classes))
        assert classes.min() >= 0
        assert classes.max() < num_classes
        assert np.exp(log_counts).sum() == pytest.approx(num_classes, rel=1e-5) or len(classes) == len(own)


def test_every_other_group_is_drawn_equally_often(rng):
    times = np.zeros(13)
    for _ in range(3000):
        times[sample_classes(np.array([4, 0, 12, 4]), 13, 8, rng)[0]] += 1
    np.testing.assert_array_equal(times[[0, 4, 12]], 3000)
    others = np.delete(times, [0, 4, 12])
    assert np.abs(others - 1500).max() < 5 * math.sqrt(3000 / 4)


def test_the_partition_sum_is_unbiased_and_exact_when_all_groups_are_sampled(rng):
    logits = rng.normal(size=23) * 2
    labels = np.array([3, 3, 17])
    whole = np.exp(logits).sum()

    def estimate(count):
        classes, log_counts = sample_classes(labels, 23, count, rng)
        return np.exp(logits[classes] + log_counts).sum()

    assert estimate(23) == pytest.approx(whole, rel=1e-6)
    estimates = np.array([estimate(7) for _ in range(20_000)])
    error = estimates.std() / math.sqrt(len(estimates))
    assert error < 0.01 * whole
    assert abs(estimates.mean() - whole) < 4 * error


def test_a_loss_over_sampled_groups_counts_each_as_many_as_it_stands_for(rng):
    x, w, labels = batch(rng)
    counts = rng.uniform(1, 9, size=C)
    found = group_losses(x, w, labels, "am", 7.0, 0.35, np.log(counts).astype("float32"))
    expected = expected_losses(x, w, labels, "am", 7.0, 0.35, counts)
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "margin", "text"),
    [
        ("triplet", None, "loss must be one of softmax, am, a, arc. Received: 'triplet'."),
        ("am", -0.1, "margin must be at least 0"),
        ("am", math.nan, "margin must be at least 0"),
        ("arc", 3.2, "for arc below pi"),
        ("softmax", 0.3, "takes no margin"),
    ],
)
def test_a_wrong_loss_or_margin_is_refused(kind, margin, text):
    with pytest.raises(ValueError, match=text.replace("(", r"\(")):
        with_margin(0.5, kind, margin)
