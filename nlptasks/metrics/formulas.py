"""Scores of formulas, such as word problems lead to: what counts is their value, which is exact."""

import ast
import operator
import re
from collections.abc import Callable, Sequence
from fractions import Fraction

from nlptasks.errors import UserError

_SIGNS = str.maketrans("×÷＋－＊／（）．", "*/+-*/().")
_FORMULA = re.compile(r"[0-9.+\-*/()]{1,200}")
_OPERATIONS: dict[type, Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def value_of(formula: str) -> Fraction | None:
    """The exact value of a formula of numbers, + - * / and brackets; None where it is none.

        value_of("（3＋5）×2")  # Fraction(16, 1)

    Nothing is run: the text is parsed, and anything else than these operations is no formula.
    """
    text = re.sub(r"\s+", "", formula).translate(_SIGNS)
    if not _FORMULA.fullmatch(text):
        return None
    try:
        return _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _value(node: ast.expr) -> Fraction:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return Fraction(str(node.value))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub):
        inner = _value(node.operand)
        return -inner if isinstance(node.op, ast.USub) else inner
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        return _OPERATIONS[type(node.op)](_value(node.left), _value(node.right))
    raise ValueError


def score_formulas(written: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """In percent: texts with the value of a reference (`answer`), texts that have a value (`computable`), and texts
    that are a reference, white space aside (`formula`).

    Raises:
        UserError: no texts, not as many references, or a first reference without a value.
    """
    if len(written) != len(references) or not written or not all(references):
        raise UserError("expected a formula for each text, and at least one text.")
    right = valid = same = 0
    for text, several in zip(written, references, strict=True):
        wanted = {value_of(one) for one in several} - {None}
        if not wanted:
            raise UserError("{formula!r} is no formula of numbers, + - * / and brackets.", formula=several[0])
        found = value_of(text)
        right += found in wanted
        valid += found is not None
        same += re.sub(r"\s+", "", text) in {re.sub(r"\s+", "", one) for one in several}
    return {
        name: 100 * count / len(written)
        for name, count in (("answer", right), ("computable", valid), ("formula", same))
    }
