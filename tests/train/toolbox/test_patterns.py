"""Patterns of paths, and rates by layer."""

import pytest

from nlptasks.errors import UserError
from nlptasks.train.toolbox.patterns import factor_of, fits, layer_factors, parsed_factors

pytestmark = pytest.mark.once
PATH = "transformer/block_1/ffn/inner/bias"


@pytest.mark.parametrize(
    ("pattern", "fitting"),
    [("bias", True), ("block_1/*", True), ("block_1", False), ("inner/bias", True), ("ias", False), ("*kernel", False)],
)
def test_a_pattern_begins_at_a_part_of_the_path_and_goes_to_its_end(pattern, fitting):
    assert fits(PATH, pattern) == fitting


def test_factors_of_all_fitting_patterns_are_multiplied():
    assert factor_of(PATH, {"block_1/*": 0.5, "bias": 0.25, "embeddings*": 9.0}) == 0.125


def test_layer_decay_falls_from_the_head_to_the_embeddings():
    paths = ["t/embeddings/token/embeddings", "t/block_0/a/kernel", "t/block_1/a/kernel", "classifier/kernel"]
    assert layer_factors(paths, 0.5) == [0.125, 0.25, 0.5, 1.0]
    with pytest.raises(UserError, match="is for a Transformer with blocks; this model has none"):
        layer_factors(["dense/kernel"], 0.5)


def test_pairs_are_read_and_mistakes_named():
    assert parsed_factors("embeddings*=0.1, block_0/*=0.5", "learning_rate_of") == {
        "embeddings*": 0.1,
        "block_0/*": 0.5,
    }
    for text in ("a", "a=", "=1", "a=-1", "a=nan", "a=inf", ""):
        with pytest.raises(UserError, match="learning_rate_of takes PATTERN=FACTOR pairs"):
            parsed_factors(text, "learning_rate_of")
    with pytest.raises(UserError, match=r"piecewise_rate takes STEP=FACTOR pairs.* Received: 'x=1'"):
        parsed_factors("x=1", "piecewise_rate", whole=True)
