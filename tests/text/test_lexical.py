"""Lexical search: BM25 and TF-IDF equal to their formulas, written down term by term."""

import math
from collections import Counter

import numpy as np
import pytest

from nlptasks.text.lexical import K1, B, LexicalIndex

TEXTS = ["怎样修改我的密码", "密码怎么改", "今天会下雨吗", "下雨下雨下雨", "ＡＢ ab", "密码密码", "x", "", "𠀀𠀁 👍"]


def terms(text):
    folded = "".join(text.replace("Ａ", "a").replace("Ｂ", "b").split()).lower()
    return Counter(list(folded) + [folded[i : i + 2] for i in range(len(folded) - 1)])


def plain_bm25(query, texts, relative):
    bags = [terms(text) for text in texts]
    mean = sum(sum(bag.values()) for bag in bags) / len(bags)

    def idf(term):
        n = sum(term in bag for bag in bags)
        return math.log(1 + (len(bags) - n + 0.5) / (n + 0.5))

    def score(bag, length):
        return sum(
            count * idf(term) * bag[term] * (K1 + 1) / (bag[term] + K1 * (1 - B + B * length / mean))
            for term, count in terms(query).items()
            if bag[term]
        )

    own = score(terms(query), mean) if relative else 1.0
    return [score(bag, sum(bag.values())) / own for bag in bags]


def plain_tfidf(query, texts):
    bags = [terms(text) for text in texts]

    def vector(bag):
        weights = {}
        for term, count in bag.items():
            n = sum(term in other for other in bags)
            weights[term] = (1 + math.log(count)) * (1 + math.log((1 + len(bags)) / (1 + n)))
        norm = math.sqrt(sum(w * w for w in weights.values()))
        return {term: w / norm for term, w in weights.items()}

    asked = vector(terms(query))
    return [sum(w * vector(bag).get(term, 0.0) for term, w in asked.items()) for bag in bags]


QUERIES = ["密码怎么改", "下雨下雨", "没有的字", "Ab", "𠀀𠀁", "密码没有"]


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("relative", [False, True])
def test_bm25_equals_its_formula(query, relative):
    found = LexicalIndex.build(TEXTS).bm25(query, relative)
    np.testing.assert_allclose(found, plain_bm25(query, TEXTS, relative), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("query", QUERIES)
def test_tfidf_equals_its_formula(query):
    found = LexicalIndex.build(TEXTS).tfidf().scores(query)
    np.testing.assert_allclose(found, plain_tfidf(query, TEXTS), rtol=1e-5, atol=1e-6)


def test_an_index_that_was_added_to_equals_one_made_at_once():
    whole = LexicalIndex.build(TEXTS).arrays()
    for cut in range(len(TEXTS) + 1):
        joined = LexicalIndex.build(TEXTS[:cut]).joined(LexicalIndex.build(TEXTS[cut:])).arrays()
        for name, array in whole.items():
            np.testing.assert_array_equal(joined[name], array, err_msg=name)
            assert joined[name].dtype == array.dtype


def test_nothing_is_found_in_nothing():
    empty = LexicalIndex.build([])
    assert len(empty.bm25("密码")) == len(empty.tfidf().scores("密码")) == len(empty) == 0
    np.testing.assert_array_equal(LexicalIndex.build(TEXTS).bm25(""), 0)
    np.testing.assert_array_equal(LexicalIndex.build(TEXTS).tfidf().scores(""), 0)
