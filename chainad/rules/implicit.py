"""Solutions of equations: x with residual(x, theta) = 0, by the implicit-function theorem.

dx = -(dr/dx)^-1 (dr/dtheta) dtheta, where r is the residual at the solution. That is an operation
of its own: its value is x, its operand is r, and its local Jacobian is minus the inverse of dr/dx,
an operator that is applied to tangents or adjoints by one factorization.

Source: Griewank & Walther, *Evaluating Derivatives* (2nd ed.), ch. 15.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import scipy  # loads scipy.linalg when it is first used

from chainad.ir.graph import Argument
from chainad.ir.notices import warn_user
from chainad.rules.base import ALL, Composite, Local, Locals, dispatching, rule
from chainad.rules.linear_algebra import locals_of_solve
from chainad.rules.sparse_solves import SparseInverse, SquarePattern, fill
from chainad.structure import Arrangement, dense, identity, operator
from chainad.structure.linear_operators import Inverse, Operator


def implicit_solution(
    x: Any, matrix: Any, residual: Any, pattern: SquarePattern | None = None
) -> Any:
    """Return the solution x of equations whose residual there is `residual`.

    `matrix` is the Jacobian of the residual by x, of shape `residual.shape + x.shape`; with a
    `pattern`, its entries there, x and the residual raveled.
    """
    return np.positive(x)


@rule(implicit_solution, operands=slice(3))
def _implicit_solution(
    y: Argument,
    x: Argument,
    matrix: Argument,
    residual: Argument,
    pattern: SquarePattern | None = None,
) -> Locals:
    found: dict[Argument, Local | None] = {matrix: None}
    if x.traced:
        found[x] = Local(Arrangement(identity(y.shape), ()), None)
    if residual.traced:
        found[residual] = _by_residual(y, residual, pattern)
    return found


def _by_residual(y: Argument, residual: Argument, pattern: SquarePattern | None) -> Local:
    """Return the local Jacobian by the residual: minus the inverse of its Jacobian."""
    n = y.size
    plain = Arrangement(dense(y.shape, residual.shape), ())
    if n == 1:
        return Local(plain, lambda y, x, matrix, r: _slope(matrix))
    if pattern is None:
        inverse = operator(plain, n * n, n * n)
        return Local(
            inverse, lambda y, x, matrix, r: _Negative(RegularInverse(np.reshape(matrix, (n, n))))
        )
    cost = fill(replace(pattern, is_nan_if_singular=False))
    sparse = operator(plain, cost, cost, cost)
    return Local(sparse, lambda y, x, entries, r: _Negative(SparseInverse(entries, pattern)))


def _slope(matrix: Any) -> Any:
    """Return minus the inverse of a single number; nan if that is 0."""
    flat = np.reshape(matrix, ())
    return -1.0 / np.where(flat == 0, np.nan, flat)


def warn_of_singular(condition: float) -> None:
    """Warn in the user's line that the Jacobian of a residual is singular."""
    warn_user(
        "the Jacobian of the residual is singular at the solution (its reciprocal condition number"
        f" is {condition:.1g}), so that the derivative of the solution is nan",
        scipy.linalg.LinAlgWarning,
    )


class RegularInverse(Inverse):
    """The inverse of a matrix that is scaled first; nan, with a warning, where it is singular."""

    def _factorize(self) -> Any:
        """Return the LU factors of the scaled matrix, and the scales of its rows and columns."""
        rows = np.max(np.abs(self.matrix), axis=1, keepdims=True)
        scaled = self.matrix / rows
        columns = np.max(np.abs(scaled), axis=0)
        scaled = scaled / columns
        condition = 0.0
        factors: Any = None
        if np.isfinite(scaled).all():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)
                factors = scipy.linalg.lu_factor(scaled, check_finite=False)
            estimate = scipy.linalg.get_lapack_funcs("gecon", (scaled,))
            condition, _ = estimate(factors[0], np.abs(scaled).sum(axis=0).max())
        if not condition > np.finfo(self.dtype).eps:
            warn_of_singular(condition)
            factors = None
        return factors, rows, columns[:, None]

    def _solve(self, right: Any, trans: int) -> Any:
        factors, rows, columns = self._factors
        if factors is None:
            return np.full_like(right, np.nan)
        before, behind = (rows, columns) if trans == 0 else (columns, rows)
        return scipy.linalg.lu_solve(factors, right / before, trans, check_finite=False) / behind

    def jvp(self, tangents: Any) -> Any:
        return (
            self._solve(tangents, 0)
            if self._is_plain(tangents)
            else solve_regular(self.matrix, tangents)
        )

    def vjp(self, adjoints: Any) -> Any:
        if self._is_plain(adjoints):
            return self._solve(adjoints.T, 1).T
        return np.transpose(solve_regular(np.transpose(self.matrix), np.transpose(adjoints)))

    def materialize(self) -> Any:
        return self.jvp(np.eye(self.n_in, dtype=self.dtype))

    def copy(self) -> Inverse:
        return type(self)(np.array(self.matrix))


class _Negative(Operator):
    """Minus another operator."""

    batch = ()

    def __init__(self, of: Operator) -> None:
        self.of, self.n_in, self.n_out, self.dtype = of, of.n_in, of.n_out, of.dtype

    @property
    def _held(self) -> Iterable[Any]:
        return self.of._held

    def jvp(self, tangents: Any) -> Any:
        return -self.of.jvp(tangents)

    def vjp(self, adjoints: Any) -> Any:
        return -self.of.vjp(adjoints)

    def copy(self) -> Operator:
        return _Negative(self.of.copy())


@dispatching
def solve_regular(matrix: Any, right: Any) -> Any:
    """Return the solution of a linear system; nan, with a warning, of a singular one."""
    return RegularInverse(matrix).jvp(right)


@rule(solve_regular, operands=ALL)
def _solve_regular(y: Argument, matrix: Argument, right: Argument) -> Composite:
    return locals_of_solve(y, matrix, right, RegularInverse, matrix.shape[-1] ** 2)
