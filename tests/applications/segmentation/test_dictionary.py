"""User dictionaries: their files, and what they do to a text whatever the network says."""

import gzip
import math
from itertools import pairwise

import numpy as np
import pytest

from nlptasks.applications.segmentation.dictionary import ALWAYS, JIEBA_WEIGHT, NEVER, UserDictionary
from nlptasks.applications.segmentation.segmenter import SEARCHED
from tests.applications.segmentation.segmentation_cases import PECULIAR, random_segmenter, random_texts, spans

pytestmark = pytest.mark.once


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_both_formats_are_read(tmp_path):
    lines = "机器学习,10\n云计算,0.5\n的话,0\nNew York,inf\n一,二,2\n"
    lines += "深度学习\n自然语言 5\n石墨烯 3 nz\n凱特琳 nr\n好了 0\n\n"
    lines += "云 计算 ,\t4\nVisual Basic 5 nz\niPhone 15 0\n1,000 3 m\n"
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
        "Visual Basic": JIEBA_WEIGHT,
        "iPhone 15": NEVER,
        "1,000": JIEBA_WEIGHT,
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("机器,many", r"words\.txt:2: expected `word,multiplier`, or jieba's .*. Received: 'many' behind the comma\."),
        ("机器,nan", r"words\.txt:2: the weight of a dictionary word must be a number\. Received: '机器', nan\."),
        ("机器 3 n x", r"words\.txt:2: expected .*. Received: '机器 3 n x'\."),
        ("机器 3.5", r"words\.txt:2: expected .*. Received: '机器 3\.5'\."),
        ("机器 学习", r"words\.txt:2: expected .*. Received: '机器 学习'\."),
        ("机器,3 n x", r"words\.txt:2: expected .*. Received: '3 n x' behind the comma"),
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
