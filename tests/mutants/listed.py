"""Which tests are a module's, and the faults that they need not notice, each with its reason."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).with_name("python.toml")
_CRON = ["tests/test_cron.py"]
_CALLS = ["tests/test_signature.py", "tests/test_bad_input.py"]
TESTS = {
    "retry": ["tests/test_retry.py"],
    "cron": _CRON,
    "crontab": ["tests/test_crontab.py"],
    "codec": ["tests/test_codec.py", *_CALLS],
    "signature": _CALLS,
    "errors": ["tests/test_errors.py", "tests/test_options.py"],
    "options": ["tests/test_options.py", "tests/test_bad_input.py"],
    "telemetry": ["tests/test_telemetry.py"],
    "_together": ["tests/test_together.py"],
}
"""The most decisive first."""
PURE = {"retry", "cron", "crontab", "codec", "signature", "errors", "options"}
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
