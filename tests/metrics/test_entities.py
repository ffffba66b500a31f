"""Entity scores, counted by hand."""

import pytest

from nlptasks.metrics.entities import score_entities


def test_an_entity_is_right_when_both_ends_and_the_type_are():
    gold = [[(0, 2, "x"), (3, 5, "y"), (3, 4, "x")], [(0, 1, "x")]]
    found = [[(0, 2, "x"), (3, 5, "x"), (3, 4, "x")], [(0, 2, "x"), (0, 1, "x"), (0, 1, "x")]]
    scores = score_entities(gold, found)
    assert scores["precision"] == pytest.approx(100 * 3 / 5)
    assert scores["recall"] == pytest.approx(100 * 3 / 4)
    assert scores["f1"] == pytest.approx(200 * 3 / 9)
    assert scores["types"]["x"] == {"precision": 60, "recall": 100, "f1": 75, "support": 3}
    assert scores["types"]["y"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}
    assert scores["macro_f1"] == 37.5
    assert scores["texts"] == 2


def test_the_same_span_in_another_text_is_wrong():
    assert score_entities([[(0, 1, "x")], []], [[], [(0, 1, "x")]])["f1"] == 0


def test_no_entity_anywhere_scores_zero_and_lengths_must_agree():
    assert score_entities([[]], [[]])["f1"] == 0
    with pytest.raises(ValueError, match=r"as many predictions as texts\. Received: 0 and 1"):
        score_entities([[]], [])
