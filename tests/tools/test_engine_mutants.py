"""`tools/mutants.py` believes no mutant to be dead that lives, and no list that is not true."""

import importlib.util
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]
FILE = "rust/src/state.rs"
LISTED = """
[[survivor]]
mutant = "rust/src/state.rs: replace < with > in f"
at = "< b {"
reason = "No test can tell it apart."
"""


class Machine:
    """Stands for cargo-mutants: what each mutant's end is before the first judges, and before the second."""

    def __init__(self, root, *ends):
        self.root, self.ends, self.commands, self.status = root, ends, [], 2

    def run(self, command, **_):
        self.commands.append(command)
        out = Path(command[command.index("--output") + 1]) / "mutants.out"
        out.mkdir(exist_ok=True)
        iterating = "--iterate" in command
        outcomes = [{"scenario": "Baseline", "summary": "Success"}]
        for number, (first, second) in enumerate(self.ends):
            if not iterating or first not in {"CaughtMutant", "Unviable"}:
                span = {"start": {"line": 1 + number, "column": 10}}
                mutant = {"name": f"{FILE}:{1 + number}:10: replace < with > in f", "file": FILE, "span": span}
                outcomes.append({"scenario": {"Mutant": mutant}, "summary": second if iterating else first})
        (out / "outcomes.json").write_text(json.dumps({"outcomes": outcomes}), "utf-8")
        return SimpleNamespace(returncode=self.status)


@pytest.fixture
def tool(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("mutants_of_the_engine", ROOT / "tools/mutants.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "rust/src").mkdir(parents=True)
    (tmp_path / FILE).write_text("    if a < b {\n" + "    if c < d {\n" * 99, "utf-8")
    (tmp_path / "rust.toml").write_text("", "utf-8")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "KNOWN", tmp_path / "rust.toml")
    monkeypatch.delenv("MUTANTS_OUTPUT", raising=False)
    return module


def ended(tool, monkeypatch, *ends, listed=""):
    """The exit status of a run, and the machine that it had."""
    machine = Machine(tool.ROOT, *ends)
    tool.KNOWN.write_text(listed, "utf-8")
    monkeypatch.setattr(subprocess, "run", machine.run)
    return tool.main([FILE]), machine


def test_mutants_that_the_unit_tests_kill_are_shown_to_nobody_else(tool, monkeypatch, capsys):
    status, machine = ended(tool, monkeypatch, ("CaughtMutant", ""), ("Timeout", ""), ("Unviable", ""))
    assert (status, len(machine.commands)) == (0, 1)
    assert capsys.readouterr().out.endswith(
        "proved: 2 of 2 mutants of 1 files killed, 100.0 %; 0 listed, each with the reason\n"
    )


def test_what_only_one_kind_of_judges_kills_is_dead(tool, monkeypatch, capsys):
    status, machine = ended(tool, monkeypatch, ("MissedMutant", "CaughtMutant"), ("Timeout", "MissedMutant"))
    assert (status, len(machine.commands)) == (0, 2)
    assert "2 of 2 mutants" in capsys.readouterr().out


def test_what_the_store_on_a_server_does_is_judged_on_a_server(tool, monkeypatch):
    on_a_server = "rust/src/store/postgres/claim.rs"
    (tool.ROOT / on_a_server).parent.mkdir(parents=True)
    (tool.ROOT / on_a_server).write_text("    if a < b {\n", "utf-8")
    machine = Machine(tool.ROOT, ("MissedMutant", "CaughtMutant"))
    monkeypatch.setattr(subprocess, "run", machine.run)
    tool.run([on_a_server, FILE], tool.ROOT)
    judges = [(command[command.index("--file") + 1], command[-2:]) for command in machine.commands]
    assert sorted(judges) == [
        (FILE, ["--", "--"]),
        (FILE, ["--skip", "neighbours"]),
        (on_a_server, ["--", "postgres"]),
    ]


def test_what_survives_in_the_runtime_is_shown_to_the_simulator_at_last(tool, monkeypatch):
    role = "rust/src/runtime/node.rs"
    machine = Machine(tool.ROOT, ("MissedMutant", "MissedMutant"))
    monkeypatch.setattr(subprocess, "run", machine.run)
    tool.run([role], tool.ROOT)
    assert len(machine.commands) == 3
    assert machine.commands[-1][-2:] == ["sim::without_a_bug", "sim::memory_and_a_file"]


def test_copies_build_apart_and_end_at_the_first_failure(tool, monkeypatch):
    monkeypatch.setenv("CARGO_TARGET_DIR", "one for all")
    machine, environments = Machine(tool.ROOT, ("CaughtMutant", "")), []
    monkeypatch.setattr(subprocess, "run", lambda command, env, **_: environments.append(env) or machine.run(command))
    tool.run([FILE], tool.ROOT)
    assert "CARGO_TARGET_DIR" not in environments[0]
    assert any("first_failure.py" in word for word in machine.commands[0])


def test_a_survivor_without_a_reason_fails_the_run(tool, monkeypatch, capsys):
    status, _ = ended(tool, monkeypatch, ("MissedMutant", "MissedMutant"))
    assert status == 1
    assert "SURVIVED: rust/src/state.rs: replace < with > in f\n    at: < b {" in capsys.readouterr().out


def test_a_survivor_with_a_reason_is_counted_apart(tool, monkeypatch, capsys):
    status, _ = ended(tool, monkeypatch, ("MissedMutant", "MissedMutant"), ("CaughtMutant", ""), listed=LISTED)
    assert status == 0
    out = capsys.readouterr().out
    assert "1 of 2 killed, 1 change nothing: 100.0 % of the others" in out
    assert "proved: 1 of 2 mutants of 1 files killed, 50.0 %; 1 listed, each with the reason" in out


def test_the_same_change_at_another_place_is_another_mutant(tool, monkeypatch, capsys):
    ends = [("CaughtMutant", ""), ("MissedMutant", "MissedMutant")]
    status, _ = ended(tool, monkeypatch, *ends, listed=LISTED)
    assert status == 1
    out = capsys.readouterr().out
    assert "at: < d {" in out
    assert "listed, and killed by now or not made any more" in out


def test_survivors_that_a_test_could_notice_count_against_the_bar(tool, monkeypatch, capsys):
    ends = [("MissedMutant", "MissedMutant"), *[("CaughtMutant", "")] * 18]
    accepted = f"{LISTED}accepted = true\n"
    status, _ = ended(tool, monkeypatch, *ends, listed=accepted)
    assert status == 1
    assert "less than 95 %" in capsys.readouterr().out
    status, _ = ended(tool, monkeypatch, *ends, ("CaughtMutant", ""), listed=accepted)
    assert status == 0


def test_a_run_that_could_not_be_made_is_no_success(tool, monkeypatch):
    machine = Machine(tool.ROOT)
    monkeypatch.setattr(subprocess, "run", machine.run)
    with pytest.raises(SystemExit, match="no mutant"):
        tool.main([FILE])
    machine.status = 1
    with pytest.raises(SystemExit, match="status 1"):
        tool.main([FILE])


def test_each_listed_survivor_is_of_a_line_that_is_there_and_has_a_reason():
    spec = importlib.util.spec_from_file_location("mutants_of_the_engine", ROOT / "tools/mutants.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    listed = tool.listed()
    assert len({(one["mutant"], one["at"]) for one in listed}) == len(listed)
    for one in listed:
        assert one["at"] in (ROOT / tool.file_of(one["mutant"])).read_text("utf-8"), one
        assert len(one["reason"].split()) > 3, one
