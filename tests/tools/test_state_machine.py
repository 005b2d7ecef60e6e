import importlib.util
from pathlib import Path

from zjobs._engine import TRANSITIONS

TOOL = Path(__file__).parents[2] / "tools" / "state_machine.py"
_SPEC = importlib.util.spec_from_file_location("state_machine", TOOL)
state_machine = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(state_machine)


def test_the_page_is_current():
    assert state_machine.PAGE.read_text("utf-8") == state_machine.page(), "run: make docs"


def test_the_page_has_every_transition_and_says_what_each_state_and_event_means():
    page = state_machine.page()
    for before, event, after in TRANSITIONS:
        assert f"| `{before}` | *{event}* | `{after}` |" in page
        assert f"    {before} --> {after}: " in page
    assert "| `retryable` | 3 | Failed, attempts remain, waits for its backoff. |" in page
    assert "| *stage* | Its time has come. |" in page
