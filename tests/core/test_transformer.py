"""The model: against numpy, compiled, serialised, trained, in three precisions."""

import keras
import numpy as np
import pytest
from keras import ops

from nlptasks.backend import compile_function, compile_train_step
from nlptasks.core import Transformer, TransformerConfig
from nlptasks.core.attention import MultiHeadAttention
from nlptasks.core.blocks import TransformerBlock
from nlptasks.core.layers import FeedForward, LayerNorm
from tests.parity import TOLERANCE, distance, randomised

B, T, D, N, H, J, V = 2, 5, 14, 3, 7, 11, 43


def config(**changes):
    sizes = {"vocab_size": V, "hidden_size": D, "num_layers": 2, "num_heads": N, "ffn_size": 23, "max_positions": 13}
    return TransformerConfig(**(sizes | {"key_size": H, "value_size": J} | changes))


def built(**changes):
    heads = {name: changes.pop(name) for name in list(changes) if name.startswith("with_")}
    model = Transformer(config(**changes), **heads)
    model.build()
    return randomised(model)


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(1)
    return rng.integers(1, V, (B, T)).astype("int32"), np.array([[0, 0, 0, 1, 1]] * B, "int32")


def test_attention_equals_the_formula_in_float64(rng):
    layer = MultiHeadAttention(D, N, H, J)
    x = rng.normal(size=(B, T, D)).astype("float32")
    mask = rng.random((B, T, T)) < 0.6
    mask |= np.eye(T, dtype=bool)
    layer.build((None, None, D))
    randomised_layer = {v.path: rng.normal(0, 0.4, tuple(v.shape)) for v in layer.trainable_variables}
    for v in layer.trainable_variables:
        v.assign(randomised_layer[v.path].astype("float32"))

    def dense(name, value):
        kernel, bias = (np.asarray(w.value, "float64") for w in getattr(layer, name).weights)
        return value @ kernel + bias

    q, k, v = (dense(name, x.astype("float64")).reshape(B, T, N, -1) for name in ("query", "key", "value"))
    score = np.einsum("btnh,bsnh->bnts", q, k) / np.sqrt(H)
    score = np.where(mask[:, None], score, -np.inf)
    p = np.exp(score - score.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    expected = dense("output_dense", np.einsum("bnts,bsnj->btnj", p, v).reshape(B, T, N * J))
    assert distance(ops.convert_to_numpy(layer(x, mask)), expected) < TOLERANCE


def test_layer_norm_equals_the_formula(rng):
    x = rng.normal(3, 2, (B, T, D)).astype("float32")
    layer = LayerNorm(1e-12)
    layer.build((None, None, D))
    layer.gamma.assign(rng.normal(size=D).astype("float32"))
    layer.beta.assign(rng.normal(size=D).astype("float32"))
    x64 = x.astype("float64")
    normal = (x64 - x64.mean(-1, keepdims=True)) / np.sqrt(x64.var(-1, keepdims=True) + 1e-12)
    expected = normal * np.asarray(layer.gamma.value) + np.asarray(layer.beta.value)
    assert distance(ops.convert_to_numpy(layer(x)), expected) < TOLERANCE


@pytest.mark.parametrize("layer", [LayerNorm(1e-3), FeedForward(D, 23, "gelu_new"), MultiHeadAttention(D, N, H, J)])
def test_a_layer_rebuilt_from_its_config_has_equal_config_and_weights(layer):
    layer.build((None, None, D))
    again = type(layer).from_config(layer.get_config())
    again.build((None, None, D))
    assert again.get_config() == layer.get_config()
    assert [tuple(w.shape) for w in again.weights] == [tuple(w.shape) for w in layer.weights]


@pytest.mark.once
def test_the_outputs_come_in_bert4keras_order(inputs):
    assert ops.shape(built()(list(inputs))) == (B, T, D)
    assert ops.shape(built(with_pool=True)(list(inputs))) == (B, D)
    nsp, mlm = built(with_nsp=True, with_mlm=True)(list(inputs))
    assert ops.shape(nsp) == (B, 2)
    assert ops.shape(mlm) == (B, T, V)
    assert distance(ops.convert_to_numpy(ops.sum(mlm, -1)), np.ones((B, T))) < 1e-5
    assert distance(ops.convert_to_numpy(ops.sum(nsp, -1)), np.ones(B)) < 1e-5


def test_token_ids_alone_are_segment_0(inputs):
    model = built()
    alone = ops.convert_to_numpy(model(inputs[0]))
    assert distance(alone, ops.convert_to_numpy(model([inputs[0], np.zeros_like(inputs[0])]))) == 0


def test_a_compiled_call_equals_an_eager_one(inputs):
    model = built(attention="unilm", with_mlm="linear")
    compiled = compile_function(lambda *arrays: model(list(arrays)), model)
    eager = ops.convert_to_numpy(model(list(inputs)))
    assert distance(ops.convert_to_numpy(compiled(*inputs)), eager) < TOLERANCE


@pytest.mark.once
def test_a_saved_keras_file_gives_equal_outputs(inputs, tmp_path):
    model = built(attention="unilm", with_nsp=True, with_mlm="linear", embedding_size=9)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert again.config == model.config
    for value, reference in zip(again(list(inputs)), model(list(inputs)), strict=True):
        assert distance(ops.convert_to_numpy(value), ops.convert_to_numpy(reference)) == 0


def test_a_copy_stored_in_another_type_computes_as_the_model_does():
    model = Transformer(config(), recompute=True, fused_attention=True)
    model.build()
    copy = model.stored_as("bfloat16")
    assert copy is not model
    assert (copy.recompute, copy.fused_attention) == (True, True)
    again = Transformer.from_config(built().get_config())
    assert (again.recompute, again.fused_attention) == (False, False)


CHOOSING = {
    "bidirectional": {},
    "unilm": {"attention": "unilm"},
    "causal, norms before": {"attention": "causal", "norm_place": "pre"},
    "norms inside": {"norm_place": "inner"},
    "talking heads": {"talking_heads": True},
    "one block for all layers": {"shared_layers": True},
    "counted positions": {"position": "counted", "pad_id": 1},
}
WHOLE = {
    "relative": {"position": "relative", "key_size": 8, "value_size": 8},
    "rotary": {"position": "rotary", "key_size": 8},
    "bucketed": {"position": "bucketed"},
    "residual attention": {"residual_attention_scores": "previous"},
    "gated": {
        "gated_attention": True,
        "num_heads": 1,
        "use_bias": False,
        "value_size": 23,
        "position": "rotary",
        "key_size": 8,
    },
}


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("kind", [*CHOOSING, *WHOLE])
def test_states_of_chosen_positions_are_those_of_all(kind, policy, inputs, monkeypatch):
    model = Transformer(config(**(CHOOSING | WHOLE)[kind]), dtype=policy)
    model.build()
    randomised(model)
    positions, (token_ids, segment_ids) = np.array([[4, 1], [0, 3]]), inputs
    token_ids = np.where(np.arange(T) < [[T], [3]], token_ids, model.config.pad_id)
    whole, caches = model.encode(token_ids, segment_ids, with_cache=True)
    rows = []
    after = TransformerBlock._after_attention
    monkeypatch.setattr(
        TransformerBlock, "_after_attention", lambda self, x, *rest: rows.append(x.shape[1]) or after(self, x, *rest)
    )
    chosen, again = model.encode(token_ids, segment_ids, with_cache=True, positions_BM=positions)
    assert rows == [T, 2 if kind in CHOOSING else T]
    expected = np.take_along_axis(numbers(whole), positions[..., None], axis=1)
    bound = TOLERANCE if policy == "float32" else 0.03
    assert distance(numbers(chosen), expected) < bound
    for mine, others in zip(again, caches, strict=True):
        for one, other in zip(mine, others, strict=True):
            assert distance(numbers(one), numbers(other)) < bound


def numbers(tensor):
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))


def test_a_sequence_beyond_the_position_table_is_refused(inputs):
    with pytest.raises(ValueError, match=r"reaches 13 tokens. Received a sequence of 14"):
        built()([np.ones((1, 14), "int32"), np.zeros((1, 14), "int32")])


def test_it_works_symbolically_inside_a_functional_model(inputs):
    token_ids, segment_ids = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    encoder = built()
    functional = keras.Model([token_ids, segment_ids], keras.layers.Dense(3)(encoder([token_ids, segment_ids])[:, 0]))
    assert functional.predict(list(inputs), verbose=0).shape == (B, 3)


def train(model, inputs, steps=12):
    optimizer = keras.optimizers.Adam(1e-2)

    def loss_function(batch):
        logits = model.token_logits(model.encode(batch["token_ids"], batch["segment_ids"], training=True))
        return ops.mean(keras.losses.sparse_categorical_crossentropy(batch["token_ids"], logits, from_logits=True))

    step = compile_train_step(model, optimizer, loss_function)
    batch = {"token_ids": inputs[0], "segment_ids": inputs[1]}
    return [float(ops.convert_to_numpy(step(batch))) for _ in range(steps)]


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_compiled_training_step_learns_in_both_precisions(policy, inputs):
    keras.utils.set_random_seed(1)
    model = Transformer(config(), with_mlm="linear", dtype=policy)
    model.build()
    losses = train(model, inputs)
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16"])
def test_bfloat16_outputs_stay_within_their_bound(policy, inputs):
    """0.08 x max(1, |reference|): 8 bits of mantissa through two layers of random weights."""
    exact, rounded = built(with_mlm="linear"), Transformer(config(), with_mlm="linear", dtype=policy)
    rounded.build()
    for source, target in zip(exact.variables, rounded.variables, strict=True):
        target.assign(source)
    scale = float(np.abs(ops.convert_to_numpy(exact(list(inputs)))).max())
    difference = ops.convert_to_numpy(rounded(list(inputs))) - ops.convert_to_numpy(exact(list(inputs)))
    assert 0 < np.abs(difference).max() < 0.08 * max(1.0, scale)


def test_dropout_changes_training_and_not_inference(inputs):
    model = built(dropout=0.5, attention_dropout=0.5)
    one, two = (ops.convert_to_numpy(model(list(inputs), training=True)) for _ in range(2))
    assert distance(one, two) > 1e-2
    one, two = (ops.convert_to_numpy(model(list(inputs))) for _ in range(2))
    assert distance(one, two) == 0


@pytest.mark.once
def test_a_frozen_block_does_not_train(inputs):
    model = built(with_mlm="linear")
    model.blocks[0].trainable = False
    before = [np.asarray(v.value) for v in model.blocks[0].variables if "seed" not in v.path]
    other = np.asarray(model.blocks[1].ffn.inner.kernel.value)
    train(model, inputs, steps=2)
    after = [np.asarray(v.value) for v in model.blocks[0].variables if "seed" not in v.path]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))
    assert (np.asarray(model.blocks[1].ffn.inner.kernel.value) != other).any()
