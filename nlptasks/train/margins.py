"""The losses over groups by name, and their margins. Imports no backend."""

import math

from nlptasks.errors import UserError

SCALE = 30.0
MARGINS = {"softmax": 0.0, "am": 0.35, "a": 0.0, "arc": 0.5}
"""the losses and their usual margins: on the cosine ("am"), in radians ("arc"); the others take none"""


def check_loss(kind: str, margin: float | None) -> float:
    """The margin to use, after both were checked.

    Args:
        kind: a key of MARGINS.
        margin: None: the one in MARGINS.

    Raises:
        UserError: another kind, or a margin that it does not take.
    """
    if kind not in MARGINS:
        raise UserError(
            "{field:loss} must be one of {allowed}. Received: {kind!r}.", allowed=", ".join(MARGINS), kind=kind
        )
    margin = MARGINS[kind] if margin is None else margin
    if not margin >= 0 or (kind == "arc" and margin >= math.pi):
        raise UserError(
            "{field:margin} must be at least 0, for arc below pi. Received: {margin} for {kind}.",
            margin=margin,
            kind=kind,
        )
    if margin and kind in ("softmax", "a"):
        raise UserError(
            "the {field:loss} {kind} takes no {field:margin}; leave it out. Received: {margin}.",
            kind=kind,
            margin=margin,
        )
    return margin
