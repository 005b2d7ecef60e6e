"""zjobs in the benchmark beside other libraries; the contract is `peers/__init__.py` of that benchmark."""

import time

from peers import Peer, payload


class Memory(Peer):
    """Jobs by name with a dict payload; typed keyword arguments on the worker's side."""

    name, dist, backend, in_process = "zjobs-memory", "", "memory", True
    config = "Supervisor(queues={'default': 10}), jobs.enqueue(name, dict), handler(to: str, n: int)"
    python = "BENCH_PYTHON_ZJOBS"

    def open(self):
        import probe

        import zjobs

        hit = probe.hit
        self.jobs = zjobs.Supervisor(queues={"default": 10})

        @self.jobs.worker
        def send_email(to: str, n: int) -> None:
            hit(n)

    def one(self, i):
        self.jobs.enqueue("send_email", payload(i))

    def many(self, ids):
        self.jobs.enqueue_many([("send_email", payload(i)) for i in ids])

    def work(self):
        with self.jobs:
            time.sleep(1e6)


class MemoryBytes(Memory):
    """Ready-made JSON text in, raw bytes out."""

    name = "zjobs-memory-bytes"
    config = "Supervisor(queues={'default': 10}), jobs.enqueue(name, bytes), handler(args: bytes)"
    skip = ("latency", "roundtrip")  # its one payload names no job
    text = b'{"to":"user@example.com","n":1}'

    def open(self):
        import probe

        import zjobs

        hit = probe.hit
        self.jobs = zjobs.Supervisor(queues={"default": 10})

        def send_email(args: bytes) -> None:
            hit(0)

        self.jobs.register_worker(zjobs.WorkerDef("send_email", send_email))

    def one(self, i):
        self.jobs.enqueue("send_email", self.text)

    def many(self, ids):
        text = self.text
        self.jobs.enqueue_many([("send_email", text) for _ in ids])


class MemoryAsync(Memory):
    """Coroutine handlers."""

    name = "zjobs-memory-async"
    config = "as zjobs-memory, with async def handler(to: str, n: int)"

    def open(self):
        import probe

        import zjobs

        hit = probe.hit
        self.jobs = zjobs.Supervisor(queues={"default": 10})

        @self.jobs.worker
        async def send_email(to: str, n: int) -> None:
            hit(n)


class Sqlite(Memory):
    """Jobs in a SQLite file that producer and workers share; each enqueue returns after its commit is on the disk."""

    name, backend, in_process, dist = "zjobs-sqlite", "sqlite", False, "zjobs"
    config = "Supervisor('sqlite:///jobs.db', queues={'default': 10}): synchronous=FULL, otherwise defaults"
    url = "sqlite:///jobs.db"  # the runner's working folder is this run's own

    def setup(self):
        import zjobs

        zjobs.migrate(self.url)

    def open(self):
        import probe

        import zjobs

        hit = probe.hit
        self.jobs = zjobs.Supervisor(self.url, queues={"default": 10})

        @self.jobs.worker
        def send_email(to: str, n: int) -> None:
            hit(n)

    def work(self):
        self.open()
        self.jobs.run()


class Postgres(Sqlite):
    """Jobs in PostgreSQL; each enqueue returns after its commit."""

    name, backend = "zjobs-pg", "postgresql"
    config = "Supervisor('postgresql://...', queues={'default': 10}): defaults"
    pending_sql = "SELECT count(*) FROM zjobs.jobs WHERE state <> 2"

    @property
    def url(self):
        return self.pg


class PostgresTen(Postgres):
    """At most ten jobs are claimed ahead."""

    name = "zjobs-pg-10"
    config = "as zjobs-pg, with Queue('default', 10, prefetch=0)"

    def open(self):
        import probe

        import zjobs

        hit = probe.hit
        self.jobs = zjobs.Supervisor(self.url, queues=[zjobs.Queue("default", 10, prefetch=0)])

        @self.jobs.worker
        def send_email(to: str, n: int) -> None:
            hit(n)


PEERS = [Memory, MemoryBytes, MemoryAsync, Sqlite, Postgres, PostgresTen]
