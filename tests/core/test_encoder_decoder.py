"""T5's parts: buckets of distances, norms without mean, and two stacks of which one looks at the other."""

import keras
import numpy as np
import pytest
from keras import ops

from nlptasks.core import EncoderDecoder, Transformer, TransformerConfig
from nlptasks.core.layers import LayerNorm
from nlptasks.core.positions import DistanceScores, distance_buckets
from tests import t5 as t5_config
from tests.parity import TOLERANCE, distance, randomised

B, S, T, D, V = 2, 11, 7, t5_config.SIZES["hidden_size"], 53
T5 = t5_config.SIZES | t5_config.T5 | {"vocab_size": V}


def t5(**changes):
    model = EncoderDecoder(TransformerConfig(**T5 | changes))
    model.build()
    return randomised(model)


def some_ids(rng):
    source, target = rng.integers(1, V, (B, S)).astype("int32"), rng.integers(1, V, (B, T)).astype("int32")
    target[:, 0] = 0
    return source, target


def logits_of(model, *inputs):
    return ops.convert_to_numpy(model(list(inputs)))


@pytest.mark.once
@pytest.mark.parametrize(("count", "farthest"), [(32, 128), (8, 6), (10, 100), (64, 1000)])
@pytest.mark.parametrize("two_sided", [True, False])
def test_distances_fall_into_the_buckets_of_transformers(count, farthest, two_sided):
    torch = pytest.importorskip("torch", reason="the test extra brings torch")
    modeling = pytest.importorskip("transformers.models.t5.modeling_t5", reason="the test extra brings transformers")
    offsets = np.arange(-farthest - 3, farthest + 4)
    expected = modeling.T5Attention._relative_position_bucket(torch.tensor(offsets), two_sided, count, farthest)
    table = distance_buckets(count, farthest, two_sided)
    found = [table[np.clip(offset, -farthest, farthest) + farthest] for offset in offsets]
    assert found == expected.tolist()


def test_an_rms_norm_neither_centres_nor_shifts(rng):
    x = rng.normal(2.0, 3.0, (B, T, D)).astype("float32")
    rms, unit = LayerNorm(1e-6, kind="rms"), LayerNorm(1e-6, kind="unit")
    expected = x / np.sqrt((x.astype("float64") ** 2).mean(-1, keepdims=True) + 1e-6)
    for layer, weights in ((rms, 1), (unit, 0)):
        layer.build(x.shape)
        assert len(layer.weights) == weights
        assert distance(ops.convert_to_numpy(layer(x)), expected) < TOLERANCE


@pytest.mark.parametrize("changes", [{}, {"gated_ffn": True, "hidden_act": "gelu_new", "output": "untied"}])
def test_padding_of_the_source_and_the_future_of_the_target_change_nothing(changes, rng):
    model, (source, target) = t5(**changes), some_ids(rng)
    logits = logits_of(model, source, target)
    longer = np.concatenate([source, np.zeros((B, 3), "int32")], axis=1)
    assert distance(logits_of(model, longer, target), logits) < TOLERANCE
    other = target.copy()
    other[:, 4] = 1 + other[:, 4] % (V - 1)
    changed = logits_of(model, source, other)
    assert distance(changed[:, :4], logits[:, :4]) < TOLERANCE
    assert (np.abs(changed[:, 4:] - logits[:, 4:]).max(-1) > 1e-3).all()
    source[:, 5] = 1 + source[:, 5] % (V - 1)
    assert (np.abs(logits_of(model, source, target) - logits).max(-1) > 1e-4).all()


def test_both_stacks_have_one_embedding_and_it_is_saved_and_counted_once(rng, tmp_path):
    model, inputs = t5(), some_ids(rng)
    tables = [weight for weight in model.weights if tuple(weight.shape) == (V, D)]
    assert len(tables) == 1
    assert len({id(weight) for weight in model.weights}) == len(model.weights)
    again = EncoderDecoder.from_config(model.get_config())
    again.build()
    for mine, its in zip(model.weights, again.weights, strict=True):
        its.assign(mine)
    assert distance(logits_of(again, *inputs), logits_of(model, *inputs)) == 0


def test_every_weight_has_a_gradient(rng):
    model, inputs = t5(output="untied", gated_ffn=True), some_ids(rng)
    model.compile(keras.optimizers.SGD(1.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = [np.array(ops.convert_to_numpy(weight)) for weight in model.trainable_weights]
    model.train_on_batch(list(inputs), inputs[1])
    after = [ops.convert_to_numpy(weight) for weight in model.trainable_weights]
    assert all(np.abs(b - a).max() > 0 for b, a in zip(before, after, strict=True))


@pytest.mark.once
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm_place": "post"}, r'goes with norm_place="pre"\. Received: norm_place=.post'),
        ({"attention": "causal"}, r"sees its whole source\. Received: decoder_layers=3, attention='causal'"),
        ({"decoder_layers": 0}, r"decoder_layers must be a positive integer or None"),
        ({"relative_buckets": 12}, r"below 2 x relative_distance\. Received: relative_buckets=12, relative_distance=6"),
        ({"embedding_size": 7}, r"output='scaled' multiplies hidden states by the token embedding"),
        ({"layer_norm_cond_size": 4}, r"read by the norms of BERT's layout\. Received: layer_norm_cond_size=4, norm_p"),
        (
            {"norm_place": "post", "decoder_layers": None, "gated_attention": True},
            r"one head, a norm behind it and no biases",
        ),
        (
            {"norm_place": "post", "decoder_layers": None, "num_heads": 1, "gated_attention": True},
            r"ffn_size wide\. Received: value_size=5, ffn_size=17",
        ),
        ({"norm": "mean"}, r"norm must be one of \('layer', 'rms', 'unit'\)\. Received: norm='mean'"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TransformerConfig(**T5 | changes)


@pytest.mark.once
def test_a_decoder_without_what_it_looks_at_is_refused(rng):
    model, (source, target) = t5(), some_ids(rng)
    with pytest.raises(ValueError, match=r"needs sources, .* Received: cross_attention=True, sources given: False"):
        model.decoder.encode(target)
    with pytest.raises(ValueError, match=r"no other takes any\. Received: cross_attention=False, sources given: True"):
        model.encoder.encode(source, sources=model.read(source))


@pytest.mark.once
def test_distances_to_both_sides_are_told_apart_where_both_are_seen(rng):
    x = np.arange(5)[None]
    for attention, both in (("bidirectional", True), ("unilm", True), ("causal", False)):
        changes = {"attention": attention, "decoder_layers": None, "segment_vocab_size": 1}
        layer = DistanceScores(TransformerConfig(**T5 | changes))
        layer.build()
        layer.scores.assign(rng.normal(size=layer.scores.shape))
        scores = ops.convert_to_numpy(layer(x, x))[0, 0]
        assert (scores[0, 2] != scores[2, 2]) == both


@pytest.mark.once
def test_a_config_of_two_stacks_is_not_taken_for_one_or_the_other_way_round():
    with pytest.raises(ValueError, match="decoder_layers=3 is that of an EncoderDecoder"):
        Transformer(TransformerConfig(**T5))
    with pytest.raises(ValueError, match="needs a config with decoder_layers"):
        EncoderDecoder(TransformerConfig(**T5 | {"decoder_layers": None}))
