"""Properties of what users and others hand to the Python side: they hold for any input, whoever thinks it up.

Each module ``test_<target>.py`` is one target. Its tests are Hypothesis's, so pytest tries a fixed number of inputs in
each run (the short form), and ``python -m fuzz <target>`` lets Atheris, which sees what code an input reaches, drive
the same tests for as long as it may (`make fuzz`). What once failed stays as an `example` of its test.
"""

import unicodedata

from hypothesis import HealthCheck, Phase, settings

__all__ = ["assert_shown", "short"]


def short(examples):
    """The size of the short form of one test: the same inputs in each run."""
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    # Not the phase that explains a failure: with it, one takes minutes.
    phases = [Phase.explicit, Phase.generate, Phase.target, Phase.shrink]
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=checks,
        phases=phases,
    )


def assert_shown(text):
    """What the text of an error must be: on few lines, and without what a terminal takes for a command."""
    assert len(text) < 5_000
    assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs"} for c in text.replace("\n", " ")), ascii(text)
