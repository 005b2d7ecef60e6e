"""Each module of the package imports only inward: the import lines say so."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "python" / "zjobs"

# From the inside out; modules of one ring do not know each other. `_engine` is the compiled module, at the bottom for
# the few that may name it: Job and JobContext are its classes, and delays are its function (ADR 0002).
RINGS = [
    {"_engine", "errors"},
    {"retry", "codec"},
    {"options", "signature"},
    {"job"},
    {"rows", "cron", "telemetry"},
    {"worker", "crontab"},
    {"store", "_runner"},
    {"_drain", "db"},
    {"connections"},
    {"_control", "_schedules", "_scheduler", "_exit", "_signals", "_together"},
    {"_control_async"},
    {"supervisor"},
    {"__init__"},
    {"testing", "cli", "demo", "__main__", "contrib", "dashboard"},
]
# Applications of the package: they use its public API, and each other.
OUTERMOST = RINGS[-1]
MAY_NAME_ENGINE = {
    "connections",
    "db",
    "retry",
    "options",
    "job",
    "rows",
    "codec",
    "signature",
    "store",
    "_runner",
    "_drain",
    "_together",
    "supervisor",
    "testing",
}


def ring(module):
    return next((number for number, modules in enumerate(RINGS) if module in modules), None)


def module_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(source):
    """The modules of the package that the code names at run time; what only type checkers read does not count."""
    found = []
    waiting = list(ast.parse(source).body)
    while waiting:
        match waiting.pop():
            case ast.If(test=ast.Name("TYPE_CHECKING")):
                pass
            case ast.ImportFrom(module="zjobs", names=names):
                # `from zjobs import store` names a module, `from zjobs import Job` the package.
                found += [name.name if ring(name.name) is not None else "__init__" for name in names]
            case ast.ImportFrom(module=str(module)) if module.startswith("zjobs."):
                found.append(module.split(".")[1])
            case ast.Import(names=names):
                own = [name.name.split(".") for name in names if name.name.split(".")[0] == "zjobs"]
                found += [parts[1] if len(parts) > 1 else "__init__" for parts in own]
            case node:
                waiting += ast.iter_child_nodes(node)
    return sorted(found)


def outward(module, known):
    """What is wrong with these imports of a module."""

    def is_fine(other):
        if other == module or (module in OUTERMOST and other in OUTERMOST):
            return True
        if other == "_engine":
            return module in MAY_NAME_ENGINE
        return ring(other) is not None and ring(other) < ring(module)

    return [other for other in known if not is_fine(other)]


SOURCES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_imports_only_inward(path):
    module = module_of(path)
    assert ring(module) is not None, f"{module} is in no ring: add it to ARCHITECTURE.md and to this test"
    assert outward(module, imports(path.read_text("utf-8"))) == []


def test_architecture_draws_the_same_rings():
    text = (PACKAGE.parents[1] / "ARCHITECTURE.md").read_text("utf-8")
    drawn = text[text.index("\nPython  ") :].split("```")[0].removeprefix("\nPython").replace("\n", " ").split("<")
    for number, modules in enumerate(drawn):
        known = set(modules.split())
        assert known == RINGS[number] or (RINGS[number] is OUTERMOST and known < OUTERMOST)
    assert len(drawn) == len(RINGS)


def test_enough_imports_are_seen():
    assert sum(len(imports(path.read_text("utf-8"))) for path in SOURCES) > 80


def test_the_applications_of_the_package_use_only_what_it_offers():
    private = {"_control", "_control_async", "_schedules", "_scheduler", "_runner", "_drain", "_together"}
    for path in SOURCES:
        if module_of(path) in OUTERMOST:
            assert not private & set(imports(path.read_text("utf-8"))), path


def test_an_import_that_leads_outward_is_found():
    source = (
        "from zjobs.job import Job\ndef f():\n    import zjobs.supervisor\n\nif TYPE_CHECKING:\n    import zjobs.cli\n"
    )
    assert imports(source) == ["job", "supervisor"]
    assert outward("store", ["job", "supervisor"]) == ["supervisor"]
    assert imports("from zjobs import Job, store") == ["__init__", "store"]
    assert outward("worker", ["_engine"]) == ["_engine"]
    assert outward("cli", ["demo", "__init__"]) == []
    assert outward("store", ["no_such_module"]) == ["no_such_module"]
