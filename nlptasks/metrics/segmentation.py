"""Scores of word segmentation as SIGHAN's scorer counts them.

A word is right if its start and its end are right. The scores equal the three decimals of the bakeoffs' perl script
`score`; see docs/scoring.md.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import accumulate


def word_spans(words: Sequence[str]) -> list[tuple[int, int]]:
    """(start, end) of each word, counted in characters."""
    ends = list(accumulate(map(len, words)))
    return list(zip([0, *ends[:-1]], ends, strict=True)) if words else []


def score_segmentation(
    gold: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]], train_words: Collection[str] | None = None
) -> dict[str, float]:
    """Precision, recall and F1 of words; with `train_words` also the recall of words outside and inside them.

    Args:
        gold: the words of each sentence.
        predicted: the same sentences as they were segmented.
        train_words: the words of the training text; give a set.

    Returns:
        `gold_words`, `predicted_words`, `correct_words`, `precision`, `recall`, `f1`; with `train_words` also
        `oov_words`, `oov_rate`, `oov_recall`, `iv_recall`. Shares lie in [0, 1]; of nothing, they are 0.

    Raises:
        ValueError: a sentence was segmented into other characters, or their numbers differ.
    """
    gold_words = predicted_words = correct = oov = oov_correct = 0
    for number, (true, found) in enumerate(_paired(gold, predicted), 1):
        if "".join(true) != "".join(found):
            raise ValueError(f"sentence {number}: the predicted words do not make the gold text when they are joined.")
        spans = set(word_spans(found))
        gold_words, predicted_words = gold_words + len(true), predicted_words + len(found)
        for word, span in zip(true, word_spans(true), strict=True):
            right = span in spans
            correct += right
            if train_words is not None and word not in train_words:
                oov += 1
                oov_correct += right
    scores: dict[str, float] = {"gold_words": gold_words, "predicted_words": predicted_words, "correct_words": correct}
    scores |= {"precision": _share(correct, predicted_words), "recall": _share(correct, gold_words)}
    scores["f1"] = _share(2 * correct, gold_words + predicted_words)
    if train_words is not None:
        scores |= {"oov_words": oov, "oov_rate": _share(oov, gold_words), "oov_recall": _share(oov_correct, oov)}
        scores["iv_recall"] = _share(correct - oov_correct, gold_words - oov)
    return scores


def _paired(
    gold: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]
) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    try:
        yield from zip(gold, predicted, strict=True)
    except ValueError:
        raise ValueError("gold and predicted differ in their numbers of sentences.") from None


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
