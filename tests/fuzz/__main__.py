"""Drives the tests of one target with Atheris: ``ZJOBS_TALLY=counts python -m fuzz cron -max_total_time=60 corpus``."""

import inspect
import sys
from importlib import import_module

import atheris

from fuzz.tally import driven, of_environment

CODE = ["zjobs", "croniter", "typer", "click", "msgspec"]


def tests(name):
    """The tests of a target, as functions of bytes."""
    with atheris.instrument_imports(include=CODE, enable_loader_override=False):
        module = import_module(f"fuzz.test_{name.replace('-', '_')}")
    found = [member for _, member in inspect.getmembers(module, inspect.isfunction) if hasattr(member, "hypothesis")]
    if not found:
        sys.exit(f"fuzz.test_{name} has no tests that Hypothesis drives")
    return [test.hypothesis.fuzz_one_input for test in found]


def main():
    """Until libFuzzer's limits are reached, or enough inputs have reached a test."""
    one = driven(tests(sys.argv.pop(1)), of_environment())
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
