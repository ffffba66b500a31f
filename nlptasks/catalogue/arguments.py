"""A command line that cannot be parsed, in one line: tyro draws a box, which this reads."""

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence

from nlptasks.errors import UserError

_WIDE = "10000"  # columns, so that no line of a box is broken
_STYLES = re.compile("\x1b\\[[0-9;]*m")
_RULE = re.compile(r"\s*[─-]{5,}\s*")


@contextlib.contextmanager
def refusing(program: str, arguments: Sequence[str]) -> Iterator[None]:
    """Inside, a parser that ends the process because the line is wrong raises an error instead.

    Args:
        program: the words that call the command, up to its verb.
        arguments: what the parser reads.

    Raises:
        UserError: what is wrong with the line. Where the box is not understood, it is shown, and the process ends.
    """
    with contextlib.ExitStack() as stack:
        shown = stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        if not {"-h", "--help"} & set(arguments):
            stack.enter_context(_columns(_WIDE))
        try:
            yield
        except SystemExit as error:
            if error.code and (refusal := refusal_of(shown.getvalue(), program)) is not None:
                raise refusal from None
            stack.close()
            sys.stderr.write(shown.getvalue())
            raise


def refusal_of(box: str, program: str) -> UserError | None:
    """What a box says, as an error; None: something else.

    Args:
        program: the words that call the command, up to its verb.
    """
    lines = [_inside(_STYLES.sub("", line)) for line in box.splitlines()]
    text = "\n".join(lines)
    if found := re.search(r"^Error parsing (\S+): (.*)", text, re.MULTILINE | re.DOTALL):
        return _bad_value(found[1], found[2], program)
    if found := re.search(r"^Missing value for argument '(.*?)'", text, re.MULTILINE):
        return UserError("{option} needs a value; see {program} --help.", option=found[1], program=program)
    if found := re.search(r"^Expected one of \{(.*)\}\.", text, re.MULTILINE):
        return UserError("{program} needs a verb: one of {verbs}.", program=program, verbs=found[1])
    if found := re.search(
        r"^invalid choice '(.*)' for argument '(.*)'. Expected one of \((.*)\)\.", text, re.MULTILINE
    ):
        return UserError(
            "{option} must be one of {choices}. Received: {value!r}.", option=found[2], choices=found[3], value=found[1]
        )
    unknown = _unknown(lines)
    if missing := _below(lines, "Missing from"):
        if unknown:
            template = "{program} has no {unknown}, and needs {missing}; {program} --help lists its options."
        else:
            template = "{program} needs {missing}; {program} --help lists its options."
        return UserError(template, program=program, unknown=", ".join(unknown), missing=", ".join(missing))
    if not unknown:
        return None
    if verbs := re.search(r"^Available subcommands: (.*)", text, re.MULTILINE):
        template = "{program} has no {unknown}; its verbs are {verbs}."
        return UserError(template, program=program, unknown=", ".join(unknown), verbs=verbs[1])
    similar = _below(lines, "Perhaps you meant:") or _below(lines, "Arguments similar to")
    if similar := [one for one in similar if one.split()[0] not in unknown]:  # not of another verb
        template = "{program} has no {unknown}; did you mean {similar}? {program} --help lists its options."
        return UserError(template, program=program, unknown=", ".join(unknown), similar=", ".join(similar))
    template = "{program} has no {unknown}; {program} --help lists its options."
    return UserError(template, program=program, unknown=", ".join(unknown))


def _inside(line: str) -> str:
    """A line of a box without its border, which is drawn, or is two spaces where the terminal cannot draw."""
    line = re.sub(r"\s*│?\s*$", "", line)
    return re.sub(r"^(│ ?|  )", "", line)


def _bad_value(option: str, reason: str, program: str) -> UserError:
    if found := re.search(r"invalid literal for int\(\) with base 10: (.*)", reason):
        return UserError("{option} takes a whole number. Received: {value}.", option=option, value=found[1])
    if found := re.search(r"could not convert string to float: (.*)", reason):
        return UserError("{option} takes a number. Received: {value}.", option=option, value=found[1])
    return UserError(
        "{option}: {reason}; see {program} --help.", option=option, reason=reason.splitlines()[0], program=program
    )


def _unknown(lines: Sequence[str]) -> list[str]:
    """The words of the line that nothing takes."""
    for line in lines:
        if line.startswith("Unrecognized options: "):
            return line.partition(": ")[2].split(", ")
    found = _below(lines, "Unrecognized options:") or _below(lines, "Unrecognized or misplaced options:", "  ")
    return [line.partition(" (applied to")[0] for line in found]


def _below(lines: Sequence[str], heading: str, indent: str = "    ") -> list[str]:
    """The lines below a heading that are indented so far, up to the next rule."""
    found: list[str] = []
    inside = False
    for line in lines:
        if line.startswith(heading):
            inside = True
        elif _RULE.fullmatch(line) or (found and not line.startswith(" ")):
            inside = False
        elif inside and re.match(rf"{indent}\S", line):
            found.append(line.strip().replace("{None}|", ""))
    return found


@contextlib.contextmanager
def _columns(number: str) -> Iterator[None]:
    former = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = number
    try:
        yield
    finally:
        if former is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = former
