"""A config fails at birth, naming the fields that contradict each other."""

import dataclasses

import pytest

from nlptasks.core import TransformerConfig

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
        ({"attention": "unilm", "segment_vocab_size": 1}, "segment ids 0 and 1.*segment_vocab_size=1"),
    ],
)
def test_contradictions_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TransformerConfig(**(SIZES | changes))


def test_it_is_frozen_and_round_trips_as_a_dict():
    config = TransformerConfig(**SIZES, key_size=9)
    assert TransformerConfig(**config.to_dict()) == config
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.hidden_size = 3
