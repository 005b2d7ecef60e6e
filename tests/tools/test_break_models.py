"""`tools/break_models.py`: each model has a break, and each break is about code that is there."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    spec = importlib.util.spec_from_file_location("break_models", ROOT / "tools" / "break_models.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "break_models", module)
    spec.loader.exec_module(module)
    return module


def models(checker):
    """The names in the tables of the sources."""
    sources = sorted((ROOT / "rust/models/src" / checker).glob("*.rs"))
    tables = [re.search(r"const MODELS: &\[Model\] =(.*?)\];", path.read_text("utf-8"), re.DOTALL) for path in sources]
    return [name for table in tables if table for name in re.findall(r'\(\s*"([^"]+)",', table[1])]


def test_each_model_has_one_break(tool):
    assert len(models("loom")) >= 30
    assert len(models("shuttle")) >= 7
    for checker in tool.CHECKERS:
        named = [one["model"] for one in tool.breaks() if one["checker"] == checker]
        assert sorted(named) == sorted(models(checker))


def test_each_break_changes_code_that_is_there(tool):
    for one in tool.breaks():
        text = (ROOT / one["file"]).read_text("utf-8")
        assert tool.broken(text, one["edits"]) != text, one["model"]


def test_a_break_of_code_that_has_changed_is_out_of_date(tool):
    with pytest.raises(SystemExit, match="0 times in the file instead of once:\ngone"):
        tool.broken("here\n", [["gone", ""]])
    with pytest.raises(SystemExit, match="2 times"):
        tool.broken("here\nhere\n", [["here", ""]])


def test_what_is_proved_says_how_many_models_there_are_of_each_kind_and_what_was_left_out(tool):
    there = [("loom", "a"), ("loom", "b"), ("shuttle", "c")]
    told = "each made the model fail that is there for it"
    assert tool.sentence(there, there) == (
        f"proved: 3 breaks of the engine, one for each of 2 of loom and 1 of shuttle, {told}; not run: none"
    )
    assert tool.sentence(there[2:], there) == (
        f"proved: 1 breaks of the engine, one for each of 0 of loom and 1 of shuttle, {told}; not run: 2 others"
    )
