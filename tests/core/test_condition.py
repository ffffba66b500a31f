"""Conditional LayerNorm: the formula, and what a condition does and does not change."""

import numpy as np
import pytest
from keras import ops

import nlptasks
from nlptasks.checkpoints.huggingface import save_directory
from nlptasks.core import Transformer, TransformerConfig
from nlptasks.core.layers import LayerNorm
from tests.gradients import gradients
from tests.parity import TOLERANCE, distance, randomised

B, T, D, C, V = 2, 5, 14, 3, 43
SIZES = {"vocab_size": V, "hidden_size": D, "num_layers": 2, "num_heads": 2, "ffn_size": 23, "max_positions": 17}


def built(**changes):
    model = Transformer(TransformerConfig(**(SIZES | {"layer_norm_cond_size": C} | changes)), with_mlm="linear")
    model.build()
    return randomised(model)


@pytest.mark.parametrize("policy", ["bfloat16", "mixed_bfloat16"])
def test_conditions_work_in_half_precision(policy, rng):
    model = built()
    half = Transformer(model.config, with_mlm="linear", dtype=policy)
    half.build()
    for mine, its in zip(model.weights, half.weights, strict=True):
        its.assign(ops.cast(mine, its.dtype))
    condition = rng.normal(size=(B, C)).astype("float32")
    fed = [*inputs(np.random.default_rng(2)), condition]
    exact, near = (np.array(ops.cast(one(fed), "float32")) for one in (model, half))
    spread = exact.std()
    assert 0 < np.abs(exact - near).max() < 0.15 * spread
    without = np.array(ops.cast(half(list(inputs(np.random.default_rng(2)))), "float32"))
    assert np.abs(near - without).max() > spread


def inputs(rng):
    return rng.integers(1, V, (B, T)).astype("int32"), np.zeros((B, T), "int32")


def outputs(model, *arrays):
    return ops.convert_to_numpy(model(list(arrays)))


def copied(source, target):
    """The weights of `source` where `target` has them, by path."""
    values = {w.path.split("/", 1)[1]: w for w in source.weights}
    for weight in target.weights:
        if (name := weight.path.split("/", 1)[1]) in values and "seed" not in name:
            weight.assign(values[name])
    return target


@pytest.mark.parametrize("hidden", [None, 7])
def test_the_norm_equals_the_formula_in_float64(hidden, rng):
    layer = LayerNorm(1e-12, C, hidden, "tanh")
    layer.build((None, None, D))
    weights = {w.name: rng.normal(size=tuple(w.shape)).astype("float32") for w in layer.weights}
    for w in layer.weights:
        w.assign(weights[w.name])
    x, c = rng.normal(3, 2, (B, T, D)), rng.normal(size=(B, C))
    wide = {name: value.astype("float64") for name, value in weights.items()}
    projected = c if hidden is None else np.tanh(c @ wide["condition_hidden"])
    gamma = wide["gamma"] + projected @ wide["condition_gamma"]
    beta = wide["beta"] + projected @ wide["condition_beta"]
    normal = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    expected = normal * gamma[:, None] + beta[:, None]
    value = layer(x.astype("float32"), layer.affine(c.astype("float32")))
    assert distance(ops.convert_to_numpy(value), expected) < 2 * TOLERANCE


def test_a_fresh_condition_and_a_zero_one_change_nothing(rng):
    ids = inputs(rng)
    conditional = built()
    plain = copied(conditional, built(layer_norm_cond_size=None))
    reference = outputs(plain, *ids)
    assert distance(outputs(conditional, *ids, np.zeros((B, C), "float32")), reference) < TOLERANCE
    assert distance(outputs(conditional, *ids), reference) == 0
    condition = rng.normal(size=(B, C)).astype("float32")
    assert distance(outputs(conditional, *ids, condition), reference) > 0.1
    fresh = Transformer(conditional.config, with_mlm="linear")
    fresh.build()
    assert distance(outputs(fresh, *ids, condition), outputs(fresh, *ids)) == 0


def test_swapping_the_conditions_of_two_rows_swaps_their_outputs(rng):
    model = built(layer_norm_cond_hidden_size=5, layer_norm_cond_hidden_act="relu")
    token_ids, segment_ids = inputs(rng)
    token_ids[1] = token_ids[0]
    condition = rng.normal(size=(B, C)).astype("float32")
    one, two = (outputs(model, token_ids, segment_ids, c) for c in (condition, condition[::-1].copy()))
    assert distance(one, two[::-1]) < TOLERANCE
    assert distance(one, two) > 0.1


def test_a_condition_a_position_conditions_that_position_norms(rng):
    model, ids = built(num_layers=1), inputs(rng)
    condition = rng.normal(size=(B, C)).astype("float32")
    spread = np.repeat(condition[:, None], T, axis=1)
    assert distance(outputs(model, *ids, spread), outputs(model, *ids, condition)) < TOLERANCE
    changed = spread.copy()
    changed[:, 3] += 1.0
    hidden = [
        ops.convert_to_numpy(model.embeddings(*ids, affine=model.embeddings.norm.affine(c))) for c in (spread, changed)
    ]
    assert distance(hidden[0][:, :3], hidden[1][:, :3]) == 0
    assert distance(hidden[0][:, 3], hidden[1][:, 3]) > 0.1


def test_every_norm_is_conditioned_and_learns(rng):
    model, ids = built(), inputs(rng)
    condition = rng.normal(size=(B, C)).astype("float32")
    kernels = [w for w in model.trainable_variables if "condition_" in w.path]
    assert len(kernels) == 2 * (1 + 2 * 2 + 1)  # the embeddings', two a layer, the head's
    for gradient in gradients(lambda: ops.sum(ops.tanh(model([*ids, condition]))), kernels):
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 1e-3


def test_a_plain_checkpoint_loads_and_gives_its_own_outputs(rng, tmp_path):
    plain, ids = built(layer_norm_cond_size=None), inputs(rng)
    save_directory(plain, tmp_path)
    model = nlptasks.build_transformer_model(tmp_path, tmp_path, with_mlm="linear", layer_norm_cond_size=C)
    condition = rng.normal(size=(B, C)).astype("float32")
    assert distance(outputs(model, *ids, condition), outputs(plain, *ids)) == 0
    save_directory(randomised(model), tmp_path / "conditional")
    again = nlptasks.build_transformer_model(tmp_path / "conditional", tmp_path / "conditional", with_mlm="linear")
    assert distance(outputs(again, *ids, condition), outputs(model, *ids, condition)) == 0
    with pytest.raises(ValueError, match=r"of another shape: .*condition_beta.weight"):
        nlptasks.build_transformer_model(
            tmp_path / "conditional", tmp_path / "conditional", with_mlm="linear", layer_norm_cond_size=C + 1
        )


def test_a_condition_that_does_not_fit_is_refused(rng):
    ids = inputs(rng)
    for model, shape in ((built(), (B, C + 1)), (built(), (B,)), (built(layer_norm_cond_size=None), (B, C))):
        with pytest.raises(ValueError, match=rf"layer_norm_cond_size. Received: condition of shape \({B},"):
            model([*ids, np.zeros(shape, "float32")])
    with pytest.raises(ValueError, match="layer_norm_cond_size must be a positive integer or None"):
        TransformerConfig(**SIZES, layer_norm_cond_size=0)
    with pytest.raises(ValueError, match="layer_norm_cond_hidden_size=4, layer_norm_cond_size=None"):
        TransformerConfig(**SIZES, layer_norm_cond_hidden_size=4)
