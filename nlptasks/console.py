"""What all commands share: parsing, running, showing progress, and turning an error into one line and a status."""

import contextlib
import io
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, NoReturn, Protocol, Union

from nlptasks.backend.packages import choose_backend, naming_packages, require_packages
from nlptasks.backend.startup import set_environment
from nlptasks.catalogue import CHINESE, in_language, language, message, worded
from nlptasks.catalogue.widths import padded, right, width
from nlptasks.encodings import UTF_8, text_encoding
from nlptasks.errors import UserError, fields_named, flag_of
from nlptasks.train.interruption import TrainingInterrupted
from nlptasks.train.options import Options, unchecked
from nlptasks.train.progress import progress_bar, say, write_line

__all__ = ["Command", "padded", "parse", "progress_bar", "right", "run", "say", "width", "write_line"]

TEXTS = ("text", "second_text", "texts", "query", "question", "passage", "prompt", "condition")
"""the options of all commands that hold texts, and not the names of files or columns"""
_NO_CHARACTER = re.compile("[\ud800-\udfff]")
OK, USAGE, INTERRUPTED, BROKEN_PIPE = 0, 2, 130, 141

logger = logging.getLogger(__name__)


class Command(Protocol):
    """A dataclass: its fields are its options, its docstring the help, `run` does the job.

    Where it has a method `environment`, the environment variables that this returns (`dict[str, str]`) are set before
    `run`; its module then imports Keras in functions only. Where it has a method `packages`, the modules that this
    returns (`tuple[str, ...]`) must be installed, or `run` is never called.
    """

    def run(self) -> None:
        """Runs the command."""


def parse(commands: Mapping[str, type] | type, description: str, arguments: Sequence[str], program: str) -> Command:
    """Parses a command line `VERB --options`, or `--options` if there is only one command.

    Raises:
        SystemExit: the line is wrong (status 2, and the reason on standard error) or asks for help (0).
    """
    if language() == CHINESE:
        from nlptasks.catalogue.pages import page

        if (asked := page(commands, description, arguments, program)) is not None:
            sys.stdout.write(asked)
            raise SystemExit(OK)
    import tyro

    from nlptasks.catalogue.arguments import refusing

    config = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    shared: dict[str, Any] = {"prog": program, "description": description, "args": list(arguments), "config": config}
    verb = arguments[:1] if not isinstance(commands, type) and set(arguments[:1]) <= commands.keys() else ()
    try:
        with unchecked(), refusing(" ".join([program, *verb]), arguments):  # `run` says what is wrong in one line
            if isinstance(commands, type):
                return tyro.cli(commands, **shared)
            return tyro.extras.subcommand_cli_from_dict(dict(commands), **shared)
    except UserError as error:
        say_error(error)
        raise SystemExit(USAGE) from None


def print_completion(commands: Mapping[str, Mapping[str, type] | type], shells: Sequence[str]) -> NoReturn:
    """Writes a shell script to standard output that completes all commands.

    Args:
        commands: for each first word a command, or verbs with their commands.
        shells: one of bash, zsh and tcsh.

    Raises:
        SystemExit: always, with the status.
    """
    import tyro

    def application(verbs: Mapping[str, type]) -> Callable[[object], object]:
        def choose(command: object) -> object:
            return command

        members = tuple(Annotated[each, tyro.conf.subcommand(verb)] for verb, each in verbs.items())
        choose.__annotations__["command"] = Union[members] if len(members) > 1 else members[0]  # noqa: UP007 - made here
        return choose

    words = {word: each if isinstance(each, type) else application(each) for word, each in commands.items()}
    config = (tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff)
    tyro.extras.subcommand_cli_from_dict(
        words, prog="nlptasks", args=["--tyro-print-completion", *shells], config=config
    )
    raise SystemExit(OK)


def run(command: Command) -> int:
    """Runs a command and returns the exit status.

    An error that the user can fix (a `ValueError` or a file error) gives one line on standard error and status 2.
    """
    try:
        if isinstance(command, Options):
            command.check()
        if hasattr(command, "environment"):
            set_environment(command.environment())
        _require_characters(command)
        choose_backend()
        if hasattr(command, "packages"):
            require_packages(*command.packages())
        encoding = getattr(command, "encoding", UTF_8)
        with text_encoding(encoding), naming_packages(), fields_named(flag_of, in_language), _warnings_shown():
            command.run()
        sys.stdout.flush()
    except TrainingInterrupted:
        say(worded("interrupted; the run is saved: the same command with --resume continues it."))
        return INTERRUPTED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return leave_pipe()
    except (ValueError, OSError) as error:
        logger.debug("details", exc_info=True)
        say_error(_unwritable(error) if isinstance(error, UnicodeEncodeError) else error)
        return USAGE
    return OK


class _Notes(logging.Handler):
    """Shows what the library warns of as a command shows its own lines: above a bar, in the language of the user."""

    def emit(self, record: logging.LogRecord) -> None:
        """Shows one."""
        say(record.getMessage())


@contextlib.contextmanager
def _warnings_shown() -> Iterator[None]:
    library, notes = logging.getLogger("nlptasks"), _Notes(logging.WARNING)
    library.addHandler(notes)
    try:
        yield
    finally:
        library.removeHandler(notes)


def replace_on_terminals() -> None:
    """Lets a terminal that lacks a character show a question mark for it; in files and pipes nothing is replaced."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.isatty():
        sys.stdout.reconfigure(errors="replace")


def _unwritable(error: UnicodeEncodeError) -> ValueError:
    """What to do where standard output lacks a character."""
    if error.encoding.lower().startswith("utf"):
        return error
    return UserError(
        "standard output is in {encoding}, which lacks the character {character!a}; set the environment variable "
        "PYTHONUTF8=1, and the output is UTF-8.",
        encoding=error.encoding,
        character=error.object[error.start],
    )


def say_error(error: BaseException) -> None:
    """Shows an error in one line, in the language of the user."""
    say(worded("error: ") + " ".join(message(error, flag_of).split()))


def _require_characters(command: Command) -> None:
    """Refuses texts of the command line with bytes that are no UTF-8: no result could be written."""
    for name in TEXTS:
        value = getattr(command, name, None)
        for text in [value] if isinstance(value, str) else value or ():
            if isinstance(text, str) and _NO_CHARACTER.search(text):
                raise UserError("{field:{name}} is not UTF-8. Received: {text!a}.", name=name, text=text)


def leave_pipe() -> int:
    """Turns standard output away, which nobody reads any more, so that its last flush is quiet; returns the status."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE
