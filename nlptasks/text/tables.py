"""Rows of named columns, from tab-separated, CSV or JSON-lines files."""

import csv
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nlptasks.errors import UserError
from nlptasks.files import PathLike, open_text, read_lines
from nlptasks.text.readers import read_placed_json

_ANY_LENGTH = 2**31 - 1  # what a C long holds everywhere


def read_table(
    path: PathLike, wanted: Sequence[str], names: Sequence[str] | None, no_column: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Read the rows of a file.

    The format follows from the file's name, without `.gz`: `.jsonl` and `.json` JSON lines or a JSON list, `.csv`
    commas and quotes, anything else tabs without quotes.

    Args:
        path: the file, UTF-8, plain or gzip; blank lines are skipped.
        wanted: names of the columns that must be there.
        names: of all columns of a tab-separated or CSV file without a header; None: its first line has them.
        no_column: the error where a wanted column is not there, which names the options that choose columns: a template
            as `UserError` takes it, with `place`, the `name` of the column, and those `shown` in its place.

    Yields:
        Place (file and line) and values by column.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an empty file, a missing column, a line with too few or too many fields.
    """
    name = str(path).removesuffix(".gz")
    if name.endswith((".jsonl", ".json")):
        yield from read_placed_json(path, wanted)
        return
    for number, fields in _csv_fields(path) if name.endswith(".csv") else _tab_fields(path):
        if names is None:
            names = tuple(fields)
            _require_columns(names, wanted, no_column, f"{path}:{number}")
            continue
        if len(fields) != len(names):
            raise ValueError(
                f"{path}:{number}: expected {len(names)} fields ({', '.join(names)}). Received: {len(fields)}; correct "
                "the line."
            )
        yield f"{path}:{number}", dict(zip(names, fields, strict=True))


def require_names(names: Sequence[str], wanted: Sequence[str]) -> None:
    """Refuse names of columns among which a wanted one is not there exactly once."""
    for name in wanted:
        if names.count(name) != 1:
            raise ValueError(
                f"the column {name!r} must stand once among the names of columns. Received: {', '.join(names)}."
            )


def _require_columns(names: Sequence[str], wanted: Sequence[str], no_column: str, place: str) -> None:
    for name in wanted:
        if names.count(name) != 1:
            shown = ", ".join(repr(n if len(n) < 20 else n[:20] + "…") for n in names)
            raise UserError(no_column, place=place, name=name, shown=shown)


def _tab_fields(path: PathLike) -> Iterator[tuple[int, list[str]]]:
    for number, line in read_lines(path):
        yield number, line.split("\t")


def _csv_fields(path: PathLike) -> Iterator[tuple[int, list[str]]]:
    """Rows with the number of the line where each starts; fields in quotes may hold line ends."""
    with open_text(path) as file:
        reader, start, empty = csv.reader(file, strict=True), 1, True
        try:
            while (fields := _next_row(reader)) is not None:
                if any(field.strip() for field in fields):
                    empty = False
                    yield start, fields
                start = reader.line_num + 1
        except csv.Error as error:
            raise ValueError(f"{path}:{start}: not valid CSV ({error}); correct the quotes of the line.") from None
    if empty:
        raise ValueError(f"{path}: the file is empty; expected at least one line.")


_LIMIT = threading.Lock()  # the bound is of the process


def _next_row(reader: Any) -> list[str] | None:
    """A row, None behind the last one. Fields may have any length; the process's own bound is as before afterwards."""
    with _LIMIT:
        former = csv.field_size_limit(_ANY_LENGTH)
        try:
            return next(reader, None)
        finally:
            csv.field_size_limit(former)
