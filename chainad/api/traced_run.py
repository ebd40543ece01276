"""From a traced run to what makes its Jacobian: a program, or operators that sweep through it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import compress, cycle
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from chainad.api.jacobian_program import JacobianProgram, jacobian_program, jacobian_sweeps
from chainad.api.options import Options
from chainad.api.outputs import check_size
from chainad.api.targets import NUMPY
from chainad.backends.numpy.build import watched
from chainad.compiler.chunked_programs import ChunkedPrograms, Part
from chainad.compiler.linearize import Linearized, Recipe, evaluate, linear_graph
from chainad.compiler.matrix_free import linear_operator
from chainad.errors import InputError
from chainad.frontends.numpy.tape import Tape, active
from chainad.frontends.numpy.trace import Run, is_differentiated
from chainad.frontends.numpy.tracers import Tracer
from chainad.ir.array_functions import is_ndarray
from chainad.ir.program import Program
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.plan import Plan
from chainad.structure.linear_operators import Operator

# From what is read to the arrays that results are written into; None if there are none.
Buffers: TypeAlias = Callable[[Sequence[Any]], "Sequence[Any] | None"]

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator


def program_of(run: Run, options: Options) -> JacobianProgram:
    """Return the program for a run, made now or before; the errors are those of `jacobian`."""

    def linearize() -> Linearized:
        # Lines are looked up only where a message may name them.
        is_named = options.memory_limit is not None or isinstance(options.mode, (Plan, ChunkedPlan))
        origin = run.tape.origin if is_named else None
        return linear_graph(run.graph(), origin, run.tape.where, is_hessian=options.is_hessian)

    if options.output == "dense" and not options.is_on_disk:
        check_size(_nbytes(run))
    return jacobian_program(run.signature, options, NUMPY, linearize, run.tape.origin)


def accumulated(
    run: Run, program: JacobianProgram, buffers: Buffers | None = None
) -> tuple[JacobianProgram, tuple[Any, ...]]:
    """Return the program that fits a run, and its results; values are no longer needed then.

    `buffers` returns the arrays that results are written into, from what is read meanwhile.

    Exact zeros, of what a selection does not use, matter where nan or infinity is multiplied.
    Derivatives of the results may do so where these do not, so that they carry masks in any case.
    """
    recorder, exact = run.tape.recorder, program.masked
    if exact is not None and recorder is not None:
        # What is recorded is looked at in each replay.
        recorder.has_exact_zeros = True
        program, exact = exact() if recorder.carries_masks else program, None
    elif exact is not None and run.tape.is_differentiated:
        program, exact = exact(), None
    with np.errstate(all="ignore"):  # the function itself has warned already
        outer = _outer_tape(run) if active.is_reported else None
        if outer is not None and program.program is not None:
            results = _accumulated_for_report(run, program.recipes, program.program, outer)
            run.tape.forget()
            return program, results
        slots = evaluate(run.tape, program.recipes)
        # With masks, what is on the tape is read once more.
        read = slots if exact is None else [*slots, *values_on(run.tape)]
        into = None if buffers is None else buffers(read)
        if exact is None:
            run.tape.forget()
        if exact is not None and isinstance(program.run, ChunkedPrograms):
            results = program.run(slots, into, masked_blocks(run, exact, slots))
            run.tape.forget()
            return program, results
        results, is_exact = program.results(slots, into)
        if exact is not None and not is_exact:
            program = exact()
            slots += evaluate(run.tape, program.recipes[len(slots) :])
            results, _ = program.results(slots, into)
    run.tape.forget()
    return program, results


def masked_blocks(
    run: Run, exact: Callable[[], JacobianProgram], slots: Sequence[Any]
) -> Callable[[int], Iterable[Part]]:
    """Return what makes a block, given by its number, with masks of exact zeros.

    Masks, and programs that carry them, are made when the first such block is.
    """

    @cache
    def made() -> tuple[ChunkedPrograms, list[Any]]:
        program = exact()
        assert isinstance(program.run, ChunkedPrograms)
        return program.run, [*slots, *evaluate(run.tape, program.recipes[len(slots) :])]

    def block(number: int) -> Iterable[Part]:
        programs, carried = made()
        return programs.block(number, carried)

    return block


def values_on(tape: Tape) -> list[Any]:
    """Return what was computed on a tape, and from what."""
    return [x for entry in tape.entries for x in (entry.value, *entry.operands)]


def _outer_tape(run: Run) -> Tape | None:
    """Return the tape of the arguments, where these are traced themselves."""
    inputs = map(run.input, range(run.tape.n_inputs))
    return next((x.tape for x in inputs if isinstance(x, Tracer)), None)


def _accumulated_for_report(
    run: Run, recipes: Sequence[Recipe], program: Program, outer: Tape
) -> tuple[Any, ...]:
    """Return the results of a program on values of an outer tape, whose entries get their lines.

    What makes a local Jacobian, and what multiplies by it, is from the line of its call.
    """
    tape = run.tape
    sites = [tape.raw_site(recipe.first) for recipe in recipes]
    slot_of = program.slot_of
    first = len(outer.entries)

    def name(slot: int | None) -> None:
        nonlocal first
        if slot is not None:
            outer.sites |= dict.fromkeys(range(first, len(outer.entries)), sites[slot])
        first = len(outer.entries)

    slots: list[Any] = []
    for k, recipe in enumerate(recipes):
        slots += evaluate(tape, [recipe])
        name(k)
    return watched(program, lambda register, *_: name(slot_of.get(register)))(slots)


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
    linearized, sweeps = jacobian_sweeps(
        run.signature, NUMPY, lambda: linear_graph(run.graph(), where=run.tape.where)
    )
    with np.errstate(all="ignore"):
        slots = evaluate(run.tape, (*linearized.recipes, *linearized.masks))
    # The operator outlives this call: arrays that the user may overwrite are its own.
    kept = [x.copy() if is_ndarray(x) or isinstance(x, Operator) else x for x in slots]
    half = len(linearized.recipes)
    return [
        linear_operator(each, [kept[k + n] for n in (0, half) for k in each.slots], block.dtype)
        for each, block in zip(sweeps, run.signature.blocks, strict=True)
    ]


def _nbytes(run: Run) -> int:
    """Return the bytes of the entries that are made here: what is differentiated again has none."""
    signature = run.signature
    if not run.tape.is_differentiated:
        return signature.nbytes
    is_plain = [not is_differentiated(run.input(k)) for k in range(run.tape.n_inputs)]
    return sum([block.nbytes for block in compress(signature.blocks, cycle(is_plain))])
