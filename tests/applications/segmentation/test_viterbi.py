"""Viterbi over s, b, m, e against counting every path."""

import itertools

import numpy as np
import pytest

from nlptasks.applications.segmentation import viterbi
from nlptasks.applications.segmentation.viterbi import TAGS, best_words, decode

pytestmark = pytest.mark.once

LEGAL = {"ss", "sb", "bm", "be", "mm", "me", "es", "eb"}


def words_of(tags):
    starts = [i for i, tag in enumerate(tags) if TAGS[tag] in "sb"]
    return list(zip(starts, [*starts[1:], len(tags)], strict=True))


def best_path(scores, forbidden=()):
    """The best legal tags, by trying all."""
    best = None
    for path in itertools.product(range(4), repeat=len(scores)):
        letters = "".join(TAGS[tag] for tag in path)
        if letters[0] in "me" or letters[-1] in "bm" or any(a + b not in LEGAL for a, b in itertools.pairwise(letters)):
            continue
        total = sum(scores[i, tag] for i, tag in enumerate(path))
        total -= 1e9 * sum(word in forbidden for word in words_of(path))
        if best is None or total > best[0]:
            best = total, path
    return list(best[1])


@pytest.mark.parametrize("in_lock_step", [True, False])
def test_viterbi_equals_brute_force(rng, monkeypatch, in_lock_step):
    if in_lock_step:
        monkeypatch.setattr(viterbi, "FEW_UNITS", 0)
    for length in (1, 2, 3, 5, 7):
        for _ in range(12):
            scores = rng.normal(size=(length, 4))
            assert decode(scores, np.array([length])).tolist() == best_path(scores)


def test_search_over_words_equals_brute_force_and_avoids_forbidden_words(rng):
    for length in (1, 2, 3, 5, 6):
        for _ in range(12):
            scores = rng.normal(size=(length, 4))
            path = best_path(scores)
            assert best_words(scores, set()).tolist() == path
            forbidden = {words_of(path)[-1]}
            assert best_words(scores, forbidden).tolist() == best_path(scores, forbidden)


def test_pieces_together_are_decoded_as_each_alone(rng, monkeypatch):
    monkeypatch.setattr(viterbi, "LONGEST_LANE", 31)
    lengths = np.append(rng.integers(1, 30, 67), [31, 32, 53])
    rng.shuffle(lengths)
    scores = rng.normal(size=(lengths.sum(), 4))
    together = decode(scores.astype("float32"), lengths)
    alone = [
        decode(piece.astype("float32"), np.array([len(piece)])) for piece in np.split(scores, np.cumsum(lengths)[:-1])
    ]
    assert together.tolist() == np.concatenate(alone).tolist()
