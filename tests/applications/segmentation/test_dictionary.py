"""User dictionaries: their files, and what they do to a text whatever the network says."""

import copy
import gzip
import math
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest

from nlptasks.applications.segmentation.dictionary import (
    ALWAYS,
    JIEBA_SIGNS_WEIGHT,
    JIEBA_WEIGHT,
    NEVER,
    UserDictionary,
)
from nlptasks.applications.segmentation.segmenter import SEARCHED, Segmenter
from nlptasks.opening import load
from tests.applications.segmentation.segmentation_cases import PECULIAR, random_segmenter, random_texts, spans

pytestmark = pytest.mark.once
NOT_MEANT = ("词 -5", "词 +5 n", "词 1e5", "词 １００ n", "词 100 nr1", "new york", "# comment")


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_both_formats_are_read(tmp_path):
    lines = "机器学习,10\n云计算,0.5\n的话,0\nNew York,inf\n一,二,2\n"
    lines += "深度学习\n自然语言 5\n石墨烯 3 nz\n凱特琳 nr\n好了 0\n\n"
    lines += "云 计算 ,\t4\nVisual Basic 5 nz\niPhone 15 0\n1,000 3 m\n"
    lines += f"\ufeff电影 {'9' * 5000}\nnew york 1\n词 -5 1\nC++ n\n"
    lines += "春江（北区） 100 n\n海燕 智能手表\nK歌 App\n海燕 手环 vn\n手表 15 Pro\n语 7 Ng\nPython 3.11\n"
    dictionary = UserDictionary.from_file(write(tmp_path / "words.txt", gzip.compress(lines.encode())))
    assert dictionary.words == {
        "机器学习": math.log(10),
        "云计算": math.log(0.5),
        "的话": NEVER,
        "New York": ALWAYS,
        "一,二": math.log(2),
        "深度学习": JIEBA_WEIGHT,
        "自然语言": JIEBA_WEIGHT,
        "石墨烯": JIEBA_WEIGHT,
        "凱特琳": JIEBA_WEIGHT,
        "好了": NEVER,
        "云 计算": math.log(4),
        "Visual Basic": JIEBA_SIGNS_WEIGHT,
        "iPhone 15": NEVER,
        "1,000": JIEBA_SIGNS_WEIGHT,
        "电影": JIEBA_WEIGHT,
        "new york": JIEBA_SIGNS_WEIGHT,
        "词 -5": JIEBA_SIGNS_WEIGHT,
        "C++": JIEBA_SIGNS_WEIGHT,
        "春江（北区）": JIEBA_SIGNS_WEIGHT,
        "海燕 智能手表": JIEBA_SIGNS_WEIGHT,
        "K歌 App": JIEBA_SIGNS_WEIGHT,
        "海燕 手环": JIEBA_SIGNS_WEIGHT,
        "手表 15 Pro": JIEBA_SIGNS_WEIGHT,
        "语": JIEBA_WEIGHT,
        "Python 3.11": JIEBA_SIGNS_WEIGHT,
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("机器,many", r"words\.txt:2: expected `word,multiplier`, or jieba's .*. Received: 'many' behind the comma\."),
        ("机器,nan", r"words\.txt:2: the weight of a dictionary word must be a number\. Received: '机器', nan\."),
        ("机器 3 n x", r"words\.txt:2: expected .*. Received: '机器 3 n x'\."),
        ("机器 3.5", r"words\.txt:2: expected .*. Received: '机器 3\.5'\."),
        (
            "手机 15 pro max",
            r"words\.txt:2: expected .*To take `手机 15 pro max` as a word, write `手机 15 pro max 1`\.",
        ),
        ("10,000", r"words\.txt:2: '10,000' is one number, or the word 10 with a multiplier\. .*`10,000 1`.*`10,0`"),
        ("1,234,567", r"words\.txt:2: '1,234,567' is one number, or the word 1,234 with"),
        ("机器，20", r"words\.txt:2: '机器，20' has a full-width comma"),
        ("机器,1_0", r"words\.txt:2: expected .*'1_0' behind the comma"),
        ("机器,3 n x", r"words\.txt:2: expected .*. Received: '3 n x' behind the comma"),
        ("词 1,000", r"words\.txt:2: expected .*'000' behind the comma\. .* write `词 1,000 1`"),
        ("词,1,234", r"words\.txt:2: expected .*'234' behind the comma"),
        ("10,00", r"words\.txt:2: expected .*'00' behind the comma"),
        ("1,000.5", r"words\.txt:2: expected .*'000\.5' behind the comma"),
        *((line, rf"words\.txt:2: expected .*Received: '{re.escape(line)}'") for line in NOT_MEANT),
        ("词 , 20 n", r"words\.txt:2: expected .*'20 n' behind the comma"),
        ("词\x00", r"words\.txt:2: a zero byte stands in it; is the file UTF-16\?"),
        (",5", r"words\.txt:2: expected .*. Received: no word before the comma\."),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    with pytest.raises(ValueError, match=message):
        UserDictionary.from_file(write(tmp_path / "words.txt", f"好,2\n{line}\n"))


def test_a_word_with_a_line_end_and_a_file_that_is_not_utf8_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"without a line end. Received: 'a\\nb'"):
        UserDictionary({"a\nb": 1.0})
    with pytest.raises(ValueError, match=r"words\.txt:1: expected UTF-8. Received: byte 0xbb"):
        UserDictionary.from_file(write(tmp_path / "words.txt", "机器".encode("gb18030")))


def test_overlapping_occurrences_are_found_with_their_places():
    found = UserDictionary({"aa": 1.0, "aab": 2.0, "北": -1.0}).find("aaab北")
    assert sorted(zip(*(column.tolist() for column in found), strict=True)) == [
        (0, 2, 1.0),
        (1, 3, 1.0),
        (1, 4, 2.0),
        (4, 5, -1.0),
    ]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_word_of_infinite_weight_always_comes_out(rng, seed):
    segmenter, tried = random_segmenter(seed=seed), 0
    for text in random_texts(rng, 1500, 40, PECULIAR.replace("\n", "").replace("\r", "")):
        start = int(rng.integers(0, max(1, len(text))))
        word = text[start : start + int(rng.integers(1, 6))]
        places = [i for i in range(len(text)) if word and text.startswith(word, i)]
        if not places or any(char.isspace() and len(f"a{char}a".splitlines()) > 1 for char in word):
            continue
        if any(b - a < len(word) for a, b in pairwise(places)):  # it overlaps itself
            continue
        tried += 1
        segmenter.dictionary = UserDictionary({word: ALWAYS})
        words = segmenter.segment(text)
        assert "".join(words) == text
        assert {(i, i + len(word)) for i in places} <= spans(words), (text, word)
    assert tried > 900


def test_a_forbidden_word_never_comes_out_where_something_else_can(rng):
    segmenter = random_segmenter()
    for text in random_texts(rng, 400, 40, "我们在北京大学读书今天"):
        segmenter.dictionary = UserDictionary()
        longer = [word for word in segmenter.segment(text) if len(word) > 1]
        if longer:
            word = longer[int(rng.integers(len(longer)))]
            segmenter.dictionary = UserDictionary({word: NEVER})
            words = segmenter.segment(text)
            assert "".join(words) == text
            assert word not in words
    segmenter.dictionary = UserDictionary({"天": NEVER})
    assert segmenter.segment("天") == ["天"]  # nothing else is left


def test_forbidding_a_word_leaves_far_words_alone(rng):
    segmenter, text = random_segmenter(), "".join(rng.choice(list("我们在北京大学读书今天"), 900))
    before = segmenter.segment(text)
    word = next(word for word in before if len(word) > 1 and text.count(word) == 1)
    segmenter.dictionary = UserDictionary({word: NEVER})
    after, at = segmenter.segment(text), text.index(word)
    assert (at, at + len(word)) not in spans(after)
    changed = spans(before) ^ spans(after)
    assert changed
    assert all(start > at - 2 * SEARCHED and end < at + 2 * SEARCHED for start, end in changed)


def test_weights_are_added_to_the_tags_of_a_word_and_undo_each_other():
    segmenter, text = random_segmenter(), "今天我们在北京大学读书"
    plain = segmenter.segment(text)
    segmenter.dictionary = UserDictionary({"大学": 60.0})
    assert "大学" in segmenter.segment(text)
    segmenter.dictionary = UserDictionary({"大学": -60.0})
    assert "大学" not in segmenter.segment(text)
    segmenter.dictionary = UserDictionary({"大学": 0.0})
    assert segmenter.segment(text) == plain


@pytest.mark.parametrize("weight", [-1e30, 1e30])
def test_no_finite_weight_loses_text_or_outweighs_a_word_that_always_comes_out(weight):
    segmenter = random_segmenter()
    segmenter.dictionary = UserDictionary({"今": weight, "天今": weight, "天今天": weight, "今天": ALWAYS})
    assert segmenter.segment("今天今天今") in (["今天", "今天", "今"], ["今天", "今天今"])
    assert segmenter.segment("今") == ["今"]


def test_a_word_always_comes_out_beside_a_forbidden_one():
    segmenter = random_segmenter()
    segmenter.dictionary = UserDictionary({"大学": ALWAYS, "读书": ALWAYS, "的": NEVER, "书的": NEVER, "北京": NEVER})
    assert segmenter.segment("大学的读书") == ["大学", "的", "读书"]
    assert segmenter.segment("大学北京读书") == ["大学", "北", "京", "读书"]


def test_a_forbidden_word_in_many_lines_is_avoided_in_each():
    segmenter = random_segmenter()
    lines = ["我们今天去北京大学读书"] * 20_000  # squared it would be minutes
    [words] = segmenter.segment(lines[:1])
    segmenter.dictionary = UserDictionary({next(word for word in words if len(word) > 1): NEVER})
    [others] = segmenter.segment(lines[:1])
    assert others != words
    assert segmenter.segment(lines) == [others] * len(lines)


def test_forbidding_a_frequent_character_costs_no_search(monkeypatch):
    segmenter, text = random_segmenter(), "今天我们在北京大学读书" * 50
    assert "在" in segmenter.segment(text)
    segmenter.dictionary = UserDictionary({"在": NEVER})
    monkeypatch.setattr("nlptasks.applications.segmentation.segmenter.best_words", None)
    assert "在" not in segmenter.segment(text)


def test_a_weight_does_not_cut_a_run_but_always_does():
    segmenter = random_segmenter()
    segmenter.dictionary = UserDictionary({"art": 50.0})
    assert "party" in segmenter.segment("party")
    segmenter.dictionary = UserDictionary({"art": ALWAYS})
    assert segmenter.segment("party")[1] == "art"


def test_hundreds_of_thousands_of_words(rng):
    characters = np.array([chr(code) for code in range(0x4E00, 0x4E00 + 3000)])
    words = {"".join(rng.choice(characters, 4)): 3.0 for _ in range(2000)}
    words |= {f"{word}{char}": 2.0 for word in list(words) for char in characters[:100]}
    dictionary = UserDictionary(words)
    assert len(dictionary) > 200_000
    word = next(iter(words))
    assert len(dictionary.find(word + characters[0])[0]) == 2


def test_a_word_with_signs_spaces_or_letters_comes_out_where_it_stands():
    segmenter = load("segmenter")
    words = (
        "春江（北区）|海燕 智能手表|K歌 App|《长河》手账|A+B计划|24小时便利店|三、四期|星星?派|OK蛋糕（大）|C罗 球衣"
    )
    words = [*words.split("|"), "清风·茶"]
    for word in words:
        segmenter.dictionary.add(word)
    frames = ("{}", "我们昨天去了{}。", "他说：{}很好，{}也不错！", "（{}）", "关于{}的通知", "买{}送礼")
    for standard in segmenter.standards:
        missed = [
            text
            for word in words
            for text in (frame.replace("{}", word) for frame in frames)
            if segmenter.segment(text, standard).count(word) != text.count(word)
        ]
        assert missed == [], standard


def test_an_empty_dictionary_is_the_one_that_was_given():
    dictionary = UserDictionary()
    segmenter = Segmenter(random_segmenter().runtime, dictionary=dictionary)
    dictionary.add("今天天气", ALWAYS)
    assert segmenter.dictionary is dictionary
    assert "今天天气" in segmenter.segment("今天天气很好")


def test_the_automaton_is_published_only_when_it_is_built():
    words = {
        f"{a}{b}{c}": 1.0
        for a in "甲乙丙丁戊己庚辛"
        for b in "一二三四五六七八九十"
        for c in map(chr, range(0x4E00, 0x4EFA))
    }
    for _ in range(3):
        dictionary = UserDictionary(words)
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _, d=dictionary: len(d.find("甲一" + chr(0x4E00))[0]), range(8)))
        assert found == [1] * 8


def test_a_dictionary_travels_without_its_automaton():
    dictionary = UserDictionary({"机器": 2.0, "学习": NEVER})
    dictionary.find("机器")
    again = copy.deepcopy(dictionary)
    assert again.words == dictionary.words
    again.add("手表")
    assert len(again.find("机器手表")[0]) == 2
    assert "automaton" not in str(dictionary.__reduce_ex__(4))
