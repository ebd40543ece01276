"""Functions of matrices as operators: exponential, square root and logarithm.

The derivative of any of them at a matrix, in a direction, is the upper right block of the function
of [[matrix, direction], [0, matrix]] (R. Mathias 1996, *A chain rule for matrix functions and
applications*); its adjoint is the derivative at the transpose. Exponential and square root have
quicker ways to the same block.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy  # loads scipy.linalg when it is first used
from numpy import matrix_transpose as transpose

from chainad.ir.graph import Argument
from chainad.rules.base import Composite, Local, Locals, dispatching, rule
from chainad.rules.decompositions import as_real
from chainad.rules.matrix_operators import (
    Action,
    I,
    J,
    K,
    L,
    batch_axes,
    batch_labels,
    batch_sizes,
    matrix_operator,
    sizes_in,
)
from chainad.rules.statistics import values_of
from chainad.structure import from_labels


def _of_function(y: Argument, a: Argument, cost: int, derivative: Action) -> Locals:
    """Return the local Jacobian of a function y of matrices a; derivative: (directions, y, a)."""

    def pull(adjoint: Any, *arrays: Any) -> Any:
        return derivative(adjoint, *map(transpose, arrays))

    def prepare(*values: Any) -> tuple[Any, ...]:
        return values

    return {a: matrix_operator(y, a, (I, J), cost, prepare, derivative, pull)}


# ------------------------------------------------------------------ exponential


@dispatching
def exponential(a: Any) -> Any:
    """Return the exponentials of matrices."""
    return scipy.linalg.expm(a)


@rule(exponential)
def _exponential(y: Argument, a: Argument) -> Locals:
    # Fourteen products and two for each squaring, of which there mostly is one or none.
    return _of_function(y, a, 16 * a.shape[-1] ** 3, lambda e, y, a: _frechet(a, e))


# The coefficients of the Pade approximant of degree 13, and the 1-norm up to which it is exact to
# double precision together with its derivative.
_PADE = (
    64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800, 129060195264000,
    10559470521600, 670442572800, 33522128640, 1323241920, 40840800, 960960, 16380, 182, 1,
)  # fmt: skip
_THETA = 4.74


def _frechet(a: Any, e: Any) -> Any:
    """Return the derivatives of expm at matrices a in the directions e, both (..., n, n).

    All go through one scaling, one denominator for each matrix and one chain of squarings.
    Source: A. Al-Mohy & N. Higham 2009, *Computing the Frechet derivative of the matrix
    exponential, with an application to condition number estimation*, algorithm 6.4.
    """
    sums, squarings = np.sum(np.abs(a), axis=-2), 0
    while squarings < 64 and np.any(sums > _THETA * 2.0**squarings):
        squarings += 1
    a, e = a / 2.0**squarings, e / 2.0**squarings
    c = np.array(_PADE, dtype=float).astype(a.dtype)
    unit = np.eye(a.shape[-1], dtype=a.dtype)
    a2, m2 = a @ a, a @ e + e @ a
    a4, m4 = a2 @ a2, a2 @ m2 + m2 @ a2
    a6, m6 = a2 @ a4, a4 @ m2 + m4 @ a2
    w1, z1 = c[13] * a6 + c[11] * a4 + c[9] * a2, c[12] * a6 + c[10] * a4 + c[8] * a2
    w2 = c[7] * a6 + c[5] * a4 + c[3] * a2 + c[1] * unit
    z2 = c[6] * a6 + c[4] * a4 + c[2] * a2 + c[0] * unit
    w = a6 @ w1 + w2
    u, v = a @ w, a6 @ z1 + z2
    lw = a6 @ (c[13] * m6 + c[11] * m4 + c[9] * m2) + m6 @ w1
    lw = lw + c[7] * m6 + c[5] * m4 + c[3] * m2
    lu = a @ lw + e @ w
    lv = a6 @ (c[12] * m6 + c[10] * m4 + c[8] * m2) + m6 @ z1
    lv = lv + c[6] * m6 + c[4] * m4 + c[2] * m2
    below = np.linalg.inv(v - u)
    r = below @ (v + u)
    found = below @ (lu + lv + (lu - lv) @ r)
    for _ in range(squarings):
        found = r @ found + found @ r
        r = r @ r
    return found


# ------------------------------------------------------------- Sylvester's equation


@dispatching
def sylvester_solution(a: Any, b: Any, q: Any) -> Any:
    """Return x with a x + x b = q, for stacks of these that are broadcast."""
    if a.ndim > 2:
        if len(a) == 1:  # one equation for all right-hand sides
            return sylvester_solution(a[0], b[0], q)
        return np.stack([sylvester_solution(*each) for each in zip(a, b, q, strict=True)])
    (r, u), (s, v) = scipy.linalg.schur(a), scipy.linalg.schur(b)
    (solve,) = scipy.linalg.get_lapack_funcs(("trsyl",), (r, s))
    inner = transpose(u) @ q @ v
    found = np.empty_like(inner)
    for k in np.ndindex(inner.shape[:-2]):
        x, scale, info = solve(r, s, inner[k])
        if info < 0 or not scale:
            raise np.linalg.LinAlgError("Sylvester's equation has no unique solution here")
        found[k] = x / scale
    return u @ found @ transpose(v)


def cost_of_sylvester(m: int, n: int) -> int:
    """Return the multiplications of one right-hand side: triangular solves, and into their bases.

    The Schur forms are found once (Bartels & Stewart 1972).
    """
    return 3 * m * n * (m + n)


@rule(sylvester_solution, operands=(0, 1, 2))
def _sylvester_solution(y: Argument, a: Argument, b: Argument, q: Argument) -> Composite:
    # a dx + dx b = dq - da x - x db: the right-hand side is the intermediate.
    m, n = y.shape[-2:]
    batch, n_batch = y.shape[:-2], y.ndim - 2
    every, kept = batch_axes(batch, n_batch), batch_labels(batch, n_batch)
    sizes = {**batch_sizes(batch), I: m, J: m, K: n, L: n}
    rows = [*every, (m, (I,)), (n, (K,))]

    def side(of: Argument, axes: Any, labels: tuple[int, ...]) -> Local:
        cols = [*batch_axes(of.shape[:-2], n_batch), *axes]
        stored = (*kept, *labels)
        shape = tuple(sizes[x] for x in stored)
        found = from_labels(rows, cols, sizes_in(sizes, rows, cols), stored)
        return Local(found, lambda y, a, b, q: -np.reshape(y, shape))

    inner: dict[Argument, Local | None] = {}
    if a.traced:
        inner[a] = side(a, [(m, (I,)), (m, (J,))], (J, K))
    if b.traced:
        inner[b] = side(b, [(n, (L,)), (n, (K,))], (I, L))
    if q.traced:
        cols = [*batch_axes(q.shape[:-2], n_batch), (m, (I,)), (n, (K,))]
        inner[q] = Local(from_labels(rows, cols, sizes_in(sizes, rows, cols), scale=1), None)

    def prepare(y: Any, a: Any, b: Any, q: Any) -> tuple[Any, ...]:
        return tuple(np.broadcast_to(x, (*batch, *x.shape[-2:])) for x in (a, b))

    def push(dq: Any, a: Any, b: Any) -> Any:
        return sylvester_solution(a, b, dq)

    def pull(adjoint: Any, a: Any, b: Any) -> Any:
        return sylvester_solution(transpose(a), transpose(b), adjoint)

    outer = matrix_operator(y, y, (I, J), cost_of_sylvester(m, n), prepare, push, pull)
    return Composite(y.shape, outer, inner)


# ---------------------------------------------------------- square root, logarithm


def _real(a: Any, found: Any) -> Any:
    """Return a function of real matrices as real, if it is but for rounding errors."""
    return as_real(found, tolerance=1e3 * float(np.finfo(a.dtype).eps))


def _of_each(function: Any, a: Any) -> Any:
    """Return a function of every matrix of a stack."""
    if a.ndim == 2:
        return function(a)
    each = [function(x) for x in a.reshape(-1, *a.shape[-2:])]
    return np.stack(each).reshape(a.shape) if each else a.copy()


@dispatching
def square_root(a: Any) -> Any:
    """Return the principal square roots of matrices."""
    return _real(a, _of_each(scipy.linalg.sqrtm, a))


@rule(square_root)
def _square_root(y: Argument, a: Argument) -> Locals:
    # y dy + dy y = da.
    n = a.shape[-1]
    return _of_function(y, a, cost_of_sylvester(n, n), lambda e, y, a: sylvester_solution(y, y, e))


@dispatching
def logarithm(a: Any) -> Any:
    """Return the principal logarithms of matrices."""
    state = np.random.get_state()  # SciPy estimates a norm by random vectors
    try:
        # SciPy checks what it found to double precision.
        found = _of_each(scipy.linalg.logm, a.astype(np.float64))
        return _real(a, found).astype(a.dtype, copy=False)
    finally:
        np.random.set_state(state)


@rule(logarithm)
def _logarithm(y: Argument, a: Argument) -> Locals:
    def derivative(e: Any, y: Any, a: Any) -> Any:
        n = a.shape[-1]
        # Linear in e: blocks as large as one another lose the fewest digits.
        scale = float(np.max(np.abs(values_of(e))) / np.max(np.abs(values_of(a)))) or 1.0
        e, same = e / scale, np.broadcast_to(a, e.shape)
        above = np.concatenate([same, e], axis=-1)
        below = np.concatenate([np.zeros(e.shape, e.dtype), same], axis=-1)
        return logarithm(np.concatenate([above, below], axis=-2))[..., :n, n:] * scale

    # The logarithm of a matrix twice as large: a Schur form, and a few square roots.
    return _of_function(y, a, 8 * 50 * a.shape[-1] ** 3, derivative)
