"""What XLA takes: the model that orders are chosen by here, and `jacfwd` and `jacrev` priced by it.

XLA fuses elementwise equations into one loop, so that these cost no call and no memory of their
own; what is left are matrix products, sums, movements, and what is written between them. JAX's own
modes push a one-hot seed for every input (or pull one for every result) through the whole linear
program at once; orders of products are counted as those of NumPy programs.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, Literal, TypeAlias

import jax
from jax.extend import core

from chainad.frontends.jax import jaxprs
from chainad.frontends.jax.jaxprs import Equation, Jaxpr
from chainad.frontends.jax.linear_jaxpr import LinearRun
from chainad.ir.operation_counts import KINDS_OF_OPERATION, OperationCounts, total_counts
from chainad.planning.alternatives import Alternative
from chainad.planning.calibration import STORED, Calibration, known
from chainad.planning.cost_models import CostModel, by_time
from chainad.planning.plan import Plan

Direction: TypeAlias = Literal["forward", "reverse"]

# One core of an AMD EPYC server of 2024, XLA of JAX 0.10, float64, rounded.
SHIPPED_TABLE = Calibration(
    costs=(
        1_000_000,  # calls
        1,  # views
        1,  # loops
        200,  # moved
        1,  # strided
        400,  # gathered
        100,  # multiplied
        100,  # added
        50,  # dots
        50_000,  # items
        1_000,  # entries
        2_000_000,  # sparse
        100,  # applied
        1,  # operators
        200,  # elements
        1,  # fresh
    ),
    source="XLA, shipped table",
)

# Few rows times a large matrix are multiplied faster than that matrix times few columns.
_FORWARD_DOTS = 1.25
# Elementwise equations that are pulled through leave sums where they broadcast.
_REVERSE_ELEMENTWISE = 1.25

TRANSFORMS: dict[str, Direction] = {"jacfwd": "forward", "jacrev": "reverse"}

# Where JAX's modes take less than so many calls, fewer products save nothing.
_FEW_CALLS = 5

# Code for single numbers has values of at most so many entries, on average. Of these, XLA makes one
# loop over the points of a `vmap`, and one over all tangents is faster than products one by one.
_ENTRIES_OF_SCALAR_CODE = 3

# Under `vmap` so many points share what is done once: calls, and what depends on no point.
_POINTS = 100
# There an adjoint takes so many times longer than a tangent: in code for single numbers, elsewhere.
_REVERSE_OF_MAPPED_SCALARS = 3
_REVERSE_OF_MAPPED = 2
# There `jacfwd`, which has the axis of the tangents first, moves it to the end: so many copies.
_COPIES_OF_MAPPED_TANGENTS = 4

# Calls that JAX merges into the loops of their neighbours.
_FUSED = {
    "mul", "div", "neg", "add", "add_any", "sub", "select_n", "convert_element_type", "copy",
    "integer_pow", "real", "imag", "complex", "conj", "max", "min",
}  # fmt: skip
_VIEWS = {"reshape", "squeeze", "expand_dims", "broadcast_in_dim"}
_MOVES = {
    "transpose",
    "rev",
    "pad",
    "concatenate",
    "slice",
    "dynamic_slice",
    "dynamic_update_slice",
}


def model(is_mapped: bool = False) -> CostModel:
    """Return the cost of orders in XLA, or that of one of many points, under `vmap`."""
    return by_time(table(is_mapped))


def table(is_mapped: bool = False) -> Calibration:
    """Return what `chainad.jax.calibrate` stored for JAX's device, or else the shipped table."""
    found = known(SHIPPED_TABLE, xla_machine(), source())
    if not is_mapped:
        return found
    # What one loop writes, the next reads while it is in the cache, or in the same one.
    shared = dict.fromkeys(("calls", "views", "items", "sparse"), _POINTS) | {"elements": 2}
    costs = zip(KINDS_OF_OPERATION, found.costs, strict=True)
    return Calibration(
        tuple(cost // shared.get(kind, 1) for kind, cost in costs), f"{found.source}, under vmap"
    )


def source() -> str:
    """Return what a table that was measured here is called."""
    return f"XLA on {jax.default_backend()}, {STORED}"


def xla_machine() -> dict[str, str]:
    """Return what the costs of XLA's programs depend on."""
    return {
        "node": platform.node(),
        "machine": platform.machine(),
        "cores": str(os.cpu_count()),
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "platform": jax.default_backend(),
    }


def offers(pushed: Any, run: LinearRun, is_mapped: bool) -> list[Alternative]:
    """Return `jacfwd` and `jacrev` by what is linear in the tangents, as far as JAX has them."""
    ends = {"forward": (run.inputs, run.has_forward), "reverse": (run.outputs, run.has_reverse)}
    sizes = {
        mode: sum(prod(run.shapes[v]) for v in vertices) for mode, (vertices, _) in ends.items()
    }
    found = []
    for name, mode in TRANSFORMS.items():
        _, is_there = ends[mode]
        if is_there:
            count = sizes[mode] * jaxprs.multiplications(pushed.jaxpr)
            cost = _cost_of_mode(pushed, sizes[mode], mode, is_mapped)
            if is_mapped and mode == "forward":
                moved = _COPIES_OF_MAPPED_TANGENTS * prod(sizes.values())
                cost += table().time(OperationCounts(moved=moved))
            found.append(Alternative(name, count, 0, cost))
    return found


def cost_of_results(made: Plan, is_mapped: bool) -> int:
    """Return the picoseconds in which the arrays of a Jacobian are written after the last step.

    First zeros, then what is not zero.
    """
    sizes = (
        sum(prod(made.graph.shapes[v]) for v in ends)
        for ends in (made.graph.inputs, made.graph.outputs)
    )
    return table(is_mapped).time(OperationCounts(elements=2 * prod(sizes)))


def _cost_of_mode(pushed: Any, seeds: int, mode: Direction, is_mapped: bool) -> int:
    """Return the picoseconds that all seeds take through what a jaxpr does, at once."""
    jaxpr, costs = pushed.jaxpr, table(is_mapped)
    if not is_mapped:
        return costs.time(total_counts(_counts(jaxpr.eqns, seeds, mode)))
    cost = sum(
        costs.time(total_counts(_counts(eqns, seeds, mode))) // points
        for eqns, points in zip(_own_and_shared(pushed, mode), (1, _POINTS), strict=True)
    )
    # Under vmap, large matrix products are no quicker in reverse mode.
    return int(_FORWARD_DOTS * _REVERSE_OF_MAPPED * cost) if mode == "reverse" else cost


def _own_and_shared(pushed: Any, mode: Direction) -> tuple[list[Equation], list[Equation]]:
    """Return the equations whose tangents, or adjoints, depend on the point, and the others.

    The seeds do not: what is linear before the first equation that reads a value of the point, or
    in reverse mode behind the last one, is done once for all points of a `vmap`.
    """
    jaxpr = pushed.jaxpr
    consts = zip(jaxpr.constvars, pushed.consts, strict=True)
    varying = {var for var, value in consts if jaxprs.is_mapped(value)}
    own, shared = [], []
    for eqn in jaxpr.eqns if mode == "forward" else reversed(jaxpr.eqns):
        operands = {var for var in eqn.invars if not isinstance(var, core.Literal)}
        made = {*eqn.outvars}
        before, after = (operands, made) if mode == "forward" else (made | operands, operands)
        if before & varying:
            varying |= after - {*jaxpr.constvars}
            own.append(eqn)
        else:
            shared.append(eqn)
    return own, shared


def mode_for_few(jaxpr: Jaxpr, n_outputs: int, is_mapped: bool) -> Direction | None:
    """Return the mode of JAX for a function of few numbers, of which this is the jaxpr, else None.

    `n_outputs` of its results are differentiated; `is_mapped` says that this is under `vmap`.
    """
    names = {*_primitives(jaxpr)}
    elements = _elements(jaxpr)
    seeds: dict[Direction, float] = {}
    if "while" not in names:
        adjoints = sum(prod(v.aval.shape) for v in jaxpr.outvars[:n_outputs])
        seeds["reverse"] = (_REVERSE_OF_MAPPED_SCALARS if is_mapped else 1) * adjoints
    if "custom_vjp_call" not in names:
        seeds["forward"] = sum(prod(v.aval.shape) for v in jaxpr.invars)
    is_scalar_code = elements <= _ENTRIES_OF_SCALAR_CODE * jaxprs.equations(jaxpr)
    if not is_scalar_code and "scan" not in names:
        # Of as many, tangents are faster: adjoints of what was read twice are added up.
        seeds = dict(reversed(seeds.items()))
    mode = min(seeds, key=seeds.__getitem__, default=None)
    if mode is None or (is_mapped and not is_scalar_code):
        return None
    costs = table()
    took = costs.cost("multiplied") * seeds[mode] * elements
    return mode if took <= _FEW_CALLS * costs.cost("calls") else None


def _primitives(jaxpr: Jaxpr) -> Iterator[str]:
    for eqn in jaxpr.eqns:
        yield eqn.primitive.name
        for inner in jaxprs.held(eqn):
            yield from _primitives(inner)


def _elements(jaxpr: Jaxpr) -> int:
    """Return how many numbers are made, and how often numbers are multiplied inside equations."""
    count = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in jaxprs.CALLS:
            count += _elements(jaxprs.inner(eqn)[0])
        else:
            count += jaxprs.multiplications_of(eqn) + sum(prod(v.aval.shape) for v in eqn.outvars)
    return count


def _counts(eqns: Sequence[Equation], seeds: int, mode: Direction) -> list[OperationCounts]:
    return [_counts_of(eqn, seeds, mode) for eqn in eqns]


def _counts_of(eqn: Equation, seeds: int, mode: Direction) -> OperationCounts:
    """Return the operation counts of a linear equation for so many tangents, or adjoints."""
    name, params = eqn.primitive.name, eqn.params
    if name in jaxprs.CALLS:
        return total_counts(_counts(jaxprs.inner(eqn)[0].eqns, seeds, mode))
    read = seeds * sum(prod(v.aval.shape) for v in eqn.invars)
    written = seeds * sum(prod(v.aval.shape) for v in eqn.outvars)
    if name in _FUSED or name in _VIEWS:
        weight = _REVERSE_ELEMENTWISE if mode == "reverse" else 1
        return OperationCounts(multiplied=int(weight * written))
    if name in _MOVES:
        return OperationCounts(moved=max(read, written))
    if name == "dot_general":
        weight = _FORWARD_DOTS if mode == "forward" else 1
        terms = int(weight * seeds * jaxprs.multiplications_of(eqn))
        _, (batch, _) = params["dimension_numbers"]
        items = prod(eqn.invars[0].aval.shape[axis] for axis in batch)
        return OperationCounts(calls=1, dots=terms, items=items, elements=written)
    if name == "reduce_sum":
        return OperationCounts(calls=1, added=read, elements=written)
    applied = seeds * jaxprs.multiplications_of(eqn)
    if name == "scan":
        applied += jaxprs.calls_in_steps(eqn)
    return OperationCounts(calls=1, gathered=max(read, written), applied=applied)
