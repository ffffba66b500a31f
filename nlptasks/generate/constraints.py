"""Which tokens may come next."""

from collections.abc import Sequence

import numpy as np


class SubstringConstraint:
    """Allows the tokens that continue the sequence so far as a substring of one of several texts.

    Args:
        texts: token ids of each text.
    """

    def __init__(self, texts: Sequence[Sequence[int]]):
        # one array, a -1 after each text: no token continues across it
        self._ids = np.concatenate([np.empty(0, "int64"), *(np.append(text, -1) for text in texts)]).astype("int64")
        self._next = np.arange(len(self._ids))

    def allowed(self) -> np.ndarray:
        """Ids that may come next, sorted, each once."""
        ids = np.unique(self._ids[self._next])
        return ids[ids >= 0]

    def after(self, token: int) -> "SubstringConstraint":
        """The constraint when `token` was taken."""
        following = object.__new__(SubstringConstraint)
        following._ids = self._ids
        following._next = self._next[self._ids[self._next] == token] + 1
        return following
