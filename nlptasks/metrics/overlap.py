"""Overlap of written texts with references, for Chinese: ROUGE (Lin, 2004) and BLEU (Papineni et al., 2002).

ROUGE is counted by the package `rouge-score`, whose own tokenizer drops every Chinese character without a word, so that
two identical texts score 0: here it counts characters, or words. BLEU is that of a corpus, by sacreBLEU with its
tokenizer `zh`. bert4keras' scripts, and the scores published with them, take two other packages: `score_as_bert4keras`.
"""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from nlptasks.errors import UserError

MODULES = ("rouge_score", "sacrebleu")
"""what `score_overlap` imports"""
BERT4KERAS_MODULES = ("rouge", "nltk")
"""what `score_as_bert4keras` imports"""
KINDS = {"rouge1": "rouge_1", "rouge2": "rouge_2", "rougeL": "rouge_l"}
"""names of the package, and ours"""


class Characters:
    """A tokenizer for `rouge_score.rouge_scorer.RougeScorer`: every character but white space, in lower case."""

    def tokenize(self, text: str) -> list[str]:
        """The tokens of a text."""
        return [character for character in text.lower() if not character.isspace()]


class Words:
    """The same for words.

    Args:
        cut: cuts a text into words, for example `nlptasks.load("segmenter").segment`.
    """

    def __init__(self, cut: Callable[[str], Iterable[str]]):
        self._cut = cut

    def tokenize(self, text: str) -> list[str]:
        """The tokens of a text."""
        return [word.lower() for word in self._cut(text) if word.strip()] if text.strip() else []


def rouge(
    written: Sequence[str], references: Sequence[Sequence[str]], tokenizer: Characters | Words | None = None
) -> dict[str, float]:
    """Mean F1 of ROUGE-1, -2 and -L in percent, each text with the reference that suits it best.

        rouge(["天气很好"], [["天气很好", "晴"]])  # {'rouge_1': 100.0, 'rouge_2': 100.0, 'rouge_l': 100.0}

    Args:
        tokenizer: None: characters.

    Raises:
        UserError: no texts, or not as many references.
        ModuleNotFoundError: rouge-score is not installed.
    """
    from rouge_score.rouge_scorer import RougeScorer

    _require_as_many(written, references)
    scorer = RougeScorer(list(KINDS), tokenizer=tokenizer or Characters())
    totals = dict.fromkeys(KINDS.values(), 0.0)
    for text, several in zip(written, references, strict=True):
        for kind, score in scorer.score_multi(list(several), text).items():
            totals[KINDS[kind]] += score.fmeasure
    return {name: 100 * total / len(written) for name, total in totals.items()}


def bleu(written: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """BLEU of a corpus in percent, by sacreBLEU, tokenizer `zh`; texts that are all shorter than four tokens are judged
    by the n-grams that they have.

        bleu(["天气很好"], [["天气很好"]])  # 100.0

    Raises:
        UserError: no texts, or not as many references.
        ModuleNotFoundError: sacrebleu is not installed.
    """
    from sacrebleu.metrics import BLEU

    _require_as_many(written, references)
    most = max(map(len, references))
    columns: list[Any]  # None where a text has fewer references, as sacreBLEU takes it
    columns = [[several[i] if i < len(several) else None for several in references] for i in range(most)]
    found = BLEU(tokenize="zh", effective_order=True).corpus_score(list(written), columns)
    return round(float(found.score), 10)  # 100 is 100.00000000000004 there


def score_overlap(
    written: Sequence[str],
    references: Sequence[Sequence[str]],
    cut: Callable[[str], Iterable[str]] | None = None,
) -> dict[str, float]:
    """ROUGE of characters (with `cut` also of words) and BLEU, in percent.

    Args:
        written: the texts.
        references: of each text one or several.
        cut: as in `Words`.

    Raises:
        UserError, ModuleNotFoundError: as `rouge` and `bleu`.
    """
    found = rouge(written, references)
    if cut is not None:
        found |= {f"{name}_words": value for name, value in rouge(written, references, Words(cut)).items()}
    return found | {"bleu": bleu(written, references)}


def score_as_bert4keras(written: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """ROUGE by the package `rouge` and the mean of nltk's sentence BLEU, in percent, as bert4keras' scripts count them.

    Characters in lower case with a space between; the first reference counts; an empty text scores 0. The package
    counts each n-gram of a text once, however often it comes.

    Raises:
        UserError: no texts, or not as many references.
        ModuleNotFoundError: rouge or nltk is not installed.
    """
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
    from rouge import Rouge

    _require_as_many(written, references)
    scorer, smooth = Rouge(), SmoothingFunction().method1
    totals = dict.fromkeys((*KINDS.values(), "bleu"), 0.0)
    for text, several in zip(written, references, strict=True):
        ours, theirs = (" ".join(one).lower() for one in (text, several[0]))
        if not ours.replace(".", "").strip() or not theirs.replace(".", "").strip():
            continue  # that package takes full stops for ends of sentences, and has none left
        with _recursion(4 * (len(ours) + len(theirs))):  # that package goes a call deeper with every word
            [found] = scorer.get_scores(hyps=ours, refs=theirs)
        for name in KINDS.values():
            totals[name] += found[name.replace("_", "-")]["f"]
        totals["bleu"] += sentence_bleu([theirs.split(" ")], ours.split(" "), smoothing_function=smooth)
    return {name: 100 * total / len(written) for name, total in totals.items()}


@contextlib.contextmanager
def _recursion(depth: int) -> Iterator[None]:
    former = sys.getrecursionlimit()
    sys.setrecursionlimit(max(former, former + depth))
    try:
        yield
    finally:
        sys.setrecursionlimit(former)


def _require_as_many(written: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if len(written) != len(references) or not written or not all(references):
        raise UserError(
            "expected a reference for each text, and at least one text. Received: {texts} texts, {references} "
            "references.",
            texts=len(written),
            references=sum(map(bool, references)),
        )
