"""Handlers that do what no handler should, and what becomes of them, of their worker and of other jobs.

Each file is one kind of misbehaviour: `test_raises` (also exceptions that cannot be read), `test_returns`, `test_dies`
(the whole process, by a fault or on purpose), `test_never_ends`, `test_holds_the_interpreter`,
`test_changes_the_process`, `test_closes_files`, `test_leaves_things_behind`. Handlers run on threads and as coroutines.
"""
