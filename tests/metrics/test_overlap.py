"""ROUGE and BLEU of Chinese: identical texts are perfect, and small cases are what is counted by hand."""

import importlib.util
import math
import sys

import pytest

from nlptasks.metrics import overlap
from nlptasks.metrics.overlap import Characters, Words, bleu, rouge, score_as_bert4keras, score_overlap

pytestmark = pytest.mark.once


def needs(*modules):
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not installed: the extra test brings it")


@needs(*overlap.MODULES)
def test_two_identical_chinese_texts_are_perfect_and_the_packages_own_tokenizer_is_blind_to_them():
    from rouge_score.rouge_scorer import RougeScorer

    text = "一种新的中文分词方法"
    assert score_overlap([text], [[text]]) == {"rouge_1": 100, "rouge_2": 100, "rouge_l": 100, "bleu": 100}
    assert RougeScorer(["rouge1"]).score(text, text)["rouge1"].fmeasure == 0
    assert bleu(["雪"], [["雪"]]) == 100  # no n-gram beyond the first


@needs(*overlap.MODULES)
def test_scores_are_those_counted_by_hand():
    # 今天天气 and 今天气温: characters 今 天 气 of 4 and 4; pairs 今天 天气 of 3 and 3; longest common 今天气
    found = rouge(["今天天气"], [["今天气温"]])
    assert found == pytest.approx({"rouge_1": 75, "rouge_2": 200 / 3, "rouge_l": 75})
    assert bleu(["今天天气"], [["今天天气很好"]]) == pytest.approx(100 * math.exp(1 - 6 / 4))
    assert rouge([""], [["雪"]]) == {"rouge_1": 0, "rouge_2": 0, "rouge_l": 0}
    assert rouge(["AB 山"], [["a b山"]])["rouge_2"] == 100  # case and white space aside


@needs(*overlap.MODULES)
def test_the_reference_that_suits_a_text_best_counts_and_means_are_over_texts():
    found = rouge(["山上下雪", "河边"], [["河边起风", "山上下雪"], ["沙漠"]])
    assert found == {"rouge_1": 50, "rouge_2": 50, "rouge_l": 50}
    assert bleu(["山上下雪", "河边起风"], [["河边起风", "山上下雪"], ["河边起风"]]) == 100


@needs(*overlap.MODULES)
def test_words_are_those_of_the_segmenter():
    cut = {"今天天气": ["今天", "天气"], "今天气温": ["今天", "气温"]}
    assert Words(cut.__getitem__).tokenize("今天天气") == ["今天", "天气"]
    assert Characters().tokenize("今 天A") == ["今", "天", "a"]
    found = score_overlap(["今天天气"], [["今天气温"]], cut.__getitem__)
    assert (found["rouge_1_words"], found["rouge_2_words"]) == (50, 0)


@needs(*overlap.BERT4KERAS_MODULES)
def test_the_scores_of_bert4keras_scripts():
    text = "一种新的中文分词方法"
    found = score_as_bert4keras([text, ""], [[text], ["雪"]])  # an empty text scores 0
    assert found == pytest.approx(dict.fromkeys(("rouge_1", "rouge_2", "rouge_l", "bleu"), 50), abs=1e-4)
    assert score_as_bert4keras(["."], [["雪"]])["bleu"] == 0
    # 今 天 气, each once: 3 of 3 and 3 of 4
    assert score_as_bert4keras(["今天天气"], [["今天气温"]])["rouge_l"] == pytest.approx(600 / 7, abs=1e-4)


@needs(*overlap.BERT4KERAS_MODULES)
def test_long_texts_are_scored_as_bert4keras_scripts_do():
    before, text = sys.getrecursionlimit(), "山水" * 1500
    found = score_as_bert4keras([text], [[text[:2000]]])
    assert found["rouge_l"] > 99  # its n-grams are a set
    assert sys.getrecursionlimit() == before


def test_texts_without_references_are_refused():
    for score in (overlap._require_as_many,):
        for written, references in (([], []), (["雪"], []), (["雪"], [[]])):
            with pytest.raises(ValueError, match="expected a reference for each text"):
                score(written, references)
