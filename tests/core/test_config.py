"""A config fails at birth, naming the fields that contradict each other."""

import dataclasses

import pytest

from nlptasks.core import TransformerConfig

pytestmark = pytest.mark.once

SIZES = {"vocab_size": 11, "hidden_size": 12, "num_layers": 1, "num_heads": 3, "ffn_size": 5}


def test_sizes_left_out_follow_from_the_others():
    config = TransformerConfig(**SIZES)
    assert (config.key_size, config.value_size, config.embedding_size) == (4, 4, 12)
    assert TransformerConfig(**SIZES, value_size=7).key_size == 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 13}, r"multiple of num_heads.*hidden_size=13, num_heads=3"),
        ({"num_layers": 0}, "num_layers must be a positive integer. Received: num_layers=0"),
        ({"vocab_size": "11"}, "vocab_size must be a positive integer"),
        ({"attention": "sideways"}, "attention must be one of .*'sideways'"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ({"position": "sideways"}, "position must be one of .*'sideways'"),
        ({"position": "rotary", "key_size": 5}, r"key_size must be even. Received: position='rotary', key_size=5"),
        ({"position": "relative", "key_size": 6}, r"must be equal.*position='relative', key_size=6, value_size=4"),
        ({"position": "rotary", "hierarchical_position": 0.4}, "hierarchical_position=0.4, position='rotary'"),
        ({"hierarchical_position": 1.4}, "hierarchical_position must lie between 0 and 1. Received: 1.4"),
        ({"residual_attention_scores": "all"}, "residual_attention_scores must be one of .*'all'"),
        ({"talking_heads": 3}, "talking_heads must be one of"),
        ({"attention": "unilm", "segment_vocab_size": 0}, "segment ids 0 and 1.*segment_vocab_size=0"),
    ],
)
def test_contradictions_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TransformerConfig(**(SIZES | changes))


def test_what_bert4keras_writes_as_true_has_a_name_here():
    config = TransformerConfig(**SIZES, hierarchical_position=True, residual_attention_scores=True)
    assert (config.hierarchical_position, config.residual_attention_scores) == (0.4, "previous")
    config = TransformerConfig(**SIZES, hierarchical_position=False, residual_attention_scores=False)
    assert (config.hierarchical_position, config.residual_attention_scores) == (None, None)


def test_positions_reach_as_far_as_they_are_made():
    assert TransformerConfig(**SIZES, max_positions=7).position_reach == 7
    assert TransformerConfig(**SIZES, max_positions=7, hierarchical_position=0.4).position_reach == 49
    assert TransformerConfig(**SIZES, max_positions=7, position="rotary").position_reach > 10**6


def test_it_is_frozen_and_round_trips_as_a_dict():
    config = TransformerConfig(**SIZES, key_size=9)
    assert TransformerConfig(**config.to_dict()) == config
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.hidden_size = 3
