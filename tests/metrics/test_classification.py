"""Accuracy and F1 of labels, counted by hand."""

import pytest

from nlptasks.metrics.classification import score_labels


def test_scores_of_one_label_each_counted_by_hand():
    gold = [("a",), ("a",), ("a",), ("b",), ("c",)]
    found = [("a",), ("a",), ("b",), ("b",), ("b",)]
    scores = score_labels(gold, found)
    assert scores["accuracy"] == scores["micro_f1"] == pytest.approx(60)
    assert scores["labels"]["a"] == {"precision": 100, "recall": pytest.approx(200 / 3), "f1": 80, "support": 3}
    assert scores["labels"]["b"] == {"precision": pytest.approx(100 / 3), "recall": 100, "f1": 50, "support": 1}
    assert scores["labels"]["c"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}
    assert scores["macro_f1"] == pytest.approx((80 + 50 + 0) / 3)


def test_several_labels_are_right_together_or_one_by_one():
    scores = score_labels([("a", "b"), (), ("c",)], [("b", "a"), (), ("c", "d")])
    assert scores["accuracy"] == pytest.approx(200 / 3)
    assert scores["micro_f1"] == pytest.approx(100 * 2 * 3 / (3 + 4))
    assert scores["macro_f1"] == pytest.approx((100 + 100 + 100 + 0) / 4)


def test_labels_in_neither_do_not_count_and_no_label_at_all_is_zero():
    assert score_labels([()], [()]) == {"texts": 1, "accuracy": 100, "macro_f1": 0, "micro_f1": 0, "labels": {}}


@pytest.mark.parametrize(("gold", "found"), [([], []), ([("a",)], [])])
def test_nothing_or_lists_of_different_length_are_refused(gold, found):
    with pytest.raises(ValueError, match="as many predictions as gold labels"):
        score_labels(gold, found)
