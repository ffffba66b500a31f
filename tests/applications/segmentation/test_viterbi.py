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
            assert decode(scores, np.zeros(length, bool)).tolist() == best_path(scores)


def test_search_over_words_equals_brute_force_and_avoids_forbidden_words(rng):
    for length in (1, 2, 3, 5, 6):
        for _ in range(12):
            scores = rng.normal(size=(length, 4))
            path = best_path(scores)
            assert best_words(scores, set()).tolist() == path
            forbidden = {words_of(path)[-1]}
            assert best_words(scores, forbidden).tolist() == best_path(scores, forbidden)


def test_any_number_of_words_may_be_forbidden(rng):
    for length in (1, 2, 4, 6):
        spans = [(i, j) for i in range(length) for j in range(i + 1, length + 1)]
        for _ in range(25):
            scores = rng.normal(size=(length, 4))
            forbidden = {span for span in spans if rng.random() < 0.6}
            legal = best_path(scores, forbidden)
            if not forbidden & set(words_of(legal)):  # else the fewest forbidden ones are left, at their price
                assert best_words(scores, forbidden).tolist() == legal


def test_a_long_piece_takes_a_step_a_unit(rng):
    count = 60_000  # squared it would be an hour
    tags = best_words(rng.normal(size=(count, 4)), {(i, i + 2) for i in range(count - 1)})
    assert not any(j - i == 2 for i, j in words_of(tags))


def test_pieces_together_are_decoded_as_each_alone(rng, monkeypatch):
    monkeypatch.setattr(viterbi, "LONGEST_LANE", 31)
    scores = rng.normal(size=(1500, 4)).astype("float32")
    apart = rng.random(1500) < 0.1
    apart[700:753] = False  # longer than a lane
    together = decode(scores, apart)
    for start, stop in itertools.pairwise([-1, *np.flatnonzero(apart).tolist(), 1500]):
        alone = decode(scores[start + 1 : stop], np.zeros(stop - start - 1, bool))
        assert together[start + 1 : stop].tolist() == alone.tolist()
    assert (together[apart] == TAGS.index("s")).all()
    few = [decode(scores[i : i + 100], apart[i : i + 100]).tolist() for i in (0, 700)]
    monkeypatch.setattr(viterbi, "FEW_UNITS", 0)
    assert few == [decode(scores[i : i + 100], apart[i : i + 100]).tolist() for i in (0, 700)]
