"""Reading and writing files: text is UTF-8 or what was said, plain or gzip, and no file is left half written."""

import contextlib
import gzip
import io
import json
import os
import re
import secrets
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from nlptasks.encodings import UTF_8, current_encoding, is_utf8, undecodable
from nlptasks.errors import JSON_NAMES, UserError

STANDARD_INPUT = "-"
"""stands for standard input where a file is named"""
GZIP_MAGIC, BOM = b"\x1f\x8b", b"\xef\xbb\xbf"
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)

PathLike = str | os.PathLike[str]


def _open_bytes(path: PathLike) -> BinaryIO:
    """Open a file for reading; its first two bytes, not its name, decide whether it is gzip."""
    if os.path.isdir(path):
        raise ValueError(f"{path}: expected a file. Received: a folder; name a file inside it.")
    try:
        file = open(path, "rb")  # noqa: SIM115 - the caller closes it
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: no such file (working folder {os.getcwd()}); check the spelling of the path."
        ) from None
    if not file.peek(len(GZIP_MAGIC)).startswith(GZIP_MAGIC):
        return file
    packed = gzip.GzipFile(fileobj=file)
    packed.myfileobj = cast(io.FileIO, file)  # what it closes with itself, as if it had opened the file
    return cast(BinaryIO, packed)


def read_bytes(path: PathLike) -> bytes:
    """The bytes of a file, unpacked where it is gzip.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a folder, or a damaged gzip file.
    """
    with _open_bytes(path) as file:
        try:
            return file.read()
        except _DAMAGED as error:
            raise _damaged(path, error) from None


def _encoding_error(path: PathLike, encoding: str, own: bool) -> ValueError | None:
    """Find the first line that is not in the encoding, in a second pass: decoders count from the start of a buffer."""
    byte_offset = 0
    try:
        with _open_bytes(path) as file:
            for line_number, line in enumerate(file, 1):
                try:
                    line.decode(encoding)
                except UnicodeDecodeError as error:
                    place = byte_offset + error.start
                    return undecodable(path, line_number, line[error.start :], place, encoding, own)
                byte_offset += len(line)
    except _DAMAGED as error:
        return _damaged(path, error)
    return None


@contextlib.contextmanager
def open_text(path: PathLike, encoding: str | None = None, own: bool = False) -> Iterator[TextIO]:
    """Open a text file for reading, plain or gzip (by content), UTF-8 with or without a byte order mark.

    Only ``\\n`` ends a line, so that line numbers agree with other tools; a ``\\r`` before it stays in the line.

    Args:
        path: the file.
        encoding: of the file; None: the one of `text_encoding`.
        own: the file is one of a model, UTF-8 whatever is said.

    Yields:
        A text stream.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a folder, bytes that are not in the encoding, or a damaged or truncated gzip file. The error may be
            raised only while the caller reads.
    """
    name = UTF_8 if own else encoding or current_encoding()
    codec = "utf-8-sig" if is_utf8(name) else name
    with _open_bytes(path) as file, io.TextIOWrapper(file, encoding=codec, newline="\n") as text:
        try:
            yield text
        except UnicodeDecodeError:
            error = _encoding_error(path, name, own)
            if error is None:
                raise
            raise error from None
        except _DAMAGED as error:
            raise _damaged(path, error) from None


def read_line_blocks(path: PathLike | io.BufferedReader, size: int = 1 << 18) -> Iterator[bytes]:
    """Read whole lines as they arrive, many at a time.

    Args:
        path: a file or an open stream such as a pipe, from which no more is read than is available; plain or gzip.
        size: bytes to read at a time; a block is larger if a line is.

    Yields:
        Blocks that end at a line end; the last one ends where the file ends.

    Raises:
        FileNotFoundError, ValueError: as `open_text`, but the bytes may be any.
    """
    stream: Any
    if isinstance(path, str | os.PathLike):
        name, stream = path, _open_bytes(path)
    else:
        packed = path.peek(len(GZIP_MAGIC)).startswith(GZIP_MAGIC)
        name, stream = "standard input", gzip.GzipFile(fileobj=path) if packed else contextlib.nullcontext(path)
    with stream as file:
        rest: list[bytes] = []
        try:
            while part := file.read1(size):
                end = part.rfind(b"\n") + 1
                if end:
                    yield b"".join([*rest, part[:end]])
                    rest.clear()
                if end < len(part):
                    rest.append(part[end:])
        except _DAMAGED as error:
            raise _damaged(name, error) from None
    if rest:
        yield b"".join(rest)


def read_text_blocks(name: str, encoding: str | None = None) -> Iterator[bytes]:
    """Read whole lines of text as they arrive, many at a time, as UTF-8 without a byte order mark.

    Args:
        name: a file, or - for standard input.
        encoding: of the text; None: the one of `text_encoding`.

    Yields:
        Blocks as `read_line_blocks`; those before a line that is not in the encoding come out before the error.

    Raises:
        FileNotFoundError, ValueError: as `open_text`.
    """
    source: str | io.BufferedReader = cast(io.BufferedReader, sys.stdin.buffer) if name == "-" else name
    shown = "standard input" if name == "-" else name
    encoding = encoding or current_encoding()
    utf8 = is_utf8(encoding)
    line_number, byte_offset = 1, 0
    for block in read_line_blocks(source):
        if utf8 and not byte_offset and block.startswith(BOM):
            block, byte_offset = block.removeprefix(BOM), len(BOM)
            if not block:
                continue
        try:
            text = block.decode(encoding)
        except UnicodeDecodeError as error:
            good = block.rfind(b"\n", 0, error.start) + 1
            if good:
                yield block[:good] if utf8 else block[:good].decode(encoding).encode()
            line_number += block.count(b"\n", 0, error.start)
            place = byte_offset + error.start
            raise undecodable(shown, line_number, block[error.start :], place, encoding) from None
        yield block if utf8 else text.encode()
        line_number += block.count(b"\n")
        byte_offset += len(block)


def _damaged(path: PathLike, error: Exception) -> ValueError:
    return ValueError(
        f"{path}: expected a whole gzip file. Received: a damaged or truncated one ({error}); copy it again."
    )


def read_lines(path: PathLike) -> Iterator[tuple[int, str]]:
    """Read the lines of a text file with their numbers.

    Yields:
        ``(line_number, line)``, numbers from 1, the line without its end. Blank lines are left out.

    Raises:
        FileNotFoundError, ValueError: as `open_text`, and ValueError for a file without a single non-blank line.
    """
    line_number = 0
    with open_text(path) as file:
        empty = True
        for line_number, line in enumerate(file, 1):
            line = line.removesuffix("\n").removesuffix("\r")
            if line.strip():
                empty = False
                yield line_number, line
    if empty:
        raise ValueError(f"{path}: the file is empty ({line_number} lines, all blank); expected at least one line.")


_HALF_PAIR = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
"""escapes of JSON: whole surrogate pairs, group 1: halves of one, anything else"""


def parse_json(text: str, path: PathLike, line_number: int | Callable[[], int] = 1) -> Any:
    """The value that a JSON text stands for.

    Args:
        text: the text.
        path: the file that it stands in, for errors.
        line_number: the line of the file where it begins, or what finds it.

    Raises:
        json.JSONDecodeError, RecursionError: as `json.loads`.
        ValueError: half of a surrogate pair as an escape, which is no character and could never be written.
    """
    value = json.loads(text)
    for match in _HALF_PAIR.finditer(text) if "\\u" in text else ():
        if half := match.group(1):
            first = line_number if isinstance(line_number, int) else line_number()
            line = first + text.count("\n", 0, match.start())
            raise ValueError(
                f"{path}:{line}: \\{half} is half of a character (a surrogate without its partner); write the whole "
                "character, or leave it out."
            )
    return value


def read_json_object(path: PathLike) -> dict:
    """The JSON object in `path`; an error is one line that names the file."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; a checkpoint comes with its config as JSON.")
    try:
        value = parse_json(path.read_text(encoding="utf-8-sig"), path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text (byte {error.start}).") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: not valid JSON ({error.msg}).") from None
    except RecursionError:
        raise ValueError(f"{path}: not JSON that can be read (too many brackets inside each other).") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path}: expected a JSON object. Received: {JSON_NAMES[type(value)]}.")
    return value


def require_writable(path: PathLike) -> None:
    """Refuse a path to which no file can be written, before the work for that file begins; it is not made here.

    Raises:
        ValueError: ``path`` is a folder, or a file stands where one of its folders should be.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path}: expected a file to write. Received: a folder; name a file inside it.")
    for parent in path.parents:
        if parent.exists():
            if not parent.is_dir():
                raise ValueError(f"{path}: cannot be written, because {parent} is a file; name another path.")
            break


@contextlib.contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Write a file completely or not at all.

    This yields a hidden path in the same folder. The file that is written there replaces ``path`` when the block ends,
    with its permissions, and is removed if the block raises an error. A device or a pipe is not replaced: what was
    written is sent there.

    Args:
        path: the file to write; missing folders are made.

    Yields:
        The path to write to.

    Raises:
        ValueError: as `require_writable`.
    """
    require_writable(path)
    if os.path.exists(path) and not os.path.isfile(path):
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder) / Path(path).name
            yield temporary
            with open(temporary, "rb") as written, open(path, "wb") as stream:
                shutil.copyfileobj(written, stream)
        return
    target = Path(os.path.realpath(path))  # a symbolic link keeps pointing to its file
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}{target.suffix}")
    with open(temporary, "xb") as file:  # some writers make theirs for the owner alone
        mode = (target.stat() if target.exists() else os.fstat(file.fileno())).st_mode & 0o777
    temporary.unlink()
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: PathLike) -> Iterator[Path]:
    """Make a folder completely or not at all.

    This yields a hidden folder beside ``path``, which gets that name when the block ends, and is removed with what was
    written there if the block raises an error.

    Args:
        path: the folder; it must not exist, or be empty. Missing folders above it are made.

    Yields:
        The folder to write to.

    Raises:
        ValueError: it holds something, or a file stands where it or one above it should be.
    """
    target = Path(os.path.realpath(path))
    require_writable(target / "file")
    if target.is_dir() and any(target.iterdir()):
        raise UserError("{path}: holds something already; name a new or empty folder.", path=path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        yield temporary
        if target.is_dir():
            target.rmdir()
        os.replace(temporary, target)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)


def write_text(path: PathLike, text: str) -> None:
    """Write UTF-8 text to ``path`` completely or not at all; see `atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
