"""The demo: a small, whole application of zjobs that uses its public API alone.

Read `jobs.py` first (the workers), then `session.py` (start, wait, drain). `place.py` says where the jobs are kept,
`tree.py` finds the files, `tally.py` counts telemetry events, `ledger.py` reads the store, `progress.py` and
`summary.py` show the counts.
"""
