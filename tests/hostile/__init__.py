"""Handlers that do what no handler should, and what becomes of them, of their worker and of other jobs.

Each file is one kind of misbehaviour: `test_raises` (also exceptions that cannot be read), `test_returns`, `test_dies`
(the whole process, by a fault or on purpose), `test_changes_the_process`, `test_closes_files`,
`test_leaves_things_behind`. Handlers run on threads and as coroutines. Those that never end are in
`tests/test_timeouts.py`, those that hold the interpreter in `tests/postgres/test_leases_last.py`.
"""
