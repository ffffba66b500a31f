"""The functional model: bert4keras' layer names around the parts of one Transformer."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from nlptasks.bert4keras.gelu import set_gelu
from nlptasks.bert4keras.keras.layers import Dense, GlobalAveragePooling1D, Input, Lambda
from nlptasks.bert4keras.keras.models import Model, load_model
from nlptasks.bert4keras.models import BERT, build_transformer_model

VOCAB, WIDTH, LAYERS = 31, 12, 2
CONFIG = {
    "vocab_size": VOCAB,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 3,
    "intermediate_size": 14,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 17,
    "type_vocab_size": 2,
}
TOKEN_IDS = np.array([[2, 7, 8, 3, 0, 0], [2, 5, 6, 7, 8, 3]])
SEGMENT_IDS = np.array([[0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1]])
REAL = np.array([[True] * 4 + [False] * 2, [True] * 6])


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "bert_config.json"
    path.write_text(json.dumps(CONFIG), encoding="utf-8")
    return path


def built(config, **options):
    """A model with weights that are not tiny."""
    bert = build_transformer_model(config, return_keras_model=False, **options)
    rng = np.random.default_rng(3)
    for weight in bert.core.weights:
        weight.assign(rng.normal(0, 0.3, weight.shape) + (1.0 if weight.path.endswith("gamma") else 0.0))
    return bert


def close(a, b):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=2e-5)


@pytest.mark.parametrize("kind", ["bert", "albert", "nezha", "roformer"])
def test_the_graph_computes_what_the_transformer_does(config, kind):
    bert = built(config, model=kind, application="unilm")
    close(bert.model([TOKEN_IDS, SEGMENT_IDS])[REAL], ops.softmax(bert.core([TOKEN_IDS, SEGMENT_IDS]))[REAL])
    first = "Transformer-MultiHeadSelfAttention" if kind == "albert" else "Transformer-0-MultiHeadSelfAttention"
    assert {"Embedding-Token", first, f"{first}-Norm", "MLM-Activation"} <= {layer.name for layer in bert.model.layers}
    assert len(bert.model.weights) == len(bert.core.weights)


def test_heads_come_in_bert4keras_order(config):
    bert = built(config, with_pool="linear", application="unilm", prefix="a-")
    pooled, probabilities = bert.model([TOKEN_IDS, SEGMENT_IDS])
    wanted = bert.core([TOKEN_IDS, SEGMENT_IDS])
    close(pooled, wanted[0])
    close(probabilities[1], ops.softmax(wanted[1])[1])
    assert bert.model.get_layer("a-Pooler-Dense").get_output_at(-1).shape == (None, WIDTH)


@pytest.mark.once
def test_a_cut_at_an_inner_layer_and_the_calls_of_a_shared_one(config):
    bert = built(config, model="albert")
    norm = bert.model.get_layer("Transformer-FeedForward-Norm")
    first = Model(bert.model.input, norm.get_output_at(0))
    hidden = ops.convert_to_numpy(bert.core.encode(TOKEN_IDS, SEGMENT_IDS))
    assert not np.allclose(first([TOKEN_IDS, SEGMENT_IDS])[1], hidden[1], atol=1e-3)
    close(Model(bert.model.input, norm.get_output_at(-1))([TOKEN_IDS, SEGMENT_IDS])[1], hidden[1])
    assert bert.model.layers[-2].get_output_at(-1).shape == (None, None, WIDTH)
    with pytest.raises(ValueError, match="was called 2 times"):
        norm.get_output_at(2)


def test_the_mask_goes_on_to_the_users_layers(config):
    bert = built(config)
    pooled = Model(bert.model.input, GlobalAveragePooling1D()(bert.model.output))([TOKEN_IDS, SEGMENT_IDS])
    hidden = np.asarray(bert.core([TOKEN_IDS, SEGMENT_IDS]))
    close(pooled, [hidden[0, :4].mean(axis=0), hidden[1].mean(axis=0)])


def test_a_condition_that_is_a_symbolic_tensor(config):
    label = Input(shape=(5,))
    options = {"layer_norm_cond": label, "additional_input_layers": label, "layer_norm_cond_hidden_size": 4}
    bert = built(config, application="lm", **options)
    condition = np.random.default_rng(1).normal(0, 1, (2, 5)).astype("float32")
    arrays = [TOKEN_IDS, SEGMENT_IDS, condition]
    close(bert.model(arrays)[REAL], ops.softmax(bert.core(arrays))[REAL])
    assert [len(w) for w in [bert.model.get_layer("MLM-Norm").ordered_weights()]] == [5]


@pytest.mark.once
def test_own_positions_shared_segments_and_no_segments(config):
    bert = built(config, custom_position_ids=True)
    positions = np.tile(np.arange(6), (2, 1))
    close(bert.model([TOKEN_IDS, SEGMENT_IDS, positions])[1], bert.core([TOKEN_IDS, SEGMENT_IDS])[1])
    assert len(built(config, segment_vocab_size=0).model.inputs) == 1
    shared = built(config, shared_segment_embeddings=True)
    assert "Embedding-Segment" not in {layer.name for layer in shared.model.layers}
    assert len(shared.model.inputs) == 2


@pytest.mark.once
def test_a_model_is_frozen_by_its_layers_and_put_together_anew(config):
    bert, small = built(config, prefix="a-"), built(config, num_hidden_layers=1, prefix="b-")
    for layer in bert.model.layers:
        layer.trainable = False
    x = bert.apply_embeddings(bert.inputs)
    x = small.apply_main_layers(bert.apply_main_layers(x, 0), 0)
    model = Model(bert.inputs, Dense(2)(Lambda(lambda h: h[:, 0])(x)))
    assert len(model.trainable_weights) == 16 + 2
    assert model([TOKEN_IDS, SEGMENT_IDS]).shape == (2, 2)


@pytest.mark.once
def test_a_class_of_the_users_changes_the_graph(config):
    class Doubled(BERT):
        def apply_final_layers(self, inputs):
            return self.apply(inputs=inputs, layer=Dense, units=4, name="Doubled")

    model = build_transformer_model(config, model=Doubled)
    assert model.output.shape == (None, None, 4)
    assert model.get_layer("Doubled") is model.layers[-1]


@pytest.mark.once
def test_the_chosen_gelu_reaches_the_model(config):
    try:
        set_gelu("tanh")
        assert built(config).core.config.hidden_act == "gelu_tanh"
    finally:
        set_gelu("erf")
    assert built(config).core.config.hidden_act == "gelu"
    with pytest.raises(ValueError, match="must be erf or tanh"):
        set_gelu("sigmoid")


@pytest.mark.once
def test_keras_itself_is_not_changed(config):
    built(config)
    assert keras.layers.Dense is not Dense
    assert issubclass(Dense, keras.layers.Dense)
    assert not hasattr(keras.layers.Layer, "get_output_at")
    x = keras.Input((1,))
    assert type(keras.Model(x, keras.layers.Dense(1)(x))).__module__.startswith("keras.")


def test_a_model_is_saved_and_read_under_any_name(config, tmp_path):
    bert = built(config, with_mlm=True)
    bert.model.save(tmp_path / "test.model")
    again = load_model(tmp_path / "test.model")
    assert np.array_equal(again.predict([TOKEN_IDS, SEGMENT_IDS]), bert.model.predict([TOKEN_IDS, SEGMENT_IDS]))
    assert not set(map(id, again.weights)) & set(map(id, bert.model.weights))
