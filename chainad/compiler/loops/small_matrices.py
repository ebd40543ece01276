"""Linear algebra on loop arrays: functions of NumPy and SciPy by factors of small matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainad.compiler.loops.loop_array import LoopArray
from chainad.compiler.loops.loop_builder import LoopBuilder, Value, View
from chainad.ir.scalar_graph import NotScalarError
from chainad.rules.linear_algebra import cofactors, logabsdet, sign_of_det
from chainad.rules.scipy_linalg import positive_solve, triangular_solve
from chainad.structure.linear_operators import Operator, UserOperator


def _given(x: Any) -> LoopArray:
    if not isinstance(x, LoopArray):
        raise NotScalarError("a matrix or right-hand side is a constant")
    return x


def _solve(a: Any, b: Any) -> Any:
    matrix = _given(a)
    return _columns(matrix.shape, b, lambda right: matrix.builder.solve(matrix.value, right))


def _triangular_solve(a: Any, b: Any, lower: bool) -> Any:
    matrix = _given(a)
    solve = matrix.builder.solve_triangular
    return _columns(matrix.shape, b, lambda right: solve(matrix.value, right, lower))


def _columns(shape: tuple[int, ...], b: Any, solve: Any) -> Any:
    """Return the solutions for a vector, or for the columns of matrices."""
    right = _given(b)
    is_vector = len(right.shape) == 1
    columns = right[:, None] if is_vector else right
    found = LoopArray(right.builder, solve(columns.value))
    return found[..., 0] if is_vector else found


def _inv(a: Any) -> Any:
    matrix = _given(a)
    builder, n = matrix.builder, matrix.shape[-1]
    unit = builder.scatter([(1.0, np.arange(0, n * n, n + 1))], (n, n))
    return LoopArray(builder, builder.solve(matrix.value, unit))


def _diagonal_and_sign(a: Any) -> tuple[Any, Any]:
    """Return the diagonals of factors whose product is that of a matrix but for a sign."""
    matrix = _given(a)
    *batch, n, _ = matrix.shape
    factors = matrix.builder.lu(matrix.value)
    count = int(np.prod(batch))
    diagonal = np.arange(count)[:, None] * n * n + np.arange(n) * (n + 1)
    sign = count * n * (n + 1) + np.arange(count)
    parts = (diagonal.reshape(*batch, n), sign.reshape(tuple(batch)))
    one, two = (LoopArray(matrix.builder, View(factors.register, at)) for at in parts)
    return one, two


def _det(a: Any) -> Any:
    diagonal, sign = _diagonal_and_sign(a)
    return sign * np.prod(diagonal, axis=-1)


def _cofactors(a: Any) -> Any:
    """Return the cofactors by their definition, which holds for singular matrices, too."""
    matrix = _given(a)
    n = matrix.shape[-1]
    if n == 2:
        rows = [(matrix[..., 1, 1], -matrix[..., 1, 0]), (-matrix[..., 0, 1], matrix[..., 0, 0])]
        return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
    if n != 3:
        raise NotScalarError("np.linalg.det of matrices of an order that is neither 2 nor 3")
    after, before = [1, 2, 0], [2, 0, 1]
    one, two = matrix[..., after, :], matrix[..., before, :]
    return one[..., after] * two[..., before] - one[..., before] * two[..., after]


def _logabsdet(a: Any) -> Any:
    return np.sum(np.log(np.abs(_diagonal_and_sign(a)[0])), axis=-1)


def _sign_of_det(a: Any) -> Any:
    diagonal, sign = _diagonal_and_sign(a)
    return sign * np.prod(np.sign(diagonal), axis=-1)


def _cholesky(a: Any, /, *, upper: bool = False) -> Any:
    matrix = _given(np.matrix_transpose(_given(a)) if upper else a)
    found = LoopArray(matrix.builder, matrix.builder.cholesky(matrix.value))
    return np.matrix_transpose(found) if upper else found


def _positive_solve(a: Any, b: Any) -> Any:
    lower = _cholesky(a)
    return _triangular_solve(np.matrix_transpose(lower), _triangular_solve(lower, b, True), False)


LoopArray.known = {
    **LoopArray.known,
    np.linalg.solve: _solve,
    np.linalg.inv: _inv,
    np.linalg.det: _det,
    np.linalg.cholesky: _cholesky,
    cofactors: _cofactors,
    logabsdet: _logabsdet,
    sign_of_det: _sign_of_det,
    positive_solve: _positive_solve,
    triangular_solve: _triangular_solve,
}


def on_views(builder: LoopBuilder, operator: Operator) -> Callable[..., Value]:
    """Return what applies a method of an operator to views."""
    if isinstance(operator, UserOperator):
        raise NotScalarError("an operator has functions of a user")

    def apply(method: str, *blocks: Value) -> Value:
        found = getattr(operator, method)(*(LoopArray(builder, x) for x in blocks))
        return _given(found).value

    return apply
