"""Accuracy, macro F1 and micro F1 of labels; a text may have one label or any number."""

from collections import Counter
from collections.abc import Collection, Sequence


def score_labels(gold: Sequence[Collection[str]], predicted: Sequence[Collection[str]]) -> dict:
    """Scores of predicted label sets, in percent.

    Args:
        gold, predicted: the labels of each text.

    Returns:
        `texts`; `accuracy` (the sets are equal); `macro_f1` (mean over the labels that occur in either); `micro_f1`
        (of all labels together; equal to the accuracy where every text has one label in both); `labels`: for each of
        them `precision`, `recall`, `f1` and `support`. A ratio without denominator is 0.

    Raises:
        ValueError: the two differ in length, or are empty.
    """
    if len(gold) != len(predicted) or not gold:
        raise ValueError(f"expected as many predictions as gold labels. Received: {len(predicted)} and {len(gold)}.")
    right: Counter[str] = Counter()
    found: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    for one, other in zip(gold, predicted, strict=True):
        wanted.update(set(one))
        found.update(set(other))
        right.update(set(one) & set(other))
    labels = {
        label: ratios(right[label], found[label], wanted[label]) for label in sorted(wanted.keys() | found.keys())
    }
    equal = sum(set(one) == set(other) for one, other in zip(gold, predicted, strict=True))
    return {
        "texts": len(gold),
        "accuracy": 100.0 * equal / len(gold),
        "macro_f1": sum(values["f1"] for values in labels.values()) / len(labels) if labels else 0.0,
        "micro_f1": ratios(right.total(), found.total(), wanted.total())["f1"],
        "labels": labels,
    }


def ratios(right: int, found: int, wanted: int) -> dict:
    """Precision, recall and F1 in percent, and how many were wanted (`support`)."""
    return {
        "precision": 100.0 * right / found if found else 0.0,
        "recall": 100.0 * right / wanted if wanted else 0.0,
        "f1": 200.0 * right / (found + wanted) if found + wanted else 0.0,
        "support": wanted,
    }
