"""SciPy's solvers of initial value problems: their methods, Jacobians and steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy  # loads scipy.integrate when it is first used

from chainad.errors import ConvergenceError

Array = np.ndarray[Any, Any]

# More equations are solved by sparse matrices, if their Jacobian has blocks of zeros.
MAX_DENSE_EQUATIONS = 64

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


def one_step(method: Any) -> Any:
    """Return a method that takes no small steps to begin with, for many short intervals."""
    several = scipy.integrate.BDF, scipy.integrate.LSODA
    return scipy.integrate.Radau if issubclass(solver_of(method), several) else method


def with_jacobian(method: Any, jacobian: Callable[[Any, Any], Any]) -> dict[str, Any]:
    """Return the options by which a method knows a Jacobian, dense or sparse; none if explicit."""
    if not is_implicit(method):
        return {}
    if issubclass(solver_of(method), scipy.integrate.LSODA):
        return {"jac": lambda t, y, *_: as_dense(jacobian(t, y))}
    return {"jac": lambda t, y, *_: jacobian(t, y)}


def as_dense(matrix: Any) -> Any:
    """Return a matrix, sparse perhaps, as an array."""
    return matrix.toarray() if scipy.sparse.issparse(matrix) else matrix


def repeated(matrix: Any, count: int) -> Any:
    """Return the block diagonal of so many copies of a matrix, sparse."""
    return scipy.sparse.kron(scipy.sparse.eye_array(count), matrix, format="csc")


def positive(atol: Array, rtol: float) -> Array:
    """Return absolute tolerances for what begins at 0, where relative ones alone are none."""
    return np.where(atol > 0, atol, 1e-3 * rtol)


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
