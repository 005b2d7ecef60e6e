"""Coroutines that enqueue at once share writes: what they may expect of each other."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from zjobs import EnqueueUncertain, Invalid, StoreFull, StoreUnavailable
from zjobs._together import Together


class Writer:
    """Writes numbers down as they are, and fails where it is told to."""

    def __init__(self):
        self.writes = []
        self.bad = {}
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, jobs):
        assert self.gate.wait(30)
        self.writes.append(list(jobs))
        for job in jobs:
            if job in self.bad:
                raise self.bad[job]
        return [f"job {job}" for job in jobs]


@pytest.fixture
def writer():
    return Writer()


async def test_all_of_one_turn_of_the_loop_share_one_write_in_their_order(writer):
    together = Together(writer)
    replies = await asyncio.gather(*(together.enqueue(n) for n in range(100)))
    assert replies == [f"job {n}" for n in range(100)]
    assert writer.writes == [list(range(100))]


async def test_those_who_come_while_a_write_is_on_its_way_share_the_next(writer):
    together = Together(writer)
    writer.gate.clear()
    first = asyncio.ensure_future(together.enqueue(0))
    await asyncio.sleep(0.01)
    later = [asyncio.ensure_future(together.enqueue(n)) for n in (1, 2, 3)]
    await asyncio.sleep(0.01)
    writer.gate.set()
    await asyncio.gather(first, *later)
    assert writer.writes == [[0], [1, 2, 3]]


async def test_a_flood_is_written_in_parts(writer):
    together = Together(writer)
    await asyncio.gather(*(together.enqueue(n) for n in range(5000)))
    assert [len(write) for write in writer.writes] == [2000, 2000, 1000]


@pytest.mark.parametrize("error", [StoreFull("full"), Invalid("wrong"), ValueError("odd")])
async def test_one_that_is_refused_does_not_harm_the_others(writer, error):
    writer.bad[2] = error
    together = Together(writer)
    replies = await asyncio.gather(*(together.enqueue(n) for n in range(4)), return_exceptions=True)
    assert [str(reply) for reply in replies] == ["job 0", "job 1", str(error), "job 3"]
    assert type(replies[2]) is type(error)


@pytest.mark.parametrize("error", [EnqueueUncertain("perhaps"), StoreUnavailable("gone")])
async def test_what_is_not_known_of_one_is_not_known_of_all_and_nothing_is_written_twice(writer, error):
    writer.bad[2] = error
    together = Together(writer)
    replies = await asyncio.gather(*(together.enqueue(n) for n in range(4)), return_exceptions=True)
    assert [type(reply) for reply in replies] == [type(error)] * 4
    assert len({id(reply) for reply in replies}) == 4
    assert writer.writes == [[0, 1, 2, 3]]


async def test_a_caller_who_is_cancelled_takes_nobody_with_it(writer):
    together = Together(writer)
    writer.gate.clear()
    asked = [asyncio.ensure_future(together.enqueue(n)) for n in range(3)]
    await asyncio.sleep(0.01)
    asked[1].cancel()
    writer.gate.set()
    replies = await asyncio.gather(*asked, return_exceptions=True)
    assert [str(reply) for reply in replies] == ["job 0", "", "job 2"]


def test_each_event_loop_has_a_line_of_its_own(writer):
    together = Together(writer)

    async def ask(n):
        return await together.enqueue(n)

    assert [asyncio.run(ask(n)) for n in range(3)] == ["job 0", "job 1", "job 2"]


async def test_a_loop_without_threads_says_so(writer):
    together = Together(writer)
    loop = asyncio.get_running_loop()
    await together.enqueue(0)
    await loop.shutdown_default_executor()
    for n in (1, 2):
        with pytest.raises(RuntimeError, match="shutdown"):
            await together.enqueue(n)
    assert writer.writes == [[0]]


async def test_one_after_the_other_is_written_one_by_one(writer):
    together = Together(writer)
    assert [await together.enqueue(n) for n in range(3)] == ["job 0", "job 1", "job 2"]
    assert writer.writes == [[0], [1], [2]]


async def test_a_write_that_is_never_begun_cancels_those_who_asked(writer, gate):
    together = Together(writer)
    loop = asyncio.get_running_loop()
    threads = ThreadPoolExecutor(1)
    loop.set_default_executor(threads)
    threads.submit(gate.wait, 30)
    asked = [asyncio.ensure_future(together.enqueue(n)) for n in range(2)]
    await asyncio.sleep(0.01)
    threads.shutdown(wait=False, cancel_futures=True)
    done, _ = await asyncio.wait(asked, timeout=30)
    gate.set()
    assert len(done) == 2
    assert all(one.cancelled() for one in asked)
    assert writer.writes == []
