"""What XLA takes: the model that orders are chosen by here, and `jacfwd` and `jacrev` priced by it.

XLA fuses elementwise equations into one loop, so that these cost no call and no memory of their
own; what is left are matrix products, sums, movements, and what is written between them. JAX's own
modes push a one-hot seed for every input (or pull one for every result) through the whole linear
program at once; orders of products are counted as those of NumPy programs.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from math import prod
from typing import Literal, TypeAlias

import jax

from chainad.frontends.jax import jaxprs
from chainad.frontends.jax.jaxprs import Equation, Jaxpr
from chainad.frontends.jax.linear_jaxpr import LinearRun
from chainad.ir.operation_counts import OperationCounts, total_counts
from chainad.planning.calibration import STORED, Calibration, known
from chainad.planning.cost_models import CostModel, by_time
from chainad.planning.plan import Alternative

Direction: TypeAlias = Literal["forward", "reverse"]

# One core of an AMD EPYC server of 2024, XLA of JAX 0.10, float64, rounded.
SHIPPED_TABLE = Calibration(
    costs=(
        1_000_000,  # calls
        1,  # views
        200,  # moved
        400,  # gathered
        100,  # multiplied
        100,  # added
        50,  # dots
        50_000,  # items
        1_000,  # entries
        2_000_000,  # sparse
        100,  # applied
        200,  # elements
    ),
    source="XLA, shipped table",
)

# Few rows times a large matrix are multiplied faster than that matrix times few columns.
_FORWARD_DOTS = 1.25
# Elementwise equations that are pulled through leave sums where they broadcast.
_REVERSE_ELEMENTWISE = 1.25

TRANSFORMS: dict[str, Direction] = {"jacfwd": "forward", "jacrev": "reverse"}

# Where JAX's modes take less than so many calls, fewer products save nothing. XLA makes one loop
# of all, also under `vmap`, whatever the number of points, which is not seen while f is traced.
_FEW_CALLS = 5

# Under `vmap` an adjoint takes so many times longer than a tangent: with matrix products, without.
_REVERSE_OF_MAPPED_DOTS = 1.6
_REVERSE_OF_MAPPED = 3

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


def model() -> CostModel:
    """Return the cost of orders in XLA."""
    return by_time(table())


def table() -> Calibration:
    """Return what `chainad.jax.calibrate` stored for JAX's device, or else the shipped table."""
    return known(SHIPPED_TABLE, xla_machine(), source())


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


def cost_of_mode(jaxpr: Jaxpr, seeds: int, mode: Direction, table: Calibration) -> int:
    """Return the picoseconds that all seeds take through what a jaxpr does, at once."""
    return table.time(total_counts(_counts(jaxpr, seeds, mode)))


def offers(jaxpr: Jaxpr, run: LinearRun, is_mapped: bool) -> list[Alternative]:
    """Return `jacfwd` and `jacrev` by what is linear in the tangents, as far as JAX has them."""
    ends = {"forward": (run.inputs, run.has_forward), "reverse": (run.outputs, run.has_reverse)}
    found = []
    for name, mode in TRANSFORMS.items():
        vertices, is_there = ends[mode]
        seeds = sum(prod(run.shapes[v]) for v in vertices)
        if is_there:
            count = seeds * jaxprs.multiplications(jaxpr)
            cost = cost_of_mode(jaxpr, seeds, mode, table())
            if is_mapped and mode == "reverse":
                # Large products are no quicker there than others.
                cost = int(_FORWARD_DOTS * _reverse_of_mapped({*_primitives(jaxpr)}) * cost)
            found.append(Alternative(name, count, 0, cost))
    return found


def mode_for_few(jaxpr: Jaxpr, n_outputs: int, is_mapped: bool) -> Direction | None:
    """Return the mode of JAX for a function of few numbers, of which this is the jaxpr, else None.

    `n_outputs` of its results are differentiated; `is_mapped` says that this is under `vmap`.
    """
    names = {*_primitives(jaxpr)}
    seeds: dict[Direction, float] = {}
    if "while" not in names:
        adjoints = sum(prod(v.aval.shape) for v in jaxpr.outvars[:n_outputs])
        seeds["reverse"] = (_reverse_of_mapped(names) if is_mapped else 1) * adjoints
    if "custom_vjp_call" not in names:
        seeds["forward"] = sum(prod(v.aval.shape) for v in jaxpr.invars)
    mode = min(seeds, key=seeds.__getitem__, default=None)
    if mode is None:
        return None
    costs = table()
    took = costs.cost("multiplied") * seeds[mode] * _elements(jaxpr)
    return mode if took <= _FEW_CALLS * costs.cost("calls") else None


def _reverse_of_mapped(names: set[str]) -> float:
    return _REVERSE_OF_MAPPED_DOTS if "dot_general" in names else _REVERSE_OF_MAPPED


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


def _counts(jaxpr: Jaxpr, seeds: int, mode: Direction) -> list[OperationCounts]:
    return [_counts_of(eqn, seeds, mode) for eqn in jaxpr.eqns]


def _counts_of(eqn: Equation, seeds: int, mode: Direction) -> OperationCounts:
    """Return the operation counts of a linear equation for so many tangents, or adjoints."""
    name, params = eqn.primitive.name, eqn.params
    if name in jaxprs.CALLS:
        return total_counts(_counts(jaxprs.inner(eqn)[0], seeds, mode))
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
