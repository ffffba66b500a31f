"""What a run was started with: `options.json`, compared when the run goes on. Imports no backend."""

import dataclasses
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from nlptasks.errors import UserError
from nlptasks.files import PathLike, read_json_object, write_text
from nlptasks.train.options import TrainingOptions

OPTIONS, SCORES = "options.json", "scores.json"


def open_run(options: TrainingOptions) -> None:
    """The first thing of a run: refuses a folder that is not free, or other options than the interrupted run's.

    Nothing is written yet, so that a run that is refused later leaves nothing behind.

    Raises:
        UserError: the folder holds something (a new run), holds no run (`resume`), or the options differ.
    """
    output = options.output
    if options.resume:
        if not (output / OPTIONS).is_file():
            raise UserError("{output}: no interrupted run here; leave {field:resume} out to start one.", output=output)
        former = options.from_record(read_options(output))
        require_same(former, jsonable(options), output, defaults=_defaults(options))
        return
    if (output / OPTIONS).is_file():
        raise UserError(
            "{output}: holds a run already; {field:resume} continues it, or give another {field:output}.", output=output
        )
    require_new_folder(output)


def _defaults(options: TrainingOptions) -> dict[str, Any]:
    """What an option counts as that is younger than a record."""
    fields = {field.name: field.default for field in dataclasses.fields(options)}
    return {name: default for name, default in fields.items() if default is not dataclasses.MISSING}


def jsonable(options: Any, without: Collection[str] = ("output", "resume")) -> dict[str, Any]:
    """The fields of a dataclass as they stand in JSON: paths as text, tuples as lists.

    Args:
        options: an instance; dataclasses inside it become objects.
        without: fields that are left out. Where a run stands is not what it is: a moved one goes on, too.

    Returns:
        A dict that JSON gives back as it is.

    Raises:
        TypeError: a value that JSON does not hold.
    """
    values = {name: value for name, value in dataclasses.asdict(options).items() if name not in without}
    return _plain(values)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(values, default=os.fspath))


def write_options(directory: PathLike, values: Mapping[str, Any]) -> None:
    """Writes `options.json`, whole or not at all; the folder is made where there is none."""
    text = json.dumps(_plain(values), ensure_ascii=False, indent=1)
    write_text(Path(directory) / OPTIONS, text + "\n")


def read_options(directory: PathLike) -> dict[str, Any]:
    """What `write_options` wrote.

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
    """Refuses to go on with options that make another run.

    Args:
        former: what the run was started with.
        now: what it shall go on with; values are compared as they stand in JSON.
        where: the run, for the message.
        defaults: by name, what an option that a record lacks counts as; a name that is not here counts as None.
        renamed: the names of older records, and what they are called now.

    Raises:
        UserError: an option differs; the message names the first one in the order of the alphabet.
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
    """Refuses to start a run where something stands already; nothing is written.

    Hidden files do not count: what a killed process left half written is one (see `nlptasks.files.atomic_path`).

    Raises:
        UserError: the folder holds something (a pretrained model, say), or a file is in its way.
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
        shown = ", ".join(held[:3]) + (f" and {len(held) - 3} more" if len(held) > 3 else "")
        raise UserError(
            "{directory}: holds {shown} already; a new run goes into a new or empty folder: give another "
            "{field:output}.",
            directory=directory,
            shown=shown,
        )
