"""Errors that a user can fix. A command and a Python program can each show option names in their own form."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

JSON_NAMES: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}
"""what JSON holds, in words"""
_name_of: contextvars.ContextVar[Callable[[str], str]] = contextvars.ContextVar("name_of", default=str)
_translate: contextvars.ContextVar[Callable[[str], str]] = contextvars.ContextVar("translate", default=str)


@contextlib.contextmanager
def fields_named(name_of: Callable[[str], str], translate: Callable[[str], str] = str) -> Iterator[None]:
    """Inside this block `rendered` turns the names of fields by `name_of`: a command shows them as flags.

    Args:
        translate: turns a template, or a line that is finished, into the language of the user.
    """
    tokens = _name_of.set(name_of), _translate.set(translate)
    try:
        yield
    finally:
        _name_of.reset(tokens[0])
        _translate.reset(tokens[1])


def rendered(template: str, values: Mapping[str, object]) -> str:
    """A template in the form of `UserError` with its values."""
    shown = {name: translated(value) if isinstance(value, str) else value for name, value in values.items()}
    return translated(template).format(field=_Field(_name_of.get()), **shown)


def told(template: str, **values: object) -> str:
    """A text of a result in the language of the user: a heading, a name of ours, or a template with its values, which
    stay as they are.
    """
    return translated(template).format(**values)


def translated(text: str) -> str:
    """A template, or a line that is finished, in the language of the user."""
    return _translate.get()(text)


def some_of(names: Sequence[str], most: int) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


class UserError(ValueError):
    """A mistake of the user, described in one line: the rule, what was received, and what to do next.

    The template has option names as `{field:seq_length}`, so that Python shows `seq_length` and a command shows
    `--seq-length`; all other braces are values.

        raise UserError("{field:top_k} must be at least 1. Received: {value}.", value=top_k)

    Args:
        template: the message, in the form of `str.format`.
        **values: the values of its braces.
    """

    def __init__(self, template: str, **values: object):
        self.template, self.values = template, values
        super().__init__(self.render(str))

    def render(self, name_of: Callable[[str], str]) -> str:
        """The message; `name_of` turns the name of a field into the name that is shown."""
        return self.template.format(field=_Field(name_of), **self.values)

    def __reduce__(self) -> tuple[Any, ...]:  # worker processes send errors
        return partial(type(self), self.template, **self.values), ()


class DivergedError(UserError, FloatingPointError):
    """Training met numbers that are not finite, or a loss that is far too large."""


class MissingPackageError(UserError, ModuleNotFoundError):
    """A package is not installed that this needs and the light base does not bring."""


class _Field:
    def __init__(self, name_of: Callable[[str], str]):
        self._name_of = name_of

    def __format__(self, name: str) -> str:
        return self._name_of(name)


def flag_of(field: str) -> str:
    """The name of a field on the command line: `seq_length` -> `--seq-length`."""
    return "--" + field.replace("_", "-")
