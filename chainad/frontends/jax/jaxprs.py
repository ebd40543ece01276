"""Jaxprs: those that equations hold, what these cost, and how they are evaluated."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from math import log2, prod
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import tree_util
from jax.extend import core

from chainad.frontends.jax.constant_folding import folded
from chainad.frontends.jax.equation_sites import is_of_library

try:  # what is evaluated again is from the lines that it was traced from
    from jax._src.source_info_util import user_context
except ImportError:  # pragma: no cover
    user_context = None

Jaxpr: TypeAlias = Any
Equation: TypeAlias = Any

# The parameter that holds the jaxpr of an equation which only calls it.
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "complex_region": "jaxpr",
}
# Equations that change nothing but the dtype, the place, or what XLA is told.
SAME = {
    "convert_element_type", "copy", "copy_p", "reduce_precision", "optimization_barrier",
    "sharding_constraint", "pvary", "device_put", "real", "name",
}  # fmt: skip
ADDITIONS = ("add", "add_any", "sub")
PRODUCTS = ("mul", "div")
_INLINED = ("jit", "pjit", "closed_call", "core_call")
# What a product takes inside a step, beside its multiplications: XLA calls it anew in every step.
MULTIPLICATIONS_PER_CALL = 1000
_ELEMENTWISE = ("mul", "div", "integer_pow")
# Results of at most so many entries that depend on no argument are computed while f is traced.
MAX_FOLDED = 1 << 16
# How often the body of a loop without a known end is assumed to run.
_ITERATIONS = 100


def inner(eqn: Equation) -> tuple[Jaxpr, Sequence[Any]]:
    """Return the jaxpr that an equation calls, and its constants."""
    found = eqn.params[CALLS[eqn.primitive.name]]
    return (found.jaxpr, found.consts) if isinstance(found, core.ClosedJaxpr) else (found, ())


def held(eqn: Equation) -> Iterator[Jaxpr]:
    """Yield the jaxprs among the parameters of an equation."""
    for value in tree_util.tree_leaves([*eqn.params.values()]):
        if isinstance(value, (core.Jaxpr, core.ClosedJaxpr)):
            yield value.jaxpr if isinstance(value, core.ClosedJaxpr) else value


def varying_axes(value: Any) -> frozenset[str]:
    """Return the axes of a mesh over which an array, or a type, varies inside `jax.shard_map`."""
    aval = getattr(value, "aval", value)
    # Before JAX 0.10 a type has them itself.
    holder = getattr(aval, "manual_axis_type", None)
    found = getattr(aval, "vma", None) if holder is None else holder.varying
    return found or frozenset()


def is_on_mesh(closed: Any) -> bool:
    """Return whether a function is of several devices, or samples, at once: only JAX knows these.

    It has collectives, or arrays whose types say how they lie on an explicit mesh.
    """
    if any(type(effect).__name__ == "NamedAxisEffect" for effect in closed.effects):
        return True
    meshes = (getattr(getattr(a, "sharding", None), "mesh", None) for a in closed.in_avals)
    return any(getattr(mesh, "explicit_axes", ()) for mesh in meshes)


def is_known(value: Any) -> bool:
    """Return whether a value is there, and not traced by JAX."""
    return not isinstance(value, jax.core.Tracer)


def is_mapped(value: Any) -> bool:
    """Return whether a value is that of one of many points, under `vmap`."""
    while hasattr(value, "primal"):  # a transform inside the vmap traces it, too
        value = value.primal
    return type(value).__name__ == "BatchTracer"


def as_jax(values: Sequence[Any]) -> list[Any]:
    """Return values as arrays of JAX: the user's functions may index them by traced ones."""
    return [jnp.asarray(x) if isinstance(x, np.ndarray) else x for x in values]


def bind(eqn: Equation, values: Sequence[Any]) -> list[Any]:
    """Return the results of an equation for these operands."""
    if eqn.primitive.name == "complex_region":
        return evaluate(*inner(eqn), *values)
    given = eqn.primitive.get_bind_params(eqn.params)
    # Before JAX 0.10 functions come apart from parameters.
    functions, params = given if isinstance(given, tuple) else ((), given)
    if eqn.primitive.name.startswith("custom_"):
        values = as_jax(values)
    found = eqn.primitive.bind(*functions, *values, **params)
    return list(found) if eqn.primitive.multiple_results else [found]


def at_line_of(eqn: Equation) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which equations are from the line that `eqn` is from."""
    if user_context is None:  # pragma: no cover
        return contextlib.nullcontext()
    context: contextlib.AbstractContextManager[Any] = user_context(eqn.source_info.traceback)
    return context


def evaluate(
    jaxpr: Jaxpr, consts: Sequence[Any], *args: Any, caller: Equation | None = None
) -> list[Any]:
    """Evaluate a jaxpr; calls are inlined, and what depends on no argument is computed at once.

    Its equations are from the line of the `caller`, if there is one.
    """

    def step(eqn: Equation, values: list[Any]) -> list[Any]:
        eqn = called_by(caller, eqn)
        if eqn.primitive.name in _INLINED:
            return evaluate(*inner(eqn), *values, caller=caller_of(eqn, caller))
        return bound(eqn, values)

    return walk(jaxpr, consts, args, step)


def caller_of(call: Equation, caller: Equation | None) -> Equation | None:
    """Return the equation whose line those are from that a call holds; None for lines of their own.

    JAX traces its own functions once: their equations are from the line where that was.
    """
    info = getattr(inner(call)[0], "debug_info", None)
    is_theirs = is_of_library(getattr(info, "func_src_info", None) or "")
    return caller or (call if is_theirs else None)


def called_by(caller: Equation | None, eqn: Equation) -> Equation:
    """Return an equation with the line of its caller, if there is one."""
    return eqn if caller is None else eqn.replace(source_info=caller.source_info)


def bound(eqn: Equation, values: Sequence[Any]) -> list[Any]:
    """Return the results of an equation: numbers, if all operands are and there are few."""
    size = sum(prod(v.aval.shape) for v in eqn.outvars)
    is_alone = not any(map(varying_axes, eqn.outvars))
    if size <= MAX_FOLDED and is_alone and all(map(is_known, values)):
        known = folded(eqn.primitive.name, values, eqn.params, eqn.outvars[0].aval)
        if known is not None:
            return [known]
        with jax.ensure_compile_time_eval():
            return bind(eqn, values)
    with at_line_of(eqn):
        return bind(eqn, values)


def walk(
    jaxpr: Jaxpr,
    consts: Sequence[Any],
    args: Sequence[Any],
    step: Callable[[Equation, list[Any]], Sequence[Any]],
) -> list[Any]:
    """Return the results of a jaxpr whose equations are evaluated by `step`."""
    known = dict(zip(jaxpr.constvars, consts, strict=True))
    known |= zip(jaxpr.invars, args, strict=True)

    def read(var: Any) -> Any:
        return var.val if isinstance(var, core.Literal) else known[var]

    for eqn in jaxpr.eqns:
        results = step(eqn, [read(v) for v in eqn.invars])
        known |= zip(eqn.outvars, results, strict=True)
    return [read(v) for v in jaxpr.outvars]


def depending(jaxpr: Jaxpr, given: Sequence[bool]) -> list[bool]:
    """Return which results depend on arguments that are marked."""
    marked = {var for var, is_marked in zip(jaxpr.invars, given, strict=True) if is_marked}

    def is_marked(var: Any) -> bool:
        return not isinstance(var, core.Literal) and var in marked

    for eqn in jaxpr.eqns:
        if any(map(is_marked, eqn.invars)):
            marked |= {*eqn.outvars}
    return [is_marked(var) for var in jaxpr.outvars]


def equations(jaxpr: Jaxpr) -> int:
    """Return how many equations there are, also in those that only call others."""
    return sum(equations(inner(eqn)[0]) if eqn.primitive.name in CALLS else 1 for eqn in jaxpr.eqns)


def multiplications(jaxpr: Jaxpr) -> int:
    """Return how many multiplications an evaluation takes; loops without end count a hundred."""
    return sum(multiplications_of(eqn) for eqn in jaxpr.eqns)


def products(jaxpr: Jaxpr) -> int:
    """Return how many equations multiply, solve or loop: those that are more than elementwise."""
    count = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in CALLS:
            count += products(inner(eqn)[0])
        elif eqn.primitive.name not in _ELEMENTWISE and multiplications_of(eqn):
            count += 1
    return count


def calls_in_steps(scan: Equation) -> int:
    """Return the multiplications that products in steps of a scan take beside their own.

    Those that are accumulated for all steps at once save them, but for one product a step.
    """
    products_of_step = products(scan.params["jaxpr"].jaxpr)
    return MULTIPLICATIONS_PER_CALL * int(scan.params["length"]) * max(0, products_of_step - 1)


def multiplications_of(eqn: Equation) -> int:
    """Return how many multiplications an equation takes."""
    return int(_multiplications_of(eqn))


def _multiplications_of(eqn: Equation) -> Any:
    name, params = eqn.primitive.name, eqn.params
    size = sum(prod(v.aval.shape) for v in eqn.outvars)
    if name in CALLS:
        return multiplications(inner(eqn)[0])
    match name:
        case _ if name in _ELEMENTWISE:
            return size
        case "dot_general":
            (summed, _), _ = params["dimension_numbers"]
            return size * prod(eqn.invars[0].aval.shape[axis] for axis in summed)
        case "conv_general_dilated":
            kernel = eqn.invars[1].aval.shape
            return size * prod(kernel) // max(1, kernel[params["dimension_numbers"].rhs_spec[0]])
        case "triangular_solve":
            return size * eqn.invars[0].aval.shape[-1] // 2
        case "custom_linear_solve":
            return multiplications(params["jaxprs"].solve.jaxpr)
        case "scan":
            return params["length"] * multiplications(params["jaxpr"].jaxpr)
        case "while":
            return _ITERATIONS * multiplications(params["body_jaxpr"].jaxpr)
        case "cond":
            return max(multiplications(branch.jaxpr) for branch in params["branches"])
        case "fft":
            return 4 * size * max(1, log2(max(size, 2)))
    return 0
