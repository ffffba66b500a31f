"""Readers of labeled texts: labels of a text or of a pair of texts, in tab-separated, CSV or JSON-lines files.

Whatever is wrong with a file is one line that names the file, the line and what to do.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from nlptasks.errors import JSON_NAMES, UserError, some_of
from nlptasks.files import PathLike
from nlptasks.text.tables import read_table, require_names

_SHOWN = 20  # of the known labels, in an error
_NO_COLUMN = (
    "{place}: the first line has no column {name!r} (it reads {shown}); choose among these with {field:text_column}, "
    "{field:second_text_column} and {field:label_column}, or name the columns of a file without such a line with "
    "{field:columns}."
)


@dataclass(frozen=True)
class LabeledText:
    """A text or a pair of texts with its labels.

    Attributes:
        text: the text.
        second_text: the second one of a pair, None where there is none.
        labels: its labels: one, or any number where a text may have several; empty where no labels were read.
        place: file and line, for errors.
    """

    text: str
    second_text: str | None
    labels: tuple[str, ...]
    place: str

    @property
    def parts(self) -> tuple[str, ...]:
        """The text, or both texts of a pair."""
        return (self.text,) if self.second_text is None else (self.text, self.second_text)

    @property
    def text_or_pair(self) -> str | tuple[str, ...]:
        """The text, or the pair, as a classifier takes it."""
        return self.text if self.second_text is None else self.parts


@dataclass(frozen=True)
class Columns:
    """Where a file has what.

    Attributes:
        text, second_text, label: names of columns; None: there is no such column.
        names: the names of all columns of a tab-separated or CSV file without a header; None: its first line has them.
        separator: what stands between the labels of one text in such a file; None: a text has one label.
    """

    text: str = "text"
    second_text: str | None = None
    label: str | None = "label"
    names: tuple[str, ...] | None = None
    separator: str | None = None

    def __post_init__(self) -> None:
        wanted = self.wanted
        if len(set(wanted)) < len(wanted):
            raise ValueError(f"text, second text and label must be different columns. Received: {', '.join(wanted)}.")
        if self.names is not None:
            require_names(self.names, wanted)

    @property
    def wanted(self) -> list[str]:
        """The names of the columns that are read."""
        return [name for name in (self.text, self.second_text, self.label) if name is not None]


def read_labeled(path: PathLike, columns: Columns | None = None) -> list[LabeledText]:
    """Read labeled texts.

    The format follows from the file's name, without `.gz`: `.jsonl` and `.json` JSON lines or a JSON list, `.csv`
    commas and quotes, anything else tabs without quotes. In JSON a label may also be a number, and a list where a
    text has several.

    Args:
        path: the file, UTF-8, plain or gzip; blank lines are skipped.
        columns: which columns to read.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an empty file, a missing column, an empty text or label, a line with too few or too many fields.
    """
    columns = columns or Columns()
    found = []
    for place, row in read_table(path, columns.wanted, columns.names, _NO_COLUMN):
        texts: list[Any] = []
        for name in (columns.text, columns.second_text):
            text = None if name is None else row[name]
            if text is not None and not isinstance(text, str):
                raise ValueError(
                    f"{place}: {name!r} must be a string. Received: {JSON_NAMES[type(text)]}; put it in quotes."
                )
            if text is not None and not text.strip():
                raise ValueError(f"{place}: {name!r} is empty; write the text, or leave the line out.")
            texts.append(text)
        labels = () if columns.label is None else _labels(row[columns.label], columns, place)
        found.append(LabeledText(texts[0], texts[1], labels, place))
    if not found:
        raise ValueError(f"{path}: the file holds a header and no text; expected at least one line below it.")
    return found


def _labels(value: Any, columns: Columns, place: str) -> tuple[str, ...]:
    several = columns.separator is not None
    if isinstance(value, str) and several:
        value = [part for part in value.split(columns.separator) if part.strip()]
    if not isinstance(value, list):
        value = [value]
    elif not several:
        raise UserError(
            "{place}: {column!r} must be one label. Received: a list of {count}; for texts with several labels say so "
            "({field:multi_label}).",
            place=place,
            column=columns.label,
            count=len(value),
        )
    labels = []
    for label in value:
        if isinstance(label, bool) or not isinstance(label, str | int):
            raise ValueError(f"{place}: a label must be a string or a whole number. Received: {label!r}.")
        if not str(label).strip():
            raise ValueError(f"{place}: {columns.label!r} is empty; write the label, or leave the line out.")
        labels.append(str(label).strip())
    return tuple(dict.fromkeys(labels))


def require_known(labels: Iterable[tuple[str, str]], known: Iterable[str]) -> None:
    """Refuse labels that training did not see.

    Args:
        labels: label and place of each.
        known: the labels of the training files.

    Raises:
        ValueError: the first label that is not known, its place, and the known ones.
    """
    known = list(known)
    for label, place in labels:
        if label not in known:
            shown = some_of(known, _SHOWN)
            raise ValueError(
                f"{place}: the label {label!r} does not occur in the training files (known labels: {shown}); correct "
                "it, leave the line out, or add examples of it to the training files."
            )


def sort_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Distinct labels, whole numbers in their order before other labels."""
    return tuple(sorted(set(labels), key=lambda x: (0, int(x), x) if re.fullmatch(r"-?[0-9]+", x) else (1, 0, x)))
