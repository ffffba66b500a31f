"""The two reading scorers: cases counted by hand, and the numbers that the published tools print."""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from nlptasks.metrics.reading import (
    SogouGold,
    cmrc_question_score,
    cmrc_scores,
    read_sogou_golds,
    read_sogou_predictions,
    score_reading,
    sogou_format,
    sogou_question_score,
    sogou_scores,
    unanswerable_score,
)


@dataclass(frozen=True)
class Question:
    id: str
    answers: tuple[str, ...]


@pytest.mark.parametrize(
    ("text", "formatted"),
    [
        ("Ｋ７－２００", "k7200"),  # full-width letters, digits and hyphen fold to ASCII
        ("《远山梦》，作者：沈月。", "远山梦作者沈月"),
        (" 米糕\u3000鱼汤\t", "米糕鱼汤"),
        ("「…！？～", ""),
        ("ÀÉ", "ÀÉ"),  # only ASCII letters are lowered
    ],
)
def test_sogou_format_folds_lowers_and_removes(text, formatted):
    assert sogou_format(text) == formatted


@pytest.mark.parametrize(
    ("prediction", "standard", "accepted", "accuracy", "f1"),
    [
        ("沈月白", "沈月白", ["沈月白"], 1, 1),
        ("Ｋ７-200", "k7200", ["k7200"], 1, 1),
        ("《沈月白》。", "沈月白", ["沈月白"], 1, 1),
        ("沈先生", "沈月白", ["沈月白", "沈先生"], 1, 1),  # not the standard answer, but an accepted one
        ("k7-200", "沈月白", ["沈月白", "K7/200"], 1, 1),  # accepted answers count formatted too
        ("鱼汤 米糕", "米糕 鱼汤", ["米糕鱼汤"], 1, 1),  # the parts in another order; all characters in common
        ("鱼汤、米糕", "米糕 鱼汤", ["米糕鱼汤"], 1, 1),  # punctuation separates parts too
        ("鱼汤米糕", "米糕 鱼汤", ["米糕鱼汤"], 0, 1),  # without a separator the order counts; F1 knows no order
        ("米糕", "米糕 鱼汤", ["米糕鱼汤"], 0, 2 * 1 * 0.5 / 1.5),
        ("鱼鱼鱼", "鱼汤鱼", ["鱼汤鱼"], 0, 2 / 3),  # each gold character is used once: 2 of 3 both ways
        ("月白", "沈月白", ["沈月白", "月光"], 0, 2 * 1 * (2 / 3) / (5 / 3)),  # the best gold counts
        ("青石", "沈月白", ["沈月白"], 0, 0),
        ("", "沈月白", ["沈月白"], 0, 0),
        (" \u3000", "沈月白", ["沈月白"], 0, 0),
        ("。，！", "沈月白", ["沈月白"], 0, 0),
        ("", "", [""], 0, 0),  # blank scores 0 in the published rule even if the gold answer is blank
    ],
)
def test_sogou_question_score_by_hand(prediction, standard, accepted, accuracy, f1):
    assert sogou_question_score(prediction, standard, accepted) == (accuracy, pytest.approx(f1))


def test_sogou_means_are_over_predictions_and_final_is_their_mean():
    golds = {
        "a": SogouGold("沈月", ("沈月",)),
        "b": SogouGold("青石县", ("青石县",)),
        "c": SogouGold("米糕", ("米糕",)),
    }
    scores = sogou_scores({"a": "沈月", "b": "青石", "c": ""}, golds)
    assert scores.accuracy == pytest.approx(1 / 3)
    assert scores.f1 == pytest.approx((1 + 0.8 + 0) / 3)
    assert scores.final == pytest.approx((1 / 3 + 0.6) / 2)
    assert (scores.questions, scores.exact_matches) == (3, 1)
    assert sogou_scores({"a": "沈月"}, golds).accuracy == 1  # questions that were not predicted are not in the mean


def test_sogou_prediction_without_gold_is_an_error():
    with pytest.raises(ValueError, match=r"1 have none\. Received: id='x'"):
        sogou_scores({"x": "沈月"}, {"a": SogouGold("沈月", ("沈月",))})
    with pytest.raises(ValueError, match="at least one prediction"):
        sogou_scores({}, {})


def test_sogou_files_are_read_plain_and_gzip(tmp_path):
    (tmp_path / "gold.txt").write_text("1\t米糕 鱼汤\t米糕鱼汤|米糕 鱼汤\n2\t沈月\t沈月\n", encoding="utf-8")
    (tmp_path / "pred.txt.gz").write_bytes(gzip.compress("1\t鱼汤，米糕\n2\t \n".encode()))
    golds, predictions = read_sogou_golds(tmp_path / "gold.txt"), read_sogou_predictions(tmp_path / "pred.txt.gz")
    assert golds["1"] == SogouGold("米糕 鱼汤", ("米糕鱼汤", "米糕 鱼汤"))
    assert predictions == {"1": "鱼汤，米糕", "2": " "}
    assert sogou_scores(predictions, golds).exact_matches == 1


@pytest.mark.parametrize(
    ("reader", "content", "message"),
    [
        (read_sogou_golds, "1\t沈月\t沈月\n2\t沈月\n", r"bad\.txt:2: expected 3 tab-separated fields .*\. Received: 2"),
        (read_sogou_golds, "1\t \t沈月\n", r"bad\.txt:1: a gold answer is not blank"),
        (read_sogou_predictions, "1\n", r"bad\.txt:1: expected 2 tab-separated fields .*\. Received: 1"),
        (read_sogou_predictions, "1\t沈\n2\t月\n1\t白\n", r"bad\.txt:3: question id '1' was already on line 1"),
    ],
)
def test_sogou_file_error_names_file_and_line(tmp_path, reader, content, message):
    (tmp_path / "bad.txt").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        reader(tmp_path / "bad.txt")


@pytest.mark.parametrize(
    ("prediction", "answers", "em", "f1"),
    [
        ("沈月白", ["沈月白"], 1, 1),
        ("“沈月白”。", ["沈月白"], 1, 1),  # marks are removed
        ("沈月白…", ["沈月白"], 0, 1 * 2 * 0.75 / 1.75),  # an ellipsis is not: one more token
        ("Big River", ["big river"], 1, 1),
        ("big river town", ["river town"], 0, 0.8),  # two of three words
        ("K7-200型", ["k7200型"], 1, 1),
        ("在青石县城", ["青石县"], 0, 2 * 0.6 / 1.6),
        ("青县石", ["青石县"], 0, 1 / 3),  # contiguous runs only: one token of three
        ("沈红白", ["沈月白"], 0, 1 / 3),  # a token in between ends the run, whether it took the place of another
        ("沈小月白", ["沈月白"], 0, 4 / 7),  # or came on top: two of four and two of three, 2 x 1/2 x 2/3 / (7/6)
        ("月白", ["沈月白", "月光"], 0, 0.8),  # the best gold counts
        ("沈月白", ["青石", "沈月白", "月白"], 1, 1),
        ("", ["沈月白"], 0, 0),
        ("，。", ["沈月白"], 0, 0),
        ("红", ["白"], 0, 0),
    ],
)
def test_cmrc_question_score_by_hand(prediction, answers, em, f1):
    assert cmrc_question_score(prediction, answers) == (em, pytest.approx(f1))


def test_cmrc_question_without_prediction_counts_as_wrong():
    scores = cmrc_scores({"a": "沈月白", "b": "月白"}, {"a": ["沈月白"], "b": ["沈月白"], "c": ["青石"], "d": ["红"]})
    assert (scores.total, scores.skipped) == (4, 2)
    assert scores.em == pytest.approx(25)
    assert scores.f1 == pytest.approx(100 * 1.8 / 4)
    assert scores.average == pytest.approx(35)


def test_unanswerable_question_wants_a_blank_prediction():
    assert unanswerable_score("") == unanswerable_score(" \u3000") == (1, 1)
    assert unanswerable_score("沈") == unanswerable_score(None) == (0, 0)


def test_score_reading_reports_answerable_and_unanswerable_apart():
    questions = [
        Question("a", ("沈月白", "月白")),
        Question("b", ("青石县",)),
        Question("c", ()),
        Question("d", ()),
        Question("e", ()),
        Question("f", ("红",)),
    ]
    scores = score_reading(questions, {"a": "月白", "b": "", "c": "", "d": "沈", "f": "红"})
    assert {name: section["questions"] for name, section in scores.items()} == {
        "all": 6,
        "answerable": 3,
        "unanswerable": 3,
    }
    assert scores["answerable"]["sogou_accuracy"] == pytest.approx(2 / 3)
    assert scores["answerable"]["cmrc_em"] == pytest.approx(200 / 3)
    assert scores["unanswerable"]["sogou_final"] == pytest.approx(1 / 3)
    assert scores["unanswerable"]["cmrc_f1"] == pytest.approx(100 / 3)
    assert scores["all"]["sogou_f1"] == pytest.approx(0.5)
    assert (scores["all"]["predicted"], scores["all"]["blank"]) == (5, 2)


def test_score_reading_of_an_empty_section_is_zero_and_not_an_error():
    scores = score_reading([Question("a", ("沈",))], {"a": "沈"})
    assert scores["unanswerable"]["questions"] == scores["unanswerable"]["cmrc_em"] == 0
    assert scores["all"]["cmrc_em"] == 100


def test_score_reading_refuses_repeated_questions_and_unknown_predictions():
    with pytest.raises(ValueError, match="id='a' twice"):
        score_reading([Question("a", ("沈",)), Question("a", ("沈",))], {})
    with pytest.raises(ValueError, match="Received: id='z'"):
        score_reading([Question("a", ("沈",))], {"z": "沈"})


def _expected(public_data: Path, name: str) -> dict:
    return json.loads((public_data / "expected_scores.json").read_text(encoding="utf-8"))[name]


def test_sogou_scores_equal_what_the_published_tool_prints(public_data):
    expected = _expected(public_data, "sogou_qa")
    predictions = read_sogou_predictions(public_data / expected["prediction"])
    scores = sogou_scores(predictions, read_sogou_golds(public_data / expected["gold"]))
    assert [scores.accuracy, scores.f1, scores.final] == pytest.approx(
        expected["printed_by_scorer"]["values"], abs=1e-12
    )
    assert (scores.questions, scores.exact_matches) == (expected["questions"], expected["exact_matches"])


def test_cmrc_scores_equal_the_known_answer_without_nltk(public_data):
    expected = _expected(public_data, "cmrc2018")
    documents = json.loads((public_data / expected["gold"]).read_text(encoding="utf-8"))
    paragraphs = documents if isinstance(documents, list) else [p for d in documents["data"] for p in d["paragraphs"]]
    answers = {item["id"]: [a["text"] for a in item["answers"]] for p in paragraphs for item in p["qas"]}
    predictions = json.loads((public_data / expected["prediction"]).read_text(encoding="utf-8"))
    scores = cmrc_scores(predictions, answers)
    assert f"{scores.em:.3f}" == expected["printed_by_scorer"]["EM"]
    assert f"{scores.f1:.3f}" == "74.485"
    assert (scores.total, scores.skipped) == (
        expected["printed_by_scorer"]["TOTAL"],
        expected["printed_by_scorer"]["SKIP"],
    )
