"""What every command shares: its line is read, it runs, errors become one line and a status, progress is shown."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from tqdm import tqdm

from nlptasks.errors import UserError, flag_of
from nlptasks.train.interruption import TrainingInterrupted

OK, USAGE, INTERRUPTED, BROKEN_PIPE = 0, 2, 130, 141

logger = logging.getLogger(__name__)


class Command(Protocol):
    """A dataclass: its fields are its options, its docstring the help, `run` does the job."""

    def run(self) -> None:
        """Does the job."""


def parse(commands: Mapping[str, type] | type, description: str, arguments: Sequence[str], program: str) -> Command:
    """The command of a line `VERB --options`, or, of a single command, `--options`.

    Raises:
        SystemExit: the line is wrong (status 2, and the reason on standard error) or asks for help (0).
    """
    import tyro

    config = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    shared = {"prog": program, "description": description, "args": list(arguments), "config": config}
    if isinstance(commands, type):
        return tyro.cli(commands, **shared)
    return tyro.extras.subcommand_cli_from_dict(dict(commands), **shared)


def run(command: Command) -> int:
    """Runs a command; returns the exit status.

    What the user can mend (a `ValueError` or a file error) is one line on standard error and status 2.
    """
    try:
        command.run()
        sys.stdout.flush()
    except TrainingInterrupted:
        say("interrupted; the run is saved: the same command with --resume continues it.")
        return INTERRUPTED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the last flush is quiet too
        return BROKEN_PIPE
    except (ValueError, OSError, FloatingPointError) as error:
        logger.debug("details", exc_info=True)
        say(f"error: {_one_line(error)}")
        return USAGE
    return OK


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join((error.render(flag_of) if isinstance(error, UserError) else str(error)).split())


def say(message: str) -> None:
    """Progress and logs go to standard error; standard output is for results."""
    tqdm.write(message, file=sys.stderr)


def progress_bar(items: Iterable, description: str = "", total: int | None = None, initial: int = 0) -> tqdm:
    """A bar on standard error."""
    return tqdm(items, desc=description, total=total, initial=initial, file=sys.stderr, mininterval=0.5)
