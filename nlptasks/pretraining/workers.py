"""Work shared among processes: results in any order, progress on the way, and nothing left behind by Ctrl-C."""

import contextlib
import os
import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import TypeVar

Report = Callable[[int], None]
Item = TypeVar("Item")
Result = TypeVar("Result")


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_all(
    work: Callable[[Item, Report], Result], items: Iterable[Item], processes: int, report: Report
) -> Generator[tuple[Item, Result], None, None]:
    """`(item, work(item, report))` of every item as it is finished.

    Args:
        work: what is done with an item; it can be pickled, and so can items and results.
        processes: how many work at a time; 1: this one does.
        report: receives what the workers report.

    Raises:
        ChildProcessError: a worker died.
        ValueError, OSError: as `work`; the other workers are stopped, and leave no temporary file.
    """
    items = list(items)
    if processes == 1 or len(items) < 2:
        for item in items:
            yield item, work(item, report)
        return
    waiting = items[::-1]
    with _workers(work, min(processes, len(items))) as pipes:
        busy: dict[Connection, Item] = {}
        for pipe in pipes:
            busy[pipe] = waiting.pop()
            pipe.send(busy[pipe])
        while busy:
            ready = wait(list(busy))
            for pipe in [pipe for pipe in busy if pipe in ready]:
                try:
                    kind, value = pipe.recv()
                except (EOFError, ConnectionResetError):
                    raise ChildProcessError(
                        f"a worker process died at item {busy[pipe]} (killed, perhaps because memory ran out); run the "
                        f"same command again, with fewer processes: it goes on with what is missing."
                    ) from None
                if kind == "report":
                    report(value)
                elif kind == "error":
                    raise value
                else:
                    item = busy.pop(pipe)
                    if waiting:
                        busy[pipe] = waiting.pop()
                        pipe.send(busy[pipe])
                    yield item, value


@contextlib.contextmanager
def _workers(work: Callable[[Item, Report], Result], count: int) -> Iterator[list[Connection]]:
    """The pipes of `count` processes, which end with the block."""
    context = get_context("spawn")
    processes, pipes = [], []
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)  # workers inherit this: Ctrl-C is for the one that waits
    try:
        for _ in range(count):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(work, there), daemon=True)
            process.start()
            there.close()
            processes.append(process)
            pipes.append(here)
    finally:
        signal.signal(signal.SIGINT, former)
    try:
        yield pipes
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(20)
            process.kill()
            process.join()


def _serve(work: Callable[[Item, Report], Result], pipe: Connection) -> None:
    """Works on what the pipe brings until it is closed or SIGTERM comes."""
    signal.signal(signal.SIGTERM, _leave)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one process for each core is enough
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            item = pipe.recv()
            try:
                result = work(item, lambda count: pipe.send(("report", count)))
            except BrokenPipeError:
                raise
            except (ValueError, OSError) as error:
                pipe.send(("error", error))
            else:
                pipe.send(("done", result))


def _leave(*_: object) -> None:
    raise SystemExit(1)  # files that are half written are removed on the way out
