"""The models that come with the package, a folder each beside this file. Imports no backend.

A folder whose config.json names a task is an application that `nlptasks.load` opens by its name; another one is a
pretrained Transformer, and its name is a value of `--checkpoint`.
"""

import functools
from pathlib import Path

from nlptasks.errors import UserError
from nlptasks.files import read_json_object

FOLDER = Path(__file__).parent
MINI = "mini"
"""the pretrained Transformer that a training run starts from where nothing else is said"""
_CONFIG = "config.json"


def bundled_models() -> dict[str, Path]:
    """Name -> directory of each model that is there."""
    return {path.name: path for path in sorted(FOLDER.iterdir()) if (path / _CONFIG).is_file()}


@functools.cache
def pretrained_names() -> tuple[str, ...]:
    """The names of the pretrained Transformers; `MINI` is one whether its weights are there or not."""
    found = (name for name, path in bundled_models().items() if "nlptasks" not in read_json_object(path / _CONFIG))
    return tuple(dict.fromkeys((MINI, *found)))


def pretrained_path(name_or_path: str) -> Path:
    """The path that `--checkpoint` stands for: the folder of a model that comes with the package, or the path itself.

        pretrained_path("mini")
        pretrained_path("./mini")  # a directory of the working folder

    Raises:
        UserError: the model of this name is not there.
    """
    if name_or_path not in pretrained_names():
        return Path(name_or_path)
    path = FOLDER / name_or_path
    if not (path / _CONFIG).is_file():
        raise UserError(
            "{name}: this installation lacks the pretrained model of that name ({path}); give {field:checkpoint} DIR "
            "(./{name} for a directory of that name), or {field:checkpoint} none for random weights.",
            name=name_or_path,
            path=path,
        )
    return path
