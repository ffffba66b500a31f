"""Where sentences end."""

import random

import pytest

from nlptasks.text.sentences import sentence_ends, split_sentences
from tests.text.plain_sentences import plain_sentences


def sentences(text, **options):
    ends = list(sentence_ends(text, **options))
    pieces = [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]
    return [piece for piece in pieces if piece]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("他说：“走吧。”然后走了！？真的……嗯", ["他说：“走吧。”", "然后走了！？", "真的……", "嗯"]),
        ("（好。）（坏！）【行！】", ["（好。）", "（坏！）", "【行！】"]),
        ("3.5%；不分；号", ["3.5%；不分；号"]),
        ("一行\n二行", ["一行\n二行"]),
        ("", []),
    ],
)
def test_a_sentence_ends_behind_its_marks_and_what_closes_with_them(text, wanted):
    assert sentences(text) == wanted


def test_lines_semicolons_and_full_stops_end_sentences_where_that_is_asked_for():
    text = '甲；乙\n“丙。”\n"O.K. 丁"; 3.5.'
    assert sentences(text) == ["甲；乙\n“丙。”", '\n"O.K. 丁"; 3.5.']
    assert sentences(text, semicolons=True) == ["甲；", "乙\n“丙。”", '\n"O.K. 丁";', " 3.5."]
    assert sentences(text, lines=True) == ["甲；乙\n", "“丙。”", "\n", '"O.K. 丁"; 3.5.']
    assert sentences(text, full_stops=True) == ["甲；乙\n“丙。”", '\n"O.K.', ' 丁"; 3.5.']


def test_a_stretch_is_read_alone_and_counted_in_the_whole_text():
    text = "甲。乙。”丙。"
    assert list(sentence_ends(text)) == [2, 5, 7]
    assert list(sentence_ends(text, 2, 4)) == [4]  # the quote that follows is not seen


def test_random_text_is_split_as_character_by_character():
    choose = random.Random(2)
    for _ in range(3000):
        text = "".join(choose.choice("ab。！…”】'\n") for _ in range(choose.randrange(12)))
        assert split_sentences(text) == plain_sentences(text), text
