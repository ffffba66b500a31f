"""Cached decoding equals running the whole sequence, with ragged prefixes and reordered rows."""

import numpy as np
import pytest
from keras import ops

from nlptasks.core import Transformer, TransformerConfig
from nlptasks.generate.cached import CachedDecoder
from tests.parity import TOLERANCE, distance, randomised

V, R, T, A = 101, 4, 11, 6
LENGTHS = (11, 7, 3, 9)


def built(attention, **changes):
    sizes = {"vocab_size": V, "hidden_size": 24, "num_layers": 2, "num_heads": 3, "ffn_size": 37, "max_positions": 17}
    model = Transformer(TransformerConfig(**sizes, attention=attention, **changes), with_mlm="linear")
    model.build()
    return randomised(model)


def whole(model, prefix, segments, generated):
    """The logits after each row, computed from scratch for this row alone."""
    rows = []
    for ids, segment_ids, more in zip(prefix, segments, generated, strict=True):
        length = (ids != 0).sum()
        token_ids = np.concatenate([ids[:length], more])[None].astype("int32")
        segment_ids = np.concatenate([segment_ids[:length], np.ones(len(more))])[None].astype("int32")
        rows.append(ops.convert_to_numpy(model([token_ids, segment_ids]))[0, -1])
    return np.array(rows)


@pytest.mark.parametrize(
    ("attention", "changes"), [("unilm", {}), ("causal", {}), ("unilm", {"key_size": 5, "value_size": 7})]
)
def test_cached_logits_equal_uncached_ones_at_every_step(attention, changes, rng):
    model = built(attention, **changes)
    prefix = rng.integers(1, V, (R, T)).astype("int32")
    for row, length in enumerate(LENGTHS):
        prefix[row, length:] = 0
    segments = np.zeros_like(prefix)
    segments[0, 8:] = 1  # a prefix may hold the beginning of the target
    decoder = CachedDecoder(model)
    logits, state = decoder.start(prefix, segments, A)
    generated = np.zeros((R, 0), "int32")
    for _ in range(A):
        assert distance(ops.convert_to_numpy(logits), whole(model, prefix, segments, generated)) < TOLERANCE
        parents, tokens = rng.integers(0, R, R), rng.integers(1, V, R)
        prefix, segments = prefix[parents], segments[parents]
        generated = np.concatenate([generated[parents], tokens[:, None]], axis=1)
        logits, state = decoder.step(tokens, state, parents)


def test_beams_may_grow_from_one_row_each(rng):
    model = built("unilm")
    prefix = rng.integers(1, V, (2, T)).astype("int32")
    _, state = CachedDecoder(model).start(prefix, np.zeros_like(prefix), A)
    parents, tokens = np.array([0, 1, 0, 1, 0, 1]), rng.integers(1, V, 6)
    logits, _ = CachedDecoder(model).step(tokens, state, parents)
    expected = whole(model, prefix[parents], np.zeros((6, T)), tokens[:, None])
    assert distance(ops.convert_to_numpy(logits), expected) < TOLERANCE


def test_a_model_that_cannot_decode_is_refused():
    with pytest.raises(ValueError, match="causal or UNILM attention mask"):
        CachedDecoder(built("bidirectional"))
    model = Transformer(built("unilm").config)
    with pytest.raises(ValueError, match="needs the masked-LM head"):
        CachedDecoder(model)
