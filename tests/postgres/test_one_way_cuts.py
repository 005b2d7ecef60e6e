"""A network that lets some of a worker's sessions through and drops the others."""

import threading

import pytest

import zjobs

SOON = 30
ACKS, BEATS = b"ack.state", b"beat_at ="
WAITING = 4 * 256
"""Ends that may wait to be written before a process claims no more."""


class Hold:
    """Drops everything of sessions that have ever asked for one thing."""

    def __init__(self, proxy, asked):
        self.asked, self.sessions, self.on = asked, set(), False
        proxy.judge_session = self.judge

    def judge(self, client, data):
        if self.asked in data:
            self.sessions.add(client)
        return "hold" if self.on and client in self.sessions else "pass"


def open_worker(url, server, proxy):
    place, schema = url.replace(f":{server.port}/", f":{proxy.port}/").split("?schema=")
    store = zjobs.PostgresStore(place, schema=schema, call_timeout_seconds=1)
    return zjobs.Supervisor(store, queues={"default": 1}, rescue_interval_ms=1000)


@pytest.mark.timeout(180)
def test_where_beats_pass_and_ends_do_not_the_jobs_are_kept_and_no_more_are_claimed(server, url, proxy, eventually):
    cut_off, runs = open_worker(url, server, proxy), []

    @cut_off.worker
    def act(n: int) -> None:
        runs.append(n)

    client = zjobs.Supervisor(url, rescue_interval_ms=1000)
    hold = Hold(proxy, ACKS)
    hold.on = True
    with cut_off:
        client.enqueue_many([("act", {"n": n}) for n in range(2 * WAITING)])
        eventually(lambda: len(runs) >= WAITING)
        # One more piece of work and all that was claimed with it may have been on its way.
        eventually(lambda: client.count(states=[zjobs.JobState.EXECUTING]) == len(runs))
        assert len(runs) < 1.5 * WAITING
        eventually(lambda: hold.sessions)
        beats = client.nodes()[0].beat_at
        eventually(lambda: client.nodes()[0].beat_at > beats)
        client.rescue_stuck()
        assert client.count(states=[zjobs.JobState.EXECUTING]) == len(runs)
        hold.on = False
        proxy.cut()
        eventually(lambda: client.count(states=[zjobs.JobState.COMPLETED]) == 2 * WAITING)
    assert sorted(runs) == list(range(2 * WAITING))


def test_where_ends_pass_and_beats_do_not_the_lease_is_lost_and_nothing_late_is_written(server, url, proxy, eventually):
    runs, lost, gate = [], [], threading.Event()
    cut_off = open_worker(url, server, proxy)
    other = zjobs.Supervisor(url, queues={"default": 1}, rescue_interval_ms=1000)
    for name, jobs in (("cut off", cut_off), ("other", other)):

        @jobs.worker(keep_result=True)
        def act(name: str = name) -> str:
            runs.append(name)
            if name == "cut off":
                assert gate.wait(SOON)
            return name

    cut_off.telemetry.attach(lost.append, zjobs.telemetry.LeaseLost)
    hold = Hold(proxy, BEATS)
    with cut_off:
        job = cut_off.enqueue("act")
        eventually(lambda: runs)
        hold.on = True
        with other:
            assert other.wait(job, SOON).result == "other"
            gate.set()
            # Its end reaches the server, which refuses it; the worker hears that from there.
            eventually(lambda: lost)
            assert cut_off.get(job).result == "other"
        hold.on = False
        proxy.cut()
    after = other.get(job)
    assert (after.result, after.attempt, after.crashes) == ("other", 2, 1)
    assert runs == ["cut off", "other"]
