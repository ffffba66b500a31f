"""The encoding of the text files that are read: UTF-8 unless a block, or the option of a command, says another one."""

import codecs
import contextlib
import contextvars
import os
from collections.abc import Iterator

from nlptasks.errors import UserError

UTF_8 = "utf-8"
_encoding: contextvars.ContextVar[str] = contextvars.ContextVar("encoding", default=UTF_8)


@contextlib.contextmanager
def text_encoding(name: str) -> Iterator[None]:
    """Inside this block the text files that are read have another encoding; what is written is UTF-8.

        with text_encoding("gb18030"):
            texts = read_labeled("reviews.csv")

    The files of a model (vocabulary, settings) are UTF-8 in any case. Other threads and processes do not see it.

    Raises:
        UserError: as `require_encoding`.
    """
    require_encoding(name)
    token = _encoding.set(name)
    try:
        yield
    finally:
        _encoding.reset(token)


def require_encoding(name: str) -> None:
    """Refuses what is no encoding, or one in which a line does not end with the byte 10.

    Raises:
        UserError: naming what may be given.
    """
    ascii_signs = "".join(map(chr, range(128)))
    try:
        kept = ascii_signs.encode(name) == ascii_signs.encode("ascii")
    except (LookupError, UnicodeError):
        kept = False
    if not kept:
        raise UserError(
            "{field:encoding} must be an encoding that contains ASCII, such as utf-8, gb18030, gbk or big5. Received: "
            "{name!r}; convert files in another one to UTF-8.",
            name=name,
        )


def is_utf8(name: str) -> bool:
    """Whether a name stands for UTF-8."""
    return codecs.lookup(name).name == UTF_8


def current_encoding() -> str:
    """The encoding that the innermost `text_encoding` says."""
    return _encoding.get()


def undecodable(
    path: str | os.PathLike[str], line_number: int, rest: bytes, byte_offset: int, encoding: str, own: bool = False
) -> ValueError:
    """The error for a byte that is not in the encoding of a file.

    Args:
        rest: of the text, from this byte on.
        own: of a file whose encoding is not chosen.
    """
    values = {"path": path, "line_number": line_number, "byte": f"{rest[0]:02x}", "byte_offset": byte_offset}
    if byte_offset == 0 and rest[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) and not own:
        return UserError(
            "{path}: begins with the byte order mark of UTF-16; convert it to UTF-8, for instance with "
            "`iconv -f UTF-16 -t UTF-8`.",
            path=path,
        )
    if not is_utf8(encoding):
        return UserError(
            "{path}:{line_number}: expected {encoding}. Received: byte 0x{byte} at byte offset {byte_offset}; give "
            "another {field:encoding}.",
            encoding=encoding,
            **values,
        )
    if own:
        return UserError(
            "{path}:{line_number}: expected UTF-8. Received: byte 0x{byte} at byte offset {byte_offset}; convert the "
            "file to UTF-8, for instance with `iconv -f GB18030 -t UTF-8`.",
            **values,
        )
    return UserError(
        "{path}:{line_number}: expected UTF-8. Received: byte 0x{byte} at byte offset {byte_offset}; convert the file "
        "to UTF-8, for instance with `iconv -f GB18030 -t UTF-8`, or give {field:encoding} gb18030.",
        **values,
    )
