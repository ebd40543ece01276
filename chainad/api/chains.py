"""The verbs for explicit chains of Jacobians: plan_chain, plan_multi_dot, multi_dot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse

from chainad.api.targets import NUMPY
from chainad.compiler.lower import lower
from chainad.errors import InputError
from chainad.ir.graph import Origin
from chainad.ir.positions import positions
from chainad.planning.auto import Mode, check_mode, plan_cached
from chainad.planning.chain.programs import Costs, plan_programs, plan_workers, programs_of
from chainad.planning.cost_models import CostModel, CostName
from chainad.planning.linear_graph import Edge, LinearGraph
from chainad.planning.plan import Plan
from chainad.structure import Arrangement, arrange, dense
from chainad.structure.structure import Axis

Matrix: TypeAlias = Any  # an array_like, or a sparse array or matrix of SciPy


def plan_chain(
    dimensions: Sequence[int],
    *,
    mode: Mode = "auto",
    cost: CostName | CostModel = "multiplications",
    tangent_costs: Costs | None = None,
    adjoint_costs: Costs | None = None,
    tape_sizes: Sequence[int] | None = None,
    memory_limit: int | None = None,
    workers: int = 1,
) -> Plan:
    """Return the cheapest plan for the product of a chain of Jacobians, the last one in front.

    Every factor is a dense matrix, or a program that is known by its tangents and adjoints and may
    be pushed through, pulled through, or accumulated and multiplied.

    Parameters
    ----------
    dimensions : sequence of int
        Sizes from x to y: factor i maps R^dimensions[i] to R^dimensions[i + 1], so that n + 1 sizes
        stand for n factors.
    mode, cost
        As for `jacobian`. With programs, "forward" takes all of them by tangents and "reverse" by
        adjoints, as homogeneous modes do, and `cost` is "multiplications".
    tangent_costs, adjoint_costs : sequence of int or None, optional
        What the program of factor i costs, in multiplications: per column that is pushed, and per
        row that is pulled. None, for an entry or for all of them: there is no such direction. A
        factor with neither is an accumulated matrix.
    tape_sizes : sequence of int, optional
        What an adjoint of factor i has to hold in memory, in any unit.
    memory_limit : int, optional
        The largest tape that is allowed, in the unit of `tape_sizes`; a run of adjoints over
        several factors is cut into runs over one, at the same cost. Default: no limit.
    workers : int
        How many products may be made at the same time. With several, mode="auto" looks for the plan
        whose `plan.schedule(workers)` ends earliest, even if it multiplies more in all; then
        nothing is proved of it.

    Returns
    -------
    Plan
        With mode="auto" optimal over all bracketings and all choices to push, to pull or to
        accumulate, if `plan.optimality` says so: for dense matrices always, with programs for
        chains of up to 1,500 factors. A step with direction "materialize" accumulates a program; a
        product with an operator pushes or pulls.

    Raises
    ------
    InputError
        If there are fewer than two dimensions, one is not a non-negative integer, or costs do not
        have one entry per factor.
    PlanError
        If the mode is unknown or does not fit, or if no plan fits into the memory: the message
        says the least limit that would do.

    Notes
    -----
    Dense matrices: Hu & Shing 1982 and 1984, *Computation of matrix chain products*, in
    O(n log n). With programs: the recurrence of Naumann 2020, *Optimization of generalized Jacobian
    chain products without memory constraints*, in O(n^3); tapes as in Naumann 2024, *Matrix-free
    Jacobian chaining*. Costs are Python integers and never overflow.

    Examples
    --------
    >>> import chainad
    >>> p = chainad.plan_chain([1000, 300, 20, 300, 1000])
    >>> p.bracketing, p.multiplications
    ('J = (J4 J3) (J2 J1)', 32000000)

    Three programs, each at the same cost per tangent and per adjoint; the last one has one row:

    >>> costs = [174, 140, 129]
    >>> p = chainad.plan_chain([6, 2, 17, 1], tangent_costs=costs, adjoint_costs=costs)
    >>> p.mode, p.multiplications, [s.direction for s in p.steps]
    ('reverse', 443, ['materialize', 'reverse', 'reverse'])
    >>> [(a.name, a.multiplications) for a in p.alternatives]
    [('chain', 443), ('reverse', 443), ('forward', 2658)]
    """
    sizes = _checked_dimensions(dimensions)
    programs = programs_of(len(sizes) - 1, tangent_costs, adjoint_costs, tape_sizes, memory_limit)
    if programs is not None:
        plan = plan_programs(sizes, programs, mode, cost)
    else:
        factors = [Arrangement(dense((m,), (n,)), ()) for n, m in pairwise(sizes)]
        plan = _plan(factors, [(size,) for size in sizes], mode, cost)
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
        raise InputError(f"workers must be a positive integer, but got {workers!r}")
    return plan_workers(plan, workers) if workers > 1 and mode == "auto" else plan


def plan_multi_dot(matrices: Sequence[Matrix], *, mode: Mode = "auto") -> Plan:
    """Return the plan that `multi_dot(matrices, mode=mode)` follows; nothing is multiplied.

    Parameters and errors are those of `multi_dot`.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> A, B, x = np.ones((30, 40)), np.ones((40, 50)), np.ones(50)
    >>> chainad.plan_multi_dot([A, B, x]).bracketing
    'J = J3 (J2 J1)'
    """
    return _plan_matrices(_checked_matrices(matrices), mode)[1]


def multi_dot(matrices: Sequence[Matrix], *, mode: Mode = "auto") -> Any:
    """Return the product of matrices, multiplied in the cheapest order.

    Like `numpy.linalg.multi_dot`, for sparse matrices too, and with a plan that can be read
    beforehand with `plan_multi_dot`.

    Parameters
    ----------
    matrices : sequence of array_like or scipy.sparse arrays
        Two or more factors, written left to right; the first and the last may be 1-d (a row and a
        column vector), all others are 2-d. The entries of a sparse matrix that are not stored are
        never multiplied.
    mode
        As for `jacobian`.

    Returns
    -------
    ndarray, scalar or scipy.sparse.csr_array
        The product; sparse if all factors are.

    Raises
    ------
    InputError
        If a factor has the wrong number of axes, or two neighbours do not fit.
    PlanError
        If the mode is unknown or does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> A, B, x = np.ones((30, 40)), np.ones((40, 50)), np.ones(50)
    >>> float(chainad.multi_dot([A, B, x])[0])
    2000.0
    """
    checked = _checked_matrices(matrices)
    factors, plan = _plan_matrices(checked, mode)
    if all(map(scipy.sparse.issparse, checked)):
        return _sparse_product(checked, plan)
    lowered = lower(plan, [factor.ops for factor in factors], passes=NUMPY.passes)
    run = NUMPY.build(lowered.program)
    (product,) = run([_entries(matrix) for matrix in reversed(checked)])
    return product[()] if product.ndim == 0 else product


def _plan(
    factors: Sequence[Arrangement],
    shapes: Sequence[tuple[int, ...]],
    mode: Mode,
    cost: CostName | CostModel = "multiplications",
) -> Plan:
    """Plan a chain whose factors are given from x to y."""
    n = len(factors)
    graph = LinearGraph(
        shapes=tuple(shapes),
        inputs=(0,),
        outputs=(n,),
        edges=tuple(Edge(i, i + 1, factor.structure) for i, factor in enumerate(factors)),
        origins=tuple(Origin("matrix") for _ in factors),
        names=("x", *(f"v{i}" for i in range(1, n)), "y"),
    )
    return replace(plan_cached(graph, check_mode(mode), cost=cost), title="chain")


def _plan_matrices(matrices: Sequence[Matrix], mode: Mode) -> tuple[list[Arrangement], Plan]:
    factors = [_factor(matrix, k == 0) for k, matrix in enumerate(matrices)][::-1]
    shapes = [factors[0].structure.col_shape, *(f.structure.row_shape for f in factors)]
    return factors, _plan(factors, shapes, mode)


def _factor(matrix: Matrix, is_first: bool) -> Arrangement:
    """Return the structure of a matrix, and the ops that bring `_entries` into its form."""
    if scipy.sparse.issparse(matrix):
        m, n = matrix.shape
        entries = scipy.sparse.coo_array(matrix)
        rows = Axis(m, (0,), positions(entries.row))
        cols = Axis(n, (0,), positions(entries.col))
        return arrange([rows], [cols], {0: entries.nnz}, stored=(0,))
    shape = np.shape(matrix)
    k = 0 if is_first and len(shape) == 1 else 1
    sizes = dict(enumerate(shape))
    axes = [Axis(size, (label,)) for label, size in sizes.items()]
    return arrange(axes[:k], axes[k:], sizes, stored=tuple(sizes))


def _entries(matrix: Matrix) -> npt.NDArray[Any]:
    if scipy.sparse.issparse(matrix):
        data: npt.NDArray[Any] = scipy.sparse.coo_array(matrix).data
        return data
    return np.asarray(matrix)


def _sparse_product(matrices: Sequence[Matrix], plan: Plan) -> Any:
    """Multiply sparse matrices in the order of the plan, by SciPy."""
    results = [scipy.sparse.csr_array(matrix) for matrix in reversed(matrices)]
    for step in plan.steps:
        results.append(results[step.left] @ results[step.right])
    product = results[-1]
    product.sort_indices()
    return product


def _checked_dimensions(dimensions: Sequence[int]) -> list[int]:
    if isinstance(dimensions, (str, bytes)) or not isinstance(dimensions, Iterable):
        raise InputError(
            "dimensions must be a sequence of sizes from x to y, such as [1000, 20, 1000],"
            f" but got {dimensions!r}"
        )
    sizes = list(dimensions)
    if len(sizes) < 2:
        raise InputError(f"dimensions must hold at least two sizes, but got {len(sizes)}")
    for size in sizes:
        if not isinstance(size, (int, np.integer)) or isinstance(size, bool) or size < 0:
            raise InputError(f"dimensions must be non-negative integers, but got {size!r}")
    return [int(size) for size in sizes]


def _checked_matrices(matrices: Sequence[Matrix]) -> list[Matrix]:
    if len(matrices) < 2:
        raise InputError(f"multi_dot needs at least two matrices, but got {len(matrices)}")
    checked = [m if scipy.sparse.issparse(m) else np.asarray(m) for m in matrices]
    for k, matrix in enumerate(checked):
        is_end = k in (0, len(checked) - 1)
        if not (len(matrix.shape) == 2 or (is_end and len(matrix.shape) == 1)):
            raise InputError(
                f"matrix {k} must be 2-d"
                + (" or 1-d" if is_end else "")
                + f", but got shape {matrix.shape}"
            )
        if k and checked[k - 1].shape[-1] != matrix.shape[0]:
            raise InputError(
                f"matrices {k - 1} and {k} do not fit: shapes {checked[k - 1].shape}"
                f" and {matrix.shape}"
            )
    return checked
