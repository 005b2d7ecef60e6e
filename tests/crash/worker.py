"""One worker process: `python -m crash.worker DATABASE MARKS NAME`. A SIGTERM ends it in order."""

import sys
from pathlib import Path

from crash.jobs import SECONDS, TICK, Kinds, open_patiently, patiently
from crash.marks import Marks


def main(database: str, folder: str, name: str) -> None:
    jobs = open_patiently(database, name)
    kinds = Kinds.on(jobs, Marks(Path(folder), name), name)
    jobs.register_cron(SECONDS, "* * * * * *", kinds.ticked, {"token": TICK})
    patiently(jobs.run)


if __name__ == "__main__":
    main(*sys.argv[1:])
