"""What to tell of a run that has learned nothing: it scores as one answer to everything does. Imports no backend."""

from collections.abc import Mapping
from typing import Any

from nlptasks.errors import rendered
from nlptasks.train.progress import say

CONSTANT = (
    "nothing is learned yet: {name} is {score:.4g} in the best epoch, and {constant:.4g} with the same answer to "
    "everything."
)
RATE_LOW = (
    "likely cure: a higher learning rate ({option} {usual:g} suits {start}). Received: {rate:g}; start "
    "anew in another {field:output}."
)
RATE_HIGH = (
    "likely cure: a lower learning rate ({option} {usual:g} suits {start}). Received: {rate:g}; start "
    "anew in another {field:output}."
)
FEW_UPDATES = (
    "likely cure: longer training. {updates} updates were made; give more {epochs}, or a smaller {field:batch_size}."
)
PRETRAINED = "likely cure: more training data, or a start from pretrained weights ({field:checkpoint} mini)."
DATA = "likely cure: more training data; look, too, whether the answers in the files are those of their texts."
FAR, FEW = 3.0, 200
"""how many times the usual rate is another one; and how many updates are few"""


def beyond_constant(best: Mapping[str, Any], constant: Mapping[str, float]) -> str | None:
    """The first score of an epoch that is no better than that of a constant answer; None where there is none.

    Args:
        best: the scores of the epoch.
        constant: those of the constant answer, by name; 100 % cannot be beaten and does not count.
    """
    for name, value in constant.items():
        if best[name] <= value < 100.0:
            return name
    return None


def tell_unlearned(
    best: Mapping[str, Any], constant: Mapping[str, float], name: str, cure: tuple[str, dict[str, object]]
) -> None:
    """Says that nothing is learned, and the likely cure.

    Args:
        name: from `beyond_constant`.
        cure: from `likely_cure`.
    """
    say(CONSTANT, name=name, score=best[name], constant=constant[name])
    say(cure[0], **cure[1])


def likely_cure(
    rate: float,
    usual: float,
    start: str,
    updates: int,
    could_be_pretrained: bool,
    epochs: str = "epochs",
    learning_rate: str = "learning_rate",
) -> tuple[str, dict[str, object]]:
    """The template of a line and its values.

    Args:
        rate, usual: the learning rate, and the one that suits the weights that the run started from.
        start: these weights, in words.
        updates: how many the run has made.
        could_be_pretrained: whether there are pretrained weights to start from instead.
        epochs, learning_rate: the options that make the run longer, and that hold its rate.
    """
    option = rendered(f"{{field:{learning_rate}}}", {})
    rates: dict[str, object] = {"rate": rate, "usual": usual, "start": start, "option": option}
    if rate * FAR < usual:
        return RATE_LOW, rates
    if rate > usual * FAR:
        return RATE_HIGH, rates
    if updates < FEW:
        return FEW_UPDATES, {"updates": updates, "epochs": rendered(f"{{field:{epochs}}}", {})}
    return (PRETRAINED if could_be_pretrained else DATA), {}
