"""Occurrences of words in a text, and what their weights do to the scores of its tags."""

from typing import NamedTuple

import numpy as np

from nlptasks.applications.segmentation.dictionary import ALWAYS, NEVER
from nlptasks.applications.segmentation.viterbi import FORBIDDEN, B, E, M, S
from nlptasks.text.units import Units

CERTAIN, STRONGEST = 1e6, 1e3
"""log weights per unit: of a word that is always cut out, and the most for any other word"""


class Matches(NamedTuple):
    """Occurrences of dictionary words: their starts and ends, counted in characters or in units, and log weights."""

    starts: np.ndarray
    ends: np.ndarray
    weights: np.ndarray

    def select(self, wanted: np.ndarray) -> "Matches":
        """Those where `wanted` (bool) is true."""
        return Matches(*(array[wanted] for array in self))


def in_units(matches: Matches, units: Units) -> Matches:
    """The matches counted in units; a match that starts or ends inside a unit is dropped."""
    bounds = np.append(units.starts, units.length)
    starts, ends = np.searchsorted(bounds, matches.starts), np.searchsorted(bounds, matches.ends)
    whole = (bounds[starts] == matches.starts) & (bounds[ends] == matches.ends)
    return Matches(starts[whole], ends[whole], matches.weights[whole])


def add_weights(scores: np.ndarray, matches: Matches, apart: np.ndarray) -> np.ndarray:
    """Adds the weights of dictionary words to the scores of their tags; units in a favored word are not `apart`."""
    single = matches.ends - matches.starts == 1
    never, always = matches.weights == NEVER, matches.weights == ALWAYS
    some = single | ~never
    weights = np.select([never, always], [FORBIDDEN, CERTAIN], matches.weights.clip(-STRONGEST, STRONGEST))
    starts, ends, weights, single = matches.starts[some], matches.ends[some], weights[some], single[some]
    covered = np.zeros(len(scores) + 1, "int64")
    np.add.at(covered, starts[weights > 0], 1)
    np.add.at(covered, ends[weights > 0], -1)
    apart[np.cumsum(covered)[:-1] > 0] = False
    np.add.at(scores[:, S], starts[single], weights[single])
    starts, ends, weights = starts[~single], ends[~single], weights[~single]
    np.add.at(scores[:, B], starts, weights)
    np.add.at(scores[:, E], ends - 1, weights)
    inside = np.zeros(len(scores))
    np.add.at(inside, starts + 1, weights)
    np.add.at(inside, ends - 1, -weights)
    scores[:, M] += np.cumsum(inside)
    return scores
