"""Which epoch of a run is kept. Imports no backend."""

import math
from collections.abc import Sequence
from typing import Any

EQUAL_SCORES = "equal_scores"
"""entry of `options.json`: which of several epochs with the same score is kept; there is none in runs of version 0.1"""
LOWEST_LOSS, FIRST = "lowest loss", "first"


def best_epoch(history: Sequence[dict[str, Any]], score_name: str, equal_scores: str = LOWEST_LOSS) -> dict[str, Any]:
    """The epoch with the highest score; one that is no number is below all others.

    A score such as accuracy stays the same over epochs in which the model goes on learning, and the first of them has
    the least sure model: of these, the one with the lowest training loss is taken (of equal ones, the first).

        best_epoch([{"epoch": 1, "loss": 1.5, "f1": 100.0}, {"epoch": 2, "loss": 0.5, "f1": 100.0}], "f1")["epoch"]  # 2

    Args:
        history: a dict for each epoch: `loss`, and the scores by name.
        score_name: the score that decides.
        equal_scores: `LOWEST_LOSS`; or `FIRST`: the first one, as version 0.1 did.

    Returns:
        The dict of that epoch, itself.
    """
    by_loss = equal_scores == LOWEST_LOSS
    return max(history, key=lambda row: (comparable(row[score_name]), -row["loss"] if by_loss else 0.0))


def comparable(score: float) -> float:
    """The score, or the lowest of all where it is no number."""
    return -math.inf if math.isnan(score) else score
