"""The probability of an entity under a CRF is the share of the paths that hold it."""

import itertools

import numpy as np
import pytest

from nlptasks.applications.labeling.probabilities import PathSums, sigmoid
from nlptasks.applications.labeling.samples import Span, allowed_tags, tags_to_spans

pytestmark = pytest.mark.once


def test_the_probability_of_an_entity_is_that_of_all_paths_with_it(rng):
    types, lengths = 2, (5, 1, 3)
    allowed = first, following = allowed_tags(types)
    count = len(first)
    scores = rng.normal(0, 2, (len(lengths), max(lengths), count)).astype("float32")
    weights = begin, transitions, end = tuple(rng.normal(0, 1, shape) for shape in (count, (count, count), count))
    mask = np.arange(max(lengths))[None] < np.array(lengths)[:, None]
    sums = PathSums.of(scores, mask, weights, allowed)
    for row, length in enumerate(lengths):
        total, with_span = 0.0, {}
        for path in itertools.product(range(count), repeat=length):
            if not first[path[0]] or not all(following[a, b] for a, b in itertools.pairwise(path)):
                continue
            score = begin[path[0]] + end[path[-1]] + sum(transitions[a, b] for a, b in itertools.pairwise(path))
            weight = np.exp(score + sum(float(scores[row, t, tag]) for t, tag in enumerate(path)))
            total += weight
            for span in tags_to_spans(path):
                with_span[span] = with_span.get(span, 0.0) + weight
        assert len(with_span) == types * length * (length + 1) // 2
        for span, weight in with_span.items():
            assert sums.probability(row, span, length) == pytest.approx(weight / total, rel=1e-6), span


def test_a_sure_path_has_the_probability_one_and_scores_do_not_overflow():
    scores = np.zeros((1, 2, 3))
    scores[0, 0, 1] = scores[0, 1, 2] = 500.0
    weights = (np.zeros(3), np.zeros((3, 3)), np.zeros(3))
    sums = PathSums.of(scores, np.ones((1, 2), bool), weights, allowed_tags(1))
    assert sums.probability(0, Span(0, 1, 0), 2) == pytest.approx(1.0)
    assert sums.probability(0, Span(0, 0, 0), 2) < 1e-200
    assert sigmoid([0.0, 1000.0, -1000.0]).tolist() == [0.5, 1.0, 0.0]
