"""Larger heads: the same function at first, and columns that learn."""

import numpy as np
import pytest
from keras import ops

from nlptasks.backend import compile_train_step
from nlptasks.checkpoints.growing import grow_key_size
from nlptasks.core import Transformer, TransformerConfig
from nlptasks.train.optimizers import make_adam
from tests.parity import TOLERANCE, distance, randomised

V, D, L, N, F = 23, 30, 2, 5, 41
IDS = np.array([[2, 7, 11, 3, 5, 1, 13], [4, 9, 22, 6, 0, 0, 0]], "int32")
SEGMENTS = np.array([[0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0, 0]], "int32")


def model(**changes):
    config = TransformerConfig(vocab_size=V, hidden_size=D, num_layers=L, num_heads=N, ffn_size=F, **changes)
    made = Transformer(config, with_mlm="linear")
    made.build()
    return randomised(made)


def outputs(made):
    return ops.convert_to_numpy(made([IDS, SEGMENTS]))


@pytest.mark.parametrize(
    "changes",
    [{}, {"attention": "unilm"}, {"key_size": 7, "value_size": 6}, {"shared_layers": True}, {"talking_heads": True}],
)
@pytest.mark.parametrize("talking_heads", [None, True])
def test_a_model_with_larger_heads_computes_what_it_did(changes, talking_heads):
    small = model(**changes)
    large = grow_key_size(small, 13, talking_heads=talking_heads)
    assert large.config.key_size == 13
    assert large.config.talking_heads == bool(talking_heads or small.config.talking_heads)
    assert distance(outputs(large), outputs(small)) <= TOLERANCE


def test_the_new_columns_of_queries_and_keys_have_moved_after_two_steps():
    large = grow_key_size(model(dropout=0.0, attention_dropout=0.0), 13)
    step = compile_train_step(
        large,
        make_adam(1e-2, 2, decay=False),
        lambda ids: ops.mean(
            ops.sparse_categorical_crossentropy(ids, large.token_logits(large.encode(ids)), from_logits=True)
        ),
    )

    def new_columns(layer):
        kernel = np.array(ops.convert_to_numpy(layer.kernel)).reshape(D, N, 13)
        return kernel[:, :, D // N :]

    attention = large.blocks[1].attention
    before = new_columns(attention.query), new_columns(attention.key)
    assert not before[0].any()
    assert before[1].all()
    for _ in range(2):
        step(IDS)
    assert np.all(new_columns(attention.query) != before[0])
    assert np.all(new_columns(attention.key) != before[1])


def test_heads_do_not_shrink():
    with pytest.raises(ValueError, match=r"can only grow from 6\. Received: key_size=5"):
        grow_key_size(model(), 5)


def test_positions_inside_of_attention_are_refused():
    with pytest.raises(ValueError, match="key_size=6 cannot grow with position='rotary'"):
        grow_key_size(model(position="rotary"), 8)


def test_talking_heads_are_not_taken_away():
    with pytest.raises(ValueError, match="has talking heads"):
        grow_key_size(model(talking_heads=True), 8, talking_heads=False)


def test_the_seed_decides_the_new_columns():
    small = model()
    keys = [
        ops.convert_to_numpy(grow_key_size(small, 8, seed=seed).blocks[0].attention.key.kernel) for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(keys[0], keys[1])
    assert np.any(keys[0] != keys[2])
