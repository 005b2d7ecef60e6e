"""The command line as a shell runs it."""

import json
import subprocess
import sys

import pytest

import zjobs


class Shell:
    """Runs `zjobs` in a folder with a store."""

    def __init__(self, folder):
        self.folder = folder
        self.url = f"sqlite:///{folder}/jobs.db"

    def __call__(self, *arguments, store=True, answer=None, encoding=None):
        where = ["--store", self.url] if store else []
        return subprocess.run(
            [sys.executable, "-m", "zjobs", *arguments, *where],
            capture_output=True,
            text=True,
            encoding=encoding,
            timeout=60,
            check=False,
            cwd=self.folder,
            input=answer,
        )

    def json(self, *arguments):
        done = self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @property
    def jobs(self):
        return zjobs.Supervisor(self.url)


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path)
