"""Correctness before speed: every Jacobian agrees with every other one and with complex steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.workload import Array, Workload

TOLERANCE = 1e-9  # of the largest entry
STEP = 1e-200  # a complex step subtracts nothing, so it may be as small as numbers are
SMALL = 64


class MismatchError(Exception):
    """Two Jacobians that should be equal are not; no time of them is worth reporting."""


def agree(workload: Workload, name: str, found: Any, wanted: Array) -> None:
    """Raise MismatchError unless `found` is `wanted`, up to rounding and in double precision."""
    array = np.asarray(found)
    if array.dtype != np.float64 or array.shape != wanted.shape:
        raise MismatchError(
            f"{workload.name}, {name}: got {array.dtype}{array.shape}, wanted float64{wanted.shape}"
        )
    error = np.max(np.abs(array - wanted)) / max(np.max(np.abs(wanted)), np.finfo(float).tiny)
    if not error <= TOLERANCE:
        raise MismatchError(
            f"{workload.name}, {name}: off by {error:.1e} of the largest entry,"
            f" allowed are {TOLERANCE:.0e}"
        )


def agree_with_complex_step(workload: Workload, jacobian: Array) -> None:
    """Raise MismatchError unless the Jacobian is the one of `function`, by complex steps.

    Small points are checked column by column, large ones along three random directions, which a
    wrong matrix passes with probability zero (Freivalds 1977).
    Source: Squire & Trapp 1998, *Using complex variables to estimate derivatives*.
    """
    x = workload.point
    n = x.size
    directions = np.eye(n) if n <= SMALL else np.random.default_rng(1).normal(size=(3, n))
    for k, v in enumerate(directions):
        slope = np.imag(workload.function(x + 1j * STEP * v.reshape(x.shape))) / STEP
        agree(
            workload, f"complex step {k}", np.tensordot(jacobian, v.reshape(x.shape), x.ndim), slope
        )
