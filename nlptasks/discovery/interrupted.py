"""What a long command keeps beside its output until it ends, so that it can go on after an interruption."""

import contextlib
import json
from collections.abc import Collection, Iterator
from pathlib import Path

from nlptasks.errors import UserError
from nlptasks.files import write_text

STATE, SETTINGS = "interrupted", "settings.json"


@contextlib.contextmanager
def state_folder(output: Path, settings: str, resume: bool, names: Collection[str], worth: str) -> Iterator[Path]:
    """A folder for the state, emptied once the block ends without an error.

    Args:
        output: folder of the command; the state is in a folder of it.
        settings: a short name of all that decides the result.
        resume: whether the command goes on with a state, which must be there; otherwise there must be none.
        names: of the files that the block writes there.
        worth: the one of them without which a state is of no use; after a mistake of the user it is taken away then.

    Raises:
        UserError: a state is missing, or not expected, or of another job.
    """
    folder = output / STATE
    path = folder / SETTINGS
    if path.is_file() and not resume:
        raise UserError(
            "{folder}: holds an interrupted job; {field:resume} goes on with it, or remove it.", folder=folder
        )
    if resume and not path.is_file():
        raise UserError("{output}: no interrupted run here; leave {field:resume} out to start one.", output=output)
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != settings:
        raise UserError(
            "{folder}: is of a job with other files or options; give the same ones, or remove it.", folder=folder
        )
    new = not output.exists()
    write_text(path, json.dumps(settings))
    try:
        yield folder
    except (ValueError, OSError):
        if not (folder / worth).is_file():  # what could not begin cannot be resumed
            _empty(folder, names)
            if new:
                output.rmdir()
        raise
    _empty(folder, names)


def _empty(folder: Path, names: Collection[str]) -> None:
    for name in (SETTINGS, *names):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # there may be files of somebody else
        folder.rmdir()
