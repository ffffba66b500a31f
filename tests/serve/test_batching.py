"""Batches: what is joined, what waits, what is refused, and that one request cannot hurt another."""

import asyncio
import threading
import time

import pytest

pytest.importorskip("fastapi", reason="the server needs the extra `serve`")

from nlptasks.serve.batching import Batcher
from nlptasks.serve.failures import Refused

pytestmark = pytest.mark.once


def run(body, **settings):
    async def inner():
        batcher = Batcher(**settings)
        batcher.start()
        try:
            return await body(batcher)
        finally:
            await batcher.stop()

    return asyncio.run(inner())


def recorder(delay=0.0):
    batches = []

    def double(items):
        batches.append(list(items))
        time.sleep(delay)
        return [2 * item for item in items]

    return batches, double


def test_requests_that_come_together_are_computed_together_and_each_gets_its_own():
    batches, double = recorder()

    async def body(batcher):
        return await asyncio.gather(*(batcher.submit("a", [i, i + 100], double) for i in range(5)))

    found = run(body, wait=0.05)
    assert [done.results for done in found] == [[2 * i, 2 * i + 200] for i in range(5)]
    assert len(batches) == 1
    assert {done.batch for done in found} == {10}


def test_a_batch_has_at_most_its_size_unless_one_request_is_larger():
    batches, double = recorder()

    async def body(batcher):
        sizes = (2, 2, 2, 7, 1)
        await asyncio.gather(*(batcher.submit("a", [i] * size, double) for i, size in enumerate(sizes)))

    run(body, max_batch=5, wait=0.05)
    assert [len(batch) for batch in batches] == [4, 2, 7, 1] or [len(batch) for batch in batches] == [4, 3, 7]
    assert batches[0] == [0, 0, 1, 1]


def test_other_options_are_another_batch_and_nobody_is_overtaken_by_an_equal():
    batches, double = recorder()

    async def body(batcher):
        asked = [("a", [1]), ("b", [2]), ("a", [3, 3, 3]), ("a", [4]), ("b", [5])]
        await asyncio.gather(*(batcher.submit(key, items, double) for key, items in asked))

    run(body, max_batch=3, wait=0.05)
    assert batches == [[1], [2, 5], [3, 3, 3], [4]]


def test_what_goes_badly_with_the_first_comes_next_and_nobody_is_left():
    class Alike:
        def __init__(self):
            self.batches = []

        def __call__(self, items):
            self.batches.append(list(items))
            return list(items)

        def with_first(self, items):
            return [i for i, item in enumerate(items) if item % 2 == items[0] % 2]

    compute = Alike()

    async def body(batcher):
        return await asyncio.gather(*(batcher.submit("a", [i], compute) for i in (1, 2, 3, 4, 6)))

    found = run(body, wait=0.05)
    assert [done.results for done in found] == [[1], [2], [3], [4], [6]]
    assert compute.batches == [[1, 3], [2, 4, 6]]


def test_a_lone_request_waits_no_longer_than_it_is_told():
    _, double = recorder()

    async def body(batcher):
        started = time.monotonic()
        await batcher.submit("a", [1], double)
        return time.monotonic() - started

    assert 0.04 < run(body, wait=0.05) < 0.5


def test_what_does_not_fit_into_the_queue_is_refused_at_once():
    batches, double = recorder(delay=0.1)

    async def body(batcher):
        asked = [asyncio.ensure_future(batcher.submit("a", [i], double)) for i in range(7)]
        return await asyncio.gather(*asked, return_exceptions=True)

    found = run(body, max_batch=2, max_queue=4, wait=0.0)
    refused = [error for error in found if isinstance(error, Refused)]
    assert [error.status for error in refused] == [429] * 3
    assert refused[0].headers == {"retry-after": "1"}
    assert sorted(item for batch in batches for item in batch) == [0, 1, 2, 3]


def test_a_request_that_fails_fails_alone():
    seen = []

    def careful(items):
        seen.append(list(items))
        if 3 in items:
            raise ValueError("no threes")
        return items

    async def body(batcher):
        asked = (batcher.submit("a", [i], careful) for i in range(5))
        return await asyncio.gather(*asked, return_exceptions=True)

    found = run(body, wait=0.05)
    assert [str(one) if isinstance(one, Exception) else one.results for one in found] == [
        [0], [1], [2], "no threes", [4]
    ]  # fmt: skip
    assert seen == [[0, 1, 2, 3, 4], [0], [1], [2], [3], [4]]


def test_a_result_too_few_is_an_error_and_no_mixed_up_answer():
    async def body(batcher):
        asked = (batcher.submit("a", [i], lambda items: items[1:]) for i in range(2))
        return await asyncio.gather(*asked, return_exceptions=True)

    assert [type(one) for one in run(body, wait=0.05)] == [AssertionError] * 2


def test_who_has_given_up_is_not_computed():
    batches, double = recorder()

    async def body(batcher):
        first = asyncio.ensure_future(batcher.submit("a", [1], double))
        second = asyncio.ensure_future(batcher.submit("a", [2], double))
        await asyncio.sleep(0)
        first.cancel()
        await second
        return batcher.waiting

    assert run(body, wait=0.05) == 0
    assert batches == [[2]]


def test_what_was_accepted_is_finished_and_nothing_more_is_taken():
    batches, double = recorder(delay=0.03)

    async def body(batcher):
        asked = [asyncio.ensure_future(batcher.submit("a", [i], double)) for i in range(4)]
        await asyncio.sleep(0)
        await batcher.stop()
        with pytest.raises(Refused) as error:
            await batcher.submit("a", [9], double)
        assert error.value.status == 503
        return [one.result().results for one in asked]

    async def outer():
        batcher = Batcher(max_batch=2, wait=5.0)  # nobody waits for more when all is to end
        batcher.start()
        return await body(batcher)

    assert asyncio.run(outer()) == [[0], [2], [4], [6]]
    assert [len(batch) for batch in batches] == [2, 2]


def test_a_stream_runs_between_batches_and_ends_when_it_is_left():
    batches, double = recorder()
    closed, threads = [], set()

    def letters():
        try:
            for letter in "abcdef":
                threads.add(threading.current_thread().name)
                yield letter
        finally:
            closed.append(True)

    async def body(batcher):
        stream = batcher.stream(letters)
        found = [await anext(stream), await anext(stream)]
        await batcher.submit("a", [1], double)
        assert batcher.streams == 1
        with pytest.raises(Refused, match="being written"):
            await anext(batcher.stream(letters))
        await stream.aclose()
        await batcher.run(lambda: None)
        assert (closed, batcher.streams) == ([True], 0)
        return found, [letter async for letter in batcher.stream(letters)]

    found, whole = run(body, max_streams=1, wait=0.0)
    assert (found, "".join(whole), batches) == (["a", "b"], "abcdef", [[1]])
    assert len(threads) == 1
    assert threading.current_thread().name not in threads
