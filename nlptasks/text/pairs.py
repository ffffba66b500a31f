"""Readers of sources, and of what is to be written for each: titles of abstracts, questions about passages."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from nlptasks.errors import JSON_NAMES, UserError
from nlptasks.files import STANDARD_INPUT, PathLike
from nlptasks.text.readers import read_texts
from nlptasks.text.tables import read_table, require_names

_NO_COLUMN = (
    "{place}: the first line has no column {name!r} (it reads {shown}); choose among these with {field:source_column} "
    "and {field:target_column}, or name the columns of a file without such a line with {field:columns}."
)
TABLES = (".jsonl", ".json", ".csv", ".tsv")
"""endings of the names of files that have columns; others have a source a line where no targets are read"""


@dataclass(frozen=True)
class SourceText:
    """A source, and what may be written for it.

    Attributes:
        source: the text that is read.
        targets: the texts that may be written, empty where none were read.
        place: file and line, for errors.
    """

    source: str
    targets: tuple[str, ...] = ()
    place: str = ""


@dataclass(frozen=True, kw_only=True)
class PairColumns:
    """Where a file has what.

    Attributes:
        source, target: names of the columns, in JSON: of the keys; there a target may be a list of several.
        names: the names of all columns of a tab-separated or CSV file without a header; None: its first line has them.
    """

    source: str = "source"
    target: str | None = "target"
    """None: only sources are read"""
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.source == self.target:
            raise UserError(
                "{field:source_column} and {field:target_column} must be two columns. Received: {name!r} for both.",
                name=self.source,
            )
        if self.names is not None:
            require_names(self.names, (self.source,) if self.target is None else (self.source, self.target))


def read_pairs(path: PathLike, columns: PairColumns | None = None) -> list[SourceText]:
    """Read sources with their targets; see `nlptasks.text.tables.read_table` for the formats.

    Lines with the same source are one source with several targets; it stands where the first of them does.

        read_pairs("titles.jsonl", PairColumns(source="abst", target="title"))

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an empty file, a missing column, an empty text, a target that is no text and no list of texts.
    """
    columns = columns or PairColumns()
    found: dict[str, SourceText] = {}
    target = columns.target or "target"
    for place, row in read_table(path, (columns.source, target), columns.names, _NO_COLUMN):
        source = _text(row[columns.source], columns.source, place)
        targets = _targets(row[target], target, place)
        first = found.setdefault(source, SourceText(source, (), place))
        found[source] = dataclasses.replace(first, targets=tuple(dict.fromkeys((*first.targets, *targets))))
    if not found:
        raise ValueError(f"{path}: the file holds a header and no text; expected at least one line below it.")
    return list(found.values())


def read_sources(path: PathLike, columns: PairColumns | None = None) -> list[str]:
    """Read sources alone: a column of a file in one of the formats `TABLES`, or the lines of any other file or of `-`,
    which is standard input.

    Raises:
        FileNotFoundError, ValueError: as `read_pairs`.
    """
    columns = columns or PairColumns()
    name = str(path).removesuffix(".gz")
    if name == STANDARD_INPUT or not name.endswith(TABLES):
        return list(read_texts(path))
    rows = read_table(path, (columns.source,), columns.names, _NO_COLUMN)
    return [_text(row[columns.source], columns.source, place) for place, row in rows]


def given_pairs(sources: Iterable[str], targets: Iterable[str | Iterable[str]]) -> list[SourceText]:
    """Sources and targets of a program, as `read_pairs` gives them.

    Args:
        targets: of each source one text, or several.

    Raises:
        ValueError: an empty text, not as many targets as sources, or none.
    """
    sources, targets = list(sources), [one if isinstance(one, str) else list(one) for one in targets]
    if len(sources) != len(targets) or not sources:
        raise UserError(
            "each source needs its target, and at least one is needed. Received: {sources} sources, {targets} targets.",
            sources=len(sources),
            targets=len(targets),
        )
    found = []
    for number, (source, given) in enumerate(zip(sources, targets, strict=True)):
        place = f"item {number}"
        found.append(SourceText(_text(source, "source", place), _targets(given, "target", place), place))
    return found


def _targets(value: Any, name: str, place: str) -> tuple[str, ...]:
    several = value if isinstance(value, list) else [value]
    if not several:
        raise ValueError(f"{place}: {name!r} is an empty list; write a text, or leave the line out.")
    return tuple(_text(one, name, place) for one in several)


def _text(value: Any, name: str, place: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{place}: {name!r} must be a string. Received: {JSON_NAMES.get(type(value), 'no string')}.")
    if not value.strip():
        raise ValueError(f"{place}: {name!r} is empty; write the text, or leave the line out.")
    return value
