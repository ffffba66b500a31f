"""Requests to one model, joined into batches while they come, and computed in a thread of the model's own."""

import asyncio
import collections
import functools
import time
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from nlptasks.serve.failures import Refused

Compute = Callable[[Sequence[Any]], Any]
"""gives a result for each item"""
_T = TypeVar("_T")


@dataclass(frozen=True)
class Done:
    """The results of a request, and how they came about.

    Attributes:
        results: one for each item.
        batch: number of items that were computed together.
        waited, computed: seconds in the queue and in the model.
    """

    results: Sequence[Any]
    batch: int
    waited: float
    computed: float


@dataclass(eq=False)
class _Job:
    key: Hashable
    items: Sequence[Any]
    compute: Compute
    future: "asyncio.Future[Done]"
    arrived: float = field(default_factory=time.monotonic)


class Batcher:
    """Joins what is asked of one model.

        batcher = Batcher(max_batch=32, wait=0.002, max_queue=256)
        batcher.start()
        done = await batcher.submit("segment", ["今天天气很好"], segmenter.predict)
        await batcher.stop()

    Requests with an equal key are computed together, in their order, up to `max_batch` items (a larger request is
    computed alone). Where `compute` has a method `with_first`, it says which single items of a batch go with the first
    one, and the others come next. If a batch fails, each of its requests is computed alone, so that none suffers for
    another one.

    Args:
        max_batch: the most items of a batch.
        wait: seconds for which a request waits for others while the model has nothing to do.
        max_queue: the most items that wait.
        max_streams: the most streams at once.
    """

    def __init__(self, max_batch: int = 32, wait: float = 0.002, max_queue: int = 256, max_streams: int = 8):
        self.max_batch, self.wait, self.max_queue, self.max_streams = max_batch, wait, max_queue, max_streams
        self.waiting = self.streams = 0
        self._jobs: collections.deque[_Job] = collections.deque()
        self._arrived = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")

    def start(self) -> None:
        """Begins to work; in the event loop that the requests come from."""
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Ends when everything that was accepted is done."""
        self._stopping = True
        self._arrived.set()
        if self._task is not None:
            await self._task
        self._thread.shutdown(wait=False)

    async def submit(self, key: Hashable, items: Sequence[Any], compute: Compute) -> Done:
        """The results of some items, computed together with those of other requests.

        Args:
            key: requests may be joined if their keys are equal.
            items: what is computed.
            compute: the function of this key.

        Raises:
            Refused: too many items wait (429), or the server stops (503).
            Exception: what `compute` raises for these items alone.
        """
        self._require_open()
        if self.waiting + len(items) > self.max_queue:
            raise Refused(429, "busy", "too many requests wait for this model; try again later.", retry_after=1)
        job = _Job(key, items, compute, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self.waiting += len(items)
        self._arrived.set()
        return await job.future

    async def run(self, function: Callable[[], _T]) -> _T:
        """Calls a function in the model's thread, between two batches."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def stream(self, start: Callable[[], Iterator[_T]]) -> AsyncIterator[_T]:
        """What an iterator yields (never None), which is made and asked in the model's thread; batches run in between.

        Raises:
            Refused: too many streams run (429), or the server stops (503).
        """
        self._require_open()
        if self.streams >= self.max_streams:
            raise Refused(429, "busy", "too many texts are being written; try again later.", retry_after=1)
        self.streams += 1
        iterator: Iterator[_T] | None = None
        try:
            iterator = await self.run(start)
            while (item := await self.run(functools.partial(_next, iterator))) is not None:
                yield item
        finally:
            self.streams -= 1
            if (close := getattr(iterator, "close", None)) is not None:
                self._thread.submit(close)  # behind the step that still runs

    def _require_open(self) -> None:
        if self._stopping:
            raise Refused(503, "stopping", "the server is being stopped; ask another one.", retry_after=5)

    async def _work(self) -> None:
        while True:
            if not self._jobs:
                if self._stopping:
                    return
                self._arrived.clear()
                await self._arrived.wait()
                continue
            await self._fill(self._jobs[0])
            batch = self._take()
            if batch:
                await self._compute(batch)

    async def _fill(self, first: _Job) -> None:
        """Waits until the batch of this job is full or its time has come."""
        until = first.arrived + self.wait
        while not self._stopping and self.waiting < self.max_batch and (left := until - time.monotonic()) > 0:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), left)
            except TimeoutError:
                return

    def _take(self) -> list[_Job]:
        """The first job and those that may be computed with it; the others keep their order."""
        batch: list[_Job] = []
        others: list[_Job] = []
        room = self.max_batch
        for job in self._jobs:
            if job.future.cancelled():
                self.waiting -= len(job.items)
            elif not batch or (job.key == batch[0].key and len(job.items) <= room and not _among(others, job)):
                batch.append(job)
                room -= len(job.items)
            else:
                others.append(job)
        batch, later = _grouped(batch)
        self._jobs = collections.deque(sorted([*later, *others], key=lambda job: job.arrived))
        self.waiting -= sum(len(job.items) for job in batch)
        return batch

    async def _compute(self, batch: list[_Job]) -> None:
        started = time.monotonic()
        items = [item for job in batch for item in job.items]
        try:
            results = await self.run(lambda: batch[0].compute(items))
            assert len(results) == len(items), f"{len(results)} results"
        except Exception as error:
            if len(batch) > 1:
                for job in batch:
                    if not job.future.cancelled():
                        await self._compute([job])
            elif not batch[0].future.cancelled():
                batch[0].future.set_exception(error)
            return
        seconds, at = time.monotonic() - started, 0
        for job in batch:
            if not job.future.cancelled():
                found = results[at : at + len(job.items)]
                job.future.set_result(Done(found, len(items), started - job.arrived, seconds))
            at += len(job.items)


def _grouped(batch: list[_Job]) -> tuple[list[_Job], list[_Job]]:
    """Those of a batch that are best computed with the first one, and those that had better wait, if it can tell."""
    with_first = getattr(batch[0].compute, "with_first", None) if batch else None
    if with_first is None or any(len(job.items) > 1 for job in batch):
        return batch, []
    chosen = set(with_first([job.items[0] for job in batch]))
    return [job for i, job in enumerate(batch) if i in chosen], [job for i, job in enumerate(batch) if i not in chosen]


def _among(jobs: Sequence[_Job], job: _Job) -> bool:
    """Whether one of the jobs has the key of this one: it came first, and goes first."""
    return any(other.key == job.key for other in jobs)


def _next(iterator: Iterator[_T]) -> _T | None:
    return next(iterator, None)
