"""Where a checkpoint comes from: the package, a folder, or a public model that is downloaded. Imports no NumPy."""

import os
from dataclasses import dataclass
from pathlib import Path

from nlptasks.bundled import pretrained_names, pretrained_path
from nlptasks.checkpoints.layout import packages_of
from nlptasks.checkpoints.public import SOURCES, fetch, is_public_name, packages_of_download
from nlptasks.errors import UserError

SCRATCH = "none"
"""value of `checkpoint` for random weights"""


@dataclass(kw_only=True)
class Downloading:
    """Part of a command that takes a checkpoint: it may be a public model, which is downloaded if this is asked for."""

    download: str | None = None
    """download a public model named OWNER/NAME into a cache: hub (from huggingface.co, or HF_ENDPOINT) or modelscope;
    default: nothing is downloaded"""


def packages_of_checkpoint(checkpoint: str | None, download: str | None = None) -> tuple[str, ...]:
    """The modules that reading the weights takes beside Keras; arguments as the options of these names."""
    if checkpoint is None or checkpoint in (SCRATCH, *pretrained_names()):
        return ()
    return packages_of_download(download) if is_public_name(checkpoint) else packages_of(checkpoint)


def located(checkpoint: str, download: str | None = None) -> Path:
    """The path that a checkpoint stands for: of a model of the package, of a downloaded one, or the path itself.

    Args:
        checkpoint, download: as the options of these names.

    Raises:
        UserError: a public model that nobody asked to download, or that cannot be.
    """
    if checkpoint in pretrained_names() or not is_public_name(checkpoint):
        return pretrained_path(checkpoint)
    if download is None:
        raise UserError(
            "{name}: no such folder (working folder {here}); if it is the name of a public model, {field:download} hub "
            "or {field:download} modelscope downloads it.",
            name=checkpoint,
            here=os.getcwd(),
        )
    return fetch(checkpoint, download)


def check_download(download: str | None) -> None:
    """Refuses another value of the option."""
    if download is not None and download not in SOURCES:
        raise UserError(
            "{field:download} must be one of {allowed}. Received: {value!r}.",
            allowed=", ".join(SOURCES),
            value=download,
        )
