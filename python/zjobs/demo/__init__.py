"""The demo: a small, whole application of zjobs that uses its public API alone.

Read `jobs.py` first (the workers), then `session.py` (start, wait, drain). `tree.py` finds the files, `tally.py`
counts telemetry events, `progress.py` and `summary.py` show the counts.
"""
