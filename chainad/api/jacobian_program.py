"""The program that accumulates a Jacobian: planned and lowered once per signature, and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from math import isfinite
from typing import Any

from chainad.api.options import Options
from chainad.compiler.chunked_programs import ChunkedPrograms, compile_chunks
from chainad.compiler.linearize import Linearized, Recipe
from chainad.compiler.lower import lower
from chainad.compiler.matrix_free import Sweeps
from chainad.compiler.passes.carry_masks import multiplies_exact_zeros
from chainad.compiler.passes.check_finite import check_finite
from chainad.compiler.target import Target
from chainad.errors import InputError, PlanError
from chainad.ir.array_functions import is_traced
from chainad.ir.cache import Cache
from chainad.ir.collector import paused_collector
from chainad.ir.exact_zeros import is_finite
from chainad.ir.graph import Origin
from chainad.ir.program import Program, Runner
from chainad.ir.signature import Signature
from chainad.planning.auto import check_fits, mode_key, plan_cached
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.cost_models import model_of
from chainad.planning.linear_graph import LinearGraph
from chainad.planning.machine_memory import memory_of_machine
from chainad.planning.memory import check_peak, default_limit, plan_in_blocks, plan_within
from chainad.planning.peak import result_entries
from chainad.planning.plan import Plan
from chainad.structure.results import ResultForm


@dataclass(frozen=True)
class JacobianProgram:
    """What accumulates the Jacobian of every run with the same graph, under the same options.

    `run` takes what the `recipes` make and returns the results, of `forms`; `program` is what it
    runs (None where the plan is in blocks, which are several programs). `masked` returns the
    program that carries masks of exact zeros, to be run where the other one multiplies nan or
    infinity; None if nothing is multiplied that may have some. `checked` is the program with one
    more result, finite only if it does not, which `run` returns then.
    """

    linearized: Linearized
    recipes: tuple[Recipe, ...]
    plan: Plan | ChunkedPlan
    forms: tuple[ResultForm | None, ...]
    used_slots: tuple[int, ...]
    run: Runner
    program: Program | None = None
    masked: Callable[[], JacobianProgram] | None = None
    checked: Program | None = None

    def results(
        self, slots: Sequence[Any], out: Sequence[Any] | None = None
    ) -> tuple[tuple[Any, ...], bool]:
        """Return the results, in the arrays `out` if given, and whether they are with masks."""
        results = self.run(slots) if out is None else self.run(slots, out)
        if self.checked is None:
            is_known = self.masked is None or any(map(is_traced, results))
            return results, is_known or is_finite(results)
        return results[:-1], isfinite(results[-1])


_programs: Cache[JacobianProgram] = Cache(256, "programs of Jacobians")
_sweeps: Cache[tuple[Linearized, list[Sweeps]]] = Cache(64, "sweeps of operators")


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
        return replace(mode.with_origins(graph), at_once=options.at_once)
    limit, is_on_disk = options.memory_limit, options.is_on_disk
    if limit is None and is_on_disk and result_entries(graph) * itemsize > memory_of_machine():
        limit = default_limit()
    counts_result, at_once = not is_on_disk, options.at_once
    if options.chunk_size is not None:
        cost, size = options.cost, options.chunk_size
        return plan_in_blocks(graph, mode, itemsize, cost, limit, size, counts_result, at_once)
    if limit is None:
        return plan_cached(graph, mode, itemsize, options.cost, options.search)
    return plan_within(
        graph, mode, itemsize, options.cost, limit, options.output, options.search, counts_result,
        at_once,
    )  # fmt: skip


def jacobian_program(
    signature: Signature,
    options: Options,
    target: Target,
    linearize: Callable[[], Linearized],
    origin: Callable[[int], Origin],
) -> JacobianProgram:
    """Return the program for all runs of a signature, made now or before.

    `linearize` returns their linear graph, if it must be made now; `target` runs the program.
    `origin` tells where a call is from, for messages.

    Raises
    ------
    InputError
        If the output is an operator, which is no program.
    PlanError, TooLargeError
        As for `jacobian`.
    """
    if options.output == "operator":
        raise InputError("output='operator' is not compiled; call chainad.jacobian(f) instead")

    def make() -> JacobianProgram:
        with paused_collector():
            return _build(linearize(), options, target.of(signature), signature.itemsize, origin)

    key = options.mode if isinstance(options.mode, ChunkedPlan) else mode_key(options.mode)
    if key is None:
        return _run_as_requested(make(), options)
    cost = model_of(options.cost, signature.itemsize)  # a calibration may have changed it
    limits = options.memory_limit, options.is_on_disk and memory_of_machine()
    blocks = options.chunk_size, options.at_once
    asked = options.output, cost, *limits, *blocks, options.search.key, options.is_hessian
    made = _programs.get((signature, target, key, *asked), make)
    return _run_as_requested(made, options)


def blocked_program(
    signature: Signature, options: Options, target: Target, linearized: Linearized
) -> JacobianProgram:
    """Return the program that makes a Jacobian block by block, each to be written elsewhere.

    Raises
    ------
    PlanError, TooLargeError
        As for `plan_in_blocks`.
    """
    graph, itemsize, mode = linearized.graph, signature.itemsize, options.mode
    limit = options.memory_limit or default_limit()
    plan = (
        plan_for(graph, options, itemsize)
        if isinstance(mode, ChunkedPlan)
        else plan_in_blocks(graph, mode, itemsize, options.cost, limit, options.chunk_size)
    )
    return _lowered(linearized, plan, "dense", target.of(signature))


def _run_as_requested(program: JacobianProgram, options: Options) -> JacobianProgram:
    """Return a program that tells its progress and runs on an executor, if it runs in blocks."""
    run, masked = program.run, program.masked
    progress, executor = options.progress, options.executor
    if not isinstance(run, ChunkedPrograms) or (progress is False and executor is None):
        return program
    return replace(
        program,
        run=replace(run, progress=progress, executor=executor),
        masked=masked and (lambda: _run_as_requested(masked(), options)),
    )


def _build(
    linearized: Linearized,
    options: Options,
    target: Target,
    itemsize: int,
    origin: Callable[[int], Origin],
) -> JacobianProgram:
    plan = plan_for(linearized.graph, options, itemsize)
    if isinstance(plan, Plan):
        check_peak(plan, lambda edge: origin(linearized.recipes[edge].first))
    return _lowered(linearized, plan, options.output, target)


def _lowered(
    linearized: Linearized,
    plan: Plan | ChunkedPlan,
    output: str,
    target: Target,
    carries_masks: bool = False,
) -> JacobianProgram:
    """Return what a plan is lowered to, with masks of exact zeros or without them."""
    recipes, selections = linearized.recipes, linearized.selections
    arrangements = [recipe.ops for recipe in recipes]
    masked = None
    if carries_masks:
        recipes = (*recipes, *linearized.masks)
    else:
        masked = cache(partial(_lowered, linearized, plan, output, target, True))
    carried = selections if carries_masks else None
    if isinstance(plan, ChunkedPlan):
        chunks = compile_chunks(plan, arrangements, target, carried)
        used = chunks.used_slots
        masked = masked if selections else None
        return JacobianProgram(linearized, recipes, plan, chunks.forms, used, chunks, None, masked)
    lowered = lower(plan, arrangements, output, target.passes, carried)
    program, checked = lowered.program, None
    if masked is not None and multiplies_exact_zeros(program, selections):
        # Whoever multiplies factors needs finite ones.
        checked = check_finite(program, lowered.shapes, output == "structured")
    run, used = target.build(checked or program), program.used_slots
    masked = masked if checked is not None else None
    return JacobianProgram(
        linearized, recipes, plan, lowered.forms, used, run, program, masked, checked
    )


def jacobian_sweeps(
    signature: Signature, target: Target, linearize: Callable[[], Linearized]
) -> tuple[Linearized, list[Sweeps]]:
    """Return the sweeps of every block for all runs of a signature, made now or before."""
    return _sweeps.get((signature, target), lambda: _make_sweeps(linearize(), target.of(signature)))


def _make_sweeps(linearized: Linearized, target: Target) -> tuple[Linearized, list[Sweeps]]:
    graph = linearized.graph
    arrangements = [recipe.ops for recipe in linearized.recipes]
    ends = [(i, o) for o in graph.outputs for i in graph.inputs]
    selections = linearized.selections
    return linearized, [Sweeps(graph, arrangements, each, target, selections) for each in ends]
