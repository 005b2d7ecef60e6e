"""Writes docs/state_machine.md from the engine's state table. `make docs` runs it; a test checks that it was run."""

import ast
import inspect
import sys
from enum import Enum
from pathlib import Path

from zjobs._engine import TRANSITIONS
from zjobs.job import JobState
from zjobs.rows import JobEvent

PAGE = Path(__file__).parents[1] / "docs" / "state_machine.md"

HEAD = """\
# The life of a job

Written by `make docs` from the table in `rust/src/state.rs`, the only place that decides: change that, not this page.
"""
NOTES = """\
Where an event has two ends, the first needs attempts left, and the second has them spent (or, for a rescue, three
nodes died under the job). A claim adds one to `attempt` and to the lease number; a snooze and a release give the
attempt back, and the lease number never falls. Cancelling a running job is a request: the handler is asked to stop,
and the move happens when the attempt ends. A job in any state but `executing` can be deleted.
"""


def meanings(kind: type[Enum]) -> dict[str, str]:
    """What the docstring under each member says, by the member's lower-case name."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    if not isinstance(definition, ast.ClassDef):
        raise TypeError(kind)
    said: dict[str, str] = {}
    for one, after in zip(definition.body, definition.body[1:], strict=False):
        match one, after:
            case ast.Assign(targets=[ast.Name(name)]), ast.Expr(ast.Constant(str(text))):
                said[name.lower()] = text
            case _:
                pass
    return said


def diagram() -> str:
    """The table as a Mermaid state diagram, one arrow for all events between the same two states."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for before, event, after in TRANSITIONS:
        arrows.setdefault((before, after), []).append(event)
    lines = ["stateDiagram-v2", "    [*] --> available: enqueue", "    [*] --> scheduled: enqueue for later"]
    lines += [f"    {before} --> {after}: {', '.join(events)}" for (before, after), events in arrows.items()]
    lines += [f"    {state} --> [*]: prune" for state in JobState if state.is_final]
    return "\n".join(lines)


def page() -> str:
    """The whole page."""
    states, events = meanings(JobState), meanings(JobEvent)
    parts = [HEAD, "```mermaid", diagram(), "```", "", "| state | number | meaning |", "|---|--:|---|"]
    parts += [f"| `{state}` | {int(state)} | {states[str(state)]} |" for state in JobState]
    parts += ["", "| from | event | to |", "|---|---|---|"]
    parts += [f"| `{before}` | *{event}* | `{after}` |" for before, event, after in TRANSITIONS]
    parts += ["", "| event | meaning |", "|---|---|"]
    parts += [f"| *{event}* | {events[event]} |" for event in dict.fromkeys(event for _, event, _ in TRANSITIONS)]
    return "\n".join(parts) + "\n\n" + NOTES


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    sys.stdout.write(f"{PAGE.relative_to(PAGE.parents[1])}: {len(TRANSITIONS)} transitions\n")
