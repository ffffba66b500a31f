"""How wide the arrays of batches are, and how that is changed."""

import pytest

from nlptasks.applications.conditional.samples import lm_arrays
from nlptasks.applications.examples import padded_inputs, padded_to, padded_width
from nlptasks.applications.labeling.samples import LabelingExamples
from nlptasks.text import Encoding, Tokenizer, build_character_vocab
from nlptasks.text.entities import Entity, EntityText


def encoding(length):
    return Encoding([7] * length, [0] * length, None)


def test_widths_are_multiples_of_16_up_to_the_limit():
    assert [padded_width(longest, 40) for longest in (3, 16, 17, 33, 40)] == [16, 16, 32, 40, 40]


def test_inside_padded_to_widths_are_multiples_of_what_it_is_given():
    with padded_to(24):
        assert padded_inputs([encoding(5)], 2, 60)[0].shape == (2, 24)
        assert padded_inputs([encoding(5), encoding(25)], 2, 60)[0].shape == (2, 48)
        assert padded_inputs([encoding(50)], 2, 60)[0].shape == (2, 60)
        assert lm_arrays([[2]], [[5] * 3], 1, 60)["token_ids"].shape == (1, 24)
    assert padded_inputs([encoding(5)], 2, 60)[0].shape == (2, 16)


def test_entities_of_a_batch_are_padded_with_the_width():
    texts = [EntityText("陶安在青石县", (Entity(0, 2, "name", "陶安"), Entity(3, 6, "place", "青石县")), "item 0")]
    tokenizer = Tokenizer(build_character_vocab([texts[0].text]))
    examples = LabelingExamples(tokenizer, 64, texts, ("name", "place"), False)
    assert examples.arrays([0], 1)["spans"].shape == (1, 2, 4)
    with padded_to(64):
        assert examples.arrays([0], 1)["spans"].shape == (1, 2, 16)


def test_a_width_of_nothing_is_refused():
    with pytest.raises(ValueError, match="multiple must be at least 1"), padded_to(0):
        pass
