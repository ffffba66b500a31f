"""Scores for reading comprehension: SogouQA (accuracy, F1, final) and CMRC2018 (EM, F1).

Both count exactly as the published tools do, with one deviation: ASCII runs are split at white space, not with nltk
(see docs/scoring.md). Neither tool knows questions without an answer; `score_reading` adds them as a rule of our own.

`score_reading` is what the commands print. `sogou_scores` and `cmrc_scores` stand for the tools themselves: they score
predictions of any system, SogouQA's from the files of its tool (`read_sogou_golds`, `read_sogou_predictions`).
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nlptasks.files import open_text

# The marks that the SogouQA tool removes. Only some full-width marks are among them: the others fold to ASCII first.
SOGOU_PUNCTUATION = frozenset(
    string.punctuation + "\x7f"  # all of ASCII's marks, and DEL
    "…‰※•—‖‘’“”№←↑→↓"  # typography
    "∴∨∵∶∩∈∑√∞≯≡≮≤≥≈≌⊥⊙⌒÷×±∠≠"  # mathematics
    "□◆◇◎●★☆♀♂▲△■"  # shapes
    "¨°·§¤′″ˇˉ"  # signs
    "\u3000、。〃々〈〉《》「」『』【】〓〔〕〖〗﹑"  # CJK
    "￣￥￠＿！＄（），．：；？～"  # full-width
)
CMRC_PUNCTUATION = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_CMRC_MARKS = str.maketrans(dict.fromkeys(CMRC_PUNCTUATION, ""))
_CMRC_TOKENS = re.compile(r"[\u4e00-\u9fa5]|[^\u4e00-\u9fa5\s]+")
_SOGOU_MARKS = str.maketrans(dict.fromkeys(SOGOU_PUNCTUATION, " "))
_ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_HALF_WIDTH = {code: code - 65248 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}


@dataclass(frozen=True)
class SogouGold:
    """Gold answers of a question: the standard one (parts joined by one space) and all that are accepted."""

    standard: str
    accepted: tuple[str, ...]


@dataclass(frozen=True)
class SogouScores:
    """Means over questions, in [0, 1]; `final` is the mean of `accuracy` and `f1`."""

    accuracy: float
    f1: float
    final: float
    questions: int
    exact_matches: int


@dataclass(frozen=True)
class CmrcScores:
    """Means over all questions, in percent; `average` is the mean of `em` and `f1`, `skipped` had no prediction."""

    em: float
    f1: float
    average: float
    total: int
    skipped: int


class Question(Protocol):
    """What is needed of a question; `answers` is empty when it cannot be answered."""

    @property
    def id(self) -> str: ...
    @property
    def answers(self) -> Sequence[str]: ...


def sogou_format(text: str) -> str:
    """The text with full-width characters folded, ASCII letters in lower case, without punctuation and white space."""
    text = text.translate(_HALF_WIDTH).translate(_ASCII_LOWER).translate(_SOGOU_MARKS)
    return "".join(text.split())


def _sogou_parts(answer: str) -> set[str]:
    answer = answer.translate(_SOGOU_MARKS).translate(_ASCII_LOWER)
    return {sogou_format(part) for part in answer.split(" ")}


def _sogou_f1(predicted: str, gold: str) -> float:
    common = (Counter(predicted) & Counter(gold)).total()
    if not common:
        return 0.0
    precision, recall = common / len(predicted), common / len(gold)
    return 2 * precision * recall / (precision + recall)


def sogou_question_score(prediction: str, standard: str, accepted: Iterable[str]) -> tuple[float, float]:
    """Accuracy and F1 of one question, each in [0, 1]; a blank prediction scores (0, 0), whatever the golds are.

    Args:
        standard: the gold answer whose parts may stand in any order.
        accepted: all gold answers, the standard one among them.
    """
    if not prediction.strip():
        return 0.0, 0.0
    accepted = list(accepted)
    golds = {*accepted, *map(sogou_format, accepted)}
    predicted = sogou_format(prediction)
    exact = predicted in golds or _sogou_parts(prediction) == _sogou_parts(standard)
    return float(exact), max((_sogou_f1(predicted, gold) for gold in golds), default=0.0)


def sogou_scores(predictions: Mapping[str, str], golds: Mapping[str, SogouGold]) -> SogouScores:
    """Scores of all predictions, as the SogouQA tool counts them: the means are over the predictions.

        golds = read_sogou_golds("answers.tsv")
        sogou_scores(read_sogou_predictions("predictions.tsv"), golds).final

    Args:
        predictions: question id -> answer.
        golds: question id -> gold answers; questions that were not predicted do not count.

    Raises:
        ValueError: there is no prediction, or one without a gold answer.
    """
    unknown = [question_id for question_id in predictions if question_id not in golds]
    if unknown:
        raise ValueError(f"every prediction needs a gold answer; {len(unknown)} have none. Received: id={unknown[0]!r}")
    if not predictions:
        raise ValueError("SogouQA scores need at least one prediction. Received: 0 predictions")
    pairs = [sogou_question_score(text, golds[key].standard, golds[key].accepted) for key, text in predictions.items()]
    accuracy, f1 = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
    return SogouScores(accuracy, f1, (accuracy + f1) / 2, len(pairs), int(sum(exact for exact, _ in pairs)))


def _fields(path: str | Path, names: Sequence[str]) -> Iterable[tuple[int, list[str]]]:
    seen: dict[str, int] = {}
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            fields = line.rstrip("\r\n").split("\t")
            if len(fields) != len(names):
                expected = f"expected {len(names)} tab-separated fields ({', '.join(names)})"
                raise ValueError(f"{path}:{number}: {expected}. Received: {len(fields)}.")
            if fields[0] in seen:
                raise ValueError(f"{path}:{number}: question id {fields[0]!r} was already on line {seen[fields[0]]}.")
            seen[fields[0]] = number
            yield number, fields


def read_sogou_golds(path: str | Path) -> dict[str, SogouGold]:
    """Gold answers by question id.

    Args:
        path: tab-separated: question id, standard answer, accepted answers joined by a vertical bar; plain or gzip.

    Raises:
        ValueError, FileNotFoundError: one line with the place: other fields, an id twice, a blank answer.
    """
    golds = {}
    for number, (question_id, standard, accepted) in _fields(path, ("question id", "standard", "accepted")):
        if not standard.strip() or not accepted.strip():
            raise ValueError(f"{path}:{number}: a gold answer is not blank. Received: {standard!r}, {accepted!r}")
        golds[question_id] = SogouGold(standard, tuple(accepted.split("|")))
    return golds


def read_sogou_predictions(path: str | Path) -> dict[str, str]:
    """Predicted answers by question id.

    Args:
        path: tab-separated: question id, answer, which may be blank; plain or gzip. `nlptasks reading predict` and
            `evaluate --predictions` write such a file.

    Raises:
        ValueError, FileNotFoundError: one line with the place: other fields, or an id twice.
    """
    return {question_id: text for _, (question_id, text) in _fields(path, ("question id", "answer"))}


def _cmrc_clean(text: str) -> str:
    return text.lower().strip().translate(_CMRC_MARKS)


def _longest_common_run(left: Sequence[str], right: Sequence[str]) -> int:
    best, row = 0, [0] * (len(right) + 1)
    for token in left:
        row = [0, *(row[j] + 1 if token == other else 0 for j, other in enumerate(right))]
        best = max(best, max(row))
    return best


def cmrc_question_score(prediction: str, answers: Iterable[str]) -> tuple[float, float]:
    """Exact match and F1 of one question, each in [0, 1] and each for its best gold answer."""
    clean = _cmrc_clean(prediction)
    tokens = _CMRC_TOKENS.findall(clean)
    em = f1 = 0.0
    for answer in answers:
        gold = _cmrc_clean(answer)
        em = max(em, float(clean == gold))
        gold_tokens = _CMRC_TOKENS.findall(gold)
        run = _longest_common_run(tokens, gold_tokens)
        if run:
            precision, recall = run / len(tokens), run / len(gold_tokens)
            f1 = max(f1, 2 * precision * recall / (precision + recall))
    return em, f1


def cmrc_scores(predictions: Mapping[str, str], answers: Mapping[str, Sequence[str]]) -> CmrcScores:
    """Scores of all questions of `answers`, as the CMRC2018 tool counts them: means in percent over the questions.

        cmrc_scores({"1": "沈月白"}, {"1": ["沈月白", "沈月"], "2": ["青石"]}).em  # 50.0

    Args:
        predictions: question id -> answer; a question without a prediction counts as wrong.
        answers: question id -> its gold answers.

    Raises:
        ValueError: there is no question.
    """
    if not answers:
        raise ValueError("CMRC2018 scores need at least one question. Received: 0 questions")
    em = f1 = 0.0
    for question_id, golds in answers.items():
        if question_id in predictions:
            question_em, question_f1 = cmrc_question_score(predictions[question_id], golds)
            em, f1 = em + question_em, f1 + question_f1
    total = len(answers)
    em, f1 = 100 * em / total, 100 * f1 / total
    return CmrcScores(em, f1, (em + f1) / 2, total, sum(key not in predictions for key in answers))


def unanswerable_score(prediction: str | None) -> tuple[float, float]:
    """Our exact match and F1 of a question without an answer: (1, 1) for a blank prediction, (0, 0) for any text.

    Saying nothing has to be a decision: a question without a prediction (None) counts as wrong here too.
    """
    right = float(prediction is not None and not prediction.strip())
    return right, right


def score_reading(questions: Iterable[Question], predictions: Mapping[str, str]) -> dict[str, dict[str, float | int]]:
    """Scores by both rules, of answerable and of unanswerable questions also apart.

    Args:
        questions: with unique ids.
        predictions: question id -> answer.

    Returns:
        `all`, `answerable` and `unanswerable`, each with `questions`, `predicted`, `blank` (counts), `sogou_accuracy`,
        `sogou_f1`, `sogou_final` (in [0, 1]) and `cmrc_em`, `cmrc_f1` (in percent); scores of an empty section are 0.
        The standard answer of a question is its first one. A question without a prediction counts as wrong everywhere.

    Raises:
        ValueError: an id occurs twice, or a prediction has no question.
    """
    sections: dict[str, list[_Row]] = {"all": [], "answerable": [], "unanswerable": []}
    seen: set[str] = set()
    for question in questions:
        if question.id in seen:
            raise ValueError(f"question ids are unique. Received: id={question.id!r} twice")
        seen.add(question.id)
        prediction, answers = predictions.get(question.id), [text for text in question.answers if text.strip()]
        row = _Row(prediction is not None, prediction is not None and not prediction.strip())
        if not answers:
            row.sogou = row.cmrc = unanswerable_score(prediction)
        elif prediction is not None:
            row.sogou = sogou_question_score(prediction, answers[0], answers)
            row.cmrc = cmrc_question_score(prediction, answers)
        for section in ("all", "answerable" if answers else "unanswerable"):
            sections[section].append(row)
    unknown = [question_id for question_id in predictions if question_id not in seen]
    if unknown:
        raise ValueError(f"every prediction needs its question; {len(unknown)} have none. Received: id={unknown[0]!r}")
    return {name: _means(rows) for name, rows in sections.items()}


@dataclass
class _Row:
    predicted: bool
    blank: bool
    sogou: tuple[float, float] = (0.0, 0.0)
    cmrc: tuple[float, float] = (0.0, 0.0)


def _means(rows: list[_Row]) -> dict[str, float | int]:
    count = max(1, len(rows))
    accuracy, f1 = (sum(row.sogou[k] for row in rows) / count for k in (0, 1))
    em, cmrc_f1 = (100 * sum(row.cmrc[k] for row in rows) / count for k in (0, 1))
    return {
        "questions": len(rows),
        "predicted": sum(row.predicted for row in rows),
        "blank": sum(row.blank for row in rows),
        "sogou_accuracy": accuracy,
        "sogou_f1": f1,
        "sogou_final": (accuracy + f1) / 2,
        "cmrc_em": em,
        "cmrc_f1": cmrc_f1,
    }
