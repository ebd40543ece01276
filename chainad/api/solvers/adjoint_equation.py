"""The adjoint equation of an initial value problem, integrated against time.

Adjoints of the states obey dL/dt = -L (df/dy), those of the parameters dM/dt = -L (df/dp). Both
need the states in reverse order, which dense output of the forward solve has. That of a long solve
is not kept but made anew, segment by segment, from checkpoints: memory grows with the square root
of the number of steps, and the states are integrated twice. Griewank & Walther, ch. 12.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy  # loads scipy.integrate when it is first used

from chainad.api.solvers.integrators import (
    MAX_DENSE_EQUATIONS,
    MIN_RTOL,
    make_solver,
    next_step,
    one_step,
    positive,
    repeated,
    step,
    with_jacobian,
)

if TYPE_CHECKING:
    from chainad.api.solvers.initial_value_problem import Given, InitialValueProblem

Array = np.ndarray[Any, Any]

# Dense output of so many bytes is kept, however few checkpoints there are.
MAX_SEGMENT_BYTES = 2**24


class _Checkpoint(NamedTuple):
    """Where a solver was, and its next step; `t` is the end of one segment, and begins another."""

    t: float
    y: Array
    step: float | None


class _Segment(NamedTuple):
    """The states between two times, of which `start` is the one that the solver began at."""

    start: float
    end: float
    states: Any


class _Trajectory:
    """The states of a solve, segment by segment from the last one to the first."""

    def __init__(self, problem: InitialValueProblem, given: Given) -> None:
        self.problem, self.parameters = problem, given.parameters
        rtol, atol = problem.tolerances(given)

        def jacobian(t: Any, y: Any) -> Any:
            return problem.jacobian(t, y, self.parameters)

        self.options = {
            **problem.step_options,
            **with_jacobian(problem.method, jacobian),
            "rtol": rtol,
            "atol": atol,
        }
        self.end = float(given.times[-1])
        self.checkpoints = [_Checkpoint(float(given.t0), given.y0, None)]
        self.last = self._run(self.checkpoints[0], self.end, True)

    def segments(self) -> Iterator[_Segment]:
        """Yield the segments."""
        segment, self.last = self.last, None
        for k in reversed(range(len(self.checkpoints))):
            if segment is None:
                segment = self._run(self.checkpoints[k], self.checkpoints[k + 1].t, False)
            yield segment
            segment = None

    def _run(self, start: _Checkpoint, end: float, sets_checkpoints: bool) -> Any:
        """Integrate from a checkpoint on; return the last segment."""
        options = self.options
        if start.step is not None:
            options = {**options, "first_step": start.step}
        rhs = self.problem.at(self.parameters)
        solver = make_solver(self.problem.method, rhs, (start.t, end), start.y, options)
        times, n_bytes = [start.t], 0
        pieces: list[scipy.integrate.DenseOutput] = []
        while solver.status == "running":
            limit = max(MAX_SEGMENT_BYTES, len(self.checkpoints) * start.y.nbytes)
            if sets_checkpoints and n_bytes > limit:
                self.checkpoints.append(_Checkpoint(solver.t, solver.y.copy(), next_step(solver)))
                times, pieces, n_bytes = [solver.t], [], 0
            step(solver, self.problem.what)
            times.append(solver.t)
            pieces.append(solver.dense_output())
            n_bytes += sum(x.nbytes for x in vars(pieces[-1]).values() if isinstance(x, np.ndarray))
        return _Segment(times[0], times[-1], scipy.integrate.OdeSolution(times, pieces))


def pulled_back(
    problem: InitialValueProblem, given: Given, moving: Sequence[int], adjoints: Array
) -> tuple[Array, Array, list[Array]]:
    """Return adjoints of the initial state, of the initial time, and of some parameters.

    Parameters
    ----------
    problem, given
        What was solved, for plain arrays.
    moving : sequence of int
        The parameters, by number.
    adjoints : array of shape (k, n * number of times)
        Adjoints of the solution.
    """
    times, n, k = given.times, problem.n, len(adjoints)
    adjoints = np.reshape(adjoints, (k, n, len(times)))
    parameters = [given.parameters[j] for j in moving]
    others = [None if j in moving else p for j, p in enumerate(given.parameters)]
    m = sum(p.size for p in parameters)
    # Rows of adjoints of the states, then of the parameters.
    z = np.zeros(k * (n + m))
    incoming = z[: k * n].reshape(k, n)
    left = len(times)
    equation = _AdjointEquation(problem, given, parameters, others, adjoints)
    t = float(times[-1])
    h: float | None = None

    def take() -> None:
        nonlocal left
        while left and times[left - 1] == t:
            left -= 1
            np.add(incoming, adjoints[:, :, left], incoming)

    take()
    segments = _Trajectory(problem, given).segments() if t != given.t0 else ()
    for segment in segments:
        while t != segment.start:
            sign = np.sign(t - segment.start)
            inside = left and sign * (times[left - 1] - segment.start) > 0
            end = float(times[left - 1]) if inside else segment.start
            z[:], h = equation.integrate(t, end, z, h, segment.states)
            t = end
            take()
        del segment  # before the next one is made
    slope = problem.rhs(float(given.t0), given.y0, given.parameters)
    ends = np.cumsum([0, *(p.size for p in parameters)])
    of_parameters = z[k * n :].reshape(k, m)
    return (
        incoming,
        -(incoming @ slope)[:, None],
        [of_parameters[:, a:b] for a, b in pairwise(ends)],
    )


class _AdjointEquation:
    """The equations of k rows of adjoints, of the states and then of the parameters."""

    def __init__(
        self,
        problem: InitialValueProblem,
        given: Given,
        parameters: Sequence[Array],
        others: Sequence[Any],
        adjoints: Array,  # (k, n, number of times)
    ) -> None:
        self.problem, self.given = problem, given
        self.parameters, self.others = tuple(parameters), tuple(others)
        self.k, self.n = adjoints.shape[:2]
        self.states: Any = None
        self.method = one_step(problem.method)
        rtol, atol = problem.tolerances(given)
        atol = positive(atol, rtol)
        # A weighted sum of the states is as exact as they are: so is its derivative, where what it
        # is by changes by as much as it is, or by 1.
        weights = np.sqrt(np.sum((adjoints * atol[:, None]) ** 2, axis=(1, 2)))
        weights[weights == 0] = atol.max()
        sizes = np.concatenate([given.y0, *map(np.ravel, parameters)])
        scaled = weights[:, None] / np.maximum(np.abs(sizes), 1)
        m = scaled.shape[1] - self.n
        # SciPy's norm is a mean: no part of it may hide behind the others.
        share = (min(self.n, m or self.n) / scaled.size) ** 0.5
        atol = np.concatenate([scaled[:, : self.n].ravel(), scaled[:, self.n :].ravel()])
        self.options = {
            "rtol": max(rtol * share, MIN_RTOL),
            "atol": atol * share,
            "max_step": problem.step_options.get("max_step", np.inf),
        }

    def integrate(
        self, start: float, end: float, z: Array, first_step: float | None, states: Any
    ) -> tuple[Array, float | None]:
        """Return the adjoints at the end, and the next step."""
        k, n = self.k, self.n
        # SciPy's solvers are in reference cycles, and must not keep the states alive.
        self.states = states

        def rhs(t: float, z: Array) -> Array:
            rows = z[: k * n].reshape(k, n)
            t = np.float64(t)
            by_y, by_parameters = self.problem.weighted(
                self.states(t), self.parameters, t, rows, self.others
            )
            flat = [by_y.ravel()]
            if self.parameters:
                flat.append(np.hstack([x.reshape(k, -1) for x in by_parameters]).ravel())
            return -np.concatenate(flat)

        def jacobian(t: float, _: Any) -> Any:
            y = self.states(t)
            by_y = self.problem.jacobian(t, y, self.given.parameters)
            found = -repeated(by_y.T, k)
            if self.parameters:
                unit = np.eye(n)
                _, parts = self.problem.weighted(
                    y, self.parameters, np.float64(t), unit, self.others
                )
                by_parameters = np.hstack([x.reshape(n, -1) for x in parts])
                rows = scipy.sparse.vstack([found, -repeated(by_parameters.T, k)])
                found = scipy.sparse.hstack(
                    [rows, scipy.sparse.csc_array((len(z), len(z) - k * n))], format="csc"
                )
            return found if len(z) > MAX_DENSE_EQUATIONS else found.toarray()

        options = {
            **self.options,
            **with_jacobian(self.method, jacobian),
            "first_step": first_step,
        }
        solver = make_solver(self.method, rhs, (start, end), z, options)
        while solver.status == "running":
            step(solver, self.problem.what)
        self.states = None
        return solver.y, next_step(solver)
