"""What the user calls a value: `hidden` where a line is `hidden = np.tanh(W @ x)`."""

from __future__ import annotations

import ast
from functools import lru_cache
from typing import NamedTuple

_OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
    ast.Pow: "power",
    ast.MatMult: "matmul",
    ast.Mod: "remainder",
    ast.FloorDiv: "floor_divide",
    ast.USub: "negative",
}


class _Assignment(NamedTuple):
    """A line that computes something by an operation, and calls it `name`.

    `n_alike` says how many operations of that kind the line has.
    """

    name: str
    operation: str
    n_alike: int


def assigned_name(text: str, operation: str) -> str:
    """Return what a line calls the result of one of its operations; "" if it is not clear.

    It is clear for the last operation of an assignment, if the line has no other one of its kind.
    """
    found = _assignment(text)
    is_last = found is not None and found.operation == operation.rpartition(".")[2]
    return found.name if found and is_last and found.n_alike == 1 else ""


@lru_cache(maxsize=1024)
def _assignment(text: str) -> _Assignment | None:
    """Return the assignment that a line of code is, or has behind a colon, if any."""
    try:
        nodes = [*ast.walk(ast.parse(text.strip()))]
    except SyntaxError:  # one of several lines of a statement
        return None
    statements = [node for node in nodes if isinstance(node, ast.Assign | ast.AugAssign)]
    if len(statements) != 1:
        return None
    (statement,) = statements
    if isinstance(statement, ast.AugAssign):
        target: ast.expr = statement.target
        operation = _OPERATORS.get(type(statement.op), "")
    else:
        target = statement.targets[-1]
        operation = _operation(statement.value)
    if not isinstance(target, ast.Name) or not operation:
        return None
    kinds = [*map(_operation, ast.walk(statement.value))]
    if isinstance(statement, ast.AugAssign):
        kinds.append(operation)
    return _Assignment(target.id, operation, kinds.count(operation))


def _operation(node: ast.AST) -> str:
    """Return the name of the operation that an expression ends with; "" if it has none."""
    if isinstance(node, ast.BinOp | ast.UnaryOp):
        return _OPERATORS.get(type(node.op), "")
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute):
            return node.func.attr
        return node.func.id if isinstance(node.func, ast.Name) else ""
    return ""
