"""Correctness before speed: every Jacobian agrees with every other one and with the function."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse

import chainad
from benchmarks.workload import Array, Workload

TOLERANCE = 1e-9  # of the largest entry
STEP = 1e-200  # a complex step subtracts nothing, so it may be as small as numbers are
SMALL = 64
SOME = 50  # points of a batch
CENTRAL_STEP = 1e-6
CENTRAL_TOLERANCE = 1e-6


class MismatchError(Exception):
    """Two Jacobians that should be equal are not; no time of them is worth reporting."""


def agree(name: str, found: Any, wanted: Any, tolerance: float = TOLERANCE) -> None:
    """Raise MismatchError unless `found` is `wanted`, up to rounding and in double precision."""
    one, two = np.asarray(found), np.asarray(wanted)
    if one.dtype != np.float64 or one.shape != two.shape:
        raise MismatchError(f"{name}: got {one.dtype}{one.shape}, wanted float64{two.shape}")
    error = np.max(np.abs(one - two), initial=0)
    error /= max(np.max(np.abs(two), initial=0), np.finfo(float).tiny)
    if not error <= tolerance:
        raise MismatchError(
            f"{name}: off by {error:.1e} of the largest entry, allowed are {tolerance:.0e}"
        )


def agree_as_matrices(
    workload: Workload, name: str, found: Any, wanted: Any, tolerance: float = TOLERANCE
) -> None:
    """Raise MismatchError unless two Jacobians, in any form, are the same.

    Full arrays are compared entry by entry, other forms along random directions, which a wrong
    matrix passes with probability zero (Freivalds 1977).
    """
    what = f"{workload.name}, {name}"
    if isinstance(wanted, np.ndarray):
        agree(what, found, wanted, tolerance)
        return
    for k, v in enumerate(directions(workload.point)):
        agree(f"{what}, direction {k}", applied(found, v), applied(wanted, v), tolerance)


def agree_with_function(workload: Workload, jacobian: Any) -> None:
    """Raise MismatchError unless the Jacobian is the one of `function`, by finite steps.

    Small points are checked column by column, large ones along three random directions.
    Source: Squire & Trapp 1998, *Using complex variables to estimate derivatives*.
    """
    x = workload.point
    columns = np.eye(x.size).reshape(x.size, *x.shape) if x.size <= SMALL else directions(x)
    tolerance = TOLERANCE if workload.oracle == "complex" else CENTRAL_TOLERANCE
    if workload.batch:
        columns = [np.ones_like(x), *directions(x)]
    found = [_applied(workload, jacobian, v) for v in columns]
    slopes = [np.ravel(_slope(workload, v)) for v in columns]
    agree(f"{workload.name}, {workload.oracle} steps", np.array(found), np.array(slopes), tolerance)


def directions(x: Array) -> list[Array]:
    """Return three random directions at x."""
    return list(np.random.default_rng(1).normal(size=(3, *x.shape)))


def applied(jacobian: Any, v: Array) -> Array:
    """Return a Jacobian, in any form, times a direction, as a vector.

    A tuple has factors, the last of which comes first; an array that is too small has blocks.
    """
    if isinstance(jacobian, chainad.StructuredJacobian):
        total = np.zeros(jacobian.matrix_shape[0])
        for term in jacobian.terms:
            part = np.ravel(v)
            for factor in reversed(term):
                part = factor.tosparse() @ part
            total += part
        return total
    if scipy.sparse.issparse(jacobian):
        return np.asarray(jacobian @ np.ravel(v))
    if isinstance(jacobian, tuple):
        return applied(jacobian[0], applied(jacobian[1], v))
    array = np.asarray(jacobian)
    if array.shape[-v.ndim :] != v.shape:
        return np.ravel(array @ v[..., None])
    return np.ravel(np.tensordot(array, v, v.ndim))


def _applied(workload: Workload, jacobian: Any, v: Array) -> Array:
    if not workload.batch:
        return applied(jacobian, v)
    some = slice(SOME)
    return np.ravel([applied(J, w) for J, w in zip(jacobian[some], v[some], strict=True)])


def _slope(workload: Workload, v: Array) -> Any:
    f, x = workload.function, workload.point
    if workload.batch:
        one = replace(workload, batch=False)
        return [_slope(replace(one, point=p), w) for p, w in zip(x[:SOME], v[:SOME], strict=True)]
    if workload.oracle == "complex":
        return np.imag(f(x + 1j * STEP * v)) / STEP
    h = CENTRAL_STEP
    return (f(x + h * v) - f(x - h * v)) / (2 * h)
