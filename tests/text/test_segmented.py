"""Reading segmented text."""

import gzip

import pytest

from nlptasks.text.segmented import read_segmented, word_starts


def test_words_are_separated_by_any_white_space_and_blank_lines_left_out(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(gzip.compress("今天  天气\u3000很\t好\r\n\n 好 \n".encode()))
    assert read_segmented(path) == [["今天", "天气", "很", "好"], ["好"]]


def test_word_starts_count_characters():
    assert word_starts(["今天", "天气", "很", "𠀀好"]).tolist() == [0, 2, 4, 5]
    assert word_starts(["好"]).tolist() == [0]


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\n \n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"a\.txt: the file is empty"):
        read_segmented(path)
