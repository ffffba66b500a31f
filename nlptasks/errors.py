"""What a user can mend, said so that a command and a Python program can each use its own words."""

from collections.abc import Callable
from functools import partial
from typing import Any


class UserError(ValueError):
    """A mistake of the user's, in one line: the rule, what arrived, and the next move.

    Names of options stand in the template as `{field:seq_length}`, so that Python shows `seq_length` and a command
    `--seq-length`; every other brace is a value.

        raise UserError("{field:top_k} must be at least 1. Received: {value}.", value=top_k)

    Args:
        template: the message, in the form of `str.format`.
        **values: what stands in its braces.
    """

    def __init__(self, template: str, **values: object):
        self.template, self.values = template, values
        super().__init__(self.render(str))

    def render(self, name_of: Callable[[str], str]) -> str:
        """The message; `name_of` makes of a field's name what is shown."""
        return self.template.format(field=_Field(name_of), **self.values)

    def __reduce__(self) -> tuple[Any, ...]:  # worker processes send errors
        return partial(type(self), self.template, **self.values), ()


class DivergedError(UserError, FloatingPointError):
    """Training met numbers that are not finite, or a loss out of all proportion."""


class _Field:
    def __init__(self, name_of: Callable[[str], str]):
        self._name_of = name_of

    def __format__(self, name: str) -> str:
        return self._name_of(name)


def flag_of(field: str) -> str:
    """How a field is called on the command line: `seq_length` -> `--seq-length`."""
    return "--" + field.replace("_", "-")
