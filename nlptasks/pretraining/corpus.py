"""The corpus: files and globs to units of work, and the documents of a unit.

A unit is a stretch of the corpus that makes one shard: some whole files, or a byte range of one large plain file. A
range owns the documents that start in it. Units depend on the names and sizes of the files alone, so that any number of
processes, on one machine or many, makes the same shards.
"""

import glob
import itertools
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from nlptasks.encodings import UTF_8, require_encoding, undecodable
from nlptasks.errors import JSON_NAMES, UserError
from nlptasks.files import BOM, GZIP_MAGIC, PathLike, open_text, parse_json, read_text_blocks
from nlptasks.train.options import require_one_of

TEXT, JSONL = "text", "jsonl"
FORMATS = ("auto", TEXT, JSONL)
LINE, BLANK_LINE = "line", "blank-line"
DOCUMENTS = (LINE, BLANK_LINE)
GZIP_FACTOR = 3
"""how many times larger a gzip file is assumed to be once unpacked"""


@dataclass(frozen=True, kw_only=True)
class CorpusFormat:
    """How files are read.

    Attributes:
        format: text, jsonl (one JSON object a line), or auto: jsonl where the name says .jsonl, .ndjson or .json (maybe
            with .gz).
        documents: in text: a document a line, or paragraphs with blank lines between them ("blank-line").
        field: in JSON lines: the key of the text.
        encoding: of the files.
    """

    format: str = "auto"
    documents: str = LINE
    field: str = "text"
    encoding: str = UTF_8

    def __post_init__(self) -> None:
        require_encoding(self.encoding)
        require_one_of(self, format=FORMATS, documents=DOCUMENTS)

    def of(self, path: PathLike) -> str:
        """The format of a file: text or jsonl."""
        if self.format != "auto":
            return self.format
        name = Path(path).name.lower().removesuffix(".gz")
        return JSONL if name.endswith((".jsonl", ".ndjson", ".json")) else TEXT


@dataclass(frozen=True)
class Span:
    """Bytes `start` to `end` of a file; end 0: a whole file, plain or gzip."""

    path: str
    start: int = 0
    end: int = 0


Unit = tuple[Span, ...]


def find_files(patterns: Iterable[PathLike]) -> list[tuple[str, int]]:
    """Paths and sizes of the files that names and globs stand for, sorted, each once.

    Raises:
        FileNotFoundError: no such file, or no file matches.
        ValueError: a folder, an empty corpus.
    """
    found: dict[str, int] = {}
    names = [os.fspath(pattern) for pattern in patterns]
    for pattern in names:
        paths = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern, recursive=True))
        files = [path for path in paths if os.path.isfile(path)]
        if paths and not files:
            raise ValueError(f"{pattern}: expected files. Received: a folder; write {pattern}/*, or the files in it.")
        if not files:
            what = "no file matches" if glob.has_magic(pattern) else "no such file"
            raise FileNotFoundError(f"{pattern}: {what} (working folder {os.getcwd()}); check the spelling.")
        found.update((os.path.normpath(path), os.path.getsize(path)) for path in files)
    if not sum(found.values()):
        raise ValueError(f"the corpus is empty: {len(found)} files of 0 bytes ({', '.join(names)[:200]}).")
    return sorted(found.items())


def plan_units(files: Iterable[tuple[str, int]], unit_bytes: int) -> list[Unit]:
    """Units of about `unit_bytes`: large plain files in ranges, small files together, a gzip file always whole."""
    units: list[Unit] = []
    group: list[Span] = []
    size = 0
    for path, file_bytes in files:
        packed = _is_gzip(path)
        weight = file_bytes * GZIP_FACTOR if packed else file_bytes
        if group and size + weight > unit_bytes:
            units.append(tuple(group))
            group, size = [], 0
        if packed or file_bytes <= unit_bytes:
            if file_bytes:
                group.append(Span(path))
            size += weight
            continue
        count = -(-file_bytes // unit_bytes)
        bounds = [file_bytes * i // count for i in range(count + 1)]
        units += [(Span(path, start, end),) for start, end in itertools.pairwise(bounds)]
    if group:
        units.append(tuple(group))
    return units


def read_documents(unit: Unit, form: CorpusFormat) -> Iterator[str]:
    """The documents of a unit, in order.

    Raises:
        FileNotFoundError, ValueError: one line that names the file and the line: bytes that are not UTF-8, a line that
            is no JSON object or lacks the field, a damaged gzip file.
    """
    for span in unit:
        if form.of(span.path) == JSONL:
            for offset, line in _lines(span, form.encoding):
                if line.strip():
                    yield _json_text(span, offset, line, form.field)
        elif form.documents == LINE:
            yield from (line for _, line in _lines(span, form.encoding) if line.strip())
        else:
            yield from _paragraphs(span, form.encoding)


def read_blocks(unit: Unit, form: CorpusFormat, size: int = 1 << 20) -> Iterator[str]:
    """The text of a unit in large blocks of whole lines: faster than documents where their borders do not matter.

    Args:
        unit: the unit.
        form: how its files are read.
        size: bytes, or in JSON lines characters, of a block; one is larger if a line is.

    Raises:
        FileNotFoundError, ValueError: as `read_documents`.
    """
    for span in unit:
        if form.of(span.path) == JSONL:
            yield from _joined(read_documents((span,), form), size)
        elif not span.end:
            yield from (block.decode("utf-8") for block in read_text_blocks(span.path, form.encoding))
        else:
            yield from _range_blocks(span, size, form.encoding)


def _joined(texts: Iterable[str], size: int) -> Iterator[str]:
    waiting: list[str] = []
    length = 0
    for text in texts:
        waiting.append(text)
        length += len(text)
        if length >= size:
            yield "\n".join(waiting)
            waiting, length = [], 0
    if waiting:
        yield "\n".join(waiting)


def _range_blocks(span: Span, size: int, encoding: str) -> Iterator[str]:
    """The lines that start in a byte range, many at a time."""
    with open(span.path, "rb") as file:
        offset, end = _first_line(file, span.start), _first_line(file, span.end)
        while offset < end:
            file.seek(offset)
            block = file.read(min(size, end - offset))
            if offset + len(block) < end:
                block = block[: block.rfind(b"\n") + 1] or block + file.readline()
            try:
                yield block.removeprefix(BOM if not offset else b"").decode(encoding)
            except UnicodeDecodeError:
                for _ in _lines(Span(span.path, offset, offset + len(block)), encoding):
                    pass  # names the line
                raise
            offset += len(block)


def _is_gzip(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(len(GZIP_MAGIC)) == GZIP_MAGIC


def _lines(span: Span, encoding: str, past_end: bool = False) -> Iterator[tuple[int, str]]:
    """Lines with the byte offset (in a whole file: the line number) at which each starts, without their ends.

    Args:
        past_end: go on behind the end of the range.
    """
    if not span.end:
        with open_text(span.path, encoding) as file:
            for number, line in enumerate(file, 1):
                yield number, line.rstrip("\r\n")
        return
    with open(span.path, "rb") as file:
        offset = _first_line(file, span.start)
        file.seek(offset)
        while (offset < span.end or past_end) and (read := file.readline()):
            text = read.removeprefix(BOM) if not offset else read
            try:
                yield offset, text.decode(encoding).rstrip("\r\n")
            except UnicodeDecodeError as error:
                at = error.start + len(read) - len(text)
                number = _line_number(span, offset)
                raise undecodable(span.path, number, read[at:], offset + at, encoding) from None
            offset += len(read)


def _first_line(file: BinaryIO, start: int) -> int:
    """The offset of the first line that starts at `start` or behind it."""
    if not start:
        return 0
    file.seek(start - 1)
    return start - 1 + len(file.readline())


def _line_number(span: Span, place: int) -> int:
    """The number of the line at a place that `_lines` gave."""
    if not span.end:
        return place
    number, left = 1, place
    with open(span.path, "rb") as file:
        while left and (part := file.read(min(left, 1 << 20))):
            number += part.count(b"\n")
            left -= len(part)
    return number


def _json_text(span: Span, place: int, line: str, field: str) -> str:
    try:
        item = parse_json(line, span.path, lambda: _line_number(span, place))
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(
            "{path}:{line}: expected one JSON object a line ({error}); for plain text give {field:format} text.",
            path=span.path,
            line=_line_number(span, place),
            error=str(error),
        ) from None
    if not isinstance(item, dict) or not isinstance(item.get(field), str):
        found = f"the keys {', '.join(map(repr, item))}" if isinstance(item, dict) else JSON_NAMES[type(item)]
        raise UserError(
            "{path}:{line}: expected an object with a string at {key!r}. Received: {found}; name the key with "
            "{field:field}.",
            path=span.path,
            line=_line_number(span, place),
            key=field,
            found=found[:200],
        )
    return item[field]


def _paragraphs(span: Span, encoding: str) -> Iterator[str]:
    """Documents between blank lines; those that start in the span, read to their ends."""
    owned = not span.end or _follows_blank(span, encoding)
    lines: list[str] = []
    for offset, line in _lines(span, encoding, past_end=True):
        if not line.strip():
            if lines:
                yield "\n".join(lines)
                lines = []
            owned = True
            if span.end and offset >= span.end:
                return
        elif owned:
            if not lines and span.end and offset >= span.end:
                return
            lines.append(line)
        elif span.end and offset >= span.end:
            return  # the whole span lies in a document that started before it
    if lines:
        yield "\n".join(lines)


def _follows_blank(span: Span, encoding: str) -> bool:
    """Whether the line before the first one of the span is blank, or there is none."""
    with open(span.path, "rb") as file:
        end = _first_line(file, span.start)
        stop = end - 1  # the line end of the line before
        window = 1 << 12
        while stop > 0:
            start = max(0, stop - window)
            file.seek(start)
            part = file.read(stop - start).removeprefix(BOM)
            line_start = part.rfind(b"\n") + 1
            is_blank = not part[line_start:].decode(encoding, "ignore").strip()  # its first character may be cut
            if line_start or not start or not is_blank:
                return is_blank
            window *= 2
        return True
