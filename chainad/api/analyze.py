"""EXPLAIN ANALYZE: a plan is run step by step, and timed beside what the model of time says.

As in databases, where the command is from: the plan with its estimates, then what they were worth.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any, NamedTuple

import numpy as np

from chainad.api.analysis import Analysis, MeasuredMode, MeasuredStep, Phase
from chainad.api.differentiator import Differentiator
from chainad.api.evaluation import owned
from chainad.api.jacobian_program import JacobianProgram
from chainad.api.options import Options
from chainad.api.outputs import assembler
from chainad.api.stopwatch import Laps, in_turns, quickest, repeats_for, timed
from chainad.api.traced_run import program_of
from chainad.backends.numpy.build import build
from chainad.compiler.linearize import evaluate, linear_graph
from chainad.compiler.lower import lower
from chainad.compiler.program_time import times_of_steps
from chainad.compiler.split_program import Section, split
from chainad.compiler.target import Pass, Target
from chainad.errors import FallbackWarning, InputError, TooLargeError
from chainad.frontends.numpy.trace import Run
from chainad.ir.program import Program, Runner
from chainad.planning.auto import make_plan, plan_cached
from chainad.planning.calibration import known
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.cost_models import model_of
from chainad.planning.machine_memory import memory_of_machine
from chainad.planning.plan import Plan, cost_of_steps
from chainad.planning.registry import PlannerName
from chainad.planning.views.overview import offers
from chainad.structure import Ops

# Of the time to measure for; the rest is for what is done once.
_SHARE_OF_F = 0.05
_SHARE_OF_CALLS = 0.15
_SHARE_OF_MODES = 0.25
_SHARE_OF_STEPS = 0.35


class _Call(NamedTuple):
    """A traced call: how long its phases took, its program, and what that was run on.

    `planning` is how long it took to make the program, or to find it where it was made before.
    """

    phases: dict[str, float]
    planning: float
    program: JacobianProgram
    slots: Sequence[Any]


def analyze(
    of: Differentiator,
    compiled: Callable[..., Any],
    form: Callable[[], str],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    seconds: float,
) -> Analysis:
    """Return how long a Jacobian takes, step by step; `J.explain(..., analyze=True)`.

    `compiled` is what replays it, and `form` says afterwards what it is made of.

    Raises
    ------
    InputError
        If the Jacobian is an operator, or the time to measure for is no positive number.
    """
    how = of.options
    if how.output == "operator":
        raise InputError(
            "a Jacobian with output='operator' is not accumulated, so that there are no steps to"
            " measure; analyze it with output='dense' or output='sparse'"
        )
    if not 0 < seconds < inf:
        raise InputError(f"seconds must be a positive number, but got {seconds!r}")
    args, kwargs = owned(args), owned(kwargs)
    with np.errstate(all="ignore"):
        f = quickest(partial(of.wrapped, *args, **kwargs), _SHARE_OF_F * seconds)
        first = _call(of, args, kwargs)
        call = _repeated(partial(_call, of, args, kwargs), first, _SHARE_OF_CALLS * seconds)
        compilation, replayed = _compiled(compiled, args, kwargs, _SHARE_OF_CALLS * seconds)
        with of.tracing(args, kwargs) as run:
            plan, preparation = _prepared(run, how, first)
            modes = _modes(run, how, plan, call, _SHARE_OF_MODES * seconds)
            rows, copies = _steps(run, how, call, plan, _SHARE_OF_STEPS * seconds)
    phases = [
        Phase("tracing f", call.phases["trace"]),
        Phase("looking up the plan", call.phases["plan"]),
        Phase("local Jacobians", call.phases["local Jacobians"] + copies[0]),
        Phase("products", sum(row.seconds for row in rows if not row.is_sum)),
        Phase("sums", sum(row.seconds for row in rows if row.is_sum)),
        Phase("copying to the result", call.phases["result"] + copies[1]),
    ]
    return Analysis(
        plan=replace(plan, title=of.title(args, kwargs)),
        rows=rows,
        modes=modes,
        phases=tuple(phases),
        preparation=(*preparation, Phase("compile", compilation)),
        f=f,
        traced=sum(call.phases.values()),
        compiled=replayed,
        form=form(),
        program=modes[0].seconds if modes else call.phases["products and sums"],
        source=known().source,
    )


def _repeated(call: Callable[[], _Call], first: _Call, seconds: float) -> _Call:
    """Return the last of some calls, each phase as quick as in any of them."""
    found, left = first, seconds - sum(first.phases.values())
    clock = Laps()
    while left > 0:
        last = call()
        least = {name: min(last.phases[name], found.phases[name]) for name in last.phases}
        found = last._replace(phases=least)
        left -= clock.lap()
    return found


def _call(of: Differentiator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Call:
    """Do what a traced call does, and look at the clock in between."""
    how, phases = of.options, {}
    clock = Laps()
    with of.tracing(args, kwargs) as run:
        of.check(run)
        phases["trace"] = clock.lap()
        program = program_of(run, how)
        planning = clock.lap()
        program = program_of(run, how)
        phases["plan"] = clock.lap()
        slots = evaluate(run.tape, program.recipes)
        phases["local Jacobians"] = clock.lap()
        results, _ = program.results(slots)
        phases["products and sums"] = clock.lap()
        assembler(run, program.forms, how.output, how.is_single)(results)
        phases["result"] = clock.lap()
    return _Call(phases, planning, program, slots)


def _compiled(
    compiled: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], seconds: float
) -> tuple[float, float]:
    """Return the seconds of the first call of a compiled function, and of a later one."""
    call = partial(compiled, *args, **kwargs)
    with warnings.catch_warnings():  # what it is made of is in the text
        warnings.simplefilter("ignore", FallbackWarning)
        return timed(call)[0], quickest(call, seconds)


def _prepared(run: Run, how: Options, first: _Call) -> tuple[Plan | ChunkedPlan, list[Phase]]:
    """Return the plan, with the user's lines, and how long it takes to make one anew."""
    make = partial(
        linear_graph, run.graph(), run.tape.origin, run.tape.where, is_hessian=how.is_hessian
    )
    linearizing, linearized = timed(make)
    plan = first.program.plan.with_origins(linearized.graph)
    planning = first.planning
    if isinstance(plan, Plan) and how.search.effort != "thorough":
        itemsize = run.signature.itemsize
        model = model_of(how.cost, itemsize)
        mode = how.mode
        assert not isinstance(mode, ChunkedPlan)
        planning, _ = timed(partial(make_plan, linearized.graph, mode, itemsize, model, how.search))
    return plan, [Phase("linearize", linearizing), Phase("plan", planning)]


# ------------------------------------------------------------------------------ pure modes


def _modes(
    run: Run, how: Options, plan: Plan | ChunkedPlan, call: _Call, seconds: float
) -> tuple[MeasuredMode, ...]:
    """Return this plan and the pure modes, which take turns; those that take long are estimated."""
    if isinstance(plan, ChunkedPlan) or not plan.steps:
        return ()
    itemsize = run.signature.itemsize
    model = model_of("time", itemsize)
    name, *others = [offer.name for offer in offers(plan)] or [plan.mode]
    plans = {name: plan}
    for other in others:
        plans[other] = plan_cached(plan.graph, PlannerName(other), itemsize, how.cost, how.search)
    estimates = {key: cost_of_steps(each, model) / 1e12 for key, each in plans.items()}
    alone = call.phases["products and sums"]
    own = estimates[name]
    expected = {key: alone * s / own if own else alone + s for key, s in estimates.items()}
    programs = {name: call.program}
    for other in others:
        is_small = 2 * plans[other].peak.bytes < memory_of_machine()
        if is_small and expected[other] < seconds:
            try:
                programs[other] = program_of(
                    run, replace(how, mode=PlannerName(other), memory_limit=None)
                )
            except TooLargeError:
                continue
    calls = [partial(program.results, call.slots) for program in programs.values()]
    found = {name: alone}
    if alone < seconds:
        measured = in_turns(calls, seconds)
        found = dict(zip(programs, measured, strict=True)) | {name: min(measured[0], alone)}
    return tuple(
        MeasuredMode(
            key,
            plan.mode if each is plan else key,
            each.multiplications,
            estimates[key],
            found.get(key, expected[key]),
            key not in found,
        )
        for key, each in plans.items()
    )


# ----------------------------------------------------------------------------------- steps


def _steps(
    run: Run, how: Options, call: _Call, plan: Plan | ChunkedPlan, seconds: float
) -> tuple[tuple[MeasuredStep, ...], tuple[float, float]]:
    """Return how long every step takes alone, the arranging of local Jacobians, and the results."""
    arrangements = [recipe.ops for recipe in call.program.recipes]
    # A dtype is no matter of speed, other passes move operations from one step to another.
    passes = Target(build).of(run.signature).passes
    rows: list[MeasuredStep] = []
    before = after = 0.0
    blocks = _blocks(plan, call.slots, arrangements)
    for part, slots, ops in blocks:
        found = sections_alone(part, slots, ops, how.output, passes, seconds / len(blocks))
        before, after = before + found[0], after + found[-1]
        estimates = times_of_steps(part, ops, how.output, known())
        for step, estimate, measured in zip(part.steps, estimates, found[1:-1], strict=True):
            rows.append(MeasuredStep(part, step, estimate / 1e12, measured))
    return tuple(rows), (before, after)


def _blocks(
    plan: Plan | ChunkedPlan, slots: Sequence[Any], arrangements: Sequence[Ops]
) -> list[tuple[Plan, Sequence[Any], Sequence[Ops]]]:
    """Return the plan, or those of its blocks, with what each of them is run on."""
    if isinstance(plan, Plan):
        return [(plan, slots, arrangements)]
    return [
        (
            chunk.plan,
            [*(slots[k] for k in chunk.slots), None],
            [*(arrangements[k] for k in chunk.slots), ()],
        )
        for chunk in plan.chunks
    ]


def sections_alone(
    plan: Plan,
    slots: Sequence[Any],
    arrangements: Sequence[Ops],
    output: str,
    passes: Sequence[Pass],
    seconds: float,
) -> list[float]:
    """Return how long it takes to arrange local Jacobians, each step, and to make the results."""
    lowered = lower(plan, arrangements, output, passes)
    sections = split(lowered.program, lowered.ends)
    return _alone(lowered.program, sections, slots, seconds)


def _alone(
    program: Program, sections: Sequence[Section], slots: Sequence[Any], seconds: float
) -> list[float]:
    """Return how long each section takes, run one after the other as often as time permits."""
    made: dict[Program, Runner] = {}  # equal sections share what runs them
    for section in sections:
        if section.program not in made:
            made[section.program] = build(section.program)
    best = [inf if s.program.instructions else 0.0 for s in sections]
    repeats = [1] * len(sections)
    clock, left = Laps(), seconds
    while left > 0:
        registers = {k: slots[k] for k in program.used_slots}
        for k, section in enumerate(sections):
            if not section.program.instructions:
                continue
            inputs = [registers[n] for n in section.reads]
            measured, outputs = timed(partial(made[section.program], inputs), repeats[k])
            best[k] = min(best[k], measured)
            repeats[k] = repeats_for(best[k])
            registers.update(zip(section.writes, outputs, strict=True))
            for n in section.over:
                del registers[n]
        left -= clock.lap()
    return best
