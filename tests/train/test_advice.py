"""A run that has learned nothing says so, and what is likely to help."""

import pytest

from nlptasks.applications.classification.training import ClassifierOptions, constant_score
from nlptasks.applications.labeling import commands as labeling
from nlptasks.applications.reading.training import never_answered
from nlptasks.errors import fields_named, flag_of
from nlptasks.text import Passage, Question
from nlptasks.text.labeled import LabeledText
from nlptasks.train import advice
from nlptasks.train.advice import beyond_constant, likely_cure, tell_unlearned

pytestmark = pytest.mark.once


def test_a_run_has_learned_something_when_it_exceeds_a_constant_answer():
    constant = {"f1": 16.0, "em": 0.0}
    assert beyond_constant({"f1": 16.01, "em": 0.5}, constant) is None
    assert beyond_constant({"f1": 16.0, "em": 0.5}, constant) == "f1"
    assert beyond_constant({"f1": 30.0, "em": 0.0}, constant) == "em"
    assert beyond_constant({"accuracy": 100.0}, {"accuracy": 100.0}) is None  # there is one label only
    assert beyond_constant({"f1": 0.0}, {}) is None


@pytest.mark.parametrize(
    ("rate", "updates", "pretrained", "cure"),
    [
        (2e-5, 1000, True, advice.RATE_LOW),
        (4e-3, 1000, True, advice.RATE_HIGH),
        (1e-3, 199, True, advice.FEW_UPDATES),
        (4e-4, 200, True, advice.PRETRAINED),
        (2e-3, 200, False, advice.DATA),
    ],
)
def test_the_cure_is_the_first_thing_that_is_unusual(rate, updates, pretrained, cure):
    assert likely_cure(rate, 1e-3, "random weights", updates, pretrained)[0] == cure


def test_the_lines_name_the_numbers_and_the_flags(capsys):
    usual = ClassifierOptions(output="x", num_layers=1).usual_learning_rate
    with fields_named(flag_of):
        cure = likely_cure(2e-5, usual, "random weights", 9, True)
        tell_unlearned({"accuracy": 53.125}, {"accuracy": 53.125}, "accuracy", cure)
    assert capsys.readouterr().err.splitlines() == [
        "nothing is learned yet: accuracy is 53.12 in the best epoch, and 53.12 with the same answer to everything.",
        "likely cure: a higher learning rate (--learning-rate 0.001 suits random weights). Received: 2e-05; start anew "
        "in another --output.",
    ]


def test_a_stage_of_a_longer_run_names_its_own_epochs(capsys):
    with fields_named(flag_of):
        cure = likely_cure(1e-3, 1e-3, "random weights", 9, True, epochs="replacement_epochs")
        tell_unlearned({"accuracy": 50.0}, {"accuracy": 50.0}, "accuracy", cure)
    assert capsys.readouterr().err.splitlines()[1] == (
        "likely cure: longer training. 9 updates were made; give more --replacement-epochs, or a smaller --batch-size."
    )


def test_the_rate_of_a_stage_is_cured_by_the_option_that_holds_it(capsys):
    with fields_named(flag_of):
        cure = likely_cure(1e-7, 1e-3, "random weights", 9, True, learning_rate="replacement_learning_rate")
        tell_unlearned({"accuracy": 50.0}, {"accuracy": 50.0}, "accuracy", cure)
    assert "(--replacement-learning-rate 0.001 suits random weights)" in capsys.readouterr().err


def test_a_constant_answer_is_the_most_frequent_label_or_none():
    texts = [LabeledText(text, None, labels, "") for text, labels in (("a", "x"), ("b", "x"), ("c", "y"), ("d", "z"))]
    assert constant_score(texts, "accuracy") == 50.0
    several = [
        LabeledText("a", None, ("x", "y"), ""),
        LabeledText("b", None, ("x",), ""),
        LabeledText("c", None, (), ""),
    ]
    assert constant_score(several, "micro_f1") == pytest.approx(100 * 2 * 2 / (3 + 3))
    assert constant_score([LabeledText("a", None, (), "")], "micro_f1") == 0.0
    passages = (Passage("沈月住在山上。", answer=""),)
    asked = [Question("1", "谁？", passages, answers=()), Question("2", "谁？", passages, answers=("沈月",))]
    assert never_answered(asked) == {"cmrc_f1": 50.0, "answerable_cmrc_em": 0.0}


def test_a_command_is_not_ready_where_nothing_is_learned(capsys, tmp_path):
    labeling.say_ready(tmp_path, "evaluate and predict", learned=False)
    assert capsys.readouterr().err == ""
    labeling.say_ready(tmp_path, "evaluate and predict")
    assert capsys.readouterr().err == f"{tmp_path}: ready for evaluate and predict\n"
