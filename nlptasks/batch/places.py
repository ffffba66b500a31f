"""Files by their names: on this machine (or a mounted file system), or behind a scheme that Apache Beam knows (gs://)."""

import contextlib
import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from nlptasks.errors import UserError


def is_remote(path: str) -> bool:
    """Whether a name has a scheme, as gs://bucket/file."""
    return "://" in path


def joined(folder: str, *names: str) -> str:
    """The name of something in a folder."""
    return "/".join([folder.rstrip("/"), *names])


def find(patterns: tuple[str, ...]) -> list[tuple[str, int]]:
    """The files that fit the patterns, sorted, with their sizes in bytes.

    Raises:
        UserError: a pattern that no file fits.
    """
    found: dict[str, int] = {}
    for pattern in patterns:
        some = _match(pattern)
        if not some:
            raise UserError("{field:input} {pattern}: no file fits; quote a pattern in a shell.", pattern=pattern)
        found |= some
    return sorted(found.items())


def _match(pattern: str) -> dict[str, int]:
    if is_remote(pattern):
        [result] = _systems().match([pattern])
        return {one.path: one.size_in_bytes for one in result.metadata_list}
    names = [pattern] if os.path.isfile(pattern) else glob.glob(pattern, recursive=True)
    return {os.path.abspath(name): os.path.getsize(name) for name in names if os.path.isfile(name)}


@contextlib.contextmanager
def reading(path: str) -> Iterator[IO[bytes]]:
    """A file's bytes as they stand there."""
    if is_remote(path):
        from apache_beam.io.filesystem import CompressionTypes

        with _systems().open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            yield file
    else:
        with open(path, "rb") as file:
            yield file


@contextlib.contextmanager
def writing(path: str, scratch: str) -> Iterator[IO[bytes]]:
    """Writes a file wholly or not at all: it gets its name when the block ends without an error.

    Args:
        path: of the file.
        scratch: a folder of the job on the same file system, where the half file stands.
    """
    # several machines may be at the same file, and the name says which process was at it
    half = joined(scratch, f"{os.path.basename(path)}.{os.getpid()}.{secrets.token_hex(4)}")
    if is_remote(path):
        from apache_beam.io.filesystem import CompressionTypes

        systems = _systems()
        with systems.create(half, compression_type=CompressionTypes.UNCOMPRESSED) as remote:
            yield remote
        systems.rename([half], [path])
        return
    os.makedirs(scratch, exist_ok=True)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        with open(half, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(half, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(half)


def exists(path: str) -> bool:
    """Whether a file is there."""
    return bool(_systems().exists(path)) if is_remote(path) else os.path.exists(path)


def names_in(folder: str) -> list[str]:
    """The names of the files of a folder; none if it is not there."""
    if is_remote(folder):
        return sorted(os.path.basename(path) for path in _match(joined(folder, "*")))
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def remove(path: str) -> None:
    """Removes a file or a folder with what is in it, if it is there."""
    if is_remote(path):
        if exists(path):
            _systems().delete([path])
    elif os.path.isdir(path):
        shutil.rmtree(path)
    else:
        Path(path).unlink(missing_ok=True)


def copied(folder: str, target: Path) -> Path:
    """A folder on this machine with the files of a remote one."""
    for path in _match(joined(folder, "*")):
        with reading(path) as file, open(target / os.path.basename(path), "wb") as copy:
            shutil.copyfileobj(file, copy)
    return target


def _systems() -> Any:
    from apache_beam.io.filesystems import FileSystems

    return FileSystems
