"""A server whose disk is full: calls say so, ends of jobs wait, and nothing is lost when there is space again."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

# The tables are in a tablespace on a disk of 48 MiB; the server's own files and its log are elsewhere.
STORY = textwrap.dedent(
    """
    import os, random, sys, threading
    from pathlib import Path

    import psycopg

    import postgres_server, zjobs

    STATES, SOON = zjobs.JobState, 60
    small, big = Path(sys.argv[1]), Path(sys.argv[2])
    server = postgres_server.Server(big / "server")
    server.create()
    server.start()
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(f"CREATE TABLESPACE small LOCATION '{small}'")
        admin.execute("CREATE DATABASE jobs TABLESPACE small")
    url = f"postgresql://postgres@127.0.0.1:{server.port}/jobs"
    jobs = zjobs.Supervisor(url, queues={"default": 4}, rescue_interval_ms=1000)
    go, unavailable, recovered = threading.Event(), threading.Event(), threading.Event()
    jobs.telemetry.attach(lambda event: unavailable.set(), "store_unavailable")
    jobs.telemetry.attach(lambda event: recovered.set(), "store_recovered")
    noise, runs = random.Random(1), []

    @jobs.worker(keep_result=True)
    def waits() -> str:
        runs.append(1)
        go.wait()
        return noise.randbytes(100_000).hex()  # what no compression makes small

    @jobs.worker
    def noop(text: str) -> None: ...

    jobs.start()
    held = [waits.enqueue() for _ in range(4)]
    while jobs.count_by_state()[STATES.EXECUTING] < 4:
        threading.Event().wait(0.01)
    filler = os.open(small / "filler", os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(filler, b"x" * 4096)
    except OSError:
        pass
    refused = 0
    while refused < 3:
        try:
            noop.options(schedule_in=3600).enqueue(noise.randbytes(20_000).hex())
        except zjobs.StoreUnavailable as error:
            refused += 1
            print(error)
    there = jobs.count(worker="noop")
    go.set()
    print("unavailable", unavailable.wait(SOON))
    print(*[jobs.get(job).state.name for job in held])
    print("beats", all(jobs.get(job).crashes == 0 for job in held))
    os.unlink(small / "filler")
    os.close(filler)
    print("recovered", recovered.wait(SOON))
    print(*[(jobs.wait(job, SOON).state.name, jobs.get(job).attempt, len(jobs.get(job).result)) for job in held])
    print("runs", len(runs))
    print("refused ones left", jobs.count(worker="noop") - there)
    print(jobs.wait(noop.enqueue(noise.randbytes(20_000).hex()), SOON).state.name)
    jobs.stop()
    server.stop()
    """
)
# Mounted where nobody else sees it; the server must not be root, not even the root of that place.
MOUNT = 'mount -t tmpfs -o size=48m,mode=777 none "$1" && exec unshare --user --map-user=65534 "${@:3}" "$1" "$2"'


@pytest.mark.timeout(180)
def test_ends_wait_for_space_and_the_worker_goes_on(tmp_path):
    small, big = tmp_path / "small", tmp_path / "big"
    small.mkdir()
    big.mkdir()
    command = ["unshare", "--map-root-user", "--mount", "bash", "-c", MOUNT, "-", str(small), str(big)]
    done = subprocess.run(
        [*command, sys.executable, "-c", STORY],
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
    )
    assert done.returncode == 0, f"mounting must be permitted for this test: {done.stdout}{done.stderr}"
    lines = done.stdout.splitlines()
    assert all("53100" in line and "free some space on the server" in line for line in lines[:3]), lines
    assert lines[3:] == [
        "unavailable True",
        "EXECUTING EXECUTING EXECUTING EXECUTING",
        "beats True",
        "recovered True",
        " ".join(["('COMPLETED', 1, 200000)"] * 4),
        "runs 4",
        "refused ones left 0",
        "COMPLETED",
    ]
