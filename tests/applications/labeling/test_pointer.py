"""GlobalPointer and EfficientGlobalPointer against their formulas in float64, one span at a time, and bert4keras."""

import cmath

import keras
import numpy as np
import pytest
from keras import ops

from nlptasks.applications.labeling.pointer import EfficientGlobalPointer, GlobalPointer
from nlptasks.core.attention import MASKED_SCORE
from nlptasks.core.positions import rotated, sinusoids
from nlptasks.train.losses import sparse_multilabel_categorical_crossentropy
from tests.golden.heads_cases import H, N, inputs, weight
from tests.gradients import gradient, tolerance


def turned_by_hand(vector, position):
    """Pairs of features as complex numbers, turned."""
    turned = []
    for i in range(0, len(vector), 2):
        angle = position * 10000.0 ** (-i / len(vector))
        number = complex(vector[i], vector[i + 1]) * cmath.exp(1j * angle)
        turned += [number.real, number.imag]
    return np.array(turned)


def make(kind, hidden, **settings):
    layer = kind(N, H, **settings)
    layer.build(hidden.shape)
    names = ("dense",) if kind is GlobalPointer else ("span", "type")
    for name, (kernel, bias) in zip(names, zip(layer.weights[::2], layer.weights[1::2], strict=True), strict=True):
        kernel.assign(weight(f"{name}_kernel", tuple(kernel.shape)))
        bias.assign(weight(f"{name}_bias", tuple(bias.shape)))
    return layer


def span_score(layer, hidden_TD, kind, first, last):
    """The score of one span, in float64."""
    turn = turned_by_hand if layer.rotary else (lambda vector, _: vector)
    kernels = [np.array(ops.convert_to_numpy(w), "float64") for w in layer.weights]
    if isinstance(layer, GlobalPointer):
        both_TX = hidden_TD @ kernels[0] + kernels[1]
        of_type = both_TX[:, kind * 2 * H : (kind + 1) * 2 * H]
        return turn(of_type[first, :H], first) @ turn(of_type[last, H:], last) / np.sqrt(H)
    both_TX = hidden_TD @ kernels[0] + kernels[1]
    types_TX = both_TX @ kernels[2] + kernels[3]
    product = turn(both_TX[first, ::2], first) @ turn(both_TX[last, 1::2], last) / np.sqrt(H)
    return product + types_TX[last, 2 * kind] / 2 + types_TX[first, 2 * kind + 1] / 2


@pytest.mark.parametrize("rotary", [True, False])
@pytest.mark.parametrize("kind", [GlobalPointer, EfficientGlobalPointer])
def test_every_span_has_the_score_of_the_formula_and_every_other_pair_is_masked(kind, rotary):
    x = inputs()
    layer = make(kind, x["hidden"], rotary=rotary)
    found = ops.convert_to_numpy(layer(x["hidden"], x["mask"]))
    rows, length = x["mask"].shape
    assert found.shape == (rows, N, length, length)
    for row, n, first, last in np.ndindex(found.shape):
        if first <= last and x["mask"][row, last]:
            wanted = span_score(layer, x["hidden"][row].astype("float64"), n, first, last)
            assert found[row, n, first, last] == pytest.approx(wanted, rel=1e-5, abs=1e-5)
        else:
            assert found[row, n, first, last] == np.float32(MASKED_SCORE)


@pytest.mark.parametrize(("kind", "name"), [(GlobalPointer, "pointer"), (EfficientGlobalPointer, "efficient")])
def test_scores_equal_those_of_bert4keras(kind, name, golden):
    x = inputs()
    found = ops.convert_to_numpy(make(kind, x["hidden"])(x["hidden"], x["mask"]))
    wanted = np.load(golden / "heads.npz")[name]
    seen = np.isfinite(wanted)
    assert seen.sum() == N * (28 + 10 + 1)
    np.testing.assert_allclose(found[seen], wanted[seen], rtol=1e-5, atol=1e-5)
    assert (found[~seen] == np.float32(MASKED_SCORE)).all()


def test_the_loss_of_spans_equals_that_of_bert4keras(golden):
    x = inputs()
    score = make(GlobalPointer, x["hidden"])(x["hidden"], x["mask"])
    length = x["hidden"].shape[1]
    ids = np.full((3, N, 1), -1)
    ids[0, 0], ids[0, 1], ids[1, 0] = 1 * length + 3, 2 * length + 2, 3
    found = sparse_multilabel_categorical_crossentropy(ids, ops.reshape(score, (3, N, -1)))
    wanted = np.load(golden / "heads.npz")["pointer_loss"].reshape(3, N)
    np.testing.assert_allclose(ops.convert_to_numpy(found), wanted, rtol=2e-5, atol=1e-5)


@pytest.mark.once
def test_rotation_makes_products_depend_on_the_distance_alone(rng):
    query, key = rng.normal(size=8), rng.normal(size=8)
    both = np.stack([np.tile(query, (11, 1)), np.tile(key, (11, 1))])[:, :, None]
    both = ops.convert_to_tensor(both)
    turns = sinusoids(np.arange(11)[None], both.shape[-1], keras.backend.standardize_dtype(both.dtype))
    rows = ops.convert_to_numpy(rotated(both, turns))[:, :, 0]
    product = rows[0] @ rows[1].T
    for i, j in [(0, 3), (7, 2)]:
        assert product[i, j] == pytest.approx(product[i + 3, j + 3], abs=1e-5)
        assert product[i, j] != pytest.approx(product[i + 1, j], abs=1e-3)
    wanted = np.stack([turned_by_hand(query, i) for i in range(11)])
    np.testing.assert_allclose(rows[0], wanted, rtol=max(1e-6, tolerance(rows)), atol=1e-5)


@pytest.mark.parametrize("kind", [GlobalPointer, EfficientGlobalPointer])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_gradients_are_finite_with_masked_rows_one_position_and_extreme_inputs(kind, scale):
    hidden = inputs()["hidden"] * scale
    mask = inputs()["mask"].copy()
    mask[1] = False
    layer = make(kind, hidden)

    def loss(x, m):
        score = layer(x, m)
        ids = np.full((3, N, 1), -1)
        ids[0] = 0
        return ops.sum(sparse_multilabel_categorical_crossentropy(ids, ops.reshape(score, (3, N, -1))))

    found = gradient(lambda x: loss(x, mask), hidden)
    assert np.isfinite(found).all()
    assert (found[1] == 0).all()
    assert np.abs(found[0]).max() > 0
    alone = gradient(lambda x: loss(x, mask[:, :1]), hidden[:, :1])
    assert np.isfinite(alone).all()


@pytest.mark.parametrize("kind", [GlobalPointer, EfficientGlobalPointer])
@pytest.mark.once
def test_a_layer_is_rebuilt_from_its_config(kind):
    x = inputs()
    layer = make(kind, x["hidden"], rotary=False)
    copy = kind.from_config(layer.get_config())
    copy.build(x["hidden"].shape)
    copy.set_weights(layer.get_weights())
    first, second = (ops.convert_to_numpy(one(x["hidden"], x["mask"])) for one in (layer, copy))
    assert (first == second).all()


@pytest.mark.parametrize("wrong", [{"num_types": 0}, {"num_types": 3, "head_size": 5}])
@pytest.mark.once
def test_a_pointer_without_types_or_with_an_odd_size_is_refused(wrong):
    with pytest.raises(ValueError, match="head_size even"):
        GlobalPointer(**wrong)
