"""The masks, row by row, and what they promise of a whole model."""

import numpy as np
import pytest
from keras import ops

from nlptasks.core import Transformer, TransformerConfig
from nlptasks.core.masks import attention_mask, padding_mask
from tests.parity import distance, randomised

B, T, V = 2, 7, 41


def visible(kind, token_ids, segment_ids):
    mask = ops.convert_to_numpy(attention_mask(kind, np.asarray(token_ids), np.asarray(segment_ids)))
    return np.broadcast_to(mask, (len(token_ids), len(token_ids[0]), len(token_ids[0]))).astype(int)


def test_unilm_source_sees_the_source_and_target_sees_its_past():
    mask = visible("unilm", [[9, 9, 9, 9, 9, 0]], [[0, 0, 0, 1, 1, 0]])[0]
    assert mask[:5].tolist() == [
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 0],
    ]


def test_unilm_interleaved_segments_follow_the_running_sum():
    # running sum of 0 1 0 1 is 0 1 1 2: the second source token stands with the first target token
    mask = visible("unilm", [[9, 9, 9, 9]], [[0, 1, 0, 1]])[0]
    assert mask.tolist() == [[1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1]]


def test_causal_sees_itself_and_the_past():
    assert visible("causal", [[9, 9, 9]], [[0, 0, 0]])[0].tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]


def test_bidirectional_hides_padding_columns_only():
    assert visible("bidirectional", [[9, 9, 0]], [[0, 0, 0]])[0].tolist() == [[1, 1, 0]] * 3


def test_position_0_is_always_visible():
    assert ops.convert_to_numpy(padding_mask(np.array([[0, 5, 0]]))).tolist() == [[True, True, False]]


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(2)
    token_ids = rng.integers(1, V, (B, T)).astype("int32")
    segment_ids = np.array([[0] * 4 + [1] * 3] * B, "int32")
    return token_ids, segment_ids


def hidden(kind, token_ids, segment_ids):
    config = TransformerConfig(
        vocab_size=V, hidden_size=12, num_layers=2, num_heads=3, ffn_size=17, max_positions=11, attention=kind
    )
    model = Transformer(config)
    model.build()
    return ops.convert_to_numpy(randomised(model)([token_ids, segment_ids]))


@pytest.mark.parametrize("kind", ["bidirectional", "causal", "unilm"])
def test_padding_never_changes_real_positions(kind, inputs):
    token_ids, segment_ids = inputs
    longer = [np.pad(x, ((0, 0), (0, 3))) for x in inputs]
    assert distance(hidden(kind, *longer)[:, :T], hidden(kind, token_ids, segment_ids)) < 1e-5


@pytest.mark.parametrize("kind", ["causal", "unilm"])
def test_a_future_target_token_never_changes_the_past(kind, inputs):
    token_ids, segment_ids = inputs
    changed = token_ids.copy()
    changed[:, 5] = changed[:, 5] % (V - 1) + 1
    before, after = hidden(kind, token_ids, segment_ids), hidden(kind, changed, segment_ids)
    assert distance(after[:, :5], before[:, :5]) < 1e-6
    assert distance(after[:, 5:], before[:, 5:]) > 1e-2


def test_a_later_source_token_changes_earlier_source_positions_under_unilm(inputs):
    token_ids, segment_ids = inputs
    changed = token_ids.copy()
    changed[:, 3] = changed[:, 3] % (V - 1) + 1
    before, after = hidden("unilm", token_ids, segment_ids), hidden("unilm", changed, segment_ids)
    assert distance(after[:, :1], before[:, :1]) > 1e-3
