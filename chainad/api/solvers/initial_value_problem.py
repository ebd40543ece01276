"""Initial value problems: states at some times, as functions of initial values and parameters.

The derivative is an operator. Tangents are pushed forward by the continuous sensitivities, which
are integrated along with the states, all in the error norm of SciPy's own solver; adjoints are
pulled back through the adjoint equation, against time (`adjoint_equation`). Griewank & Walther,
ch. 15; Hindmarsh et al. 2005 (CVODES).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy  # loads scipy.integrate when it is first used

from chainad.api.solvers.adjoint_equation import pulled_back
from chainad.api.solvers.integrators import (
    MAX_DENSE_EQUATIONS,
    MIN_RTOL,
    positive,
    repeated,
    solver_of,
    with_jacobian,
)
from chainad.api.solvers.known_values import (
    Derivative,
    as_vector,
    below,
    innermost,
    is_differentiated,
    matrix_free,
    of_plain_arrays,
)
from chainad.api.solvers.right_hand_side import RightHandSide
from chainad.api.solvers.user_functions import Converted
from chainad.errors import ConvergenceError, TraceError
from chainad.frontends.numpy.tape import Tape
from chainad.frontends.numpy.tracers import Tracer, raw
from chainad.ir.graph import Argument
from chainad.rules.base import Local, Locals
from chainad.structure import from_labels

Array = np.ndarray[Any, Any]

# About how many evaluations a solver takes to begin anew at a time that adjoints come in.
_EVALUATIONS_OF_A_START = 8


class Given(NamedTuple):
    """What a solution is a function of; without `times` it is given where the solver steps."""

    y0: Any  # (n,)
    t0: Any
    tf: Any
    times: Any  # (number of times,)
    parameters: tuple[Any, ...]

    @staticmethod
    def of(values: Sequence[Any]) -> Given:
        """Return what was taken apart by `values`."""
        y0, t0, tf, times, *parameters = values
        return Given(y0, t0, tf, times, tuple(parameters))

    @property
    def values(self) -> tuple[Any, ...]:
        """All arrays, one after the other."""
        return (*self[:4], *self.parameters)


class Solution(NamedTuple):
    """What a solver has found; `counts` are its status, and what `nfev`, `njev` and `nlu` are."""

    t: Any
    y: Any  # (n, number of times)
    counts: Any


# Where in `Given.values` things are; from the last one on, there are parameters.
_Y0, _T0, _TF, _TIMES, _PARAMETERS = range(5)


class InitialValueProblem(RightHandSide):
    """dy/dt = rhs(t, y, parameters), and how it is solved.

    Attributes
    ----------
    known : callable
        The row that a solution is recorded by.
    method : str or type
        As for `solve_ivp`.
    has_times : bool
        Whether the times are given.
    step_options : dict
        Options of the solver that hold for all equations, such as `max_step`.
    what : str
        What messages call the call, with the user's line.
    """

    known: Callable[..., Any]
    method: Any
    has_times = True
    step_options: dict[str, Any]
    what: str

    def __init__(self) -> None:
        super().__init__()
        self._derivatives: dict[Any, SolutionDerivative] = {}
        self._augmented: dict[Any, AugmentedProblem] = {}

    @abstractmethod
    def solve(self, given: Given, called: Converted | None = None) -> Solution:
        """Return the solution for plain arrays.

        `called` are the functions to be run now, those of another call by default.
        """

    @abstractmethod
    def tolerances(self, given: Given) -> tuple[float, Array]:
        """Return the relative tolerance, and the absolute one of each state."""

    def augmented(self, moving: tuple[int, ...], k: int) -> AugmentedProblem:
        """Return the problem of the states and their derivatives along k directions.

        `moving` are the parameters that change along these.
        """
        key = moving, k
        if key not in self._augmented:
            self._augmented[key] = AugmentedProblem(self, moving, k)
        return self._augmented[key]

    def derivative(
        self, given: Given, moving: tuple[int, ...], evaluations: int
    ) -> SolutionDerivative:
        """Return the derivative by some of the plain values that are given, by position.

        `evaluations` are those of the right-hand side, for the cost.
        """
        # Costs are rounded: the plans of another solve may serve.
        rounded = 1 << max(evaluations - 1, 1).bit_length()
        entries = self.entries(given.t0, given.y0, given.parameters)
        each = entries[0] + sum(entries[1 + k - _PARAMETERS] for k in moving if k >= _PARAMETERS)
        key = moving, tuple(map(np.shape, given.values)), rounded, each
        if key not in self._derivatives:
            self._derivatives[key] = SolutionDerivative(self, *key)
        return self._derivatives[key]


def solution(
    problem: InitialValueProblem, given: Given, called: Converted | None = None
) -> Solution:
    """Return the solution for arrays that may be traced, by any number of traces.

    See `InitialValueProblem.solve` for `called`.
    """
    if not is_differentiated(given.values):
        return Solution(*_solve(problem, called, *given.values))
    tape = innermost(given.values)
    assert tape is not None
    under = [below(x, tape) for x in given.values]
    t, y, counts = solution(problem, Given.of(under), called)
    moving = tuple(
        [k for k, x in enumerate(given.values) if k not in (_TF, _TIMES) and _is_on(x, tape)]
    )
    status, evaluations = map(int, np.asarray(raw(counts))[:2])
    derivative: Derivative = FailedDerivative()
    if status >= 0:
        plain = Given.of([raw(x) for x in under])
        derivative = problem.derivative(plain, moving, evaluations)
    if problem.has_times:
        moments = given.times
    elif _is_on(given.t0, tape) or _is_on(given.tf, tape):
        moments = np.concatenate([np.reshape(given.t0, 1), t[1:-1], np.reshape(given.tf, 1)])
    else:
        moments = t
    theta = as_vector([given.values[k] for k in moving])
    others = [x for k, x in enumerate(under) if k not in moving]
    return Solution(moments, problem.known(derivative, y, moments, theta, *others), counts)


def _is_on(x: Any, tape: Tape) -> bool:
    return isinstance(x, Tracer) and x.tape is tape


@of_plain_arrays
def _solve(problem: InitialValueProblem, called: Converted | None, *values: Any) -> tuple[Any, ...]:
    return tuple(problem.solve(Given.of(values), called))


class SolutionDerivative(Derivative):
    """The derivative of a solution by its times, and by a vector of what else it depends on.

    Attributes
    ----------
    problem : InitialValueProblem
    moving : tuple of int
        What the vector is made of, by position in `Given.values`; `shapes` are those of all.
    evaluations : int
        How often the right-hand side was evaluated, about.
    entries : int
        What a direction costs at each evaluation: how many entries its Jacobians have.
    """

    def __init__(
        self,
        problem: InitialValueProblem,
        moving: tuple[int, ...],
        shapes: tuple[tuple[int, ...], ...],
        evaluations: int,
        entries: int,
    ) -> None:
        self.problem, self.moving, self.shapes = problem, moving, shapes
        self.evaluations, self.entries = evaluations, entries
        sizes = [int(np.prod(shapes[k])) for k in moving]
        ends = np.cumsum([0, *sizes]).tolist()
        # By position in `Given.values`, the place in the vector.
        self.places = {k: slice(*ends[j : j + 2]) for j, k in enumerate(moving)}
        self.size = ends[-1]

    @property
    def parameters(self) -> tuple[int, ...]:
        """The parameters among what moves, by number."""
        return tuple(k - _PARAMETERS for k in self.moving if k >= _PARAMETERS)

    def locals(self, y: Argument, *operands: Argument) -> Locals:
        times, theta, *_ = operands
        n, count = y.shape
        starts = _EVALUATIONS_OF_A_START * count
        costs = self.evaluations * self.entries, (self.evaluations + starts) * self.entries
        rows, sizes = [(n, (0,)), (count, (1,))], {0: n, 1: count}
        by_times = from_labels(rows, [(count, (1,))], sizes, (0, 1))
        return {
            times: Local(by_times, self.slopes),
            theta: matrix_free(y, theta, self.push, self.pull, costs),
        }

    def given(self, times: Any, theta: Any, others: Sequence[Any]) -> Given:
        """Return all values, of the vector and the others."""
        left = iter(others)
        values = [
            np.reshape(theta[self.places[k]], shape) if k in self.places else next(left)
            for k, shape in enumerate(self.shapes)
        ]
        return Given.of(values)._replace(times=times, tf=times[-1])

    def slopes(self, _: Any, value: Any, times: Any, theta: Any, *others: Any) -> Any:
        """Return the derivatives by time, (n, number of times)."""
        parameters = self.given(times, theta, others).parameters
        return self.problem.slopes(times, value, parameters)

    def push(self, tangents: Any, value: Any, times: Any, theta: Any, *others: Any) -> Any:
        """Return tangents of the solution, (n * number of times, k)."""
        given = self.given(times, theta, others)
        n, k = self.problem.n, np.shape(tangents)[1]
        initial = tangents[self.places[_Y0]] if _Y0 in self.places else np.zeros((n, k))
        if _T0 in self.places:
            slope = self.problem.slope(given.t0, given.y0, given.parameters)
            initial = initial - np.reshape(slope, (n, 1)) * tangents[self.places[_T0]]
        numbers = self.parameters
        directions = tuple(tangents[self.places[_PARAMETERS + j]] for j in numbers)
        y0 = np.concatenate([given.y0, np.reshape(np.transpose(initial), (-1,))])
        augmented = self.problem.augmented(numbers, k)
        parameters = (*given.parameters, *directions)
        found = solution(augmented, given._replace(y0=y0, parameters=parameters)).y
        count = np.shape(found)[1]
        return np.reshape(np.moveaxis(np.reshape(found[n:], (k, n, count)), 0, 2), (n * count, k))

    def pull(self, adjoints: Any, value: Any, times: Any, theta: Any, *others: Any) -> Any:
        """Return adjoints of the vector, (k, its size)."""
        values = (adjoints, times, theta, *others)
        if is_differentiated(values):
            return adjoints @ self.push(np.eye(self.size), value, times, theta, *others)
        return _pull(self, *values)


@of_plain_arrays
def _pull(of: SolutionDerivative, adjoints: Any, times: Any, theta: Any, *others: Any) -> Any:
    given = of.given(times, theta, others)
    by_y0, by_t0, by_parameters = pulled_back(of.problem, given, of.parameters, adjoints)
    found = {_Y0: by_y0, _T0: by_t0}
    found |= {_PARAMETERS + j: x for j, x in zip(of.parameters, by_parameters, strict=True)}
    return np.concatenate([found[k] for k in of.moving], axis=1)


class FailedDerivative(Derivative):
    """That of a solution that is none."""

    def locals(self, y: Argument, *operands: Argument) -> Locals:
        raise NotImplementedError(
            "the solver has failed (success is False), and what it has left is no solution that"
            " could be differentiated; try another method, or other tolerances"
        )


class AugmentedProblem(InitialValueProblem):
    """States y of a problem and k tangents of them, (n + k n,): the sensitivity equations.

    Parameters are those of the problem, and the directions, (size, k), of those that move.
    """

    def __init__(self, of: InitialValueProblem, moving: tuple[int, ...], k: int) -> None:
        super().__init__()
        self.of, self.moving, self.k = of, moving, k
        self.n = of.n * (1 + k)
        self.known, self.method, self.what = of.known, of.method, of.what
        self.step_options = of.step_options
        if self.n > MAX_DENSE_EQUATIONS and issubclass(solver_of(of.method), scipy.integrate.LSODA):
            self.method = scipy.integrate.BDF  # which takes sparse matrices
            self.step_options = {k: x for k, x in of.step_options.items() if k == "max_step"}

    @property
    def user(self) -> Any:
        return self.of.user

    def count_entries(self, t: Any, y: Any, parameters: tuple[Any, ...]) -> tuple[int, ...]:
        n, k = self.of.n, self.k
        own, _ = self._parts(parameters)
        by_states, *others = self.of.entries(t, y[:n], own)
        # The second derivatives are about as sparse as the first ones.
        directions = (k * others[j] for j in self.moving)
        return (1 + 2 * k) * by_states, *((1 + k) * x for x in others), *directions

    def _parts(self, parameters: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Return the parameters of the problem, and the directions of each, or None."""
        count = len(parameters) - len(self.moving)
        directions: list[Any] = [None] * count
        for j, direction in zip(self.moving, parameters[count:], strict=True):
            directions[j] = direction
        return [*parameters[:count]], directions

    def at(self, parameters: Sequence[Any]) -> Callable[[Any, Any], Any]:
        n, k = self.of.n, self.k
        own, directions = map(tuple, self._parts(parameters))
        steps = np.zeros(k)

        def rhs(t: Any, y: Any) -> Any:
            tangents = np.transpose(np.reshape(y[n:], (k, n)))
            t = np.float64(t) if type(t) is float else t
            slope, slopes = self.of.directional(steps, t, y[:n], tangents, own, directions)
            return np.concatenate([slope, np.reshape(np.transpose(slopes), (-1,))])

        return rhs

    def tolerances(self, given: Given) -> tuple[float, Array]:
        n, k = self.of.n, self.k
        own, directions = self._parts(given.parameters)
        rtol, atol = self.of.tolerances(given._replace(y0=given.y0[:n], parameters=tuple(own)))
        # An error of a tangent counts as that of a state, where what moves does so by as much as
        # it is, or by 1.
        steps = np.abs(np.reshape(given.y0[n:], (k, n))) / np.maximum(np.abs(given.y0[:n]), 1)
        largest = steps.max(1, initial=0)
        for p, d in zip(own, directions, strict=True):
            if d is not None:
                steps = np.abs(d) / np.maximum(np.abs(np.reshape(p, (-1, 1))), 1)
                largest = np.maximum(largest, steps.max(0, initial=0))
        largest[largest == 0] = 1
        # SciPy's norm is a mean: no part of it may hide behind the others.
        share = (1 + k) ** -0.5
        scaled = np.concatenate([atol, (largest[:, None] * positive(atol, rtol)).ravel()])
        return max(rtol * share, MIN_RTOL), scaled * share

    def jacobian(self, t: Any, y: Any, parameters: Sequence[Any]) -> Any:
        if not isinstance(self.of, AugmentedProblem):
            try:
                return super().jacobian(t, y, parameters)
            except TraceError:  # the right-hand side has no second derivatives
                pass
        # Without what couples tangents to states, Newton's method finds the states first, and the
        # tangents in a later iteration. Third derivatives take long to record.
        own, _ = self._parts(parameters)
        return repeated(self.of.jacobian(t, y[: self.of.n], own), 1 + self.k)

    def solve(self, given: Given, called: Converted | None = None) -> Solution:
        if given.t0 == given.tf:  # where SciPy makes no step
            y = np.repeat(given.y0[:, None], len(given.times), axis=1)
            return Solution(given.times, y, np.zeros(2, int))
        rtol, atol = self.tolerances(given)
        # SciPy wants no time twice.
        is_new = np.append(True, np.diff(given.times) != 0)
        found = scipy.integrate.solve_ivp(
            self.at(given.parameters),
            (given.t0, given.tf),
            given.y0,
            method=self.method,
            t_eval=given.times[is_new],
            **self.step_options,
            **with_jacobian(self.method, lambda t, y: self.jacobian(t, y, given.parameters)),
            rtol=rtol,
            atol=atol,
        )
        if not found.success:
            raise ConvergenceError(
                f"{self.what}: the solver fails on the equations of the derivative, though not on"
                f" those of the states ({found.message}); try other tolerances, or another method"
            )
        y = found.y[:, np.cumsum(is_new) - 1]
        return Solution(given.times, y, np.array([found.status, found.nfev]))
