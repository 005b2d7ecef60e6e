"""`tools/turn.py`: clones that share a cargo target folder do not get each other's code."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "turn.py"


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "target"
    for crate in ("zjobs-engine-1f", "zjobs-bindings-2f", "serde-3f"):
        (folder / "dev-release" / ".fingerprint" / crate).mkdir(parents=True)
    return folder


@pytest.fixture
def clone(tmp_path):
    def make(name):
        tools = tmp_path / name / "tools"
        tools.mkdir(parents=True)
        return Path(shutil.copy(SCRIPT, tools))

    return make


def take_turn(script, target, code="pass"):
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target)}
    return subprocess.run([sys.executable, script, sys.executable, "-c", code], env=environment, check=False).returncode


def known_crates(target):
    return sorted(folder.name.rsplit("-", 1)[0] for folder in (target / "dev-release" / ".fingerprint").iterdir())


def test_another_clone_keeps_the_dependencies_and_forgets_the_workspace(target, clone):
    take_turn(clone("one"), target)
    assert known_crates(target) == ["serde"]


def test_the_same_clone_keeps_everything(target, clone):
    script = clone("one")
    take_turn(script, target)
    (target / "dev-release" / ".fingerprint" / "zjobs-engine-1f").mkdir()
    take_turn(script, target)
    assert known_crates(target) == ["serde", "zjobs-engine"]
    take_turn(clone("two"), target)
    assert known_crates(target) == ["serde"]


def test_the_exit_status_of_the_command_is_passed_on(target, clone):
    assert take_turn(clone("one"), target, "raise SystemExit(7)") == 7


def test_a_second_command_waits_for_the_first(target, clone, tmp_path):
    script = clone("one")
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target)}
    holds = "print('held', flush=True); input(); open('order', 'a').write('first ')"
    command = [sys.executable, script, sys.executable, "-c"]
    with subprocess.Popen(
        [*command, holds], env=environment, cwd=tmp_path, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout.readline() == "held\n"
        with subprocess.Popen(
            [*command, "open('order', 'a').write('second')"],
            env=environment,
            cwd=tmp_path,
            text=True,
            stderr=subprocess.PIPE,
        ) as second:
            assert "waiting for it" in second.stderr.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                second.wait(timeout=0.5)
            first.communicate("\n")
    assert (tmp_path / "order").read_text(encoding="utf-8") == "first second"
