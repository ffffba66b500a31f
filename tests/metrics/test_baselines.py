"""Trivial readers do exactly what their names say."""

from dataclasses import dataclass

from nlptasks.metrics.baselines import (
    PositionRule,
    apply_rule,
    best_bigram_sentence,
    best_lexical_match,
    fit_baselines,
    fit_position_rule,
)


@dataclass(frozen=True)
class Passage:
    text: str
    answer: str = ""


@dataclass(frozen=True)
class Question:
    question: str
    passages: tuple[Passage, ...]
    answers: tuple[str, ...] = ()


def _at(start: int, *, passage: int) -> Question:
    """A question whose three-character answer is at `start` in passage number `passage` of three."""
    letters = [chr(0x4E00 + 7 * start + k) for k in range(20)]
    texts = ["".join(letters), "".join(reversed(letters)), "一" * 20]
    answer = texts[passage][start : start + 3]
    passages = tuple(Passage(text, answer if n == passage else "") for n, text in enumerate(texts))
    return Question("何？", passages, (answer,))


def test_best_bigram_sentence_is_the_clause_that_shares_most():
    passages = (Passage("沈月生在青石县，沈月白喜欢下棋。"), Passage("沈月白的老师是陶安；都好"))
    assert best_bigram_sentence(Question("沈月白的老师叫什么？", passages)) == "沈月白的老师是陶安"


def test_best_bigram_sentence_of_equals_is_the_shorter_one():
    passages = (Passage("听说沈月住在青石县。沈月很高；沈月不高"),)
    assert best_bigram_sentence(Question("沈月是谁？", passages)) == "沈月很高"


def test_best_bigram_sentence_of_unrelated_passages_is_empty():
    assert best_bigram_sentence(Question("甲乙丙？", (Passage("丁戊，己庚。"), Passage("")))) == ""


def test_best_lexical_match_keeps_the_longest_run_that_is_not_asked():
    passages = (Passage("今天沈月白的老师是《陶安然》，下雨"),)
    assert best_lexical_match(Question("沈月白的老师是谁？", passages)) == "陶安然"
    assert best_lexical_match(Question("甲乙丙？", passages)) == ""


def test_position_rule_finds_the_place_where_the_answers_are():
    train = [_at(start, passage=1) for start in (8, 8, 8, 9)] + [_at(2, passage=0), _at(14, passage=2)]
    rule = fit_position_rule(train)
    assert rule == PositionRule(passage=1, start_bin=4, length=3)
    assert apply_rule(rule, train[0]) == train[0].answers[0]


def test_position_rule_reaches_past_short_inputs_without_failing():
    rule = PositionRule(passage=2, start_bin=9, length=40)
    assert apply_rule(rule, Question("何？", (Passage("甲"),))) == ""
    assert apply_rule(rule, Question("何？", (Passage("甲"), Passage("乙"), Passage("一二三四五六七八九十")))) == "十"


def test_position_rule_without_any_training_answer_is_the_first_character():
    assert fit_position_rule([Question("何？", (Passage("甲乙"),))]) == PositionRule(0, 0, 1)


def test_fit_baselines_offers_every_baseline_fitted():
    train = [_at(8, passage=1), _at(8, passage=1)]
    baselines = fit_baselines(train)
    assert sorted(baselines) == ["always_empty", "best_bigram_sentence", "best_lexical_match", "position_prior"]
    assert baselines["always_empty"](train[0]) == ""
    assert baselines["position_prior"](train[0]) == train[0].answers[0]
