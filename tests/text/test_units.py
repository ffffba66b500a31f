"""Cutting text into units."""

import numpy as np
import pytest

from nlptasks.text.units import CUT_SIGNS, FEW_PARTS, LINE_END, SPACE, code_points, cut_at, kind_table, split_units


def units_of(text, cuts=None):
    starts = split_units(code_points(text), cuts).starts.tolist()
    return [text[i:j] for i, j in zip(starts, [*starts[1:], len(text)], strict=bool(text))]


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("", []),
        ("今天好", ["今", "天", "好"]),
        ("在2019年", ["在", "2019", "年"]),
        ("３．５％", ["３", "．", "５", "％"]),
        ("iPhone6s好", ["iPhone", "6", "s", "好"]),
        ("Ａb ｃ", ["Ａb", " ", "ｃ"]),
        ("好 \u3000\t好", ["好", " \u3000\t", "好"]),
        ("好\r\n\n\r\r\n好", ["好", "\r\n", "\n", "\r", "\r\n", "好"]),
        ("e\u0301a好", ["e\u0301a", "好"]),
        ("好\u0301\u0301好", ["好\u0301\u0301", "好"]),
        ("\u0301好", ["\u0301", "好"]),
        (" \u0301 好\n\u0301", [" ", "\u0301", " ", "好", "\n", "\u0301"]),
        ("👨\u200d👩\u200d👧好👍🏽棒\ufe0f", ["👨\u200d👩\u200d👧", "好", "👍🏽", "棒\ufe0f"]),
        ("好\u200d 好", ["好\u200d", " ", "好"]),
        ("カタひら한국ㄅ", ["カ", "タ", "ひ", "ら", "한국", "ㄅ"]),
        ("привет мир", ["привет", " ", "мир"]),
        ("\ud800\udfff好", ["\ud800", "\udfff", "好"]),
        ("\x00\x1b。", ["\x00", "\x1b", "。"]),
        ("𠀀𠀁", ["𠀀", "𠀁"]),
    ],
)
def test_runs_marks_and_line_ends_are_units(text, units):
    assert units_of(text) == units


def test_a_cut_starts_a_unit_inside_a_run():
    assert units_of("买iPhone15好", np.array([3, 8])) == ["买", "iP", "hone", "1", "5", "好"]


def test_full_width_and_half_width_signs_read_the_same():
    full, half = split_units(code_points("Ａ，１（")), split_units(code_points("A,1("))
    assert full.codes.tolist() == half.codes.tolist()
    assert full.kinds.tolist() == half.kinds.tolist()


def test_white_space_is_what_python_calls_so_and_the_invisible_spaces():
    white = {code for code in range(0x110000) if kind_table()[code] in (SPACE, LINE_END)}
    assert white == {code for code in range(0x110000) if chr(code).isspace()} | {0x200B, 0x2060, 0xFEFF}


def test_line_ends_are_those_of_splitlines():
    ends = {chr(code) for code in range(0x110000) if kind_table()[code] == LINE_END}
    assert ends == {chr(code) for code in range(0x110000) if len(f"a{chr(code)}b".splitlines()) == 2}


@pytest.mark.parametrize("present", range(len(CUT_SIGNS) + 1))
def test_parts_are_cut_out_whatever_signs_a_text_has(present):
    text = f"今天\ud800很好{CUT_SIGNS[:present]}。\n" * FEW_PARTS
    for step in (1, 3, 7, len(text)):
        starts = np.arange(0, len(text), step)
        assert cut_at(text, starts) == [text[i : i + step] for i in starts]
