"""Run a program of Rust tests and end it at the first test that fails, which libtest itself cannot.

Usage: python tools/first_failure.py PROGRAM ARGUMENT ...

Ends as the program does, or with status 101, as libtest does, as soon as a test has failed. Other tests that run then
are killed, so what they made outside of the process stays. Not for `--quiet`, which names no test.
"""

import subprocess
import sys

FAILED = 101


def main(command: list[str]) -> int:
    """Passes on what the program prints, and its end."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as program:
        for line in program.stdout or ():
            print(line, end="", flush=True)
            if line.startswith("test ") and line.endswith(" ... FAILED\n"):
                program.kill()
                return FAILED
    return program.returncode if program.returncode >= 0 else FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
