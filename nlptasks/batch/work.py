"""What a worker does: it opens the model once, and computes shards one after the other in bounded memory."""

import contextlib
import gzip
import json
import os
import tempfile
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from nlptasks.batch import places
from nlptasks.batch.job import AT, DONE, FAILED, Job, note
from nlptasks.batch.rows import form_of
from nlptasks.encodings import is_utf8
from nlptasks.files import GZIP_MAGIC, parse_json

_opened: dict[str, Any] = {}
_working = threading.Lock()
"""held while a shard is computed: a runner may have several threads, and a model runs in one"""
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)


class Line(NamedTuple):
    """A line of the input: its number from 1, its bytes, and whether it was too long and the rest is left out."""

    number: int
    data: bytes
    cut: bool


class Shards:
    """Computes the shards of a job, each by its number. It may be sent to other processes.

    shards = Shards(job)
    shards(0)  # {'name': 'part-0.jsonl', 'rows': 3, 'bad': 0}
    """

    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(self, number: int) -> dict[str, Any]:
        """Computes a shard; returns what is noted of it. A file that cannot be read is noted as failed."""
        job = self.job
        at = job.note(str(os.getpid()), AT)
        with _working:
            local = not places.is_remote(job.output)
            if local:  # what the one who waits says if this process dies
                os.makedirs(os.path.dirname(at), exist_ok=True)
                Path(at).write_text(job.name(number), encoding="utf-8")
            try:
                counts = compute(job, number, opened(job.model))
            except (ValueError, OSError) as error:
                counts = {"name": job.name(number), "reason": " ".join(str(error).split())}
                note(job, number, counts, FAILED)
            else:
                note(job, number, counts, DONE)
            if local:
                places.remove(at)
        return counts


def opened(model: str) -> Any:
    """The application of a directory, opened once in a process."""
    if model not in _opened:
        from nlptasks.backend.packages import choose_backend
        from nlptasks.backend.startup import quiet_backends
        from nlptasks.opening import load_any

        quiet_backends()
        choose_backend()
        if places.is_remote(model):
            with tempfile.TemporaryDirectory() as folder:
                _opened[model] = load_any(places.copied(model, Path(folder)))
        else:
            _opened[model] = load_any(model)
    return _opened[model]


def compute(job: Job, number: int, application: Any) -> dict[str, Any]:
    """Writes the results of a shard; lines that cannot be computed go to a file of their own.

    Args:
        application: what computes.

    Returns:
        Name, number of rows computed, number of bad lines, and the reason of the first one.

    Raises:
        ValueError, OSError: the file is damaged, or cannot be read or written.
    """
    path, _ = job.files[number]
    counts: dict[str, Any] = {"name": job.name(number), "rows": 0, "bad": 0}
    plain = job.name(number).removesuffix(".gz").endswith(".txt")
    with contextlib.ExitStack() as files:
        results = files.enter_context(_packed(job.result_path(number), job.scratch))
        aside: IO[bytes] | None = None
        for lines in _batches(_lines(path, job.max_line), job.batch_size):
            good, bad = computed(job, number, application, lines, plain)
            for row in good:
                results.write(_line(row))
            for line, reason in bad:
                if aside is None:
                    aside = files.enter_context(places.writing(job.bad_path(number), job.scratch))
                    counts["first"] = f"line {line.number}: {reason}"
                place = {"file": job.name(number), "line": line.number, "reason": reason}
                aside.write(_line(place | {"text": line.data.decode(job.encoding, "replace")}))
            counts["rows"] += len(good)
            counts["bad"] += len(bad)
    return counts


def computed(
    job: Job, number: int, application: Any, lines: Sequence[Line], plain: bool = False
) -> tuple[list[dict[str, Any]], list[tuple[Line, str]]]:
    """Results of some lines, in their order, and the lines that have none with the reason.

    Args:
        plain: a line is a text, and not an object of JSON.
    """
    form = form_of(application)
    bad: list[tuple[Line, str]] = []
    good: list[tuple[Line, dict[str, Any], Any]] = []
    for line in lines:
        try:
            row = _row(line, job, number, plain)
            good.append((line, row, form.item(row)))
        except (ValueError, RecursionError) as error:
            bad.append((line, _told(error)))
    arguments = dict(job.arguments)
    if form.seeded and good:  # else the first text of every batch would be drawn alike
        place = zlib.crc32(f"{job.name(number)}:{good[0][0].number}".encode())
        arguments["seed"] = (arguments.get("seed", 0) + place) % 2**31

    def predicted(some: Sequence[tuple[Line, dict[str, Any], Any]]) -> list[dict[str, Any]]:
        found = application.predict([item for _, _, item in some], **arguments) if some else ()
        return [
            {"line": line.number} | {name: row[name] for name in job.keep if name in row} | form.answer(result)
            for (line, row, _), result in zip(some, found, strict=True)
        ]

    try:
        return predicted(good), bad
    except (ValueError, TypeError):  # one of them cannot be computed: each for itself says which
        results = []
        for one in good:
            try:
                results += predicted([one])
            except (ValueError, TypeError) as error:
                bad.append((one[0], _told(error)))
        return results, sorted(bad)


def _told(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "too many levels of lists and objects"
    if isinstance(error, UnicodeDecodeError):
        return f"not in the encoding of the file (byte {error.start})"
    return " ".join(str(error).split())[:300]


def _row(line: Line, job: Job, number: int, plain: bool) -> dict[str, Any]:
    if line.cut:
        raise ValueError(f"the line has more than {job.max_line} bytes")
    text = line.data.decode(job.encoding)
    if line.number == 1:
        text = text.removeprefix("\ufeff") if is_utf8(job.encoding) else text
    if plain:
        return {"text": text}
    row = parse_json(text, job.files[number][0], line.number)
    if not isinstance(row, dict):
        raise ValueError("the line is no object of JSON")
    return row


def _lines(path: str, most: int) -> Iterator[Line]:
    """The lines of a file, plain or gzip (by content), without their ends; blank ones are left out.

    Raises:
        ValueError: a damaged gzip file.
    """
    with places.reading(path) as raw:
        start = raw.read(len(GZIP_MAGIC))
        raw.seek(0)
        # a GzipFile of this size reads ahead by itself
        file: Any = gzip.GzipFile(fileobj=raw) if start == GZIP_MAGIC else raw
        number = 0
        try:
            while data := file.readline(most + 2):
                number += 1
                whole = data.endswith(b"\n") or len(data) <= most
                rest = data
                while not whole and rest and not rest.endswith(b"\n"):
                    rest = file.readline(1 << 16)
                data = data.removesuffix(b"\n").removesuffix(b"\r")
                if data.strip():
                    yield Line(number, data if whole else data[:1000], not whole)
        except _DAMAGED as error:
            raise ValueError(f"{path}: a damaged or truncated gzip file ({error}); copy it again.") from None


def _batches(lines: Iterator[Line], size: int) -> Iterator[list[Line]]:
    batch: list[Line] = []
    for line in lines:
        batch.append(line)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


@contextlib.contextmanager
def _packed(path: str, scratch: str) -> Iterator[Any]:
    """A file to write, packed if its name says so, always into the same bytes."""
    with places.writing(path, scratch) as file:
        if not path.endswith(".gz"):
            yield file
            return
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as packed:
            yield packed


def _line(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, ensure_ascii=False) + "\n").encode("utf-8", "replace")
