"""What commands say in Chinese: one catalogue by the English text, and the choice of the language.

The library speaks English: `str(error)` stays as it is. A command asks here when it shows something. `zh/*.json` hold
the Chinese of each English text; tests/test_catalogue.py names those that lack it. `NLPTASKS_LANG=zh` or `en` chooses;
otherwise the locale does (`LC_ALL`, `LC_MESSAGES`, `LANG`).
"""

import functools
import json
import os
import re
import string
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nlptasks.errors import UserError

ENGLISH, CHINESE = "en", "zh"
VARIABLE = "NLPTASKS_LANG"
LOCALES = ("LC_ALL", "LC_MESSAGES", "LANG")
"""environment variables of the locale; the first one that is set counts"""
FOLDER = Path(__file__).parent / CHINESE
ERRORS, HELP, OUTPUT, SYSTEM = "errors", "help", "output", "system"
"""files of the catalogue: errors, notes and the phrases in them; help; results and progress; messages of the system"""
LONGEST = 2000
"""characters of a text that is looked for among the templates"""
WRITTEN = (
    *("path", "output", "directory", "folder", "file", "source", "pattern", "predecessor", "name", "names", "name_2"),
    *(
        "word",
        "value",
        "text",
        "column",
        "label",
        "labels",
        "known",
        "given",
        "shown",
        "found",
        "unknown",
        "was",
        "now",
    ),
)
"""names of values that a person may have written, and whose single words are none of ours"""
_CHINESE = "[\u4e00-\u9fff]"


def language() -> str:
    """`zh` or `en`; English where standard output or standard error cannot write Chinese.

    Raises:
        UserError: NLPTASKS_LANG is neither.
    """
    return CHINESE if _chosen() == CHINESE and _writes_chinese(sys.stdout) and _writes_chinese(sys.stderr) else ENGLISH


def _writes_chinese(stream: Any) -> bool:
    try:
        "中文".encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _chosen() -> str:
    if given := os.environ.get(VARIABLE):
        if given not in (ENGLISH, CHINESE):
            raise UserError(
                "the environment variable NLPTASKS_LANG must be zh or en. Received: {given!r}; correct it or unset it.",
                given=given,
            )
        return given
    locale = next((value for name in LOCALES if (value := os.environ.get(name))), "")
    return CHINESE if locale.lower().startswith(CHINESE) else ENGLISH


@functools.cache
def texts(kind: str) -> dict[str, str]:
    """A file of the catalogue: English text -> Chinese text."""
    found: dict[str, str] = json.loads((FOLDER / f"{kind}.json").read_text(encoding="utf-8"))
    return found


def worded(english: str) -> str:
    """A text of the help, or a note, in the language of the user."""
    return english if language() == ENGLISH else texts(HELP).get(english, english)


def in_language(text: str) -> str:
    """A template, or a line that is finished, in the language of the user."""
    if language() == ENGLISH:
        return text
    return texts(ERRORS).get(text) or texts(OUTPUT).get(text) or chinese_of(text)


def message(error: BaseException, name_of: Callable[[str], str]) -> str:
    """The text of an error in the language of the user.

    Args:
        name_of: turns the name of a field into the name that is shown.
    """
    chinese = language() == CHINESE
    if isinstance(error, UserError):
        if not chinese:
            return error.render(name_of)
        known = texts(ERRORS).get(error.template)
        if known is None:  # made of another message, perhaps
            return chinese_of(error.render(name_of))
        return UserError(known, **_chinese_values(error.values)).render(name_of)
    if isinstance(error, OSError) and error.strerror:
        reason = texts(SYSTEM).get(error.strerror, error.strerror) if chinese else error.strerror
        return f"{error.filename}{'：' if chinese else ': '}{reason}" if error.filename else reason
    return chinese_of(str(error)) if chinese else str(error)


def chinese_of(text: str) -> str:
    """The Chinese of the finished text of an error, which is found by its template; what has none stays as it is."""
    from nlptasks.catalogue.matching import match

    if len(text) > LONGEST:
        return text
    known = texts(ERRORS)
    found = match(text, known)
    for colon in re.finditer(": ", text):  # what stands before may be the place of an error that is known by itself
        before, after = text[: colon.start()], text[colon.end() :]
        inner = match(after, known) if before.count("'") % 2 == 0 else None
        if inner is not None and (found is None or inner.weight >= found.weight):
            return f"{chinese_of(before)}：{chinese_of(after)}"
    if found is not None:
        return _filled(found.template, _chinese_values(found.values))
    for sign, chinese_sign in (("; ", "；"), (": ", "：")):
        head, apart, rest = text.partition(sign)
        if apart and (chinese := chinese_of(head)) != head:
            return f"{chinese}{chinese_sign}{chinese_of(rest)}"
    return text


def _chinese_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a template, those that are words of ours in Chinese; what a person has written stays."""
    return {
        name: chinese_of(str(value))
        if isinstance(value, str | BaseException) and not (name in WRITTEN and str(value).isalpha())
        else value
        for name, value in values.items()
    }


def name_in(field: str | None, form: str | None) -> str:
    """The name of a brace: `path` of `{path!r}`, `field:top` of `{field:top}`."""
    return f"{field}:{form}" if field == "field" else field or ""


def _filled(template: str, values: dict[str, str]) -> str:
    """A template with its values; no space stands between Chinese and Chinese."""
    done = ""
    for literal, field, form, _ in string.Formatter().parse(template):
        done = _joined(done, literal)
        if field is not None:
            done = _joined(done, values[name_in(field, form)])
    return done


def _joined(first: str, second: str) -> str:
    if re.search(f"{_CHINESE} $", first) and re.match(_CHINESE, second):
        return first[:-1] + second
    if re.search(f"{_CHINESE}$", first) and re.match(f" {_CHINESE}", second):
        return first + second[1:]
    return first + second
