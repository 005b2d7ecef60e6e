"""zjobs in memory against the standard library, side by side in one process.

`python benches/in_process.py [workload ...]` runs all workloads, or those that are named.

Each workload is run in pairs, ours and theirs one after the other, and the ratio is the median over the pairs with its
range: rates of a shared machine cannot be compared across runs. The payload is a dict of two scalars that travels as
JSON on our side and is decoded into typed keyword arguments; the standard library passes the object itself.
"""

import argparse
import asyncio
import itertools
import pathlib
import queue
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import zjobs

clock = time.perf_counter
TEXT = b'{"to":"user@example.com","n":1}'


def payload(i: int) -> dict[str, object]:
    return {"to": "user@example.com", "n": i}


class Countdown:
    """Counts hits and notes when the last one came."""

    def __init__(self, n: int) -> None:
        self.n, self.done, self.next = n, threading.Event(), itertools.count(1).__next__

    def hit(self, _n: object = 0) -> None:
        if self.next() == self.n:
            self.end = clock()
            self.done.set()


def supervisor(hit: Callable[[object], None] = lambda _n: None) -> zjobs.Supervisor:
    jobs = zjobs.Supervisor(zjobs.MemoryStore(max_finished=1000), queues={"default": 10})

    @jobs.worker
    def typed(to: str, n: int) -> None:
        hit(n)

    @jobs.worker
    async def coroutine(to: str, n: int) -> None:
        hit(n)

    def raw(args: bytes) -> None:
        hit(args)

    jobs.register_worker(zjobs.WorkerDef("raw", raw))
    return jobs


# --- enqueue: seconds per job ---


def put_simple_queue(n: int) -> float:
    put = queue.SimpleQueue().put
    start = clock()
    for i in range(n):
        put(payload(i))
    return (clock() - start) / n


def submit_thread_pool(n: int) -> float:
    gate = threading.Event()
    with ThreadPoolExecutor(10) as pool:
        for _ in range(10):
            pool.submit(gate.wait)
        start = clock()
        for i in range(n):
            pool.submit(payload, i)
        took = (clock() - start) / n
        gate.set()
    return took


def enqueue_by_name(n: int) -> float:
    jobs = supervisor()
    start = clock()
    for i in range(n):
        jobs.enqueue("typed", payload(i))
    return (clock() - start) / n


def enqueue_bytes(n: int) -> float:
    jobs = supervisor()
    start = clock()
    for _ in range(n):
        jobs.enqueue("raw", TEXT)
    return (clock() - start) / n


def enqueue_many(n: int) -> float:
    jobs = supervisor()
    start = clock()
    for first in range(0, n, 1000):
        jobs.enqueue_many([("typed", payload(i)) for i in range(first, first + 1000)])
    return (clock() - start) / n


# --- drain: seconds per job ---


def drain(worker: str, n: int) -> float:
    countdown = Countdown(n)
    jobs = supervisor(countdown.hit)
    for first in range(0, n, 1000):
        jobs.enqueue_many([(worker, TEXT if worker == "raw" else payload(i)) for i in range(first, first + 1000)])
    start = clock()
    with jobs:
        countdown.done.wait(60)
    return (countdown.end - start) / n


def drain_simple_queue(n: int) -> float:
    countdown, waiting = Countdown(n), queue.SimpleQueue[object]()

    def handler(to: str, n: int) -> None:
        countdown.hit(n)

    for i in range(n):
        waiting.put(payload(i))
    for _ in range(10):
        waiting.put(None)

    def loop() -> None:
        while (given := waiting.get()) is not None:
            handler(**given)

    threads = [threading.Thread(target=loop) for _ in range(10)]
    start = clock()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (countdown.end - start) / n


def drain_thread_pool(n: int) -> float:
    countdown, gate = Countdown(n), threading.Event()

    def handler(to: str, n: int) -> None:
        countdown.hit(n)

    with ThreadPoolExecutor(10) as pool:
        for _ in range(10):
            pool.submit(gate.wait)
        for i in range(n):
            pool.submit(handler, **payload(i))
        start = clock()
        gate.set()
    return (countdown.end - start) / n


def drain_tasks(n: int) -> float:
    countdown = Countdown(n)

    async def handler(to: str, n: int) -> None:
        countdown.hit(n)

    async def main() -> float:
        places = asyncio.Semaphore(10)

        async def run(given: dict[str, object]) -> None:
            async with places:
                await handler(**given)  # type: ignore[arg-type]

        start = clock()
        tasks = [asyncio.create_task(run(payload(i))) for i in range(n)]
        await asyncio.gather(*tasks)
        return (countdown.end - start) / n

    return asyncio.run(main())


# --- what has an ideal or a bound instead of a rival ---


def sleepers() -> None:
    """1 000 handlers that sleep 10 ms on ten slots: the ideal is 1.0 s."""
    ratios = []
    for _ in range(5):
        countdown = Countdown(1000)
        jobs = zjobs.Supervisor(queues={"default": 10})

        jobs.register_worker(zjobs.WorkerDef("nap", _nap(countdown.hit)))

        jobs.enqueue_many([("nap", {})] * 1000)
        start = clock()
        with jobs:
            countdown.done.wait(30)
        ratios.append(countdown.end - start)
    print(f"sleepers             {statistics.median(ratios):.3f} s (ideal 1.000, {min(ratios):.3f}-{max(ratios):.3f})")


def _nap(hit: Callable[[], None]) -> Callable[[object], None]:
    def nap(_args: object) -> None:
        time.sleep(0.01)
        hit()

    return nap


def latency() -> None:
    """An idle supervisor or queue, one job every 20 ms: microseconds from the call to the handler's start."""
    ours, theirs = [], []
    for _ in range(5):
        ours.append(_paced_zjobs())
        theirs.append(_paced_queue())
    for place, name in ((0, "p50"), (1, "p99")):
        ratio = statistics.median(o[place] / t[place] for o, t in zip(ours, theirs, strict=True))
        mine = statistics.median(o[place] for o in ours)
        other = statistics.median(t[place] for t in theirs)
        print(f"latency {name}          {mine:7.1f} us against {other:7.1f} us, ratio {ratio:.2f}")


def _paced(send: Callable[[int], object], started: list[float]) -> tuple[float, float]:
    sent = []
    for i in range(200):
        time.sleep(0.02)
        sent.append(clock())
        send(i)
    time.sleep(0.1)
    waits = [(at - since) * 1e6 for since, at in zip(sent, started, strict=True)]
    return statistics.median(waits), statistics.quantiles(waits, n=100)[98]


def _paced_zjobs() -> tuple[float, float]:
    started: list[float] = []
    jobs = supervisor(lambda _n: started.append(clock()))
    with jobs:
        time.sleep(0.2)
        return _paced(lambda i: jobs.enqueue("typed", payload(i)), started)


def _paced_queue() -> tuple[float, float]:
    started: list[float] = []
    waiting = queue.SimpleQueue[object]()

    def loop() -> None:
        while waiting.get() is not None:
            started.append(clock())

    for _ in range(10):
        threading.Thread(target=loop, daemon=True).start()
    time.sleep(0.2)
    figures = _paced(lambda i: waiting.put(payload(i)), started)
    for _ in range(10):
        waiting.put(None)
    return figures


def memory() -> None:
    """Bytes per waiting job beside its payload, and 10 million jobs at once, each in a process of its own."""
    for count in (1_000_000, 10_000_000):
        code = (
            "import zjobs, os\n"
            "jobs = zjobs.Supervisor()\n"
            "rss = lambda: int(open('/proc/self/statm').read().split()[1]) * os.sysconf('SC_PAGE_SIZE')\n"
            "before = rss()\n"
            f"batch = [('unknown', {TEXT!r})] * 1000\n"
            f"for _ in range({count} // 1000): jobs.enqueue_many(batch)\n"
            "print(rss() - before)"
        )
        grown = int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
        beside = grown / count - len(TEXT)
        print(f"memory {count:>10,}   {beside:6.1f} bytes per job beside its payload, {grown / 2**30:.2f} GiB in all")


def idle() -> None:
    """Context switches and processor time of a started supervisor that has nothing to do, over 11 seconds."""
    jobs = supervisor()

    def switches() -> int:
        total = 0
        for task in pathlib.Path("/proc/self/task").iterdir():
            status = (task / "status").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)
        return total

    with jobs:
        time.sleep(1)
        before, used = switches(), time.process_time()
        time.sleep(11)
        cpu = (time.process_time() - used) * 1e3
        print(f"idle                 {switches() - before} switches and {cpu:.1f} ms of CPU in 11 s")


PAIRS: dict[str, tuple[Callable[[int], float], Callable[[int], float], int, str]] = {
    "enqueue/SimpleQueue": (enqueue_by_name, put_simple_queue, 200_000, ">= 0.2"),
    "enqueue/ThreadPool": (enqueue_by_name, submit_thread_pool, 50_000, ">= 10"),
    "enqueue bytes/SimpleQueue": (enqueue_bytes, put_simple_queue, 200_000, ">= 0.4"),
    "enqueue_many/SimpleQueue": (enqueue_many, put_simple_queue, 200_000, ">= 0.5"),
    "drain typed/SimpleQueue": (lambda n: drain("typed", n), drain_simple_queue, 200_000, ">= 0.2"),
    "drain typed/ThreadPool": (lambda n: drain("typed", n), drain_thread_pool, 50_000, ">= 4"),
    "drain raw/SimpleQueue": (lambda n: drain("raw", n), drain_simple_queue, 200_000, ">= 0.4"),
    "drain coroutine/tasks": (lambda n: drain("coroutine", n), drain_tasks, 50_000, ">= 5"),
}
SINGLE = {"sleepers": sleepers, "latency": latency, "memory": memory, "idle": idle}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", nargs="*", default=[*PAIRS, *SINGLE])
    parser.add_argument("--pairs", type=int, default=9)
    args = parser.parse_args()
    for name in args.workload:
        if name in SINGLE:
            SINGLE[name]()
            continue
        ours, theirs, n, goal = PAIRS[name]
        ours(1000), theirs(1000)
        runs = [(ours(n), theirs(n)) for _ in range(args.pairs)]
        ratios = sorted(their / our for our, their in runs)
        mine, other = (statistics.median(run[side] for run in runs) * 1e9 for side in (0, 1))
        print(
            f"{name:27} {statistics.median(ratios):6.2f} x  ({ratios[0]:.2f}-{ratios[-1]:.2f}; goal {goal}; "
            f"{mine:.0f} ns against {other:.0f} ns per job)",
            flush=True,
        )


if __name__ == "__main__":
    main()
