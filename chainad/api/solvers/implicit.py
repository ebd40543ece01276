"""Solvers inside of functions, differentiated by the implicit-function theorem."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, update_wrapper
from typing import Any, NamedTuple

import numpy as np

from chainad.api.function_of import name_of
from chainad.api.solvers.iterative import IterativeInverse, LinearSolver
from chainad.api.solvers.known_values import (
    below,
    innermost,
    is_differentiated,
    known_value,
    of_plain_arrays,
)
from chainad.api.solvers.residual_jacobian import ResidualJacobian, residual_jacobian, steepest
from chainad.api.solvers.user_functions import interned
from chainad.errors import ConvergenceError, InputError
from chainad.frontends.numpy.bound_names import BoundNames
from chainad.frontends.numpy.closure_conversion import ClosureConversion, check_untraced
from chainad.frontends.numpy.made_arrays import settle
from chainad.frontends.numpy.packing import as_one
from chainad.frontends.numpy.tape import active
from chainad.frontends.numpy.traced_calls import call
from chainad.frontends.numpy.tracers import Tracer
from chainad.ir.source_lines import here
from chainad.rules.implicit import implicit_solution, warn_of_singular
from chainad.rules.sparse_solves import SquarePattern

_known = known_value("chainad.implicit")

# The residual at a solution may be that of a relative error of x of this size.
MAX_RELATIVE_ERROR = 1e-3


def implicit(
    solver: Callable[..., Any],
    residual: Callable[..., Any],
    *,
    linear_solver: LinearSolver | None = None,
    max_relative_error: float = MAX_RELATIVE_ERROR,
) -> ImplicitFunction:
    """Return a function that solves equations, and is differentiated without the solver's steps.

    Parameters
    ----------
    solver : callable
        `solver(*theta)` returns x, an array or a number. It runs on plain numbers, and may be
        anything: SciPy, compiled code, another process.
    residual : callable
        `residual(x, *theta)` is zero at the solution and has the shape of x. It is traced.
    linear_solver : callable, optional
        `linear_solver(A, b)` returns x with `A @ x = b`: an iterative method with a preconditioner,
        where the Jacobian of the residual is too large to be factorized. A is a
        `scipy.sparse.linalg.LinearOperator` (its transpose, where adjoints are pulled back).
    max_relative_error : float
        The residual at the solution may be as large as one that such an error of x would make.

    Returns
    -------
    ImplicitFunction
        A function of theta, which may be arrays, numbers, and containers of these; what `solver`
        and `residual` read from their closures, and a function around has traced, is found, too.

    Raises
    ------
    ConvergenceError
        When it is called, if x is no solution: the message has the norm of the residual, and how
        large it may be.
    InputError
        When it is called, if x or the residual is no array of real floats, or their shapes differ.

    Warns
    -----
    scipy.linalg.LinAlgWarning
        If the Jacobian of the residual by x is singular; the derivatives are nan then.

    Notes
    -----
    At the solution, dx = -(dr/dx)^-1 (dr/dtheta) dtheta. The residual r is a part of the function
    around like any other, and -(dr/dx)^-1 is an operator: one factorization, by which a plan pushes
    tangents or pulls adjoints, whichever is cheaper. Compiled functions solve anew at each call.
    A starting point may be among theta: nothing depends on it.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> def cube_root_by_newton(a):
    ...     x = a
    ...     while abs(x**3 - a) > 1e-12:
    ...         x = x - (x**3 - a) / (3 * x**2)
    ...     return x
    >>> cube_root = chainad.implicit(cube_root_by_newton, lambda x, a: x**3 - a)
    >>> value, slope = chainad.value_and_jacobian(cube_root)(8.0)
    >>> print(value, slope.round(12))  # 1 / (3 * 2**2)
    2.0 0.083333333333
    """
    for name, f in {"solver": solver, "residual": residual}.items():
        if not callable(f):
            raise InputError(f"{name} must be a function, but got {type(f).__name__}")
    return ImplicitFunction(solver, residual, linear_solver, max_relative_error)


class ImplicitFunction:
    """A solver as a function of what its equations depend on; made by `implicit`."""

    def __init__(
        self,
        solver: Callable[..., Any],
        residual: Callable[..., Any],
        linear_solver: LinearSolver | None,
        max_relative_error: float,
    ) -> None:
        update_wrapper(self, solver)
        self.solver, self.residual, self.linear_solver = solver, residual, linear_solver
        self.max_relative_error = max_relative_error

    def __call__(self, *theta: Any, **options: Any) -> Any:
        """Return the solution; `options` are passed to the solver and to the residual."""
        if not is_traced_around():
            return self.solver(*theta, **options)
        parts = self.solver, self.residual, theta, options
        solve = Solve(
            parts,
            _solved,
            _residual_of_parts,
            self.max_relative_error,
            linear_solver=self.linear_solver,
        )
        return solve.solution()[0]

    def __repr__(self) -> str:
        return f"chainad.implicit({name_of(self.solver)}, {name_of(self.residual)})"


def _solved(parts: Any) -> tuple[Any]:
    solver, _, theta, options = parts
    return (solver(*theta, **options),)


def _residual_of_parts(parts: Any, x: Any) -> Any:
    _, residual, theta, options = parts
    return residual(x, *theta, **options)


def is_traced_around() -> bool:
    """Return whether a function is traced or recorded in this thread."""
    return active.tape is not None or active.recorder is not None


class Solve(NamedTuple):
    """One solve inside of a traced function.

    Attributes
    ----------
    parts : Any
        What the equations are made of: functions, arrays, containers; traced values are in there
        and in closures.
    run : callable
        From parts without traced values to the solution and arrays of facts about it.
    residual : callable
        `residual(parts, x, *facts)` is zero at the solution, and has the shape of x.
    max_relative_error : float
        See `implicit`.
    told : callable
        What the solver has said of the last run, for messages.
    linear_solver : callable, optional
        See `implicit`; there are no facts then.
    """

    parts: Any
    run: Callable[[Any], tuple[Any, ...]]
    residual: Callable[..., Any]
    max_relative_error: float = MAX_RELATIVE_ERROR
    told: Callable[[], str] = str
    linear_solver: LinearSolver | None = None

    @property
    def _is_kept(self) -> bool:
        """Whether the equations are read once the function around has gone on."""
        return active.recorder is not None or self.linear_solver is not None

    def solution(self) -> tuple[Any, ...]:
        """Return the solution, with its derivatives, and the facts, which have none."""
        conversion = ClosureConversion(self.parts, self._is_kept)
        solver = _solver(conversion.without_values(), self.run)
        return self._of(conversion, solver, conversion.values)

    def _of(
        self, conversion: ClosureConversion, solver: Any, values: Sequence[Any]
    ) -> tuple[Any, ...]:
        """Return the solution for some values in the place of those of the conversion.

        They are those of a trace, of one around it, and so on. What the innermost one
        differentiates is one step from the solution of the next: the same value, for the residual
        there. So derivatives of derivatives need no other formula.
        """
        tape: Any = innermost(values)
        if tape is None or tape.is_recorder:
            found: tuple[Any, ...] = solver(*values)  # recorded as one call
            return found
        outer = [below(x, tape) for x in values]
        x, *facts = self._of(conversion, solver, outer)
        residual = _ResidualAt(self.residual, conversion(values), facts)
        names = BoundNames()
        try:
            names.bind(residual)
            r = residual(x)
        finally:
            names.release()
        if not (isinstance(r, Tracer) and r.tape is tape):
            return x, *facts
        if self.linear_solver is not None:
            return (self._iteratively(self.linear_solver, conversion, outer, x, r),)
        residual = _ResidualAt(self.residual, conversion(outer), facts)
        jacobian = residual_jacobian(residual, x)
        matrix = self._checked(jacobian, x, r.value)
        return call(implicit_solution, (x, matrix, r, jacobian.pattern), {}), *facts

    def _iteratively(
        self,
        linear_solver: LinearSolver,
        conversion: ClosureConversion,
        outer: Sequence[Any],
        x: Any,
        r: Tracer,
    ) -> Any:
        """Return the solution where the inverse of the Jacobian is known by its products alone."""

        # What is kept keeps neither values nor parts.
        equations, of_parts, limit = (
            conversion.without_values(),
            self.residual,
            self.max_relative_error,
        )

        def residual(values: Sequence[Any]) -> Callable[[Any], Any]:
            return _ResidualAt(of_parts, equations(values), ())

        def make() -> IterativeInverse:
            return IterativeInverse(residual, linear_solver, limit, _solution_of)

        inverse: IterativeInverse = interned((linear_solver, limit), conversion, make)
        given = x, r.value, *outer
        checked: Any = np.float64(0)
        if not is_differentiated(given):
            checked = _below(of_plain_arrays(partial(inverse.check, here())), given)
        return _known(inverse, x, r, checked, *outer)

    def _checked(self, jacobian: ResidualJacobian, x: Any, residual: Any) -> Any:
        """Return the entries of the Jacobian, checked where they are not differentiated."""
        given = jacobian.entries, x, residual
        if is_differentiated(given):
            return jacobian.entries
        check = _check(jacobian.pattern, here(), self.told(), self.max_relative_error)
        return _below(check, given)


def _below(check: Callable[..., Any], given: Sequence[Any]) -> Any:
    """Return what a function of plain arrays returns; if they are recorded, it is recorded, too."""
    recorder: Any = innermost(given)
    if recorder is None:
        return check(*given)
    number, value = recorder.opaque(check, given)  # it goes, where no derivative needs its result
    return recorder.box(value, recorder, number)


def _solution_of(
    parts: Any,
    run: Callable[..., Any],
    residual: Callable[..., Any],
    linear_solver: LinearSolver,
) -> Any:
    """Return the solution of equations that are differentiated iteratively in their turn."""
    return Solve(parts, run, residual, linear_solver=linear_solver).solution()[0]


class _ResidualAt:
    """The residual of some parts as a function of x: an array of the shape of x."""

    def __init__(self, residual: Callable[..., Any], parts: Any, facts: Sequence[Any]) -> None:
        self.residual, self.parts, self.facts = residual, parts, facts
        # Whose names are looked up; where arrays are held is no name.
        self.__wrapped__ = (*(parts.values() if isinstance(parts, dict) else parts),)

    def __call__(self, x: Any) -> Any:
        r = as_one(settle(self.residual(self.parts, x, *self.facts)))
        if not hasattr(r, "dtype"):
            r = np.asarray(r)
        if r.dtype.kind != "f":
            raise InputError(
                f"{here()}the residual must be an array of real floats, but got one of dtype"
                f" {r.dtype}"
            )
        if r.shape != np.shape(x):
            raise InputError(
                f"{here()}the residual must have the shape of the solution, {np.shape(x)}, but has"
                f" {r.shape}"
            )
        return r


def _solver(conversion: ClosureConversion, run: Callable[[Any], tuple[Any, ...]]) -> Any:
    """Return the solver as a function of the values of a conversion, which a replay calls again."""

    @of_plain_arrays
    def solver(*values: Any) -> tuple[Any, ...]:
        found, *facts = run(conversion(values))
        check_untraced(found, "the solver")
        if isinstance(found, (tuple, dict)) or found is None:
            raise InputError(
                f"{here()}the solver must return an array or a number, but returned a"
                f" {type(found).__name__}; return its part that is the solution"
            )
        x = np.asarray(found)
        x = x.astype(float) if x.dtype.kind in "iu" else x.copy()
        if x.dtype.kind != "f":
            raise InputError(
                f"{here()}the solver must return real floats, but returned an array of dtype"
                f" {x.dtype}"
            )
        return x[()], *facts

    return solver


def _check(pattern: SquarePattern | None, where: str, told: str, max_relative_error: float) -> Any:
    """Return what returns the Jacobian of a residual by x, and raises unless x is a solution."""

    @of_plain_arrays
    def check(matrix: Any, x: Any, residual: Any) -> Any:
        norm = np.max(np.abs(residual), initial=0.0)
        slope = steepest(pattern, matrix)
        allowed = max_relative_error * slope * (1 + np.max(np.abs(x), initial=0.0))
        if np.isfinite(norm) and not np.isfinite(slope):
            raise ConvergenceError(
                f"{where}the solution has no derivative: the Jacobian of its residual is not finite"
                " there, by a division by zero perhaps, or a square root of it"
            )
        if not norm <= allowed:
            raise ConvergenceError(
                f"{where}the solver has not converged: the largest entry of the residual at its"
                f" result is {norm:.3g}, and may be {allowed:.3g}; give it more iterations, a"
                f" smaller tolerance or a better starting point{told}"
            )
        if np.size(x) == 1 and not slope:
            warn_of_singular(0.0)
        return matrix

    return check
