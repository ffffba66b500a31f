"""What the command line of every task script shares: options to command, one-line errors, exit status."""

import logging
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import tyro
from tqdm import tqdm

from nlptasks.files import require_writable
from nlptasks.text.labelled import Columns
from nlptasks.train.interruption import TrainingInterrupted

OK, USAGE, INTERRUPTED = 0, 2, 130

logger = logging.getLogger(__name__)


def run_script(commands: dict[str, type], description: str, arguments: list[str] | None = None) -> int:
    """Parses `script COMMAND --options` and runs `command.run()`; returns the exit status.

    Each command is a dataclass: its fields are its options, its docstring the help, `run` does the job. What the user
    can mend (a `ValueError` or a file error) is one line on standard error and status 2.
    """
    return _run(
        tyro.extras.subcommand_cli_from_dict(
            dict(commands), description=description, args=arguments, config=(tyro.conf.OmitArgPrefixes,)
        )
    )


def run_command(command: type, description: str, arguments: list[str] | None = None) -> int:
    """The same of a script that does one job: `script --options`."""
    return _run(tyro.cli(command, description=description, args=arguments, config=(tyro.conf.OmitArgPrefixes,)))


def _run(options) -> int:
    try:
        options.run()
    except TrainingInterrupted:
        say("interrupted; the run is saved: the same command with --resume continues it.")
        return INTERRUPTED
    except KeyboardInterrupt:
        say("interrupted.")
        return INTERRUPTED
    except (ValueError, OSError, FloatingPointError) as error:
        logger.debug("details", exc_info=True)
        say(f"error: {_one_line(error)}")
        return USAGE
    return OK


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


def say(message: str) -> None:
    """Progress and logs go to standard error; standard output is for results."""
    tqdm.write(message, file=sys.stderr)


def progress_bar(items: Iterable, description: str = "", total: int | None = None, initial: int = 0) -> tqdm:
    """A bar on standard error."""
    return tqdm(items, desc=description, total=total, initial=initial, file=sys.stderr, mininterval=0.5)


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
