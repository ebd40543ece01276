"""Axes that stay independent through equations, and the jaxprs that these hold, by data flow.

Of a batch, the results of one sample depend on that sample alone, also through loops, branches and
solves. An operator of such an equation is one of each sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any, TypeAlias

from jax.extend import core

from chainad.frontends.jax import jaxprs
from chainad.frontends.jax.jaxprs import Equation, Jaxpr
from chainad.ir.shapes import Shape
from chainad.rules import lax as rows

# For every operand that an array depends on, and every axis of the array: the axis of the operand
# at whose place alone it depends on it, or None.
Axes: TypeAlias = tuple[int | None, ...]
Flow: TypeAlias = Mapping[int, Axes]
# An axis of every operand, and one of every result.
_Ends: TypeAlias = tuple[dict[int, int], dict[int, int]]

_ELEMENTWISE = {
    *jaxprs.ADDITIONS, *jaxprs.PRODUCTS, "neg", "select_n", "imag", "complex", "conj",
}  # fmt: skip


def batch_of(
    at: Sequence[int], flows: Sequence[Flow], shape: Shape
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Return the axes along which all results are independent: of operands `at`, and of results.

    `shape` is that of the first result.
    """
    found: list[_Ends] = []
    for axis, n in enumerate(shape):
        ends = _connected(axis, at, flows) if n > 1 else None
        # Of a diagonal, two axes go with one.
        if ends is not None and all(map(_are_apart, found, repeat(ends))):
            found.append(ends)
    operands = [tuple(ends[0][k] for ends in found) for k in at]
    results = [tuple(ends[1][o] for ends in found) for o in range(len(flows))]
    return operands, results


def _are_apart(one: _Ends, other: _Ends) -> bool:
    """Return whether all operands, and all results, have different axes in the two."""
    return all(a[k] != b[k] for a, b in zip(one, other, strict=True) for k in a)


def _connected(axis: int, at: Sequence[int], flows: Sequence[Flow]) -> _Ends | None:
    """Return the axis of every operand and result that goes with one of the first result."""
    operands, results = dict[int, int](), {0: axis}
    known = 0
    while known < len(operands) + len(results):
        known = len(operands) + len(results)
        for output, flow in enumerate(flows):
            for k, axes in flow.items():
                if output in results:
                    source = axes[results[output]]
                    if source is None or operands.setdefault(k, source) != source:
                        return None
                elif k in operands:
                    if operands[k] not in axes:
                        return None
                    results[output] = axes.index(operands[k])
    is_whole = len(operands) == len(at) and len(results) == len(flows)
    return (operands, results) if is_whole else None


def flows_of(eqn: Equation, at: Sequence[int]) -> list[Flow]:
    """Return how every result of an equation depends on the operands `at`."""
    name, params = eqn.primitive.name, eqn.params
    given = [itself(k, var.aval) if k in at else {} for k, var in enumerate(eqn.invars)]
    if name in jaxprs.SAME:
        return given
    if name in jaxprs.CALLS and name != "custom_vjp_call":
        return through(jaxprs.inner(eqn)[0], given)
    match name:
        case "scan":
            return _through_scan(eqn, given)
        case "while":
            body = params["body_jaxpr"].jaxpr
            operands = given[params["cond_nconsts"] :]
            n = params["body_nconsts"]
            return _stable(body, operands[:n], operands[n:], [])
        case "cond":
            branches = [through(branch.jaxpr, given[1:]) for branch in params["branches"]]
            return [_joined(flows) for flows in zip(*branches, strict=True)]
        case "custom_linear_solve":
            n = sum(params["const_lengths"])
            solve = params["jaxprs"].solve.jaxpr
            constants: list[Flow] = [{}] * (len(solve.invars) - len(given[n:]))
            return through(solve, [*constants, *given[n:]])
    return [{k: _local(eqn, k, output) for k in at} for output in range(len(eqn.outvars))]


def depending_results(eqn: Equation, at: Sequence[int]) -> list[int]:
    """Return which results of an equation depend on operands `at`: of loops, not all may."""
    if eqn.primitive.name in ("scan", "while", "cond"):
        return [output for output, flow in enumerate(flows_of(eqn, at)) if flow]
    return [*range(len(eqn.outvars))] if at else []


def through(jaxpr: Jaxpr, given: Sequence[Flow]) -> list[Flow]:
    """Return how the results of a jaxpr depend on what its arguments depend on."""
    known = dict(zip(jaxpr.invars, given, strict=True))

    def read(var: Any) -> Flow:
        return {} if isinstance(var, core.Literal) else known.get(var, {})

    for eqn in jaxpr.eqns:
        operands = [read(var) for var in eqn.invars]
        at = [k for k, flow in enumerate(operands) if flow]
        if at:
            for var, flow in zip(eqn.outvars, flows_of(eqn, at), strict=True):
                known[var] = _joined([_composed(operands[k], axes) for k, axes in flow.items()])
    return [read(var) for var in jaxpr.outvars]


def transposed_flow(flows: Sequence[Flow], ranks: Sequence[int]) -> list[Flow]:
    """Return the flows of the transpose, of which the results have these numbers of axes."""
    found: list[dict[int, Axes]] = [{} for _ in ranks]
    for output, flow in enumerate(flows):
        for k, axes in flow.items():
            places = range(ranks[k])
            found[k][output] = tuple(axes.index(d) if d in axes else None for d in places)
    return [*found]


def _through_scan(eqn: Equation, given: list[Flow]) -> list[Flow]:
    params = eqn.params
    n, m = params["num_consts"], params["num_consts"] + params["num_carry"]
    # A step takes slices along the first axis. What it does to them alone is of the same step: they
    # have numbers of their own until they are in the carry.
    slices = [{-1 - k: axes[1:] for k, axes in flow.items()} for flow in given[m:]]
    found = _stable(params["jaxpr"].jaxpr, given[:n], given[n:m], slices)
    made = [
        _joined([{k if k >= 0 else -1 - k: (None if k >= 0 else 0, *axes)} for k, axes in each])
        for each in (flow.items() for flow in found[m - n :])
    ]
    return [*found[: m - n], *made]


def _stable(
    body: Jaxpr, constants: Sequence[Flow], carry: Sequence[Flow], slices: Sequence[Flow]
) -> list[Flow]:
    """Return the results of a loop, after as many steps of its body as add nothing new."""
    while True:
        found = through(body, [*constants, *carry, *slices])
        grown = [
            _joined([old, *({k if k >= 0 else -1 - k: axes} for k, axes in new.items())])
            for old, new in zip(carry, found[: len(carry)], strict=True)
        ]
        if grown == [*carry]:
            return [*carry, *found[len(carry) :]]
        carry = grown


def _local(eqn: Equation, k: int, output: int) -> Axes:
    """Return the axes of a result by those of one operand, from the primitive alone."""
    name, result = eqn.primitive.name, eqn.outvars[output].aval.shape
    shapes = tuple(tuple(getattr(v.aval, "shape", ())) for v in eqn.invars)
    if name in _ELEMENTWISE:
        return tuple(range(len(result))) if shapes[k] == result else (None,) * len(result)
    equation = rows.Equation(eqn.params, shapes, tuple(result), k, output)
    found = {e: d for d, e in rows.independent_axes(name, equation)}
    return tuple(found.get(e) for e in range(len(result)))


def _composed(inner: Flow, axes: Sequence[int | None]) -> Flow:
    return {k: tuple(None if d is None else own[d] for d in axes) for k, own in inner.items()}


def _joined(flows: Sequence[Flow]) -> Flow:
    """Return how a sum depends on what its terms depend on: along axes that all of these have."""
    found: dict[int, Axes] = {}
    for flow in flows:
        for k, axes in flow.items():
            pairs = zip(found.get(k, axes), axes, strict=True)
            found[k] = tuple(a if a == b else None for a, b in pairs)
    return found


def itself(k: int, aval: Any) -> Flow:
    """Return how operand k depends on itself."""
    return {k: tuple(range(len(aval.shape)))}
