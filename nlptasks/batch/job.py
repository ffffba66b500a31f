"""A job: what is computed from which files, what of it is there, and its end."""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nlptasks.batch import places
from nlptasks.bundled import bundled_models
from nlptasks.encodings import UTF_8
from nlptasks.errors import UserError
from nlptasks.train.record import require_new_folder

WORK, BAD, SUMMARY, PLAN = ".batch", "bad", "batch.json", "plan.json"
"""names in the output: a folder while the job runs, the lines set aside, the end of a job; in WORK what it computes"""
DONE, FAILED, AT = ".done.json", ".failed.json", ".at"
LOG = "runner.log"
"""in WORK: what the local runner and its workers say"""
_COUNTS = ("rows", "bad")


@dataclass(frozen=True)
class Job:
    """One computation over files; it is sent to the workers, which find model and files under the same names.

        job = Job("runs/classifier", "out", (("part-0.jsonl", 1200),))
        job.name(0)  # 'part-0.jsonl'

    Attributes:
        model: directory of the model, or the name of one that comes with the package.
        output: folder of the results.
        files: name and size of each input; a file is a shard, and gives one file of results.
        arguments: those that `predict` takes beside the items.
        keep: fields of the input that are copied.
        encoding: of the input.
        batch_size: lines that are computed together.
        max_line: the most bytes of a line.
    """

    model: str
    output: str
    files: tuple[tuple[str, int], ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    keep: tuple[str, ...] = ("id",)
    encoding: str = UTF_8
    batch_size: int = 256
    max_line: int = 1 << 20

    def name(self, number: int) -> str:
        """The name of a shard: that of its file."""
        return os.path.basename(self.files[number][0])

    def result_path(self, number: int) -> str:
        """Where the results of a shard go."""
        return places.joined(self.output, self.name(number))

    def bad_path(self, number: int) -> str:
        """Where the lines of a shard go that cannot be computed."""
        return places.joined(self.output, BAD, self.name(number).removesuffix(".gz"))

    def note(self, name: str, end: str) -> str:
        """A file that says something of a shard, or of a process, while the job runs."""
        return places.joined(self.output, WORK, name + end)

    @property
    def scratch(self) -> str:
        """The folder of half files."""
        return places.joined(self.output, WORK, "half")

    def plan(self) -> dict[str, Any]:
        """What makes the job what it is, as JSON."""
        values = dataclasses.asdict(self) | {"model": fingerprint(self.model)}
        del values["output"]
        values["files"] = [[os.path.basename(path), size] for path, size in self.files]
        plan: dict[str, Any] = json.loads(json.dumps(values))
        return plan


def fingerprint(model: str) -> str:
    """A digest of a model's files; of a remote one, its name."""
    if places.is_remote(model):
        return model
    digest = hashlib.sha256()
    folder = bundled_models().get(model, Path(model))
    names = (path for path in sorted(folder.iterdir()) if path.suffix in (".json", ".txt", ".safetensors", ".onnx"))
    for path in names:
        if path.name in ("log.json", "options.json", "scores.json", "resume.safetensors"):  # of its training
            continue
        with open(path, "rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def require_names(files: Sequence[tuple[str, int]]) -> None:
    """Refuses two inputs whose results would have the same name.

    Raises:
        UserError: naming both.
    """
    seen: dict[str, str] = {}
    for path, _ in files:
        name = os.path.basename(path)
        if name in seen or name in (SUMMARY, BAD):
            raise UserError(
                "{field:input}: the results of {path} and of {other} would have the same name; rename one of them.",
                path=path,
                other=seen.get(name, SUMMARY),
            )
        seen[name] = path


def begin(job: Job) -> bool:
    """Makes the folder the job's; returns whether anything is still to be computed.

    Raises:
        UserError: something else stands there, or results of another job.
    """
    plan, former = job.plan(), _former(job)
    if former is None:
        if not places.is_remote(job.output):
            require_new_folder(job.output)
        _write(places.joined(job.output, WORK, PLAN), plan, job)
    elif differing := _differing(job, former, plan):
        raise UserError(
            "{output}: holds results of another job (other {differing}); give another {field:output}.",
            output=job.output,
            differing=", ".join(differing),
        )
    ended = places.exists(places.joined(job.output, SUMMARY))
    if not ended and former not in (None, plan):
        _write(places.joined(job.output, WORK, PLAN), plan, job)
    return not ended


def _differing(job: Job, former: dict[str, Any], plan: dict[str, Any]) -> list[str]:
    """The settings that differ; a file whose results are not there yet may be another one, because it was damaged."""
    found = [name for name, value in plan.items() if name != "files" and former.get(name) != value]
    ended = places.exists(places.joined(job.output, SUMMARY))
    done = range(len(job.files)) if ended else finished(job)
    names = [[name for name, _ in one["files"]] for one in (former, plan)]
    if names[0] != names[1] or any(former["files"][number] != plan["files"][number] for number in done):
        found.append("input")
    return found


def missing(job: Job) -> list[int]:
    """The numbers of the shards that are still to be computed; what processes left that were killed is removed."""
    if not places.is_remote(job.output):
        places.remove(job.scratch)
    for name in places.names_in(places.joined(job.output, WORK)):
        if name.endswith((FAILED, AT)):
            places.remove(places.joined(job.output, WORK, name))
    done = finished(job)
    return [number for number in range(len(job.files)) if number not in done]


def _former(job: Job) -> dict[str, Any] | None:
    """The plan of the job whose folder this is."""
    for name in (places.joined(job.output, SUMMARY), places.joined(job.output, WORK, PLAN)):
        if places.exists(name):
            plan: dict[str, Any] = read_json(name)
            return plan.get("plan", plan)
    return None


def finished(job: Job) -> set[int]:
    """The numbers of the shards that are there and noted."""
    noted = set(places.names_in(places.joined(job.output, WORK)))
    there = set(places.names_in(job.output))
    names = ((number, job.name(number)) for number in range(len(job.files)))
    return {number for number, name in names if name + DONE in noted and name in there}


def finish(job: Job) -> dict[str, Any]:
    """Writes the summary once all shards are there; returns it.

    Raises:
        UserError: a shard is missing, with the reason of the first; or no line at all could be computed.
    """
    path = places.joined(job.output, SUMMARY)
    if places.exists(path):
        return read_json(path)
    done = finished(job)
    left = [number for number in range(len(job.files)) if number not in done]
    if left:
        name = job.name(left[0])
        note = job.note(name, FAILED)
        raise UserError(
            "{left} of {count} shards are missing, the first is {name}: {reason}; the same command computes what is "
            "missing.",
            left=len(left),
            count=len(job.files),
            name=name,
            reason=read_json(note)["reason"].rstrip(".") if places.exists(note) else "it was not begun",
        )
    shards = [read_json(job.note(job.name(number), DONE)) for number in range(len(job.files))]
    totals = {name: sum(shard[name] for shard in shards) for name in _COUNTS}
    if totals["bad"] and not totals["rows"]:
        raise UserError(
            "not one of {count} lines could be computed, the first: {reason}; see {folder}.",
            count=totals["bad"],
            reason=next(shard["first"] for shard in shards if shard["bad"]),
            folder=places.joined(job.output, BAD),
        )
    summary = totals | {"shards": shards, "plan": job.plan()}
    _write(path, summary, job)
    for name in places.names_in(places.joined(job.output, WORK)):
        places.remove(places.joined(job.output, WORK, name))
    if not places.is_remote(job.output):
        places.remove(places.joined(job.output, WORK))
    return summary


def note(job: Job, number: int, values: Mapping[str, Any], end: str) -> None:
    """Notes that a shard is finished, or why it is not."""
    _write(job.note(job.name(number), end), values, job)


def read_json(path: str) -> dict[str, Any]:
    """An object that the job has written."""
    with places.reading(path) as file:
        value: dict[str, Any] = json.loads(file.read())
    return value


def _write(path: str, values: Mapping[str, Any], job: Job) -> None:
    with places.writing(path, job.scratch) as file:
        file.write((json.dumps(values, ensure_ascii=False, indent=1) + "\n").encode())


@contextlib.contextmanager
def alone(job: Job) -> Iterator[None]:
    """Inside, no other command of this machine works at the same folder.

    Raises:
        UserError: one does.
    """
    if places.is_remote(job.output):
        yield
        return
    with open(job.note("lock", ""), "wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError("{output}: another command is at work there; wait for it.", output=job.output) from None
        yield
