"""Cached decoding equals running the whole sequence, with ragged prefixes and beams that change places."""

import numpy as np
import pytest
from keras import ops, tree

from nlptasks.backend import compile_function
from nlptasks.core import Transformer
from nlptasks.generate.cached import CachedSteps, cache_bytes
from tests.generate.models import Uncached, V, built
from tests.parity import TOLERANCE, distance

R, K, T, A = 4, 3, 11, 6
LENGTHS = (11, 7, 3, 9)


def whole(uncached, prefix, segments, generated, segment):
    """The logits after one row, computed from scratch."""
    length = (prefix != 0).sum()
    return uncached([*prefix[:length], *generated], [*segments[:length], *[segment] * len(generated)])


def compiled(model, segment=None):
    steps = CachedSteps(model, segment)
    start = compile_function(lambda inputs: steps.start(inputs, K, A), model)
    return start, compile_function(steps, model), compile_function(steps.follow, model)


@pytest.mark.parametrize(
    ("attention", "changes", "segment"),
    [
        ("unilm", {}, None),
        pytest.param("causal", {}, None, marks=pytest.mark.on_jax),
        pytest.param("causal", {}, 1, marks=pytest.mark.on_jax),
        pytest.param("unilm", {"key_size": 5, "value_size": 7}, None, marks=pytest.mark.on_jax),
        pytest.param("causal", {"segment_vocab_size": 0, "embedding_size": 13}, None, marks=pytest.mark.on_jax),
        pytest.param("unilm", {"talking_heads": True}, None, marks=pytest.mark.on_jax),
        pytest.param(
            "unilm", {"residual_attention_scores": "previous", "num_layers": 3}, None, marks=pytest.mark.on_jax
        ),
        pytest.param(
            "causal", {"residual_attention_scores": "running", "num_layers": 3}, None, marks=pytest.mark.on_jax
        ),
        ("unilm", {"position": "relative", "relative_distance": 5}, None),
        pytest.param("causal", {"position": "relative", "relative_distance": 64}, None, marks=pytest.mark.on_jax),
        ("unilm", {"position": "rotary", "key_size": 10}, None),
        pytest.param("unilm", {"hierarchical_position": 0.4, "max_positions": 5}, None, marks=pytest.mark.on_jax),
        pytest.param("unilm", {"shared_layers": True, "embedding_size": 13}, None, marks=pytest.mark.on_jax),
        pytest.param("causal", {"embedding_norm": False, "output": "tied"}, None, marks=pytest.mark.on_jax),
        ("causal", {"embedding_norm": False, "output": "tied", "norm_place": "pre"}, None),
        pytest.param("causal", {"norm_place": "inner", "output": "tied"}, None, marks=pytest.mark.on_jax),
        pytest.param(
            "unilm",
            {"position": "rotary", "norm": "unit", "use_bias": False, "output": "tied"},
            None,
            marks=pytest.mark.on_jax,
        ),
        (
            "unilm",
            {"position": "rotary", "gated_attention": True, "num_heads": 1, "key_size": 10, "use_bias": False},
            None,
        ),
        (
            "causal",
            {"position": "relative", "shared_layers": True, "talking_heads": True, "residual_attention_scores": True},
            None,
        ),
    ],
)
def test_cached_logits_equal_uncached_ones_at_every_step(attention, changes, segment, rng):
    model = built(attention, **changes)
    prefix = rng.integers(1, V, (R, T)).astype("int32")
    for row, length in enumerate(LENGTHS):
        prefix[row, length:] = 0
    segments = np.zeros_like(prefix)
    if changes.get("segment_vocab_size") != 0:
        segments[0, 8:] = 1  # a prefix may hold the beginning of the target
    start, step, follow = compiled(model, segment)
    uncached = Uncached(model, T + A)
    segment = int(attention == "unilm") if segment is None else segment
    logits, state = start({"token_ids": prefix, "segment_ids": segments})
    generated = np.zeros((R, 1, 0), "int32")
    for time in range(A):
        for r in range(R):
            for k in range(generated.shape[1]):
                expected = whole(uncached, prefix[r], segments[r], generated[r, k], segment)
                assert distance(ops.convert_to_numpy(logits)[r, k], expected) < TOLERANCE
        parents = rng.integers(0, generated.shape[1], (R, K)).astype("int32")
        tokens = rng.integers(1, V, (R, K)).astype("int32")
        generated = np.concatenate([generated[np.arange(R)[:, None], parents], tokens[:, :, None]], axis=2)
        logits, state = step(tokens, follow(state, tokens, parents), np.int32(time))


@pytest.mark.parametrize("shape", [{}, {"key_size": 5, "value_size": 7}])
def test_the_prefix_is_stored_once_whatever_the_number_of_beams(shape):
    model = built(**shape)
    prefix = np.ones((R, T), "int32")
    _, state = compiled(model)[0]({"token_ids": prefix, "segment_ids": prefix * 0})
    held = sum(ops.convert_to_numpy(x).nbytes for x in tree.flatten([state["prefix"], state["generated"]]))
    assert held == cache_bytes(model.config, R, T, A, K)
    config = model.config
    per_slot = config.num_layers * config.num_heads * (config.key_size + config.value_size) * 4
    assert held == per_slot * (T * R + A * R * K)


def test_bfloat16_logits_stay_near_the_float32_ones(rng):
    model = built(spread=0.1)
    inputs = {"token_ids": rng.integers(1, V, (R, T)).astype("int32"), "segment_ids": np.zeros((R, T), "int32")}
    tokens, found = rng.integers(1, V, (R, K)).astype("int32"), []
    for dtype in ("float32", "bfloat16"):
        start, step, _ = compiled(model.stored_as(dtype))
        _, state = start(inputs)
        logits, state = step(tokens, state, np.int32(0))
        assert {str(x.dtype).split("'")[-2] if "'" in str(x.dtype) else str(x.dtype) for x in state["prefix"][0]} == {
            dtype
        }
        found.append(ops.convert_to_numpy(logits))
    assert 0 < distance(found[1], found[0]) < 0.05


def test_a_model_stored_as_asked_for_is_used_as_it_is():
    model = built(dropout=0.1)
    assert model.stored_as("float32") is model


def test_a_model_that_cannot_decode_is_refused():
    with pytest.raises(ValueError, match="causal or UNILM attention mask"):
        CachedSteps(built("bidirectional"))
    with pytest.raises(ValueError, match="needs the masked-LM head"):
        CachedSteps(Transformer(built("unilm").config))
    with pytest.raises(ValueError, match=r"one of the model's 2 segments\. Received: generated_segment=2"):
        CachedSteps(built("causal"), 2)
