"""A function applied by several processes or threads."""

import contextlib
import queue
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import get_context
from multiprocessing.dummy import Pool as Threads
from typing import Any

import numpy as np


def _worker(func: Callable, todo: Any, done: Any, seeds: Any) -> None:
    with contextlib.suppress(queue.Empty):
        np.random.seed(seeds.get(timeout=0.1))  # noqa: NPY002 - what a script draws from
    while True:
        number, entry = todo.get()
        done.put((number, func(entry)))


def parallel_apply_generator(
    func: Callable,
    iterable: Iterable[Any],
    workers: int,
    max_queue_size: int,
    dummy: bool = False,
    random_seeds: Any = True,
) -> Iterator[tuple[int, Any]]:
    """(number, result) of each entry, in the order in which they are done.

    Args:
        workers: how many processes, or threads with `dummy`.
        max_queue_size: how many entries wait.
        random_seeds: a seed for each worker; True: they are drawn by the system, None: none.
    """
    seeds = [None] * workers if random_seeds is True else random_seeds or []
    todo: Any
    done: Any
    seeded: Any
    if dummy:
        todo, done, seeded = queue.Queue(max_queue_size), queue.Queue(), queue.Queue()
        pool: Any = Threads(workers, _worker, (func, todo, done, seeded))
    else:
        context: Any = get_context("fork")  # workers share the script's functions
        todo, done, seeded = context.Queue(max_queue_size), context.Queue(), context.Queue()
        pool = context.Pool(workers, _worker, (func, todo, done, seeded))
    for seed in seeds:
        seeded.put(seed)
    sent = received = 0
    try:
        for entry in enumerate(iterable):
            while True:
                try:
                    todo.put(entry, timeout=0.01)
                    break
                except queue.Full:
                    while received < sent and not done.empty():
                        yield done.get()
                        received += 1
            sent += 1
        while received < sent:
            yield done.get()
            received += 1
    finally:
        pool.terminate()


def parallel_apply(
    func: Callable,
    iterable: Iterable[Any],
    workers: int,
    max_queue_size: int,
    callback: Callable | None = None,
    dummy: bool = False,
    random_seeds: Any = True,
    unordered: bool = True,
) -> list[Any] | None:
    """The results of all entries, or None where a callback takes each.

        parallel_apply(len, ["a", "bc"], workers=2, max_queue_size=10, dummy=True, unordered=False)  # [1, 2]

    Args:
        unordered: results come as they are done; else in the order of the entries.
    """
    found = parallel_apply_generator(func, iterable, workers, max_queue_size, dummy, random_seeds)
    if callback is not None:
        for _, result in found:
            callback(result)
        return None
    return [result for _, result in (found if unordered else sorted(found, key=lambda pair: pair[0]))]
