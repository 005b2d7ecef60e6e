"""Which tests are a module's, and the faults that they need not notice, each with its reason."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).with_name("python.toml")
_CALLS = ["tests/signature", "tests/test_bad_input.py"]
_CONNECTIONS = ["tests/test_connections.py", "tests/test_connections_of_all_kinds.py"]
TESTS = {
    "retry": ["tests/test_retry.py"],
    "cron": ["tests/test_cron.py"],
    "crontab": ["tests/test_crontab.py"],
    "codec": ["tests/test_codec.py", *_CALLS],
    "signature": _CALLS,
    "errors": ["tests/test_errors.py", "tests/test_options.py"],
    "options": ["tests/test_options.py", "tests/test_bad_input.py"],
    "job": ["tests/test_job.py"],
    "rows": ["tests/test_rows.py", "tests/test_memory_store.py"],
    "worker": ["tests/test_worker.py"],
    "telemetry": ["tests/test_telemetry.py"],
    "_together": ["tests/test_together.py"],
    "_signals": ["tests/test_stop_signals.py"],
    "connections": _CONNECTIONS,
    "connections.steps": _CONNECTIONS,
    "connections.sqlite": _CONNECTIONS,
    "connections.postgres": _CONNECTIONS,
    "connections.drivers": _CONNECTIONS,
}
"""The most decisive first. What is not here starts threads or processes, whose tests take minutes a fault: the crash
loops and the hostile handlers look at what those do."""
SERVED = {module for module, files in TESTS.items() if files is _CONNECTIONS}
"""Whose tests need a PostgreSQL server: one for all."""
PURE = {"retry", "cron", "crontab", "codec", "signature", "errors", "options", "job", "rows"}
BAR = {True: 95, False: 85}
"""How many of a hundred faults must be noticed: in the pure modules, and elsewhere."""


@dataclass(frozen=True)
class Survivor:
    """A fault that no test notices.

    No test could, or it is ``accepted`` all the same: then it counts against the bar.
    """

    module: str
    scope: str
    before: str
    after: str
    reason: str
    accepted: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """What names it among the faults of its module."""
        return self.scope, self.before, self.after


def survivors(path: Path = LIST) -> list[Survivor]:
    """The list."""
    return [Survivor(**entry) for entry in tomllib.loads(path.read_text("utf-8")).get("survivor", [])]
