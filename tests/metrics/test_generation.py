"""Likelihood gaps, diversity and copying, against counts by hand and slow definitions."""

import math
from collections import Counter

import numpy as np
import pytest

from nlptasks.metrics.generation import CopyDetector, distinct, likelihood_gap, self_bleu


def test_the_gap_is_what_the_other_condition_costs_per_token():
    found = likelihood_gap([-2.0, -7.0], [-4.0, -8.0], [3, 6])
    assert found.perplexity == pytest.approx(math.exp(1.0))
    assert found.other_perplexity == pytest.approx(math.exp(12 / 9))
    assert found.gap == pytest.approx(3 / 9)
    # the only samples of two texts: both the first (2/3), both the second (1/6), one each (1/3)
    assert (found.low, found.high) == pytest.approx((1 / 6, 2 / 3))


def test_the_interval_covers_the_true_gap_about_95_times_in_100():
    random, hits, truth = np.random.default_rng(7), 0, 0.05
    for trial in range(200):
        tokens = random.integers(5, 40, 100)
        noise = random.normal(truth, 0.3, 100) * tokens
        found = likelihood_gap(noise, np.zeros(100), tokens, samples=300, seed=trial)
        hits += found.low <= truth <= found.high
    assert 180 <= hits <= 199


def test_the_interval_is_paired():
    random = np.random.default_rng(8)
    scores = random.normal(-50, 30, 60)  # texts differ much more than the conditions do
    found = likelihood_gap(scores, scores - 0.1 + random.normal(0, 0.01, 60), np.full(60, 10))
    assert 0.009 < found.low < found.gap < found.high < 0.011


def test_scores_that_do_not_match_are_refused():
    for wrong in (([], [], []), ([1.0], [1.0, 2.0], [1])):
        with pytest.raises(ValueError, match="as many scores as texts"):
            likelihood_gap(*wrong)


def test_distinct_is_the_share_of_different_ngrams():
    assert distinct(["好好好", "好吃"], 1) == 2 / 5
    assert distinct(["好好好", "好吃"], 2) == 2 / 3
    assert distinct(["好"], 2) == 0.0


def bleu(text, references, order=4):
    """BLEU of one text by its definition."""
    logs = []
    for n in range(1, order + 1):
        own = Counter(text[i : i + n] for i in range(len(text) - n + 1))
        if not own:
            break
        of_references = [Counter(r[i : i + n] for i in range(len(r) - n + 1)) for r in references]
        hits = sum(min(count, max(r[gram] for r in of_references)) for gram, count in own.items())
        logs.append(math.log((hits or 0.5) / sum(own.values())))
    nearest = min((abs(len(r) - len(text)), len(r)) for r in references)[1]
    return math.exp(sum(logs) / len(logs)) * min(1.0, math.exp(1 - nearest / len(text)))


def test_self_bleu_is_the_mean_bleu_of_each_text_with_the_others():
    random = np.random.default_rng(4)
    texts = ["".join(random.choice(list("甲乙丙丁"), random.integers(2, 13))) for _ in range(17)]
    wanted = np.mean([bleu(text, texts[:i] + texts[i + 1 :]) for i, text in enumerate(texts)])
    assert self_bleu(texts) == pytest.approx(wanted)
    assert self_bleu(["房间很干净", "房间很干净"]) == pytest.approx(1.0)
    for wrong in (["甲"], ["甲", ""]):
        with pytest.raises(ValueError, match="at least two texts"):
            self_bleu(wrong)


def test_copying_is_counted_in_runs_of_characters():
    detector = CopyDetector(["房间很干净，服务也好", "短"], n=3)
    assert detector.copied("服务也好") == 2
    assert detector.copied("很干脆") == 0
    assert detector.share(["房间很大", "大"]) == 1 / 2
    assert detector.share(["大"]) == 0.0
