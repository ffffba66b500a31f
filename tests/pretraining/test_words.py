"""Word starts equal jieba's own, word by word, and the segmenter's."""

import random

import jieba
import numpy as np
import pytest

import nlptasks
from nlptasks.pretraining.words import JiebaWords, make_word_cutter
from nlptasks.text import read_json_lines
from nlptasks.text.sentences import split_sentences
from tests.pretraining.corpora import ODD, make_documents

jieba.setLogLevel(60)


@pytest.fixture(scope="module")
def jieba_words():
    return JiebaWords()


def starts_of(words):
    """A flag a character."""
    return [at == 0 for word in words for at in range(len(word))]


def lines_of(documents):
    return [line for document in documents for line in document.split("\n")]


def expected_flags(lines, cut):
    flags = []
    for line in lines:
        flags += [*starts_of(cut(line)), True]
    return flags[:-1]


def assert_equal_to_jieba(cutter, lines):
    found = cutter("\n".join(lines))
    words = [[*jieba.cut(line), "\n"] for line in lines]
    ends = np.cumsum([len(word) for cut in words for word in cut])
    expected = np.zeros(ends[-1], bool)
    expected[[0, *ends[:-1]]] = True
    if not np.array_equal(found, expected[:-1]):
        at = 0
        for line, cut in zip(lines, words, strict=True):
            assert found[at : at + len(line)].tolist() == starts_of(cut[:-1]), line
            at += len(line) + 1
        raise AssertionError("line ends are words")


def test_words_are_those_of_jieba(jieba_words):
    assert_equal_to_jieba(jieba_words, lines_of([*make_documents(150, 3), *ODD]))


def mixed_lines(count, seed):
    """Lines of pieces of the invented documents, rare words, characters at random, alphabets and marks."""
    choose = random.Random(seed)
    texts = "".join(make_documents(400, seed))
    words = [*jieba.dt.FREQ][:: len(jieba.dt.FREQ) // 20_000]
    han, odd = [chr(i) for i in range(0x4E00, 0x9FD6)], "".join(ODD).replace("\n", "")
    latin = "aB1.%+#&_- ，。、9Zx"

    def piece():
        kind = choose.randrange(8)
        if kind < 3:
            start = choose.randrange(len(texts) - 12)
            return texts[start : start + choose.randrange(1, 12)]
        if kind < 5:
            return choose.choice(words)
        if kind < 7:
            return "".join(choose.choices(han if kind == 5 else latin, k=choose.randrange(1, 6)))
        start = choose.randrange(len(odd) - 6)
        return odd[start : start + choose.randrange(1, 6)]

    return ["".join(piece() for _ in range(choose.randrange(1, 4))) for _ in range(count)]


def test_words_of_100_000_lines_are_those_of_jieba(jieba_words):
    """Invented sentences and mixtures, each once; short lines, so that jieba itself is done soon."""
    sentences = dict.fromkeys(line for text in make_documents(4_000, 17) for line in split_sentences(text))
    lines = list(dict.fromkeys([*sentences, *mixed_lines(105_000, 19)]))[:100_000]
    assert len(lines) == 100_000
    for start in range(0, len(lines), 2000):  # about as many as a batch holds
        assert_equal_to_jieba(jieba_words, lines[start : start + 2000])


def test_random_characters_are_cut_as_jieba_cuts_them(jieba_words):
    choose = random.Random(3)
    han = [*"的是不了在人有我他这中大来上国个到说们为子和你地出道也时年得就那要下以生会龘㐂𠮷彳亍"]
    alphabet = [*han, *map(chr, range(0x4E00, 0x4F00)), *"aB1.%-_ ，"]
    lines = ["".join(choose.choice(alphabet) for _ in range(choose.randrange(1, 60))) for _ in range(900)]
    assert_equal_to_jieba(jieba_words, lines)


def test_runs_in_letters_and_digits_are_cut_as_jieba_cuts_them(jieba_words):
    choose = random.Random(5)
    lines = ["".join(choose.choice("a1.%+#&_-彳亍囧x9") for _ in range(choose.randrange(1, 14))) for _ in range(2000)]
    assert_equal_to_jieba(jieba_words, lines)


def test_a_batch_is_cut_as_each_of_its_lines(jieba_words):
    lines = lines_of(make_documents(9, 11))
    alone = [flag for line in lines for flag in [*jieba_words(line).tolist(), True]]
    assert jieba_words("\n".join(lines)).tolist() == alone[:-1]


def test_words_of_public_text_are_those_of_jieba(jieba_words, public_data):
    lines = []
    for name in ("wiki", "poetry", "weekly", "laws"):
        texts = (item["text"] for item in read_json_lines(public_data / "text" / f"{name}.jsonl.gz", ["text"]))
        for text, _ in zip(texts, range(100), strict=False):
            lines += text[:1000].split("\n")
    assert sum(map(len, lines)) > 40_000
    assert_equal_to_jieba(jieba_words, lines)


def test_words_of_the_segmenter_are_its_words():
    lines = [line for line in lines_of([*make_documents(40, 3), *ODD]) if line]
    segmenter = nlptasks.load("segmenter")
    assert make_word_cutter("fcn")("\n".join(lines)).tolist() == expected_flags(lines, segmenter.segment)


def test_a_dictionary_of_the_segmenter_counts(tmp_path):
    line = "南京市长江大桥"
    (tmp_path / "words.txt").write_text("市长江大桥,1e9\n", encoding="utf-8")
    plain, found = (make_word_cutter("fcn", path)(line).tolist() for path in (None, tmp_path / "words.txt"))
    assert found == [True, False, True, False, False, False, False]
    assert found != plain


def test_another_jieba_is_refused(monkeypatch):
    monkeypatch.setattr(jieba, "__version__", "0.43.0")
    with pytest.raises(ValueError, match=r"segmenter jieba finds words as jieba 0\.42 does\. Received: jieba 0\.43\.0"):
        make_word_cutter("jieba")


def test_without_a_segmenter_every_character_is_a_word():
    np.testing.assert_array_equal(make_word_cutter("none")("天气ab"), [True] * 4)


def test_an_unknown_segmenter_is_refused():
    with pytest.raises(ValueError, match=r"^segmenter must be one of jieba, fcn, none\. Received: 'ltp'\."):
        make_word_cutter("ltp")


def test_of_two_equally_likely_paths_the_longer_word_wins_as_in_jieba(monkeypatch):
    cutter = JiebaWords()
    cutter._dictionary = {"山": -1.0, "水": -1.0, "山水": -2.0, "水山": None}
    assert cutter("山水").tolist() == [True, False]
    other = jieba.Tokenizer()
    route = {}
    monkeypatch.setattr("jieba.log", {1: 0.0, 2: -1.0, 3: -2.0}.__getitem__)
    monkeypatch.setattr(other, "FREQ", {"山": 2, "水": 2, "山水": 3, "水山": 0})
    monkeypatch.setattr(other, "total", 1)
    monkeypatch.setattr(other, "initialized", True)
    other.calc("山水", other.get_DAG("山水"), route)
    assert route[0] == (-2.0, 1)
