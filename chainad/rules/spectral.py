"""Functions of matrices by their eigenvalues or singular values, at equal ones too.

With A = V diag(w) V^T, the matrix F = V diag(g) V^T for g = f(w) is as smooth as f is, although V
has no derivative where eigenvalues coincide. In the basis V, the derivative of F in the direction X
has the entries X_ij (g_j - g_i) / (w_j - w_i), with f'(w_i) for equal eigenvalues (Daleckii & Krein
1965); so has that of U diag(g) V^T for singular values, for the symmetric part of X. And
U diag(g) U^T is a function of A A^T, whose eigenvalues are the squares of the singular values. The
rows here add what the vectors contribute, given F as computed with constant vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import matrix_transpose as transpose

from chainad.ir.graph import Argument
from chainad.rules.base import ALL, Local, Locals, dispatching, rule
from chainad.rules.matrix_operators import I, J, matrix_operator, read_of, symmetric_of
from chainad.structure import Arrangement, identity


def divided_differences(w: Any, g: Any, slope: Any) -> Any:
    """Return (g_j - g_i) / (w_j - w_i), with zeros on the diagonal; `slope` is dg/dw.

    At small gaps, where the quotient is the slope up to rounding, it is the slope (elsewhere this
    is by chance, and says nothing of derivatives). It is nan where equal or nearly equal
    eigenvalues have other weights than a smooth function gives them.
    """
    eps = np.finfo(w.dtype).eps
    gaps = w[..., None, :] - w[..., :, None]
    rises = g[..., None, :] - g[..., :, None]
    slopes = 0.5 * (slope[..., None, :] + slope[..., :, None])
    rounding = 4 * eps * (np.abs(g)[..., None, :] + np.abs(g)[..., :, None])
    error = np.abs(rises - slopes * gaps)
    sizes = np.abs(gaps) / np.max(np.abs(w), axis=-1, keepdims=True)[..., None]
    is_slope = np.logical_and(error <= rounding, np.logical_not(sizes > eps**0.25))
    is_jump = np.logical_and(
        np.logical_not(sizes > eps**0.5), np.logical_not(error <= 0.1 * np.abs(rises))
    )
    safe = np.where(is_slope, 1.0, np.where(is_jump, np.nan, gaps))
    return np.where(is_slope, slopes, rises / safe) * _off_diagonal(w)


def _mean_ratios(s: Any, g: Any, slope: Any) -> Any:
    """Return (g_i + g_j) / (s_i + s_j), with zeros on the diagonal, and the slope at 0 / 0."""
    sums = s[..., None, :] + s[..., :, None]
    total = g[..., None, :] + g[..., :, None]
    return _ratio(total, sums, slope[..., None, :]) * _off_diagonal(s)


def _ratio(g: Any, s: Any, slope: Any) -> Any:
    """Return g / s, and the slope where both are 0."""
    is_zero = np.logical_and(np.equal(s, 0), np.equal(g, 0))
    return np.where(is_zero, slope, g / np.where(np.equal(s, 0), np.nan, s))


def _off_diagonal(w: Any) -> Any:
    n = np.shape(w)[-1]
    return (1 - np.eye(n)).astype(w.dtype)


# ------------------------------------------------------------------ eigenvalues


def _of_eigenvalues(upper: bool) -> Callable[..., Any]:
    @dispatching
    def function_of_matrix(f: Any, a: Any, v: Any, w: Any, g: Any, slope: Any) -> Any:
        """Return f = v diag(g) v^T as a function of the matrix a that v are the vectors of."""
        return f

    @rule(function_of_matrix, operands=ALL)
    def locals_(
        y: Argument, f: Argument, a: Argument, v: Argument, w: Argument, g: Argument, s: Argument
    ) -> Locals:
        def prepare(y: Any, f: Any, a: Any, v: Any, w: Any, g: Any, slope: Any) -> Any:
            return v, divided_differences(w, g, slope)

        def push(da: Any, v: Any, quotients: Any) -> Any:
            x = transpose(v) @ symmetric_of(da, upper) @ v
            return v @ (x * quotients) @ transpose(v)

        def pull(adjoint: Any, v: Any, quotients: Any) -> Any:
            x = transpose(v) @ adjoint @ v
            return read_of(v @ (x * quotients) @ transpose(v), upper)

        cost = 4 * a.shape[-1] ** 3
        return {
            f: Local(Arrangement(identity(y.shape), ()), None),
            a: matrix_operator(y, a, (I, J), cost, prepare, push, pull),
        }

    return function_of_matrix


# By whether the upper triangle is read.
OF_EIGENVALUES = {upper: _of_eigenvalues(upper) for upper in (False, True)}


# -------------------------------------------------------------- singular values


def _of_factors(
    function: Callable[..., Any],
    prepare: Callable[..., Any],
    push: Callable[..., Any],
    pull: Callable[..., Any],
) -> None:
    """Add the row of a function f(a), given f, a, its factors u, v, s, and functions of s."""

    @rule(function, operands=ALL)
    def locals_(y: Argument, f: Argument, a: Argument, *factors: Argument) -> Locals:
        cost = 4 * a.shape[-2] * a.shape[-1] * min(a.shape[-2:])
        return {
            f: Local(Arrangement(identity(y.shape), ()), None),
            a: matrix_operator(y, a, (I, J), cost, prepare, push, pull),
        }


def _of_singular_values(is_transposed: bool) -> Callable[..., Any]:
    @dispatching
    def function_of_matrix(f: Any, a: Any, u: Any, v: Any, s: Any, g: Any, slope: Any) -> Any:
        """Return f = u diag(g) v^T, or its transpose, as a function of a = u diag(s) v^T."""
        return f

    def turned(x: Any) -> Any:
        return transpose(x) if is_transposed else x

    def prepare(y: Any, f: Any, a: Any, u: Any, v: Any, s: Any, g: Any, slope: Any) -> Any:
        symmetric, skew = divided_differences(s, g, slope), _mean_ratios(s, g, slope)
        return u, v, symmetric, skew, _ratio(g, s, slope)[..., None, :]

    def act(x: Any, u: Any, v: Any, symmetric: Any, skew: Any, ratios: Any) -> Any:
        ut, vt = transpose(u), transpose(v)
        inside = ut @ x @ v
        mirrored = transpose(inside)
        core = 0.5 * ((inside + mirrored) * symmetric + (inside - mirrored) * skew)
        found = u @ core @ vt
        m, k, n = np.shape(u)[-2], np.shape(u)[-1], np.shape(v)[-2]
        if m > k:
            right = x @ v
            found = found + ((right - u @ (ut @ right)) * ratios) @ vt
        if n > k:
            left = transpose(ut @ x)
            found = found + u @ transpose((left - v @ (vt @ left)) * ratios)
        return found

    def push(da: Any, *arrays: Any) -> Any:
        return turned(act(da, *arrays))

    def pull(adjoint: Any, *arrays: Any) -> Any:
        return act(turned(adjoint), *arrays)

    _of_factors(function_of_matrix, prepare, push, pull)
    return function_of_matrix


# By whether the result is transposed.
OF_SINGULAR_VALUES = {transposed: _of_singular_values(transposed) for transposed in (False, True)}


# ----------------------------------------------------------------- gram matrices


def _of_gram_matrix(is_right: bool) -> Callable[..., Any]:
    @dispatching
    def function_of_gram_matrix(f: Any, a: Any, u: Any, v: Any, s: Any, g: Any, slope: Any) -> Any:
        """Return f = u diag(g) u^T, or v diag(g) v^T, as a function of a = u diag(s) v^T."""
        return f

    def turned(x: Any) -> Any:
        return transpose(x) if is_right else x

    def prepare(y: Any, f: Any, a: Any, u: Any, v: Any, s: Any, g: Any, slope: Any) -> Any:
        by_square = _ratio(slope, 2 * s, np.zeros_like(s))
        quotients = divided_differences(s * s, g, by_square)
        own, other = (v, u) if is_right else (u, v)
        # g / s is smooth at 0 only if g is flat there.
        ratios = _ratio(g, s, np.where(np.equal(slope, 0), 0.0, np.nan))
        return own, other, s[..., None, :], quotients, ratios[..., None, :]

    def push(da: Any, u: Any, v: Any, s: Any, quotients: Any, ratios: Any) -> Any:
        along = turned(da) @ v
        inside = transpose(u) @ along
        core = inside * s
        found = u @ (quotients * (core + transpose(core))) @ transpose(u)
        if np.shape(u)[-2] > np.shape(u)[-1]:
            outside = ((along - u @ inside) * ratios) @ transpose(u)
            found = found + outside + transpose(outside)
        return found

    def pull(adjoint: Any, u: Any, v: Any, s: Any, quotients: Any, ratios: Any) -> Any:
        along = (adjoint + transpose(adjoint)) @ u
        inside = transpose(u) @ along
        found = u @ (inside * quotients * s) @ transpose(v)
        if np.shape(u)[-2] > np.shape(u)[-1]:
            found = found + ((along - u @ inside) * ratios) @ transpose(v)
        return turned(found)

    _of_factors(function_of_gram_matrix, prepare, push, pull)
    return function_of_gram_matrix


# By whether the vectors are the right ones.
OF_GRAM_MATRIX = {is_right: _of_gram_matrix(is_right) for is_right in (False, True)}

# What leaves the entries of real vectors as they are.
SAME_ENTRIES = (np.conjugate, np.positive, np.copy)
