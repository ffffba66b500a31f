"""The ONNX graph of a Transformer computes what the Keras model does, in every family and at free batch and length."""

import numpy as np
import pytest
from keras import ops

from nlptasks.core import Transformer, TransformerConfig
from tests.export.cases import opened

pytest.importorskip("onnx", reason="the test extra brings onnx")
pytest.importorskip("onnxruntime", reason="the test extra brings onnxruntime")

SIZES = {"vocab_size": 37, "hidden_size": 12, "num_layers": 2, "num_heads": 3, "ffn_size": 19, "max_positions": 23}
FAMILIES = {
    "bert": {},
    "causal": {"attention": "causal", "segment_vocab_size": 0},
    "unilm": {"attention": "unilm", "key_size": 6},
    "roberta": {"position": "counted", "pad_id": 1, "segment_vocab_size": 1},
    "albert": {"shared_layers": True, "embedding_size": 8, "hidden_act": "gelu_new"},
    "nezha": {"position": "relative", "relative_distance": 3},
    "roformer": {"position": "rotary"},
    "long": {"hierarchical_position": 0.4, "max_positions": 4, "hidden_act": "relu"},
    "realformer": {"residual_attention_scores": "running", "talking_heads": True, "attention": "unilm"},
    "conditional": {"layer_norm_cond_size": 5, "layer_norm_cond_hidden_size": 7, "attention": "causal"},
}


def filled(model, seed=0):
    """The model with weights that are large enough to tell every part."""
    random = np.random.default_rng(seed)
    model.build()
    for weight in model.weights:
        weight.assign(random.normal(0.0, 0.3, weight.shape) + (weight.name == "gamma"))
    return model


def batch(config, rows, length, seed=0):
    """Ids, segments and real positions of rows of different lengths."""
    random = np.random.default_rng(seed)
    token_ids = random.integers(2, config.vocab_size, (rows, length)).astype("int32")
    lengths = np.maximum(3, length - np.arange(rows))
    real = np.arange(length) < lengths[:, None]
    segments = ((np.arange(length) >= 2) & real).astype("int32") if config.segment_vocab_size == 2 else 0 * token_ids
    return np.where(real, token_ids, config.pad_id).astype("int32"), segments, real


@pytest.mark.parametrize("family", FAMILIES)
def test_a_graph_computes_what_the_network_does(family, tmp_path):
    from nlptasks.export.networks import encoder_graph

    config = TransformerConfig(**SIZES | FAMILIES[family])
    model = filled(Transformer(config))
    run = opened(encoder_graph(model), tmp_path / "model.onnx")
    for rows, length in ((1, 5), (3, 11)):
        token_ids, segments, real = batch(config, rows, length)
        condition = np.random.default_rng(1).normal(size=(rows, config.layer_norm_cond_size or 1)).astype("float32")
        more = [condition] if config.layer_norm_cond_size else []
        expected = ops.convert_to_numpy(model([token_ids, segments, *more]))
        found = run(token_ids, segments, *more)[0]
        np.testing.assert_allclose(found[real], expected[real], atol=1e-4)


@pytest.mark.parametrize("family", ["causal", "unilm", "roberta", "nezha", "roformer", "realformer", "conditional"])
def test_a_step_with_a_cache_computes_what_the_whole_sequence_does(family, tmp_path):
    from nlptasks.export.networks import decoding_graphs
    from nlptasks.runtime.decoding import CachedGraphs

    attention = FAMILIES[family].get("attention", "causal")
    config = TransformerConfig(**SIZES | FAMILIES[family] | {"attention": attention})
    model = filled(Transformer(config, with_mlm="linear"))
    segment = int(attention == "unilm")
    first, step = decoding_graphs(model, segment)
    steps = CachedGraphs(opened(first, tmp_path / "a.onnx"), opened(step, tmp_path / "b.onnx"), config)
    rows, length, more = 2, 6, 3
    token_ids, segments, real = batch(config, rows, length)
    segments[:] = 0
    condition = None
    if config.layer_norm_cond_size:
        condition = np.random.default_rng(1).normal(size=(rows, config.layer_norm_cond_size)).astype("float32")
    generated = np.random.default_rng(2).integers(2, 37, (rows, 2, more)).astype("int32")
    logits, state = steps.start(token_ids, segments, 2, condition)
    found = [np.repeat(logits, 2, axis=1)]
    for time in range(more):
        logits, state = steps.step(generated[:, :, time], state)
        found.append(logits)
        if time == 1:  # the continuations change places
            state = steps.follow(state, np.array([[1, 0], [1, 0]]))
            generated, found = generated[:, ::-1], [each[:, ::-1] for each in found]
    for row in range(rows):
        for k in range(2):
            own = real[row].sum()
            whole = np.concatenate([token_ids[row, :own], generated[row, k]])[None]
            kinds = (np.arange(whole.shape[1]) >= own).astype("int32")[None] * segment
            given = [whole, kinds] + ([] if condition is None else [condition[row : row + 1]])
            expected = ops.convert_to_numpy(model(given))[0, own - 1 :]
            np.testing.assert_allclose(np.stack([each[row, k] for each in found]), expected, atol=1e-4)
