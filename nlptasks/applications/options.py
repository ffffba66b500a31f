"""Options that several commands share, and checks of them."""

from dataclasses import dataclass
from pathlib import Path

from nlptasks.files import require_writable
from nlptasks.text.labelled import Columns


def require_empty_run(directory: Path, marker: str, resume: bool) -> None:
    """Refuses to write a new run over an old one or where no directory can be, or to resume where there is none."""
    require_writable(directory / marker)
    if resume and not (directory / marker).is_file():
        raise ValueError(f"{directory}: no interrupted run here; leave --resume out to start one.")
    if not resume and (directory / marker).is_file():
        raise ValueError(f"{directory}: holds a run already; --resume continues it, or give another --output.")


@dataclass(kw_only=True)
class FileColumns:
    """Options that say which columns of files of labelled texts to read."""

    text: str = "text"
    """name of the column (in JSON: the key) with the text"""
    second_text: str | None = None
    """name of the column with the second text, for pairs"""
    label: str = "label"
    """name of the column with the label or labels"""
    columns: tuple[str, ...] = ()
    """names of all columns of CSV and tab-separated files that do not begin with a line of names"""
    label_separator: str = ","
    """with several labels: what stands between them in CSV and tab-separated files"""

    def columns_of(self, multi_label: bool, with_label: bool = True) -> Columns:
        """The options as the reader takes them."""
        return Columns(
            text=self.text,
            second_text=self.second_text,
            label=self.label if with_label else None,
            names=self.columns or None,
            separator=self.label_separator if multi_label else None,
        )


def require_positive(options: object, *names: str) -> None:
    """Refuses fields of an options dataclass that are below 1; None (left out) passes."""
    for name in names:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1. Received: {value}.")
