"""The template that an error's finished text was made from, and the values in it."""

import functools
import re
import string
from collections.abc import Mapping
from typing import NamedTuple

from nlptasks.catalogue import name_in

NUMBERS = ("index", "line", "line_number", "lineno", "colno")
"""values that are whole numbers, so that a match does not take more for them"""


class Match(NamedTuple):
    """A template that a text was made from."""

    template: str
    """its Chinese"""
    values: dict[str, str]
    weight: int
    """how many characters are the template's own"""


def match(text: str, known: Mapping[str, str]) -> Match | None:
    """The template that `text` was made from; None: there is none.

    Where several fit, the one with most characters of its own is taken.
    """
    for template, longest, weight in _by_length(tuple(known)):
        if longest not in text:
            continue
        names, pattern = _pattern(template)
        if found := pattern.fullmatch(text):
            values: dict[str, str] = {}
            for name, value in zip(names, found.groups(), strict=True):
                values.setdefault(name, value)
            return Match(known[template], values, weight)
    return None


@functools.lru_cache(1)
def _by_length(templates: tuple[str, ...]) -> list[tuple[str, str, int]]:
    """The templates, the longest stretch that is each one's own, and its weight; the heaviest come first."""
    found = []
    for template in templates:
        literals = [each[0] for each in string.Formatter().parse(template)]
        found.append((template, max(literals, key=len, default=""), sum(map(len, literals))))
    return sorted(found, key=lambda each: -each[2])


@functools.lru_cache(None)
def _pattern(template: str) -> tuple[list[str], re.Pattern[str]]:
    names, parts = [], []
    for literal, field, form, _ in string.Formatter().parse(template):
        parts.append(re.escape(literal))
        if field is not None:
            names.append(name_in(field, form))
            parts.append("(--[a-z-]+|[a-z_]+)" if field == "field" else r"(\d+)" if field in NUMBERS else "(.*?)")
    return names, re.compile("".join(parts), re.DOTALL)
