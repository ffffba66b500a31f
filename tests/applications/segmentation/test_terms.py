"""Terms that stay whole: what is one, under which standards, and what a dictionary may do to it."""

import math
import re
import time

import numpy as np
import pytest

import nlptasks
from nlptasks.applications.segmentation.terms import STANDARDS, _runs, find_terms
from nlptasks.text.units import code_points

pytestmark = pytest.mark.once


def terms(text):
    found = find_terms(text, code_points(text))
    return [] if found is None else [text[i:j] for i, j in zip(found.starts, found.ends, strict=True)]


@pytest.fixture
def segmenter():
    return nlptasks.load("segmenter")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Q4的5G、MP3，H2O和AK-47。", ["Q4", "5G", "MP3", "H2O", "AK-47"]),
        ("iPhone15Pro，COVID-19与PM2.5", ["iPhone15Pro", "COVID-19", "PM2.5"]),
        ("ＰＳ３和ＡＫ－４７", ["ＰＳ３", "ＡＫ－４７"]),
        ("C++和C#，R&D，Wi-Fi", ["C++", "C#", "R&D", "Wi-Fi"]),
        ("看https://www.example.com/a?b=1。好", ["https://www.example.com/a?b=1"]),
        ("（www.example.com）和example.org/路", ["www.example.com", "example.org/"]),
        ("see example.org, ok", ["example.org"]),
        ("写到a.b-c@example.com.cn！", ["a.b-c@example.com.cn"]),
        ("写到name@example.de、Zhang@Example.COM", ["name@example.de", "Zhang@Example.COM"]),
        ("见HTTP://EXAMPLE.COM/A，WWW.EXAMPLE.UK", ["HTTP://EXAMPLE.COM/A", "WWW.EXAMPLE.UK"]),
        ("见example.hk和EXAMPLE.JP", ["example.hk", "EXAMPLE.JP"]),
        ("你好，您好！", ["你好", "您好"]),
        ("你好吗", ["你好"]),
        ("你好像很累，你好看，我对你好吗，为了你好", []),
        ("有123个，3.14，50%，12:30，1-2，Hello world", []),
    ],
)
def test_terms_are_found(text, expected):
    assert [term for term in terms(text) if len(term) > 1 and term not in ("Hello", "world")] == expected


@pytest.mark.parametrize("standard", STANDARDS)
def test_terms_stay_whole_and_the_rest_is_as_before(segmenter, standard):
    words = [
        "Q4",
        "5G",
        "MP3",
        "H2O",
        "AK-47",
        "iPhone15",
        "https://www.example.com/a?b=1",
        "a.b@example.com",
        "PM2.5",
        "300km",
        "你好",
        "您好",
    ]
    for word in words:
        for text in (word, f"他说：{word}，我们都说{word}！"):
            found = segmenter.segment(text, standard)
            assert "".join(found) == text
            assert found.count(word) == text.count(word), found
    for text in ("你好像很累", "我对你好吗", "这是为了你好"):
        assert "你好" not in segmenter.segment(text, standard)


def test_standards_that_follow_their_corpus_have_no_rules(segmenter):
    assert "AK-47" not in segmenter.segment("他用AK-47射击", "sxu")


def test_a_dictionary_word_takes_precedence_over_a_term(segmenter):
    def cut(text, words):
        segmenter.dictionary = nlptasks.UserDictionary(words)
        return segmenter.segment(text)

    assert "K歌" in cut("用iPhone15K歌吧", {"K歌": 100.0})
    assert "手机5" in cut("手机5G卡", {"手机5": 10.0})
    assert "K歌" in cut("你好，用iPhone15K歌吧", {"K歌": 100.0})  # a greeting before them changes nothing
    assert "手机5" in cut("您好，手机5G卡", {"手机5": 10.0})
    assert "5G时代" in cut("到了5G时代了", {"5G时代": 100.0})
    assert "H2O" not in cut("H2O是水", {"H2O": -math.inf})
    assert "15" in cut("买iPhone15吧", {"15": math.inf})
    assert "iPhone15" in cut("买iPhone15吧", {"15": 10.0})  # inside, and not certain
    assert cut("买iPhone15吧，H2O", {"无关": 10.0}) == cut("买iPhone15吧，H2O", {})


@pytest.mark.parametrize("mark", ["\u0301", "\ufe0f", "\ufe0f\u20e3"])
def test_a_term_keeps_the_marks_on_its_last_character(segmenter, mark):
    for term in ("T1e", "MP3", "A1"):
        text = f"方案{term}{mark}，已经通过"
        for words in ({}, {"方案": 5.0}, {"方案": math.inf, "无关": -math.inf}):
            segmenter.dictionary = nlptasks.UserDictionary(words)
            assert f"{term}{mark}" in segmenter.segment(text)


def test_a_term_that_begins_inside_a_unit_is_none(segmenter):
    text = "今天天气你好\u200d\u4f60\u597d"
    segmenter.dictionary = nlptasks.UserDictionary({"天气": 5.0})
    assert "".join(segmenter.segment(text)) == text


def test_runs_are_found_where_a_search_of_the_whole_text_finds_them(rng):
    signs = list("aZ9０ｋ.-@:/&#+_~ 你好，。\n")
    for length in rng.integers(0, 60, 400):
        text = "".join(rng.choice(signs, length))
        found = [run.group() for run in re.finditer(r"[a-zA-Z0-9０ｋ][a-zA-Z0-9０ｋ\-.+#&@:/_~]*", text)]
        expected = [run for run in found if re.search(r"[aZｋ][9０\-.+#&@:]|[9０][aZｋ]", run)]
        assert [text[i:j] for i, j in _runs(text, code_points(text))] == expected


def test_long_runs_cost_no_more_than_their_length():
    parts = ["a1.b", "a-", "a@", "1a.", "a.b.c@", "www.", "http://"]
    started = time.monotonic()
    for part in parts:
        terms(part * 20_000)
    assert time.monotonic() - started < 10  # squared it would be minutes


def test_random_texts_are_whole(segmenter):
    rng = np.random.default_rng(7)
    signs = [*list("aZ9０ｋ.-@:/&#+ 你您好像吗，。\n一"), "www.", "http://", ".com", "é", "\u200d", "\ufe0f", "\u0301"]
    texts = ["".join(rng.choice(signs, rng.integers(1, 30))) for _ in range(500)]
    for words in ({}, {"好": 3.0, "a": math.inf, "k.": -math.inf, "您好": -math.inf, "象征": 2.0}):
        segmenter.dictionary = nlptasks.UserDictionary(words)
        found = segmenter.segment(texts)
        assert ["".join(one) for one in found] == texts
        assert found == [segmenter.segment(text) for text in texts]
