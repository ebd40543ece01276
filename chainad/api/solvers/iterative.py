"""Solutions of equations whose Jacobian is never made: a linear solver of the user's inverts it.

The Jacobian of the residual is known by its products with vectors. Its inverse times a tangent or
an adjoint solves linear equations, so that derivatives of derivatives are those of these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from chainad.api.jacobian_functions import JacobianFunction
from chainad.api.options import checked_options
from chainad.api.products import jvp, vjp
from chainad.api.solvers.known_values import Derivative, innermost, matrix_free
from chainad.errors import ConvergenceError
from chainad.ir.graph import Argument
from chainad.ir.source_lines import here
from chainad.rules.base import Locals

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

Array = np.ndarray[Any, Any]

# `linear_solver(A, b)` returns x with A x = b.
LinearSolver = Callable[["LinearOperator", Array], Array]

# From (parts, run, residual, linear solver) to the solution; `implicit` gives it.
SolveEquations = Callable[[Any, Callable[..., Any], Callable[..., Any], LinearSolver], Any]

_OPERATOR = checked_options(0, output="operator")


class IterativeInverse(Derivative):
    """Minus the inverse of the Jacobian of a residual: `residual(values)` is a function of x.

    `solve` solves equations whose solution is differentiated in its turn.
    """

    def __init__(
        self,
        residual: Callable[[Sequence[Any]], Callable[[Any], Any]],
        linear_solver: LinearSolver,
        max_relative_error: float,
        solve: SolveEquations,
    ) -> None:
        self.residual, self.linear_solver = residual, linear_solver
        self.max_relative_error, self.solve = max_relative_error, solve

    def locals(self, y: Argument, *operands: Argument) -> Locals:
        r, *_ = operands
        cost = y.size * max(y.size, 1)  # nobody knows how many iterations there are
        return {r: matrix_free(y, r, self._push, self._pull, (cost, cost))}

    def _push(self, tangents: Any, x: Any, r: Any, checked: Any, *values: Any) -> Any:
        return -self._solved(tangents, x, values, False)

    def _pull(self, adjoints: Any, x: Any, r: Any, checked: Any, *values: Any) -> Any:
        return -np.transpose(self._solved(np.transpose(adjoints), x, values, True))

    def _solved(self, right: Any, x: Any, values: Sequence[Any], is_transposed: bool) -> Any:
        given = x, values, is_transposed
        columns = [right[:, k] for k in range(np.shape(right)[1])]
        if innermost((right, x, *values)) is None:
            operator = self._operator(*given)
            return np.stack([self._by_linear_solver(operator, b) for b in columns], axis=1)
        run, residual = self._run, self._residual
        return np.stack(
            [self.solve((b, *given), run, residual, self.linear_solver) for b in columns], axis=1
        )

    def _run(self, parts: Any) -> tuple[Any]:
        b, *given = parts
        return (self._by_linear_solver(self._operator(*given), b),)

    def _residual(self, parts: Any, z: Any) -> Any:
        b, x, values, is_transposed = parts
        f = self.residual(values)
        z = np.reshape(z, np.shape(x))
        product = vjp(f, x)[1](z) if is_transposed else jvp(f, (x,), (z,))[1]
        return np.reshape(product[0] if isinstance(product, tuple) else product, (-1,)) - b

    def _operator(self, x: Any, values: Sequence[Any], is_transposed: bool) -> LinearOperator:
        """Return the Jacobian at plain numbers by its products with vectors."""
        found = JacobianFunction(self.residual(values), _OPERATOR)(x)
        return found.T if is_transposed else found

    def _by_linear_solver(self, operator: LinearOperator, b: Array) -> Array:
        found = np.reshape(np.asarray(self.linear_solver(operator, b), float), b.shape)
        error = np.max(np.abs(operator @ found - b), initial=0.0)
        allowed = self.max_relative_error * np.max(np.abs(b), initial=0.0)
        if not error <= allowed:
            raise ConvergenceError(
                f"{here()}the linear solver has not converged: the largest entry of its residual is"
                f" {error:.3g}, and may be {allowed:.3g}; give it more iterations or a better"
                " preconditioner"
            )
        return found

    def check(self, where: str, x: Any, r: Any, *values: Any) -> Any:
        """Raise unless x is a solution: unless Newton's method would go on in small steps."""
        operator = self._operator(x, values, False)
        b = np.reshape(r, (-1,))
        step = self._by_linear_solver(operator, b) if np.any(b) else b
        size, allowed = np.max(np.abs(step)), self.max_relative_error * (1 + np.max(np.abs(x)))
        if not size <= allowed:
            raise ConvergenceError(
                f"{where}the solver has not converged: the largest entry of the residual is"
                f" {np.max(np.abs(b)):.3g}, and Newton's method would move its result by"
                f" {size:.3g}, where {allowed:.3g} is allowed; give it more iterations, a smaller"
                " tolerance or a better starting point"
            )
        return np.float64(0)
