"""Of epochs with the same score, the one with the lowest loss is kept."""

import pytest

from nlptasks.train.choosing import FIRST, best_epoch

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("rows", "lowest", "first"),
    [
        ([(70, 1.1), (100, 1.04), (100, 0.15), (100, 0.2)], 3, 2),
        ([(100, 0.5), (100, 0.5)], 1, 1),
        ([(50, 0.1), (60, 0.9), (55, 0.05)], 2, 2),  # a lower loss is no better score
        ([(-3.5, 0.4), (-3.5, 0.3)], 2, 1),
    ],
)
def test_the_highest_score_decides_then_the_lowest_loss_then_the_first(rows, lowest, first):
    history = [{"epoch": i, "loss": loss, "f1": score} for i, (score, loss) in enumerate(rows, 1)]
    assert best_epoch(history, "f1") is history[lowest - 1]
    assert best_epoch(history, "f1", FIRST) is history[first - 1]


def test_a_score_that_is_no_number_is_the_lowest():
    rows = [{"epoch": i, "loss": 1.0, "f1": score} for i, score in enumerate((float("nan"), 9.0, float("nan")))]
    assert best_epoch(rows, "f1")["epoch"] == 1
    assert best_epoch(rows[:1], "f1")["epoch"] == 0
