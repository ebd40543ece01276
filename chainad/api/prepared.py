"""From a run to what accumulates its Jacobian: planned and lowered once, and kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainad.api.options import Options
from chainad.api.outputs import check_size, dtype_of, itemsize_of, pairs
from chainad.backends.numpy.build import Runner, build
from chainad.compiler.chunked_programs import compile_chunks
from chainad.compiler.linearize import Linearized, evaluate, linear_graph
from chainad.compiler.lower import lower
from chainad.compiler.matrix_free import Sweeps, linear_operator
from chainad.errors import InputError, PlanError
from chainad.frontends.numpy.trace import Run
from chainad.frontends.numpy.traced_calls import Tracer
from chainad.ir.cache import Cache
from chainad.ir.program import Program
from chainad.planning.auto import check_fits, mode_key, plan_cached
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.cost_models import model_of
from chainad.planning.linear_graph import LinearGraph
from chainad.planning.memory import plan_within
from chainad.planning.plan import Plan
from chainad.structure.linear_operators import Operator
from chainad.structure.results import ResultForm

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator


@dataclass(frozen=True)
class Prepared:
    """Everything that is kept for runs with the same graph, asked for alike."""

    linearized: Linearized
    plan: Plan | ChunkedPlan
    forms: tuple[ResultForm | None, ...]
    used_slots: tuple[int, ...]
    run: Runner
    program: Program | None = None


_prepared: Cache[Prepared] = Cache(256)
_swept: Cache[tuple[Linearized, list[Sweeps]]] = Cache(64)


def forget() -> None:
    """Empty the caches."""
    _prepared.clear()
    _swept.clear()


def plan_for(graph: LinearGraph, how: Options, itemsize: int) -> Plan | ChunkedPlan:
    """Return the plan for a graph, made now or before."""
    mode = how.mode
    if isinstance(mode, ChunkedPlan):
        check_fits(mode.graph, graph)
        if how.output != "dense":
            raise PlanError(
                f"a plan in blocks gives a dense Jacobian, but output={how.output!r} is asked for;"
                " plan with that output"
            )
        return mode.with_origins(graph)
    if how.limit is None:
        return plan_cached(graph, mode, itemsize, how.cost, how.search)
    return plan_within(graph, mode, itemsize, how.cost, how.limit, how.output, how.search)


def prepare(run: Run, how: Options) -> Prepared:
    """Return the program for a run, made now or before.

    Raises
    ------
    InputError
        If the output is an operator, which is no program.
    PlanError, TooLargeError
        As for `jacobian`.
    """
    if how.output == "operator":
        raise InputError("output='operator' is not compiled; call chainad.jacobian(f) instead")
    if how.output == "dense":
        check_size(run)
    key = how.mode if isinstance(how.mode, ChunkedPlan) else mode_key(how.mode)
    if key is None:
        return _build(run, how)
    cost = model_of(how.cost, itemsize_of(run))  # a calibration may have changed it
    known = (run.key, key, how.output, cost, how.limit, how.search)
    return _prepared.get(known, lambda: _build(run, how))


def _build(run: Run, how: Options) -> Prepared:
    # Lines are looked up only where a message may name them.
    origin = run.tape.origin if isinstance(how.mode, (Plan, ChunkedPlan)) else None
    linearized = linear_graph(run.graph(), origin, run.tape.where)
    made = plan_for(linearized.graph, how, itemsize_of(run))
    arrangements = [recipe.ops for recipe in linearized.recipes]
    if isinstance(made, ChunkedPlan):
        chunks = compile_chunks(made, arrangements)
        return Prepared(linearized, made, chunks.forms, chunks.used_slots, chunks)
    lowered = lower(made, arrangements, how.output)
    program = lowered.program
    return Prepared(linearized, made, lowered.forms, program.used_slots, build(program), program)


def operators(run: Run) -> list[LinearOperator]:
    """Return a matrix-free operator for every output and argument.

    Raises
    ------
    InputError
        If the run is itself being differentiated.
    """
    if isinstance(run.input(0), Tracer):
        raise InputError(
            "a Jacobian with output='operator' cannot be differentiated again;"
            " use output='dense' for the inner one"
        )
    linearized, sweeps = _swept.get(run.key, lambda: _sweeps(run))
    slots = evaluate(run.tape, linearized.recipes)
    # The operator outlives this call: numbers that the user may overwrite are its own.
    kept = [x.copy() if isinstance(x, (np.ndarray, Operator)) else x for x in slots]
    return [
        linear_operator(each, kept, dtype_of(run, o, i))
        for each, (o, i) in zip(sweeps, pairs(run), strict=True)
    ]


def _sweeps(run: Run) -> tuple[Linearized, list[Sweeps]]:
    linearized = linear_graph(run.graph(), where=run.tape.where)
    graph = linearized.graph
    arrangements = [recipe.ops for recipe in linearized.recipes]
    ends = [(i, o) for o in graph.outputs for i in graph.inputs]
    return linearized, [Sweeps(graph, arrangements, each) for each in ends]
