"""The local runner in a process of its own that is watched: Beam's waits for ever for a worker that was killed."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from nlptasks.batch.job import AT, LOG, Job, finished
from nlptasks.batch.pipeline import run

_WORKER = b"sdk_worker"
"""stands in the command line of Beam's workers"""
_GRACE = 10.0
"""seconds for which the runner may go on without one of its workers: it ends them before it says that all is done"""


def run_watched(
    job: Job, numbers: Sequence[int], words: Sequence[str], environment: Mapping[str, str]
) -> Iterator[int]:
    """Computes the shards by the local runner; yields the number of each as it is finished.

    Args:
        words: Beam's command line.
        environment: variables of the workers that nobody has set.

    Raises:
        ChildProcessError: a worker died, or the runner failed; everything else is stopped then.
    """
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_drive, args=(job, numbers, words, environment, there))
    process.start()
    there.close()
    try:
        yield from _watch(job, numbers, process.pid or 0, here)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)  # the runner, and its workers
        process.join()


def _watch(job: Job, numbers: Sequence[int], runner: int, pipe: Connection) -> Iterator[int]:
    workers: set[int] = set()
    lost: tuple[int, float] | None = None
    told: set[int] = set()
    while True:
        try:
            end = pipe.recv() if pipe.poll(0.5) else None
        except EOFError:
            raise ChildProcessError(
                "the process of the runner died (killed?); the same command goes on with what is missing."
            ) from None
        done = [number for number in finished(job) if number in numbers and number not in told]
        told |= set(done)
        yield from done
        if end == "" or told == set(numbers):  # what Beam tidies up then is its own business
            return
        if end is not None:
            log = job.note(LOG, "")
            raise ChildProcessError(
                f"the runner failed: {end}; the same command goes on with what is missing ({log} has more)."
            )
        now = workers_below(runner)
        if lost is None and (gone := workers - now):
            lost = (min(gone, key=lambda pid: not os.path.exists(job.note(str(pid), AT))), time.monotonic())
        elif lost is not None and time.monotonic() > lost[1] + _GRACE:
            raise _died(job.note(str(lost[0]), AT))
        workers |= now


def _died(note: str) -> ChildProcessError:
    if not os.path.exists(note):
        return ChildProcessError(
            "a worker died (killed, perhaps because memory ran out); the same command goes on with what is missing."
        )
    name = Path(note).read_text(encoding="utf-8")
    return ChildProcessError(
        f"a worker died at {name} (killed, perhaps because memory ran out: then take fewer workers or a smaller "
        f"batch); the same command goes on with what is missing."
    )


def workers_below(process: int) -> set[int]:
    """Beam's workers among the processes below one."""
    found, todo = set(), [process]
    while todo:
        pid = todo.pop()
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                children = Path(f"/proc/{pid}/task/{task}/children").read_text(encoding="ascii").split()
                todo += [int(child) for child in children]
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            # a shell that waits for a worker is none
            if pid != process and any(_WORKER in word for word in command[1:3]) and b"-c" not in command[:2]:
                found.add(pid)
    return found


def _drive(
    job: Job, numbers: Sequence[int], words: Sequence[str], environment: Mapping[str, str], pipe: Connection
) -> None:
    """Runs the pipeline, in a group of processes of its own, which ends if the one that waits does."""
    os.setsid()
    for name, value in environment.items():
        os.environ.setdefault(name, value)
    threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()
    log = os.open(job.note(LOG, ""), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)  # Beam says much that is nobody's business while all goes well
    try:
        run(job, numbers, words)
        pipe.send("")
    except Exception as error:
        pipe.send(" ".join(str(error).split())[-500:] or type(error).__name__)
    time.sleep(60)  # to be ended: threads of Beam's may be waiting for ever


def _end_with(pipe: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()
    os.killpg(0, signal.SIGKILL)
