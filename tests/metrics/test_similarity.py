"""Scores of similarity against brute force."""

import numpy as np
import pytest

from nlptasks.metrics import similarity
from nlptasks.metrics.similarity import score_pairs, score_retrieval


def test_retrieval_equals_a_sort_of_every_row(rng, monkeypatch):
    monkeypatch.setattr(similarity, "BLOCK", 7)
    labels = rng.integers(11, size=31)
    scores = rng.normal(size=(31, 31))
    hits, queries = {1: 0, 3: 0, 10: 0}, 0
    for i in range(31):
        others = [j for j in np.argsort(-scores[i]) if j != i]
        if not any(labels[j] == labels[i] for j in others):
            continue
        queries += 1
        for k in hits:
            hits[k] += any(labels[j] == labels[i] for j in others[:k])
    found = score_retrieval(lambda a, b: scores[a:b], labels, (1, 3, 10))
    assert found == {"queries": queries} | {f"top{k}": pytest.approx(n / queries) for k, n in hits.items()}
    assert 0 < found["top1"] < found["top3"] < found["top10"]


def test_scores_that_are_no_numbers_find_nothing():
    found = score_retrieval(lambda a, b: np.full((b - a, 6), np.nan), [0, 0, 1, 1, 2, 2])
    assert found == {"queries": 6, "top1": 0.0, "top5": 1.0, "top10": 1.0}  # behind all four of other groups


def test_the_sentence_itself_is_no_answer_and_a_tie_is_no_luck():
    labels = [0, 0, 1, 1]
    itself = np.eye(4) * 9
    itself[0, 1] = itself[1, 0] = itself[2, 3] = itself[3, 2] = 1
    assert score_retrieval(lambda a, b: itself[a:b], labels)["top1"] == 1.0
    assert score_retrieval(lambda a, b: np.zeros((b - a, 4)), labels, (1, 2, 3)) == {
        "queries": 4, "top1": 0.0, "top2": 0.0, "top3": 1.0,
    }  # fmt: skip


def test_a_group_of_one_is_not_asked_for_but_may_be_found_wrongly():
    scores = np.array([[0, 1, 5], [1, 0, 0], [0, 0, 0]], float)
    assert score_retrieval(lambda a, b: scores[a:b], [0, 0, 1], (1, 2)) == {"queries": 2, "top1": 0.5, "top2": 1.0}
    with pytest.raises(ValueError, match="no group has two sentences"):
        score_retrieval(lambda a, b: scores[a:b], [0, 1, 2])


def plain_pairs(scores, labels):
    positive, negative = scores[labels == 1], scores[labels == 0]
    order = [(p > n) + (p == n) / 2 for p in positive for n in negative]
    thresholds = [*scores, np.inf]
    accuracy = max(((scores >= t) == labels).mean() for t in thresholds)
    rank = lambda x: np.array([(x < v).sum() + ((x == v).sum() + 1) / 2 for v in x])  # noqa: E731
    return {
        "pairs": len(labels),
        "auc": pytest.approx(np.mean(order)),
        "accuracy": pytest.approx(accuracy),
        "spearman": pytest.approx(np.corrcoef(rank(scores), rank(labels))[0, 1]),
    }


@pytest.mark.parametrize("levels", [3, 1000])
def test_pairs_equal_brute_force_with_and_without_ties(rng, levels):
    labels = rng.integers(2, size=53)
    scores = rng.integers(levels, size=53) / 7 + labels * levels / 20
    found = score_pairs(scores, labels)
    threshold = found.pop("threshold")
    assert found == plain_pairs(scores, labels)
    assert ((scores >= threshold) == labels).mean() == pytest.approx(found["accuracy"])


def test_pairs_at_the_ends():
    assert score_pairs([3, 2, 1], [0, 0, 1]) | {"threshold": 0} == {
        "pairs": 3,
        "auc": 0.0,
        "accuracy": pytest.approx(2 / 3),
        "threshold": 0,
        "spearman": pytest.approx(-np.sqrt(3) / 2),
    }
    assert score_pairs([1, 1], [0, 1])["spearman"] == 0.0
    with pytest.raises(ValueError, match=r"labels must be 0 and 1, both present. Received: \[1\]"):
        score_pairs([1.0], [1])
