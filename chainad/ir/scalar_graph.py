"""The hash-consed expression DAG of scalar operations, with constants folded.

A node is a function (a NumPy or SciPy ufunc, or another elementwise function) applied to nodes.
Two nodes of the same function and operands are one, so common subexpressions are shared without
being looked for (hash-consing: Ershov 1958).

What is folded changes no value: 1 * x, x / 1, -(-x), x - 0, signs of factors and terms.
`STRUCTURAL_ZERO` is not the number 0: it is an entry that a structure says is absent, so that its
product with x is a structural zero even if x is infinite, as an entry outside a pattern is never
multiplied. A constant 0.0 of the user's stays a factor, and 0.0 + x stays a sum, which turns -0.0
into 0.0. Integer powers up to 8 are products,
and in local Jacobians a quotient x / y may become x * (1 / y): both may differ from NumPy's in the
last digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import Any

import numpy as np

from chainad.errors import ChainadError
from chainad.ir.operators import COMMUTATIVE
from chainad.ir.value_numbers import ValueNumbers

Function = Callable[..., Any]
NodeId = int


class NotScalarError(ChainadError):
    """A computation cannot be written as operations on scalars."""


def variable(k: int) -> None:
    """Stand for the k-th input; never called."""


def constant(key: str) -> None:
    """Stand for a constant; never called."""


def absent() -> None:
    """Stand for an entry that is not there; never called."""


def copy_scalar(x: Any) -> Any:
    """Return x: equal in value, but a node of its own."""
    return x


STRUCTURAL_ZERO: NodeId = 0

# Functions that return True or False, and those whose operands may be so.
PREDICATES: set[Function] = {np.isposinf, np.isneginf} | {
    ufunc
    for ufunc in vars(np).values()
    if isinstance(ufunc, np.ufunc) and f"{'d' * ufunc.nin}->?" in ufunc.types
}
_TAKES_BOOLEANS: set[Function] = {
    np.logical_and, np.logical_or, np.logical_not, np.logical_xor, np.where, np.equal, np.not_equal,
}  # fmt: skip

# Products with powers of two up to this are what np.ldexp gives.
_MAX_EXPONENT = 1000

_FLIPPED: dict[Any, Any] = {np.greater: np.less, np.greater_equal: np.less_equal}


class ExpressionDAG:
    """Nodes by id, each there once; `max_nodes` limits them where `check` is called."""

    def __init__(self, max_nodes: float = inf) -> None:
        self.max_nodes = max_nodes
        self.functions: list[Function] = []
        self.operands: list[tuple[Any, ...]] = []
        self.values: dict[NodeId, Any] = {}  # of constants
        self._numbers = ValueNumbers()
        self._expressions: dict[NodeId, Expression] = {}
        # Whether a quotient may become a product with a reciprocal.
        self.shares_reciprocals = False
        assert self._node(absent, ()) == STRUCTURAL_ZERO
        self.values[STRUCTURAL_ZERO] = 0.0

    def check(self, expected: int = 0) -> None:
        """Raise NotScalarError if there are too many nodes, with so many that are expected to come.

        Called between calls of NumPy only: its products of object arrays do not survive an error.
        """
        if len(self.functions) + expected > self.max_nodes:
            raise NotScalarError(f"it takes more than {self.max_nodes} operations")

    def variable(self, k: int) -> Expression:
        """Return the k-th input."""
        return self.expression(self._node(variable, (k,)))

    def constant(self, value: Any) -> NodeId:
        """Return the node of a constant: a number, True or False."""
        if isinstance(value, (bool, np.bool_)):
            node = self._node(constant, (str(bool(value)),))
            self.values[node] = bool(value)
            return node
        exact = float(value)
        node = self._node(constant, (exact.hex(),))
        self.values[node] = exact
        return node

    def expression(self, node: NodeId) -> Expression:
        """Return the object that stands for a node; the same one every time."""
        found = self._expressions.get(node)
        if found is None:
            found = self._expressions[node] = Expression(self, node)
        return found

    def node(self, value: Any) -> NodeId:
        """Return the node of an expression, or of a plain number."""
        if type(value) is Expression:
            assert value.dag is self
            return value.node
        if isinstance(value, (int, float, np.floating, np.integer, np.bool_)):
            return self.constant(value)
        raise NotScalarError(f"{type(value).__name__} is not a real number")

    def is_constant(self, node: NodeId) -> bool:
        return node in self.values

    def apply(self, function: Function, *operands: NodeId) -> NodeId:
        """Return the node of `function` of some nodes."""
        if function is np.ldexp:  # which takes integers
            return self.apply(np.multiply, operands[0], self._power_of_two(operands[1]))
        values = self.values
        if function not in _TAKES_BOOLEANS and any(map(self.is_boolean, operands)):
            operands = tuple(map(self.as_float, operands))
        if all(k in values for k in operands) and not (
            STRUCTURAL_ZERO in operands and function in _RULES
        ):
            return self._folded(function, operands)
        simplify = _RULES.get(function)
        if simplify is not None:
            return simplify(self, *operands)
        return self._node(function, operands)

    def is_boolean(self, node: NodeId) -> bool:
        """Return whether a node is True or False, not a number."""
        return self.functions[node] in PREDICATES or isinstance(self.values.get(node), bool)

    def as_float(self, node: NodeId) -> NodeId:
        """Return 1.0 for True and 0.0 for False, and any number as it is."""
        if not self.is_boolean(node):
            return node
        return self.select(node, self.constant(1.0), self.constant(0.0))

    def _folded(self, function: Function, operands: Iterable[NodeId]) -> NodeId:
        given = [self.values[k] for k in operands]
        with np.errstate(all="ignore"):
            found = function(*[x if isinstance(x, bool) else np.float64(x) for x in given])
        return self.constant(found)

    def _node(self, function: Function, operands: tuple[Any, ...]) -> NodeId:
        if function in COMMUTATIVE and operands[0] > operands[1]:
            operands = operands[::-1]
        elif function in _FLIPPED:
            function, operands = _FLIPPED[function], operands[::-1]
        found = self._numbers.first((function, operands), len(self.functions))
        if found == len(self.functions):
            self.functions.append(function)
            self.operands.append(operands)
        return found

    # ---------------------------------------------------------------- folding

    def negated(self, node: NodeId) -> NodeId | None:
        """Return x if the node is -x, else None."""
        return self.operands[node][0] if self.functions[node] is np.negative else None

    def negative(self, x: NodeId) -> NodeId:
        if x == STRUCTURAL_ZERO:
            return STRUCTURAL_ZERO
        if x in self.values:
            return self.constant(-self.values[x])
        inner = self.negated(x)
        return self._node(np.negative, (x,)) if inner is None else inner

    def add(self, x: NodeId, y: NodeId) -> NodeId:
        if x == STRUCTURAL_ZERO:
            return y
        if y == STRUCTURAL_ZERO:
            return x
        minus_x, minus_y = self.negated(x), self.negated(y)
        if minus_x is not None and minus_y is not None:
            return self.negative(self._node(np.add, (minus_x, minus_y)))
        if minus_y is not None:
            return self.subtract(x, minus_y)
        if minus_x is not None:
            return self.subtract(y, minus_x)
        return self._node(np.add, (x, y))

    def subtract(self, x: NodeId, y: NodeId) -> NodeId:
        if y == STRUCTURAL_ZERO or self._is(y, 0.0):
            return x
        if x == STRUCTURAL_ZERO:
            return self.negative(y)
        minus_x, minus_y = self.negated(x), self.negated(y)
        if minus_y is not None:
            return self.add(x, minus_y)
        if minus_x is not None:
            return self.negative(self._node(np.add, (minus_x, y)))
        return self._node(np.subtract, (x, y))

    def multiply(self, x: NodeId, y: NodeId) -> NodeId:
        if STRUCTURAL_ZERO in (x, y):
            return STRUCTURAL_ZERO
        if not any(k in self.values or self.functions[k] is np.negative for k in (x, y)):
            return self._node(np.multiply, (x, y))  # the usual case
        is_negative = False
        factors = []
        for factor in (x, y):
            inner = self.negated(factor)
            value = self.values.get(factor)
            if inner is not None:
                is_negative = not is_negative
                factors.append(inner)
            elif isinstance(value, float) and value < 0:
                is_negative = not is_negative
                factors.append(self.constant(-value))
            else:
                factors.append(factor)
        x, y = factors
        found = y if self._is(x, 1.0) else x if self._is(y, 1.0) else None
        if found is None:
            found = self._node(np.multiply, (x, y))
        return self.negative(found) if is_negative else found

    def product(self, x: NodeId, y: NodeId) -> NodeId:
        """Return the node of a product as it is, signs and all."""
        return self._node(np.multiply, (x, y))

    def divide(self, x: NodeId, y: NodeId) -> NodeId:
        if x == STRUCTURAL_ZERO:
            return STRUCTURAL_ZERO
        minus_x, minus_y = self.negated(x), self.negated(y)
        if minus_x is not None or minus_y is not None:
            found = self.divide(
                x if minus_x is None else minus_x, y if minus_y is None else minus_y
            )
            return found if minus_x is not None and minus_y is not None else self.negative(found)
        divisor = self.values.get(y)
        if isinstance(divisor, float) and _has_exact_reciprocal(divisor):
            return self.multiply(x, self.constant(1 / divisor))
        dividend = self.values.get(x)
        if isinstance(dividend, float) and dividend < 0:
            return self.negative(self._node(np.divide, (self.constant(-dividend), y)))
        if self.shares_reciprocals and x not in self.values and y not in self.values:
            known = self._numbers.known((np.divide, (x, y)))
            if known is None:
                return self.multiply(x, self._node(np.divide, (self.constant(1.0), y)))
            return known
        return self._node(np.divide, (x, y))

    def power(self, x: NodeId, p: NodeId) -> NodeId:
        exponent = self.values.get(p)
        if not isinstance(exponent, float) or exponent != _int_of(exponent) or abs(exponent) > 8:
            return self._node(np.power, (x, p))
        if exponent < 0:
            return self.divide(self.constant(1.0), self._product(x, -_int_of(exponent)))
        return self._product(x, _int_of(exponent))

    def _product(self, x: NodeId, count: int) -> NodeId:
        """Return the product of `count` factors x, by squaring."""
        if count == 0:
            return self.constant(1.0)
        if count == 1:
            return x
        half = self._product(x, count // 2)
        square = self.multiply(half, half)
        return self.multiply(square, x) if count % 2 else square

    def _power_of_two(self, exponent: NodeId) -> NodeId:
        value = self.values.get(exponent)
        if value is None or abs(value) > _MAX_EXPONENT:
            raise NotScalarError("np.ldexp by a variable or large exponent")
        return self.constant(np.ldexp(1.0, int(value)))

    def select(self, condition: NodeId, x: NodeId, y: NodeId) -> NodeId:
        known = self.values.get(condition)
        if known is not None:
            return x if known else y
        if x == y:
            return x
        return self._node(np.where, (condition, x, y))

    def _is(self, node: NodeId, value: float) -> bool:
        found = self.values.get(node)
        if node == STRUCTURAL_ZERO or not isinstance(found, float) or found != value:
            return False
        return bool(np.signbit(found) == np.signbit(value))


def _int_of(value: float) -> int:
    """Return a number as an integer, or -1 for what is none."""
    return int(value) if np.isfinite(value) and value == int(value) else -1


def _has_exact_reciprocal(value: float) -> bool:
    return 1e-300 < abs(value) < 1e300 and bool(abs(np.frexp(value)[0]) == 0.5)


_RULES: dict[Function, Callable[..., NodeId]] = {
    np.add: ExpressionDAG.add,
    np.subtract: ExpressionDAG.subtract,
    np.multiply: ExpressionDAG.multiply,
    np.divide: ExpressionDAG.divide,
    np.negative: ExpressionDAG.negative,
    np.power: ExpressionDAG.power,
    np.where: ExpressionDAG.select,
}


class Expression:
    """A node as a Python number: NumPy's loops over object arrays add and multiply these."""

    __slots__ = ("dag", "node")

    def __init__(self, dag: ExpressionDAG, node: NodeId) -> None:
        self.dag = dag
        self.node = node

    def __repr__(self) -> str:
        return f"v{self.node}"

    def __bool__(self) -> bool:
        raise NotScalarError("a branch depends on the numbers")

    def __float__(self) -> float:
        raise NotScalarError("a number is needed while the operations are recorded")

    def __neg__(self) -> Expression:
        return self.dag.expression(self.dag.apply(np.negative, self.node))

    def conjugate(self) -> Expression:
        return self


def _operator(function: Function, swapped: bool) -> Callable[[Expression, Any], Expression]:
    def method(self: Expression, other: Any) -> Expression:
        dag = self.dag
        # Sums of no terms start from the integer 0, which is no number of the user's.
        is_start = type(other) is int and other == 0
        k = STRUCTURAL_ZERO if is_start else dag.node(other)
        pair = (k, self.node) if swapped else (self.node, k)
        return dag.expression(dag.apply(function, *pair))

    return method


for _name, _function in (
    ("add", np.add),
    ("sub", np.subtract),
    ("mul", np.multiply),
    ("truediv", np.divide),
):
    setattr(Expression, f"__{_name}__", _operator(_function, swapped=False))
    setattr(Expression, f"__r{_name}__", _operator(_function, swapped=True))
