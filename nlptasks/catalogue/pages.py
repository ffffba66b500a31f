"""The pages of `--help` in Chinese.

The pages in English are tyro's, which breaks lines at spaces and counts a Chinese character as one column.
"""

import ast
import dataclasses
import functools
import inspect
import shutil
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nlptasks.catalogue import worded
from nlptasks.catalogue.widths import width, wrapped
from nlptasks.errors import flag_of

ASKING = ("-h", "--help")
KINDS = {int: "整数", float: "数", str: "文本", Path: "路径"}
WIDEST = 100  # columns of a page


class Option(NamedTuple):
    """One line of the help of a command."""

    name: str
    """`--top`, or "" where the values stand without a name"""
    value: str
    """what stands behind the name; "" for a switch"""
    about: str
    required: bool


def page(commands: Mapping[str, type] | type, description: str, arguments: Sequence[str], program: str) -> str | None:
    """The page that a command line asks for; None where it asks for none.

    Args:
        commands, description, arguments, program: as `console.parse` takes them.
    """
    before = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    if not set(before) & set(ASKING):
        return None
    if isinstance(commands, type):
        return command_page(commands, program)
    if before[0] in commands:
        return command_page(commands[before[0]], f"{program} {before[0]}")
    rows = [(verb, worded(paragraphs(command)[0])) for verb, command in commands.items()]
    parts = [f"用法：{program} 子命令 [选项]", *_wrapped([worded(description)]), _table("子命令：", rows)]
    return "\n\n".join([*parts, f"{program} 子命令 --help 列出该子命令的选项。"]) + "\n"


def command_page(command: Any, program: str) -> str:
    """The options of a command."""
    found = list(options(command))
    free = " ".join(each.value for each in found if not each.name)
    parts = [f"用法：{program} [选项] {free}".rstrip()]
    parts.append("\n\n".join(_wrapped(worded(text) for text in paragraphs(command))))
    groups = {"参数：": [each for each in found if not each.name]}
    groups["必填选项："] = [each for each in found if each.name and each.required]
    groups["选项："] = [Option("-h, --help", "", "显示本帮助", False)]
    groups["选项："] += [each for each in found if each.name and not each.required]
    for heading, members in groups.items():
        if members:
            parts.append(_table(heading, [(f"{each.name} {each.value}".strip(), each.about) for each in members]))
    return "\n\n".join(parts) + "\n"


def options(command: Any) -> Iterator[Option]:
    """The options of a command, which are the fields of its dataclass."""
    hints = typing.get_type_hints(command, include_extras=True)
    for field in dataclasses.fields(command):
        if not field.init:
            continue
        about = "\n".join(worded(text) for text in help_of(command, field.name))
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
        if default is True:
            about += "（默认如此；这个选项将其关闭）"
        elif shown and "默认" not in about and default not in (dataclasses.MISSING, None) and default is not False:
            about += f"（默认：{shown}）"
        free = any("Positional" in repr(each) for each in getattr(hints[field.name], "__metadata__", ()))
        name = "" if free else flag_of(f"no_{field.name}" if default is True else field.name)
        yield Option(name, _value(hints[field.name]), about, default is dataclasses.MISSING)


def help_of(command: Any, field: str) -> list[str]:
    """The help of a field in English: the paragraphs of the string that stands below it."""
    for owner in command.__mro__:
        if (found := _field_texts(owner).get(field)) is not None:
            return [" ".join(text.split()) for text in found.split("\n\n")]
    return []


def paragraphs(command: Any) -> list[str]:
    """The paragraphs of the docstring of a command."""
    return [" ".join(text.split()) for text in (inspect.getdoc(command) or "").split("\n\n")]


@functools.cache
def _field_texts(owner: Any) -> dict[str, str]:
    if not dataclasses.is_dataclass(owner):
        return {}
    definition = ast.parse(textwrap.dedent(inspect.getsource(typing.cast(type, owner)))).body[0]
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            found[field.target.id] = below.value.value
    return found


def _value(hint: Any) -> str:
    """What a person gives for a type: `整数`, `路径 [路径 ...]`."""
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _value(inside[0])
    if origin in (typing.Union, types.UnionType):
        return "|".join(dict.fromkeys(_value(each) for each in inside if each is not type(None)))
    if origin is typing.Literal:
        return "{" + ",".join(map(str, inside)) + "}"
    if origin in (tuple, list):
        if origin is tuple and inside[-1] is not ...:
            return " ".join(map(_value, inside))
        return f"[{_value(inside[0])} ...]"
    return "" if hint is bool else KINDS.get(hint, "值")


def _table(heading: str, rows: Sequence[tuple[str, str]]) -> str:
    names = max(min(24, width(name)) for name, _ in rows)
    lines = [heading]
    for name, about in rows:
        texts = [line for text in about.split("\n") for line in wrapped(text, _columns(), " " * (names + 4))]
        if width(name) > names or not texts:
            lines += [f"  {name}", *texts]
        else:
            lines += [f"  {name}{' ' * (names - width(name))}  {texts[0].lstrip()}", *texts[1:]]
    return "\n".join(lines)


def _wrapped(texts: typing.Iterable[str]) -> list[str]:
    return ["\n".join(wrapped(text, _columns())) for text in texts]


def _columns() -> int:
    return min(WIDEST, max(40, shutil.get_terminal_size().columns))
