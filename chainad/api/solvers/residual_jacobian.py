"""The Jacobian of a residual by the solution: a matrix, or its entries where it is sparse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from chainad.api.differentiator import Differentiator
from chainad.api.options import checked_options
from chainad.api.outputs import assembler
from chainad.api.solvers.right_hand_side import MAX_SPARSE_DENSITY, MIN_SPARSE_STATES
from chainad.api.traced_run import accumulated, program_of
from chainad.frontends.numpy.trace import Run
from chainad.ir.positions import as_array, positions
from chainad.rules.sparse_solves import SquarePattern, fill
from chainad.structure.results import SparseForm

_DENSE = checked_options(0)
_SPARSE = replace(_DENSE, output="sparse")


class ResidualJacobian(NamedTuple):
    """A square Jacobian: an array of shape `r.shape + x.shape`, or entries at the places `pattern`.

    They may be recorded, or traced by somebody else.
    """

    entries: Any
    pattern: SquarePattern | None


def steepest(pattern: SquarePattern | None, entries: Any) -> float:
    """Return the largest sum of the magnitudes of a row of plain entries."""
    if pattern is None:
        n = int(np.sqrt(np.size(entries)))
        sums = np.abs(entries).reshape(n, n).sum(axis=1)
    else:
        sums = np.bincount(as_array(pattern.rows), np.abs(entries), pattern.size)
    return float(sums.max(initial=0.0))


def residual_jacobian(residual: Callable[[Any], Any], x: Any) -> ResidualJacobian:
    """Return the Jacobian of a residual at x, sparse where factors of that take less."""
    of = Differentiator(residual, _DENSE, has_value=False)
    with of.tracing((x,), {}) as run:
        pattern = _pattern(run, np.size(x))
        how = _DENSE if pattern is None else _SPARSE
        program, results = accumulated(run, program_of(run, how))
        if pattern is not None:
            return ResidualJacobian(results[0], pattern)
        assemble = assembler(run, program.forms, "dense", is_single=True)
        return ResidualJacobian(assemble(results), None)


def _pattern(run: Run, n: int) -> SquarePattern | None:
    """Return where a Jacobian has entries, if it pays to factorize it as a sparse one."""
    if n < MIN_SPARSE_STATES:
        return None
    form = program_of(run, _SPARSE).forms[0]
    if not isinstance(form, SparseForm) or form.layout.indices.size > MAX_SPARSE_DENSITY * n * n:
        return None
    rows, cols = form.layout.entries
    pattern = SquarePattern(positions(rows), positions(cols), n, is_nan_if_singular=True)
    return pattern if fill(replace(pattern, is_nan_if_singular=False)) < n * n // 2 else None
