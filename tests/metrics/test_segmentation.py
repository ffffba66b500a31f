"""The scorer of word segmentation."""

import json

import pytest

from nlptasks.metrics.segmentation import score_segmentation, word_spans
from nlptasks.text.segmented import read_segmented


def test_a_word_is_right_when_both_ends_are():
    gold = [["今天", "天气", "很", "好"], ["好"]]
    predicted = [["今天", "天", "气", "很好"], ["好"]]
    scores = score_segmentation(gold, predicted, {"今天", "很", "好"})
    assert scores == {
        "gold_words": 5,
        "predicted_words": 5,
        "correct_words": 2,
        "precision": 0.4,
        "recall": 0.4,
        "f1": 0.4,
        "oov_words": 1,
        "oov_rate": 0.2,
        "oov_recall": 0.0,
        "iv_recall": 0.5,
    }


def test_precision_and_recall_are_not_mixed_up():
    scores = score_segmentation([["今天", "天气"]], [["今天", "天", "气"]])
    assert (scores["precision"], scores["recall"], scores["f1"]) == (1 / 3, 1 / 2, 2 / 5)


def test_nothing_scores_nothing():
    assert score_segmentation([], [], set())["f1"] == 0.0
    assert word_spans([]) == []


def test_other_characters_or_another_number_of_sentences_are_refused():
    with pytest.raises(ValueError, match=r"sentence 2: the predicted words do not make the gold text"):
        score_segmentation([["好"], ["今天"]], [["好"], ["今", "年"]])
    with pytest.raises(ValueError, match=r"gold and predicted differ in their numbers of sentences"):
        score_segmentation([["好"], ["好"]], [["好"]])


def test_the_numbers_are_those_of_the_bakeoff_script(public_data):
    known = json.loads((public_data / "expected_scores.json").read_text(encoding="utf-8"))["segmentation"]
    lexicon = {word for words in read_segmented(public_data / "segmentation" / "cnc_train.txt") for word in words}
    scores = score_segmentation(
        read_segmented(public_data / known["gold"]), read_segmented(public_data / known["prediction"]), lexicon
    )
    counted = known["counts_by_character_spans"]
    for name in ("gold_words", "predicted_words", "correct_words", "oov_words"):
        assert scores[name] == counted[name], name
    for name in ("precision", "recall", "f1", "oov_rate", "oov_recall", "iv_recall"):
        assert scores[name] == pytest.approx(counted[name], abs=1e-12), name
        printed = known["printed_by_scorer"].get(name, known["printed_by_scorer"]["f_measure"])
        assert f"{scores[name]:.3f}" == printed, name
