"""Readers of texts with what they are conditioned on: labels in columns, or a vector each."""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nlptasks.errors import JSON_NAMES, UserError
from nlptasks.files import PathLike, read_lines
from nlptasks.text.tables import read_table, require_names

_NO_COLUMN = (
    "{place}: the first line has no column {name!r} (it reads {shown}); choose among these with {field:text_column} "
    "and {field:label_columns}, or name the columns of a file without such a line with {field:columns}."
)


@dataclass(frozen=True, eq=False)
class ConditionedText:
    """A text and its condition.

    Attributes:
        text: the text.
        labels: label by column, empty where there are none.
        vector: float32, None where there is none.
        place: file and line, for errors.
    """

    text: str
    labels: Mapping[str, str]
    vector: np.ndarray | None
    place: str


@dataclass(frozen=True, kw_only=True)
class ConditionColumns:
    """Where a file has what.

    Attributes:
        text: name of the column with the text.
        labels: names of the columns with labels.
        vector: name of a JSON key with a list of numbers; None: there is none.
        names: the names of all columns of a tab-separated or CSV file without a header; None: its first line has them.
        label_names: by column, what the labels of the file are called; a column that is not named here keeps them.
    """

    text: str = "text"
    labels: tuple[str, ...] = ()
    vector: str | None = None
    names: tuple[str, ...] | None = None
    label_names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.wanted)) < len(self.wanted):
            raise ValueError(f"text, labels and vector must be different columns. Received: {', '.join(self.wanted)}.")
        if self.names is not None:
            require_names(self.names, self.wanted)
        for column in self.label_names:
            if column not in self.labels:
                shown = ", ".join(self.labels) or "none"
                raise UserError(
                    "{field:label_names}: {column!r} is not one of the label columns ({shown}).",
                    column=column,
                    shown=shown,
                )

    @property
    def wanted(self) -> list[str]:
        """The names of the columns that are read."""
        return [self.text, *self.labels, *([] if self.vector is None else [self.vector])]


def parse_label_names(values: Sequence[str]) -> dict[str, dict[str, str]]:
    """What `sentiment:0=negative,1=positive` says, by column and label.

    Raises:
        ValueError: a value of another form.
    """
    found: dict[str, dict[str, str]] = {}
    for value in values:
        column, colon, pairs = value.partition(":")
        names = dict(pair.split("=", 1) for pair in pairs.split(",") if "=" in pair)
        if not (column and colon and names) or len(names) < len(pairs.split(",")) or not all(names.values()):
            raise UserError(
                "{field:label_names}: expected column:label=name,label=name with each label once. Received: {value!r}.",
                value=value,
            )
        found.setdefault(column, {}).update(names)
    return found


def read_conditioned(path: PathLike, columns: ConditionColumns) -> list[ConditionedText]:
    """Read texts with labels or vectors; see `nlptasks.text.tables.read_table` for the formats.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an empty file, a missing column, an empty text or label, a label without a name, a vector that is
            not a list of finite numbers or of another length than the first.
    """
    found: list[ConditionedText] = []
    size: int | None = None
    for place, row in read_table(path, columns.wanted, columns.names, _NO_COLUMN):
        text = row[columns.text]
        if not isinstance(text, str):
            raise ValueError(f"{place}: {columns.text!r} must be a string. Received: {JSON_NAMES[type(text)]}.")
        if not text.strip():
            raise ValueError(f"{place}: {columns.text!r} is empty; write the text, or leave the line out.")
        labels = {column: _label(row[column], column, columns, place) for column in columns.labels}
        vector = None if columns.vector is None else _vector(row[columns.vector], columns.vector, size, place)
        size = None if vector is None else len(vector)
        found.append(ConditionedText(text, labels, vector, place))
    if not found:
        raise ValueError(f"{path}: the file holds a header and no text; expected at least one line below it.")
    return found


def read_plain(path: PathLike) -> list[ConditionedText]:
    """Read texts without conditions, one a line.

    Raises:
        FileNotFoundError, ValueError: as `nlptasks.files.read_lines`.
    """
    return [ConditionedText(line, {}, None, f"{path}:{number}") for number, line in read_lines(path)]


def _label(value: object, column: str, columns: ConditionColumns, place: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise ValueError(f"{place}: {column!r} must be a label, a string or a whole number. Received: {value!r}.")
    label = str(value).strip()
    names = columns.label_names.get(column)
    if names is not None and label not in names:
        raise UserError(
            "{place}: the {column} {value!r} has no name in {field:label_names} ({names}).",
            place=place,
            column=column,
            value=label,
            names=", ".join(names),
        )
    return label if names is None else names[label]


def _vector(value: Any, name: str, size: int | None, place: str) -> np.ndarray:
    right = isinstance(value, list) and value and all(type(x) in (int, float) for x in value)
    try:
        vector = np.array(value if right else [np.nan], "float32")
    except OverflowError:
        vector = np.full(1, np.inf, "float32")
    if not np.isfinite(vector).all():
        raise ValueError(f"{place}: {name!r} must be a list of finite numbers.")
    if size not in (None, len(vector)):
        raise ValueError(f"{place}: {name!r} has {len(vector)} numbers, the lines before {size}; give all the same.")
    return vector


def read_vectors(path: PathLike, count: int | None = None) -> np.ndarray:
    """Read vectors, one a row, from a NumPy file.

    Args:
        path: a `.npy` file of numbers, `(rows, size)` or `(size,)`; nothing pickled is read.
        count: how many rows there must be; None: any number.

    Returns:
        float32 `(rows, size)`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not such a file, numbers that are not finite, or another number of rows.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a NumPy file (.npy) of numbers ({error}).") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or array.ndim not in (1, 2) or not array.size:
        raise ValueError(f"{path}: expected a NumPy array (rows, size) of numbers, one row a text.")
    array = np.atleast_2d(array).astype("float32")
    if count is not None and len(array) != count:
        raise ValueError(f"{path}: expected {count} rows, one a text. Received: {len(array)}.")
    if not np.isfinite(array).all():
        raise ValueError(
            f"{path}: row {int(np.argwhere(~np.isfinite(array))[0, 0])} holds numbers that are not finite."
        )
    return array
