"""SciPy's solvers of initial value problems, run for blocks of equations that share a Jacobian."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy  # loads scipy.integrate when it is first used

from chainad.errors import ConvergenceError

Array = np.ndarray[Any, Any]

# Blocks of so many equations together are factorized as one dense matrix.
MAX_DENSE_EQUATIONS = 48

# The smallest relative tolerance that SciPy takes as it is.
MIN_RTOL = 100 * float(np.finfo(float).eps)


def solver_of(method: Any) -> type[scipy.integrate.OdeSolver]:
    """Return the class of a method, as `solve_ivp` looks it up."""
    if isinstance(method, type):
        return method
    found: type[scipy.integrate.OdeSolver] = getattr(scipy.integrate, method)
    return found


def is_implicit(method: Any) -> bool:
    """Return whether a method solves equations with the Jacobian by the states."""
    implicit = scipy.integrate.Radau, scipy.integrate.BDF, scipy.integrate.LSODA
    return issubclass(solver_of(method), implicit)


def options_of_blocks(
    method: Any, jacobian: Callable[[Any, Any], Any], n: int, blocks: int, rest: int = 0
) -> dict[str, Any]:
    """Return the options by which a solver knows the Jacobian of blocks of n equations.

    There are several blocks with one Jacobian, as `jacobian(t, y)` returns it, and then some
    equations whose right-hand side does not depend on their own unknowns.
    """
    if not is_implicit(method):
        return {}
    if not issubclass(solver_of(method), scipy.integrate.LSODA):
        return {"jac": lambda t, y, *_: _block_diagonal(jacobian(t, y), blocks, rest)}
    if blocks == 1 and not rest:
        return {"jac": lambda t, y, *_: _dense(jacobian(t, y))}
    rows, cols = np.indices((n, n))
    zeros = np.zeros((2 * n - 1, rest))

    def banded(t: Any, y: Any) -> Array:
        block = np.zeros((2 * n - 1, n))
        block[rows - cols + n - 1, cols] = _dense(jacobian(t, y))
        return np.hstack([np.tile(block, blocks), zeros])

    return {"jac": banded, "lband": n - 1, "uband": n - 1}


def _dense(matrix: Any) -> Any:
    return matrix.toarray() if scipy.sparse.issparse(matrix) else matrix


def _block_diagonal(block: Any, blocks: int, rest: int) -> Any:
    if blocks == 1 and not rest:
        return block
    n = block.shape[0]
    size = n * blocks + rest
    if not scipy.sparse.issparse(block) and size <= MAX_DENSE_EQUATIONS:
        found = np.zeros((size, size))
        for k in range(0, n * blocks, n):
            found[k : k + n, k : k + n] = block
        return found
    parts = [scipy.sparse.coo_array(block)] * blocks
    if rest:
        parts.append(scipy.sparse.coo_array((rest, rest)))
    return scipy.sparse.block_diag(parts, format="csc")


def make_solver(
    method: Any,
    fun: Callable[[Any, Any], Any],
    ends: tuple[float, float],
    y: Array,
    options: dict[str, Any],
) -> scipy.integrate.OdeSolver:
    """Return SciPy's solver at the first of the ends, for integration up to the other one."""
    if options.get("first_step") is not None:
        options = {**options, "first_step": min(options["first_step"], abs(ends[1] - ends[0]))}
    return solver_of(method)(fun, ends[0], y, ends[1], **options)


def next_step(solver: scipy.integrate.OdeSolver) -> float | None:
    """Return how far a solver would go next, about."""
    found: float | None = getattr(solver, "h_abs", solver.step_size)
    return found


def step(solver: scipy.integrate.OdeSolver, what: str) -> None:
    """Advance a solver by one step.

    Raises
    ------
    ConvergenceError
        If it fails; the message begins with `what`.
    """
    message = solver.step()
    if solver.status == "failed":
        raise ConvergenceError(
            f"{what}: the solver fails on the equations of the derivative, though not on those of"
            f" the states ({message}); try other tolerances, or another method"
        )
