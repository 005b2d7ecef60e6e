"""The faults that are made in a module, one at a time."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from cosmic_ray import plugins
from cosmic_ray.mutating import MutationVisitor

# Of Cosmic Ray's replacements of operators those next to the original, which are the hardest to notice: whoever tells
# `<` from `<=` and from `>=` tells it from the others.
_BESIDE = {
    "Comparison": "Lt_LtE Lt_GtE LtE_Lt LtE_Gt Gt_GtE Gt_LtE GtE_Gt GtE_Lt Eq_NotEq NotEq_Eq Is_IsNot IsNot_Is",
    # Not with each other's `*` and `/`, which stand in lists of parameters, too.
    "Binary": "Add_Sub Sub_Add Mul_Add Div_FloorDiv FloorDiv_Mul Mod_Add Pow_Mul LShift_RShift RShift_LShift "
    "BitAnd_BitOr BitOr_BitAnd BitXor_BitOr",
    "Unary": "Delete_Not Delete_USub USub_UAdd",
}
OPERATORS = [
    *(f"core/Replace{kind}Operator_{pair}" for kind, pairs in _BESIDE.items() for pair in pairs.split()),
    *(
        f"core/{name}"
        for name in (
            "AddNot",
            "ExceptionReplacer",
            "NumberReplacer",
            "RemoveDecorator",
            "ReplaceAndWithOr",
            "ReplaceBreakWithContinue",
            "ReplaceContinueWithBreak",
            "ReplaceFalseWithTrue",
            "ReplaceOrWithAnd",
            "ReplaceTrueWithFalse",
            "ZeroIterationForLoop",
        )
    ),
]


@dataclass(frozen=True)
class Change:
    """One fault.

    Attributes:
        scope: The function or class that it is in, with its owners' names; empty for the module.
        before: The lines as they are, joined and stripped.
        after: The lines as they become.
        lines: The numbers of the lines that a test must run to notice it.
        source: The whole module with the fault.
    """

    scope: str
    before: str
    after: str
    lines: tuple[int, ...]
    source: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What names it in the list of survivors, wherever the lines move to."""
        return self.scope, self.before, self.after


def changes(source: str) -> list[Change]:
    """Every fault of a module, each once, without those that only change a type, a docstring or a log's text."""
    tree = ast.parse(source)
    plain = _bare(tree)
    found: dict[str, Change] = {}
    for mutated in (*_by_operator(source, tree), *_by_hand(source, tree)):
        if mutated in found or mutated == source:
            continue
        try:
            changed = ast.parse(mutated)
        except SyntaxError:
            continue
        if _bare(changed) != plain:
            found[mutated] = _change(source, mutated, tree)
    return list(found.values())


def _by_operator(source: str, tree: ast.Module) -> Iterator[str]:
    """Statement by statement, since Cosmic Ray parses its text again for each fault."""
    lines = source.splitlines(keepends=True)
    for statement in tree.body:
        first, last = _first(statement) - 1, statement.end_lineno or statement.lineno
        head, text, tail = "".join(lines[:first]), "".join(lines[first:last]), "".join(lines[last:])
        for name in OPERATORS:
            for mutated in _all_occurrences(text, name):
                yield head + mutated + tail


def _all_occurrences(text: str, name: str) -> Iterator[str]:
    operator = plugins.get_operator(name)()
    for occurrence in count():
        try:
            mutated = MutationVisitor.mutate_code(text, operator, occurrence)
        except AttributeError:
            continue  # it does not replace an exception with a dotted name
        if mutated is None:
            return
        yield mutated


def _by_hand(source: str, tree: ast.Module) -> Iterator[str]:
    """What Cosmic Ray has no operator for: a call, an error or a result left out, and membership turned round."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Call() | ast.Await()) | ast.Raise() | ast.Delete(targets=[ast.Subscript()]):
                yield _replaced(source, node, "pass")
            case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and not value.value):
                yield _replaced(source, node, "return None")
            case ast.Compare(left=left, ops=[ast.In() | ast.NotIn() as held], comparators=[right]):
                other = ast.NotIn() if isinstance(held, ast.In) else ast.In()
                turned = ast.Compare(left=left, ops=[other], comparators=[right])
                yield _replaced(source, node, f"({ast.unparse(turned)})")
            case _:
                pass


def _replaced(source: str, node: ast.expr | ast.stmt, text: str) -> str:
    lines = source.encode().splitlines(keepends=True)
    end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or 0
    head, tail = lines[node.lineno - 1][: node.col_offset], lines[end_line - 1][end_column:]
    return b"".join([*lines[: node.lineno - 1], head, text.encode(), tail, *lines[end_line:]]).decode()


def _bare(tree: ast.Module) -> str:
    """The module without what no run depends on: annotations, docstrings, what only type checkers read."""
    tree = ast.parse(ast.unparse(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"cast", "TypeVar"}:
            node.args = node.args[1:]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"dataclass", "dataclasses.dataclass"}:
            # What takes less room behaves the same.
            node.keywords = [keyword for keyword in node.keywords if keyword.arg != "slots"]
        if hasattr(node, "body") and isinstance(node.body, list):
            node.body = [child for child in node.body if not _is_unread(child)] or [ast.Pass()]
    return ast.unparse(tree)


def _is_unread(node: ast.stmt) -> bool:
    match node:
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.If(test=ast.Name("TYPE_CHECKING") | ast.UnaryOp(operand=ast.Name("TYPE_CHECKING"))):
            return True
        case ast.AnnAssign(annotation=ast.Name("TypeAlias")):
            return True
        case ast.ClassDef(bases=[*_, ast.Name("Protocol")]):
            return True
        case ast.FunctionDef(decorator_list=decorators) if "overload" in {ast.unparse(one) for one in decorators}:
            return True
        case _:
            return False


def _change(source: str, mutated: str, tree: ast.Module) -> Change:
    old, new = source.splitlines(), mutated.splitlines()
    start = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    same = 0
    while same < min(len(old), len(new)) - start and old[-1 - same] == new[-1 - same]:
        same += 1
    while start < len(old) - same and not old[start].strip():
        start += 1
    before, after = old[start : len(old) - same], new[start : len(new) - same]
    scope, lines = _around(tree, start + 1)
    return Change(scope, _joined(before), _joined(after), lines, mutated)


def _joined(lines: list[str]) -> str:
    return " ".join(line.strip() for line in lines)


def _around(tree: ast.Module, line: int) -> tuple[str, tuple[int, ...]]:
    """The names of what is around a line, and the lines of the statement that it belongs to, without its body."""
    names: list[str] = []
    lines = range(line, line + 1)
    node: ast.AST = tree
    while True:
        children = [child for child in ast.walk(node) if child is not node and isinstance(child, ast.stmt)]
        holding = [child for child in children if _first(child) <= line <= (child.end_lineno or child.lineno)]
        if not holding:
            return ".".join(names), tuple(lines)
        node = max(holding, key=lambda child: (child.end_lineno or 0) - _first(child))
        body = getattr(node, "body", [])
        last = _first(body[0]) - 1 if body else node.end_lineno or node.lineno
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
        if _first(node) <= line <= max(last, node.lineno):
            lines = range(_first(node), max(last, node.lineno) + 1)


def _first(node: ast.stmt) -> int:
    """The line on which a statement begins, its decorators included."""
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])
