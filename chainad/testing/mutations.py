"""Mutations: the derivative in one row of the rules negated, to see whether a test notices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

from chainad.api import jacobian_program
from chainad.api.verbs import stop_gradient
from chainad.frontends.numpy.made_arrays import MadeArray
from chainad.frontends.numpy.tracers import Tracer
from chainad.rules.base import DEFINED, RULES, Composite, Local, Rule
from chainad.structure.linear_operators import Operator, UserOperator
from chainad.structure.structure import Structure

Function: TypeAlias = Callable[..., Any]

# One formula of a row: the number of an operand and of one of the terms by it, ("outer", 0) for the
# outer factor of a composite; the number of a result, and 0, for a function that is defined.
Target: TypeAlias = tuple[int | str, int]
_Change: TypeAlias = Callable[[Target, Any], Any]


@contextmanager
def recorded_targets(function: Function) -> Iterator[list[Target]]:
    """Collect the formulas of a row that are asked for in the block."""
    found: dict[Target, None] = {}

    def change(target: Target, part: Any) -> Any:
        found[target] = None
        return part

    targets: list[Target] = []
    with _changed(function, change):
        yield targets
    targets += found


@contextmanager
def negated(function: Function, target: Target) -> Iterator[None]:
    """Negate one formula of a row in the block; the values of the function stay right.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> with negated(np.sin, (0, 0)):
    ...     chainad.jacobian(np.sin)(0.0)
    array(-1.)
    """

    def change(which: Target, part: Any) -> Any:
        if which != target:
            return part
        return _negative(part) if isinstance(part, Local) else _with_negative_slope(part)

    with _changed(function, change):
        yield


@contextmanager
def _changed(function: Function, change: _Change) -> Iterator[None]:
    table: dict[Function, Any] = RULES if function in RULES else DEFINED
    row = table[function]
    table[function] = _rule(row, change) if isinstance(row, Rule) else _definition(row, change)
    jacobian_program._programs.clear()
    try:
        yield
    finally:
        table[function] = row
        jacobian_program._programs.clear()


def _rule(rule: Rule, change: _Change) -> Rule:
    def inner(locals_: Any) -> Mapping[Any, Any]:
        found = {}
        for x, given in locals_.items():
            if isinstance(given, tuple):
                found[x] = tuple(change((x.number, k), piece) for k, piece in enumerate(given))
            else:
                found[x] = given and change((x.number, 0), given)
        return found

    def locals_(*args: Any, **kwargs: Any) -> Any:
        given = rule.locals(*args, **kwargs)
        if isinstance(given, Composite):
            outer = change(("outer", 0), given.outer)
            return Composite(given.shape, outer, inner(given.inner))
        return inner(given)

    return replace(rule, locals=locals_)


def _definition(definition: Function, change: _Change) -> Function:
    def defined(*args: Any, **kwargs: Any) -> Any:
        result = definition(*args, **kwargs)
        if not isinstance(result, (tuple, list)):
            return part(0, result)
        parts = [part(k, value) for k, value in enumerate(result)]
        found = type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
        if hasattr(result, "__dict__"):
            vars(found).update(vars(result))
        return found

    def part(k: int, value: Any) -> Any:
        return change((k, 0), value) if isinstance(value, (Tracer, MadeArray)) else value

    return defined


def _negative(local: Local) -> Local:
    arrangement, formula = local.arrangement, local.formula
    if formula is not None:
        return Local(arrangement, lambda *args: _negative_numbers(formula(*args)))
    plain = arrangement.structure
    assert plain.scale is not None
    parts = (plain.rows, plain.cols, plain.stored, plain.sizes, -plain.scale)
    return Local(replace(arrangement, structure=Structure(*parts)), None)


def _negative_numbers(found: Any) -> Any:
    if not isinstance(found, Operator):
        return -found
    n_out, n_in = found.n_out, found.n_in
    return UserOperator(n_out, n_in, found.dtype, lambda t: -found.jvp(t), lambda a: -found.vjp(a))


def _with_negative_slope(result: Any) -> Any:
    return 2 * stop_gradient(result) - result
