"""What a run was started with: `options.json`, compared when the run goes on. Imports no backend."""

import dataclasses
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from nlptasks.encodings import UTF_8
from nlptasks.errors import UserError, some_of
from nlptasks.files import PathLike, read_json_object, write_text
from nlptasks.train.choosing import EQUAL_SCORES, FIRST
from nlptasks.train.continuing import CONTINUED, SCHEDULE, SCORES, extended
from nlptasks.train.options import TrainingOptions

__all__ = ["OPTIONS", "SCORES", "jsonable", "open_run", "read_options", "require_same", "write_options", "write_record"]
OPTIONS = "options.json"


def open_run(options: TrainingOptions, examples: int | None = None) -> None:
    """Starts a run: refuses a folder that is not free, or options that differ from those of the interrupted run, and
    settles what the options leave open.

    Nothing is written yet, so that a run that is refused later leaves nothing behind.

    Args:
        examples: number of training examples, as `TrainingOptions.settle` takes it.

    Raises:
        UserError: the folder holds something (a new run), holds no run (`resume`), or the options differ.
    """
    output = options.output
    if options.resume:
        if not (output / OPTIONS).is_file():
            raise UserError("{output}: no interrupted run here; leave {field:resume} out to start one.", output=output)
        record = read_options(output)
        options.parts = tuple(record.pop(CONTINUED, ()))
        options.equal_scores = record.pop(EQUAL_SCORES, FIRST)
        former, default = options.from_record(record), _defaults(options).get("learning_rate")
        rate_given = options.learning_rate not in (None, default)
        options.settle(former, examples)
        former |= {name: getattr(options, name) for name in options.left_out if former.get(name) is None}
        if extended(options, former, rate_given):
            former |= {name: getattr(options, name) for name in SCHEDULE}
        require_same(former, jsonable(options), output, defaults=_defaults(options))
        return
    if (output / OPTIONS).is_file():
        raise UserError(
            "{output}: holds a run already; {field:resume} continues it, or give another {field:output}.", output=output
        )
    require_new_folder(output)
    options.settle(None, examples)


def _defaults(options: TrainingOptions) -> dict[str, Any]:
    """The values of options that did not exist when a record was written."""
    fields = {field.name: field.default for field in dataclasses.fields(options)}
    return {name: default for name, default in fields.items() if default is not dataclasses.MISSING}


def jsonable(options: Any, without: Collection[str] = ("output", "resume")) -> dict[str, Any]:
    """The fields of a dataclass as JSON values: paths as text, tuples as lists.

    Args:
        options: an instance; dataclasses inside it become objects.
        without: fields to leave out, such as the folder: a run that was moved can be resumed, too. So is an encoding
            that is UTF-8: a command's run can be resumed from Python, where texts have none.

    Returns:
        A dict that JSON stores and reads back unchanged.

    Raises:
        TypeError: a value that JSON cannot store.
    """
    values = {name: value for name, value in dataclasses.asdict(options).items() if name not in without}
    if values.get("encoding") == UTF_8:
        del values["encoding"]
    return _plain(values)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(values, default=os.fspath))


def write_record(options: TrainingOptions) -> None:
    """Writes the options of a run, unless they stand in its folder as they are."""
    values = jsonable(options) | {EQUAL_SCORES: options.equal_scores}
    values |= {CONTINUED: list(options.parts)} if options.parts else {}
    if (options.output / OPTIONS).is_file():
        record = read_options(options.output)
        known = options.from_record(record)
        if all(known.get(name) == values.get(name) for name in ("epochs", CONTINUED)):
            return
    write_options(options.output, values)


def write_options(directory: PathLike, values: Mapping[str, Any]) -> None:
    """Writes `options.json` completely or not at all; makes the folder if there is none."""
    text = json.dumps(_plain(values), ensure_ascii=False, indent=1)
    write_text(Path(directory) / OPTIONS, text + "\n")


def read_options(directory: PathLike) -> dict[str, Any]:
    """Reads what `write_options` wrote.

    Raises:
        FileNotFoundError, ValueError: there is no `options.json`, or it is damaged.
    """
    return read_json_object(Path(directory) / OPTIONS)


def require_same(
    former: Mapping[str, Any],
    now: Mapping[str, Any],
    where: PathLike,
    *,
    defaults: Mapping[str, Any] | None = None,
    renamed: Mapping[str, str] | None = None,
) -> None:
    """Refuses to continue a run with different options.

    Args:
        former: the options that the run was started with.
        now: the options to continue with; they are compared as JSON values.
        where: the run, for the message.
        defaults: values of options that a record lacks; an option that is missing here, too, counts as None.
        renamed: the names in older records, and the names now.

    Raises:
        UserError: an option differs; the message names the first one in alphabetical order.
    """
    defaults, renamed = _plain(defaults or {}), renamed or {}
    was = {new: former[old] for old, new in renamed.items() if old in former}
    was = defaults | was | _plain({name: value for name, value in former.items() if name not in renamed})
    now = defaults | _plain(now)
    for name in sorted(was.keys() | now.keys()):
        if was.get(name) != now.get(name):
            raise UserError(
                "{where}: the run was started with {name}={was!r}, now {name}={now!r}; resume with the same options, "
                "or start anew in another {field:output}.",
                where=where,
                name=name,
                was=was.get(name),
                now=now.get(name),
            )


def require_new_folder(directory: PathLike) -> None:
    """Refuses to start a run in a folder that is not empty; nothing is written.

    Hidden files are ignored, because a killed process may leave a half-written one (see `nlptasks.files.atomic_path`).

    Raises:
        UserError: the folder contains something (for example a pretrained model), or the path is a file.
    """
    directory = Path(directory)
    for path in (directory, *directory.parents):
        if path.is_dir():
            break
        if os.path.lexists(path):
            raise UserError(
                "{directory}: cannot be a folder, because {path} is a file; give another {field:output}.",
                directory=directory,
                path=path,
            )
    held = sorted(path.name for path in directory.glob("[!.]*")) if directory.is_dir() else []
    if held:
        raise UserError(
            "{directory}: holds {shown} already; a new run goes into a new or empty folder: give another "
            "{field:output}.",
            directory=directory,
            shown=some_of(held, 3),
        )
