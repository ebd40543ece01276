"""Sparse solves: one factorization of a sparse matrix for the solution and for all directions.

The matrix is given by its entries at constant places; those at one place are added. A solution by
the right-hand side is the inverse, an operator; by the entries it is the inverse times a scatter of
the solution, as sparse as the matrix. Nothing of n x n numbers is ever made for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import scipy  # loads scipy.sparse.linalg when it is first used

from chainad.ir.cache import Cache
from chainad.ir.graph import Argument
from chainad.ir.notices import warn_user
from chainad.ir.positions import Positions, as_array
from chainad.rules.base import Composite, Local, dispatching, rule
from chainad.rules.kinds import Holomorphic
from chainad.rules.linear_algebra import InverseFormula
from chainad.rules.matrix_operators import I, J, K, sizes_in
from chainad.structure import arrange, from_labels, operator
from chainad.structure.linear_operators import Operator
from chainad.structure.structure import Axis

# What scipy.sparse.linalg.splu takes besides the matrix, as pairs; options= as pairs in turn.
Options = tuple[tuple[str, Any], ...]

MAX_KEPT_FACTORIZATIONS = 4


@dataclass(frozen=True)
class SquarePattern:
    """Where the entries of a square sparse matrix are, and how it is factorized.

    Attributes
    ----------
    rows, cols : Positions
        The place of every entry.
    size : int
        How many rows there are.
    is_transposed : bool
        Whether the transpose is solved with, by the same factors.
    is_nan_if_singular : bool
        Whether a singular matrix gives nan and a warning, as spsolve has it, or an error, as splu.
    options : tuple
        See `Options`.
    """

    rows: Positions
    cols: Positions
    size: int
    is_transposed: bool = False
    is_nan_if_singular: bool = False
    options: Options = ()

    @property
    def transpose(self) -> SquarePattern:
        return replace(self, is_transposed=not self.is_transposed)

    def factorize(self, data: Any) -> Any:
        """Return the factors of the matrix with these entries, of SciPy."""
        options = {k: dict(x) if k == "options" else x for k, x in self.options}
        # Straight from triples: SciPy sorts, and adds up what is at one place.
        entries = (data, (as_array(self.rows), as_array(self.cols)))
        matrix = scipy.sparse.csc_array(entries, shape=(self.size, self.size))
        return scipy.sparse.linalg.splu(matrix, **options)


@dispatching
def sparse_solve(data: Any, b: Any, pattern: SquarePattern) -> Any:
    """Solve with a sparse matrix; b has one axis or two."""
    data, b = np.asarray(data), np.asarray(b)
    dtype = np.result_type(data, b)
    if dtype.char not in "fdFD":  # SuperLU has these alone
        dtype = np.dtype(complex if dtype.kind == "c" else float)
    if not b.size:
        return np.zeros(b.shape, dtype)
    try:
        factors = _factors(data.astype(dtype, copy=False), pattern)
    except RuntimeError as error:
        if not pattern.is_nan_if_singular or "singular" not in str(error):
            raise
        # As SciPy says it.
        warn_user("Matrix is exactly singular", scipy.sparse.linalg.MatrixRankWarning)
        return np.full(b.shape, np.nan, dtype)
    return factors.solve(b.astype(dtype, copy=False), "T" if pattern.is_transposed else "N")


sparse_solve.is_solver = True  # type: ignore[attr-defined]

# Of the latest matrices: a solution, its local Jacobians and several right-hand sides share one.
_kept: Cache[Any] = Cache(MAX_KEPT_FACTORIZATIONS, "")


def _factors(data: Any, pattern: SquarePattern) -> Any:
    of = replace(pattern, is_transposed=False, is_nan_if_singular=False)
    key = (of, data.dtype.char, data.tobytes())
    return _kept.get(key, lambda: of.factorize(data))


@lru_cache(maxsize=256)
def fill(pattern: SquarePattern) -> int:
    """Return how many entries the factors have: the multiplications of one solve.

    They are those of a matrix of this pattern whose diagonal needs no pivoting, so that plans do
    not depend on its entries.
    """
    rows, cols = as_array(pattern.rows), as_array(pattern.cols)
    data = np.where(rows == cols, 4.0 + np.bincount(cols, minlength=pattern.size)[cols], 1.0)
    data += np.random.default_rng(0).uniform(0, 0.5, len(data))
    try:
        factors = pattern.factorize(data)
    except RuntimeError:  # whatever its entries are, it is singular
        return len(data)
    return int(factors.nnz)


@rule(sparse_solve, operands=(0, 1), kind=Holomorphic())
def _sparse_solve(y: Argument, data: Argument, b: Argument, pattern: SquarePattern) -> Composite:
    # A dy = db - dA y: the right-hand side is the intermediate, A's inverse is applied to it.
    n, last = y.shape[0], tuple(Axis(k, (K,)) for k in y.shape[1:])
    rest = dict.fromkeys((K,) if last else (), y.shape[-1])
    rows, cols = pattern.rows, pattern.cols
    if pattern.is_transposed:
        rows, cols = cols, rows
    locals_: dict[Argument, Local | None] = {}
    if b.traced:
        axes = (Axis(n, (I,)), *last)
        locals_[b] = Local(arrange(axes, axes, {I: n, **rest}, scale=1), None)
    if data.traced:
        count = data.shape[0]
        found = arrange(
            (Axis(n, (I,), rows), *last), (Axis(count, (I,)),), {I: count, **rest}, (I, *rest)
        )
        places = as_array(cols)
        locals_[data] = Local(found, lambda y, data, b: -y[places])
    return Composite(y.shape, _inverse(y, data, pattern), locals_)


def _inverse(y: Argument, data: Argument, pattern: SquarePattern) -> Local:
    """Return the inverse of the matrix as a local Jacobian: an operator."""
    n, last = y.shape[0], [(k, (K,)) for k in y.shape[1:]]
    rows, cols = [(n, (I,)), *last], [(n, (J,)), *last]
    found = from_labels(rows, cols, sizes_in({I: n, J: n, K: y.shape[-1]}, rows, cols), (I, J))
    if n == 1:  # without labels there is nothing to apply to
        return Local(found, lambda y, data, b: 1 / np.sum(data, keepdims=True))
    cost = fill(replace(pattern, is_transposed=False, is_nan_if_singular=False))
    inverse = InverseFormula(lambda data: SparseInverse(data, pattern), data.shape)
    return Local(operator(found, cost, cost, cost), inverse)


class SparseInverse(Operator):
    """The inverse of a sparse matrix."""

    batch = ()

    def __init__(self, data: Any, pattern: SquarePattern) -> None:
        self.data, self.pattern = data, pattern
        self.n_in = self.n_out = pattern.size
        self.dtype = data.dtype

    @property
    def _held(self) -> Iterable[Any]:
        return (self.data,)

    def jvp(self, tangents: Any) -> Any:
        return sparse_solve(self.data, tangents, self.pattern)

    def vjp(self, adjoints: Any) -> Any:
        found = sparse_solve(self.data, np.transpose(adjoints), self.pattern.transpose)
        return np.transpose(found)

    def copy(self) -> Operator:
        return SparseInverse(np.array(self.data), self.pattern)
