"""Processes that are killed at random moments, and the proof that no job is lost, stuck or run twice at once.

`driver` starts a producer and workers on one SQLite file, kills any of them again and again, starts each anew, and
waits until everything has settled. Each process keeps `marks` of its own: what it enqueued, and when each handler began
and ended. Triggers in the database keep a `history` of every change of a row. `checker` then reads the marks, the file
and its history, which know nothing of each other, and says what does not fit; `audit` is its part about the history.

From the folder of the tests: `python -m crash --kills 200 --jobs 1000000`, which `make crash-sqlite` does.
"""
