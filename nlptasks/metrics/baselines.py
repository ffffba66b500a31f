"""Trivial readers, to compare the scores of real readers with.

Each is a function from a question to an answer ("" for none). `fit_baselines` returns all of them by name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

START_BINS = 10  # of the relative position where an answer starts
_CLAUSE = re.compile(r"[^，。；！？,;!?\n]+")
_QUOTES = "《》“”\"'「」 "


class Passage(Protocol):
    """A text and the answer that it gives, "" for none."""

    @property
    def text(self) -> str: ...
    @property
    def answer(self) -> str: ...


class Question(Protocol):
    """What the baselines read of a question; answers are read when fitting only."""

    @property
    def question(self) -> str: ...
    @property
    def passages(self) -> Sequence[Passage]: ...
    @property
    def answers(self) -> Sequence[str]: ...


Predict = Callable[[Question], str]


class PositionRule(NamedTuple):
    """`length` characters of passage number `passage`, from the start of a tenth (of START_BINS) of the text."""

    passage: int
    start_bin: int
    length: int


def always_empty(question: Question) -> str:
    """Predict that there is no answer."""
    return ""


def apply_rule(rule: PositionRule, question: Question) -> str:
    """Return the text at a constant place: shorter at the end of the passage, "" if there is no such passage."""
    if rule.passage >= len(question.passages):
        return ""
    text = question.passages[rule.passage].text
    start = rule.start_bin * len(text) // START_BINS
    return text[start : start + rule.length]


def fit_position_rule(questions: Iterable[Question], candidates: int = 100) -> PositionRule:
    """Return the constant rule with the most exact training answers, among the `candidates` most frequent places.

    Without any exact hit the most frequent place wins; without any answer, the first character of the first passage.
    """
    questions = list(questions)
    places = Counter(place for question in questions for place in _answer_places(question))
    if not places:
        return PositionRule(0, 0, 1)

    def hits(rule: PositionRule) -> int:
        return sum(apply_rule(rule, question) in question.answers for question in questions)

    frequent = [rule for rule, _ in places.most_common(candidates)]
    return max(frequent, key=hits)  # the first of equals: the most frequent place


def _answer_places(question: Question) -> Iterator[PositionRule]:
    for number, passage in enumerate(question.passages):
        start = passage.text.find(passage.answer) if passage.answer else -1
        if start >= 0:
            yield PositionRule(number, start * START_BINS // len(passage.text), len(passage.answer))


def _bigrams(text: str) -> set[str]:
    return {text[i : i + 2] for i in range(len(text) - 1)}


def best_bigram_sentence(question: Question) -> str:
    """Return the clause, of all passages, that shares most character bigrams with the question ("" if none does)."""
    wanted = _bigrams(question.question)
    best, best_key = "", (0, 0)
    for passage in question.passages:
        for clause in _CLAUSE.findall(passage.text):
            key = (len(wanted & _bigrams(clause)), -len(clause))  # of equals the shorter, then the earlier
            if key[0] and key > best_key:
                best, best_key = clause.strip(), key
    return best


def best_lexical_match(question: Question) -> str:
    """Return the longest run of characters in that clause that are not in the question."""
    known = set(question.question) | set(_QUOTES)
    runs = "".join("\n" if char in known else char for char in best_bigram_sentence(question)).split("\n")
    return max(runs, key=len)  # the first of equals


def fit_baselines(train_questions: Iterable[Question]) -> dict[str, Predict]:
    """Return all baselines by name, fitted to the training questions if there is anything to fit."""
    rule = fit_position_rule(train_questions)
    return {
        "always_empty": always_empty,
        "position_prior": lambda question: apply_rule(rule, question),
        "best_bigram_sentence": best_bigram_sentence,
        "best_lexical_match": best_lexical_match,
    }
