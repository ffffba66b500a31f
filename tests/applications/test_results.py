"""Tables for people: columns stand below each other, whatever the labels are written in."""

import pytest

from nlptasks.applications.results import f1_table, padded
from nlptasks.console import width

pytestmark = pytest.mark.once


def test_a_chinese_character_takes_two_columns_and_a_mark_none():
    assert [width(text) for text in ("abc", "好评", "Ａ，", "e\u0301", "")] == [3, 4, 4, 1, 0]
    assert padded("好评", 7) + "|" == "好评   |"
    assert padded("好评", 3) == "好评"


def test_the_columns_of_a_table_stand_below_each_other():
    one = {"support": 3, "precision": 50.0, "recall": 100.0, "f1": 66.666}
    long = "非常长的一个标签名称有十六字呀"
    lines = f1_table("label", {"好评": one, "bad": one, long: one})
    assert len({width(line) for line in lines}) == 1
    assert lines[1] == "好评" + " " * 28 + "         3       50.00    100.00     66.67"
    assert f1_table("label", {"差": one})[1] == "差" + " " * 22 + "         3       50.00    100.00     66.67"
