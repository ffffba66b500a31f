"""The value of a formula, exactly, and nothing that is no formula."""

from fractions import Fraction

import pytest

from nlptasks.metrics.formulas import score_formulas, value_of

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("3+5*2", 13),
        ("（3＋5）×2", 16),
        ("( 12 + 7 ) / 4", Fraction(19, 4)),
        ("0.1+0.2", Fraction(3, 10)),
        ("-3-(-5)", 2),
        ("1/3*3", 1),
        ("12÷5", Fraction(12, 5)),
        ("1/(2-2)", None),
        ("2**9", None),
        ("7//2", None),
        ("__import__('os')", None),
        ("x+1", None),
        ("", None),
        ("3+", None),
        ("007", None),
        ("3(5)", None),
        ("1,2", None),
        ("(" * 150 + "1" + ")" * 40, None),
        ("9" * 201, None),
    ],
)
def test_a_formula_has_its_exact_value_and_nothing_else_has_one(formula, value):
    assert value_of(formula) == value


def test_what_counts_is_the_value():
    references = [["3+5"], ["2*6", "6*2"], ["9-1"], ["4/2"]]
    found = score_formulas(["5+3", "6 * 2", "9-", "5"], references)
    assert found == {"answer": 50.0, "computable": 75.0, "formula": 25.0}
    with pytest.raises(ValueError, match="'三' is no formula of numbers"):
        score_formulas(["3"], [["三"]])
    with pytest.raises(ValueError, match="expected a formula for each text"):
        score_formulas([], [])
