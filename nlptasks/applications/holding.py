"""Training texts of which a share is held out, for whoever gives no validation texts. Imports no backend."""

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from nlptasks.errors import UserError

MOST_HELD_OUT = 2000
_Text = TypeVar("_Text")


def held_out(texts: Sequence[_Text], share: float, seed: int) -> tuple[list[_Text], list[_Text]]:
    """Texts to train on and to validate on, both in their order.

    Raises:
        UserError: a share outside (0, 1), or too few texts.
    """
    if not 0 < share < 1:
        raise UserError("{field:hold_out_share} must lie between 0 and 1. Received: {share}.", share=share)
    count = min(MOST_HELD_OUT, math.ceil(share * len(texts)))
    if count >= len(texts):
        raise UserError("{count} training texts are too few to hold one out; give {field:valid}.", count=len(texts))
    chosen = set(np.random.default_rng(seed).permutation(len(texts))[:count].tolist())
    return (
        [text for i, text in enumerate(texts) if i not in chosen],
        [text for i, text in enumerate(texts) if i in chosen],
    )
