"""Character ids."""

import numpy as np
import pytest

from nlptasks.text.characters import CharacterVocab

VOCAB = CharacterVocab({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "山": 4, "a": 5, "1": 6, "𠀀": 7})


def test_widths_and_case_are_folded_and_white_space_goes():
    ids = VOCAB.encode_batch([" 山Ａa\u30001\n", "水山", "𠀀", "", " ", "山" * 9], max_length=5)
    expected = [[4, 5, 5, 6], [1, 4], [7], [1], [1], [4] * 5]
    assert [row.tolist() for row in ids] == expected
    assert all(row.dtype == "int32" for row in ids)
    assert VOCAB.encode_batch([]) == []


def test_it_counts_characters_the_most_frequent_first_and_saves(tmp_path):
    vocab = CharacterVocab.build(["山水山", "Ｂ b水", "山", "火"], min_count=2)
    assert list(vocab.tokens) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "山", "b", "水"]
    vocab.save(tmp_path / "vocab.txt")
    assert CharacterVocab.from_file(tmp_path / "vocab.txt").tokens == vocab.tokens
    assert len(vocab) == 7


def test_odd_characters_have_ids():
    (ids,) = VOCAB.encode_batch(["\ud800\x00\u200d山"])
    np.testing.assert_array_equal(ids, [1, 1, 1, 4])


def test_what_is_no_list_of_strings_is_refused(tmp_path):
    with pytest.raises(TypeError, match="Received: one str; put it into a list"):
        VOCAB.encode_batch("山")
    with pytest.raises(TypeError, match=r"texts\[1\] must be str. Received: int"):
        VOCAB.encode_batch(["山", 3])
    (tmp_path / "v").write_text("[PAD]\n[CLS]\n[UNK]\n[SEP]\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"v: \[UNK\] must be id 1"):
        CharacterVocab.from_file(tmp_path / "v")
