"""From a traced run to what makes its Jacobian: a program, or operators that sweep through it."""

from __future__ import annotations

from itertools import compress, cycle
from typing import TYPE_CHECKING

from chainad.api.jacobian_program import JacobianProgram, jacobian_program, jacobian_sweeps
from chainad.api.options import Options
from chainad.api.outputs import check_size
from chainad.api.targets import NUMPY
from chainad.compiler.linearize import Linearized, evaluate, linear_graph
from chainad.compiler.matrix_free import linear_operator
from chainad.errors import InputError
from chainad.frontends.numpy.trace import Run, is_differentiated
from chainad.frontends.numpy.tracers import Tracer
from chainad.ir.array_functions import is_ndarray
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.plan import Plan
from chainad.structure.linear_operators import Operator

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator


def program_of(run: Run, options: Options) -> JacobianProgram:
    """Return the program for a run, made now or before; the errors are those of `jacobian`."""

    def linearize() -> Linearized:
        # Lines are looked up only where a message may name them.
        origin = run.tape.origin if isinstance(options.mode, (Plan, ChunkedPlan)) else None
        return linear_graph(run.graph(), origin, run.tape.where)

    if options.output == "dense":
        # What is differentiated again is not made of entries here.
        is_plain = [not is_differentiated(run.input(k)) for k in range(run.tape.n_inputs)]
        check_size(compress(run.signature.blocks, cycle(is_plain)))
    return jacobian_program(run.signature, options, NUMPY, linearize)


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
    slots = evaluate(run.tape, linearized.recipes)
    # The operator outlives this call: arrays that the user may overwrite are its own.
    kept = [x.copy() if is_ndarray(x) or isinstance(x, Operator) else x for x in slots]
    return [
        linear_operator(each, [kept[k] for k in each.slots], block.dtype)
        for each, block in zip(sweeps, run.signature.blocks, strict=True)
    ]
