"""From a trace to the program that accumulates its Jacobian: planned and lowered once, and kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainad.api.options import Options
from chainad.api.outputs import block_indices, check_size, dtype_of, itemsize_of
from chainad.api.targets import NUMPY
from chainad.compiler.chunked_programs import compile_chunks
from chainad.compiler.linearize import Linearized, evaluate, linear_graph
from chainad.compiler.lower import lower
from chainad.compiler.matrix_free import Sweeps, linear_operator
from chainad.errors import InputError, PlanError
from chainad.frontends.numpy.trace import Run
from chainad.frontends.numpy.traced_calls import Tracer
from chainad.ir.cache import Cache
from chainad.ir.program import Program, Runner
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
class JacobianProgram:
    """What accumulates the Jacobian of every run with the same graph, under the same options.

    `run` takes the local Jacobians by slot and returns the results, of `forms`; `program` is what
    it runs (None where the plan is in blocks, which are several programs).
    """

    linearized: Linearized
    plan: Plan | ChunkedPlan
    forms: tuple[ResultForm | None, ...]
    used_slots: tuple[int, ...]
    run: Runner
    program: Program | None = None


_programs: Cache[JacobianProgram] = Cache(256)
_sweeps: Cache[tuple[Linearized, list[Sweeps]]] = Cache(64)


def plan_for(graph: LinearGraph, options: Options, itemsize: int) -> Plan | ChunkedPlan:
    """Return the plan for a graph, made now or before."""
    mode = options.mode
    if isinstance(mode, ChunkedPlan):
        check_fits(mode.graph, graph)
        if options.output != "dense":
            raise PlanError(
                "a plan in blocks gives a dense Jacobian, but"
                f" output={options.output!r} is requested; plan with that output"
            )
        return mode.with_origins(graph)
    if options.memory_limit is None:
        return plan_cached(graph, mode, itemsize, options.cost, options.search)
    return plan_within(
        graph, mode, itemsize, options.cost, options.memory_limit, options.output, options.search
    )


def jacobian_program(run: Run, options: Options) -> JacobianProgram:
    """Return the program for a run, made now or before.

    Raises
    ------
    InputError
        If the output is an operator, which is no program.
    PlanError, TooLargeError
        As for `jacobian`.
    """
    if options.output == "operator":
        raise InputError("output='operator' is not compiled; call chainad.jacobian(f) instead")
    if options.output == "dense":
        check_size(run)
    key = options.mode if isinstance(options.mode, ChunkedPlan) else mode_key(options.mode)
    if key is None:
        return _build(run, options)
    cost = model_of(options.cost, itemsize_of(run))  # a calibration may have changed it
    cache_key = (run.key, key, options.output, cost, options.memory_limit, options.search)
    return _programs.get(cache_key, lambda: _build(run, options))


def _build(run: Run, options: Options) -> JacobianProgram:
    # Lines are looked up only where a message may name them.
    origin = run.tape.origin if isinstance(options.mode, (Plan, ChunkedPlan)) else None
    linearized = linear_graph(run.graph(), origin, run.tape.where)
    plan = plan_for(linearized.graph, options, itemsize_of(run))
    arrangements = [recipe.ops for recipe in linearized.recipes]
    if isinstance(plan, ChunkedPlan):
        chunks = compile_chunks(plan, arrangements, NUMPY)
        return JacobianProgram(linearized, plan, chunks.forms, chunks.used_slots, chunks)
    lowered = lower(plan, arrangements, options.output, NUMPY.passes)
    program = lowered.program
    return JacobianProgram(
        linearized, plan, lowered.forms, program.used_slots, NUMPY.build(program), program
    )


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
    linearized, sweeps = _sweeps.get(run.key, lambda: _make_sweeps(run))
    slots = evaluate(run.tape, linearized.recipes)
    # The operator outlives this call: arrays that the user may overwrite are its own.
    kept = [x.copy() if isinstance(x, (np.ndarray, Operator)) else x for x in slots]
    return [
        linear_operator(each, [kept[k] for k in each.slots], dtype_of(run, o, i))
        for each, (o, i) in zip(sweeps, block_indices(run), strict=True)
    ]


def _make_sweeps(run: Run) -> tuple[Linearized, list[Sweeps]]:
    linearized = linear_graph(run.graph(), where=run.tape.where)
    graph = linearized.graph
    arrangements = [recipe.ops for recipe in linearized.recipes]
    ends = [(i, o) for o in graph.outputs for i in graph.inputs]
    return linearized, [Sweeps(graph, arrangements, each, NUMPY) for each in ends]
