"""Public models by their names, `owner/name`: downloaded on request, into the cache of the package that does it.

Imports no backend.
"""

import functools
import importlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from nlptasks.backend.packages import require_packages
from nlptasks.checkpoints.layout import google_prefix, packages_of
from nlptasks.errors import UserError

SOURCES = {"hub": "huggingface_hub", "modelscope": "modelscope"}
"""where models are downloaded from -> the package that does it"""
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_BESIDE = (
    *("config.json", "bert_config.json", "albert_config.json"),
    *("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("sentencepiece.bpe.model", "spiece.model"),
)
_WEIGHTS = (
    ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"),
    ("*.ckpt*",),
    ("pytorch_model.bin",),
)
"""patterns of the files of weights, best first; of one kind alone files are downloaded"""


def is_public_name(checkpoint: str) -> bool:
    """Whether this can be the name of a public model, and is no path that is there."""
    there = os.path.lexists(checkpoint) or google_prefix(Path(checkpoint)) is not None
    return _NAME.fullmatch(checkpoint) is not None and not there


def packages_of_download(source: str | None) -> tuple[str, ...]:
    """The modules that a download takes."""
    return () if source is None else (SOURCES[source],)


@functools.cache
def fetch(name: str, source: str) -> Path:
    """The folder of a public model, downloaded where it is not in the cache: config, tokenizer, and of its weights the
    safetensors, else the TensorFlow checkpoint, else `pytorch_model.bin`.

        fetch("hfl/chinese-roberta-wwm-ext", "hub")

    Args:
        name: `owner/name`.
        source: one of `SOURCES`. Their own environment variables say where from and where to (HF_ENDPOINT, HF_HOME;
            MODELSCOPE_DOMAIN, MODELSCOPE_CACHE).

    Raises:
        MissingPackageError: a package is missing for this.
        UserError: one line: it cannot be downloaded, or has no weights that can be read.
    """
    require_packages(SOURCES[source])
    for patterns in _WEIGHTS:
        folder = _download(name, source, (*_BESIDE, *patterns))
        if any(path for pattern in patterns for path in folder.glob(pattern)):
            require_packages(*packages_of(folder))
            return folder
    raise UserError(
        "{name}: holds no weights that can be read (model.safetensors, a TensorFlow checkpoint, or pytorch_model.bin); "
        "give another model.",
        name=name,
    )


def _download(name: str, source: str, patterns: Sequence[str]) -> Path:
    """The folder in the cache with the files of these names; what is there is used where the network fails."""
    module = importlib.import_module("huggingface_hub" if source == "hub" else "modelscope.hub.snapshot_download")
    snapshot = module.snapshot_download
    try:
        return Path(snapshot(name, allow_patterns=list(patterns)))
    except Exception as error:  # the packages raise types of their own for each failure
        message = " ".join(str(error).split())[:300] or type(error).__name__
        try:
            return Path(snapshot(name, allow_patterns=list(patterns), local_files_only=True))
        except Exception:
            raise UserError(
                "{name}: could not be downloaded with {package} ({message}); check the name and the network.",
                name=name,
                package=SOURCES[source],
                message=message,
            ) from None
