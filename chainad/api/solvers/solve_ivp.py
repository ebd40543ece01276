"""solve_ivp and odeint of SciPy, for traced values as well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy  # loads scipy.integrate when it is first used

from chainad.api.solvers.initial_value_problem import Given, InitialValueProblem, Solution, solution
from chainad.api.solvers.integrators import is_implicit, with_jacobian
from chainad.api.solvers.known_values import is_differentiated, known_value
from chainad.api.solvers.user_functions import Converted, conversion_of, interned
from chainad.errors import TraceError
from chainad.frontends.numpy.closure_conversion import ClosureConversion, check_untraced
from chainad.frontends.numpy.made_arrays import settle
from chainad.frontends.numpy.packing import as_one, packed
from chainad.frontends.numpy.tape import active
from chainad.frontends.numpy.tracers import Tracer, has_tracer
from chainad.ir.source_lines import here
from chainad.rules.scipy_wrappers import WRAPPERS

Array = np.ndarray[Any, Any]

_NAME = "chainad.scipy.integrate.solve_ivp"
_MESSAGES = {
    0: "The solver successfully reached the end of the integration interval.",
    1: "A termination event occurred.",
}
# Options of SciPy's solvers that hold for the equations of the derivative as well.
_STEP_OPTIONS = ("max_step", "min_step")

WRAPPERS["scipy.integrate", "solve_ivp"] = _NAME


class IvpProblem(InitialValueProblem):
    """What `solve_ivp` is called with, as a function of the traced values in it.

    `takes_jacobian` says that implicit methods are given the Jacobian, if the user gives none.
    """

    known = staticmethod(known_value(_NAME))

    def __init__(
        self,
        conversion: ClosureConversion,
        n: int,
        method: Any,
        has_times: bool,
        vectorized: bool,
        options: dict[str, Any],
        takes_jacobian: bool,
        where: str,
    ) -> None:
        super().__init__()
        self.conversion, self.n, self.method = conversion, n, method
        self.has_times, self.vectorized, self.options = has_times, vectorized, options
        self.takes_jacobian = takes_jacobian and is_implicit(method)
        self.step_options = {k: options[k] for k in _STEP_OPTIONS if k in options}
        self.what = f"{where}{self.known.__name__}"

    @property
    def user(self) -> Any:
        return self.conversion.value

    def at(self, parameters: Sequence[Any]) -> Callable[[Any, Any], Any]:
        fun, args, _ = self.conversion(parameters)

        def rhs(t: Any, y: Any) -> Any:
            return np.reshape(as_one(settle(self.slope_of(fun, t, y, args))), (self.n,))

        return rhs

    def slope_of(self, fun: Callable[..., Any], t: Any, y: Any, args: Sequence[Any]) -> Any:
        """Return what a function of the user's returns."""
        return fun(t, y[:, None] if self.vectorized else y, *args)

    def tolerances(self, given: Given) -> tuple[float, Array]:
        rtol, atol = self.options.get("rtol", 1e-3), self.options.get("atol", 1e-6)
        return float(np.min(rtol)), np.broadcast_to(np.asarray(atol, float), (self.n,))

    def solve(self, given: Given, called: Converted | None = None) -> Solution:
        fun, args, jac = conversion_of(self.conversion, called)(given.parameters)
        check_untraced(self.slope_of(fun, given.t0, given.y0, args), "the right-hand side")
        return self.solved(given, fun, args, jac)

    def solved(self, given: Given, fun: Any, args: tuple[Any, ...], jac: Any) -> Solution:
        """Return the solution by functions of plain numbers."""
        options = dict(self.options)
        if jac is not None:
            options["jac"] = jac
        elif self.takes_jacobian and not {"lband", "uband"} & {*options}:
            options |= with_jacobian(
                self.method, lambda t, y: self.jacobian(t, y, given.parameters)
            )
            options.pop("jac_sparsity", None)
        found = scipy.integrate.solve_ivp(
            fun,
            (given.t0, given.tf),
            given.y0,
            method=self.method,
            t_eval=given.times if self.has_times else None,
            vectorized=self.vectorized,
            args=args or None,
            **options,
        )
        counts = [found.status, found.nfev, found.njev, found.nlu]
        return Solution(found.t, found.y, np.array(counts))


def solve_ivp(
    fun: Callable[..., Any],
    t_span: Any,
    y0: Any,
    method: Any = "RK45",
    t_eval: Any = None,
    dense_output: bool = False,
    events: Any = None,
    vectorized: bool = False,
    args: Any = None,
    **options: Any,
) -> Any:
    """Solve an initial value problem, as scipy.integrate.solve_ivp does, for traced values as well.

    Parameters
    ----------
    fun, t_span, y0, method, t_eval, dense_output, events, vectorized, args, **options
        As for `scipy.integrate.solve_ivp`. Derivatives are those by initial values, parameters (in
        `args`, or held by `fun`), times, and the ends of the interval.

    Returns
    -------
    OdeResult
        That of SciPy; where there are traced values, `y` is traced, and so is `t` if the times are.
        Without `t_eval`, times between the ends are where the solver steps, and constant.

    Raises
    ------
    TraceError
        If there are events, or dense output, of traced values; or if a solve that failed is
        differentiated.
    ConvergenceError
        When the derivative is evaluated, if the solver fails on its equations.

    Notes
    -----
    The derivative is an operator of the graph, and the plan says how it is applied: tangents by
    the sensitivity equations, integrated along with the states by the same method; adjoints by the
    adjoint equation, against time, for which the states are integrated once more, in segments from
    checkpoints if they take much memory. Parameters are in the error norm of both; an error of a
    derivative counts as much as that of a state if what it is by changes by as much as it is, or
    by 1. BDF and LSODA, which take several steps to begin anew, are replaced by Radau in the
    adjoint equation. Implicit methods get the Jacobian of `fun`, sparse where it is, if none is
    given.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> from chainad.scipy.integrate import solve_ivp
    >>> def end(k):
    ...     return solve_ivp(lambda t, y: -k * y, (0, 1), [2.0], rtol=1e-8, t_eval=[1.0]).y[0, 0]
    >>> chainad.grad(end)(0.5).round(6)
    np.float64(-1.213061)
    """
    t0, tf = settle(tuple(t_span))
    start, times = packed(settle(y0)), None if t_eval is None else packed(settle(t_eval))
    own = (t0, tf, start, times)
    jac = options.pop("jac", None)
    conversion = None
    if active.tape is not None:
        conversion = Converted((fun, () if args is None else tuple(args), jac))
    if conversion is None or not (conversion.values or has_tracer(own)):
        if jac is not None:
            options["jac"] = jac
        return scipy.integrate.solve_ivp(
            fun, t_span, y0, method, t_eval, dense_output, events, vectorized, args, **options
        )
    _check(events, dense_output, options)
    start = vector_of(start, "y0")
    given = Given(
        start,
        _number(t0),
        _number(tf),
        np.zeros(0) if times is None else vector_of(times, "t_eval"),
        conversion.values,
    )
    takes_jacobian = is_differentiated(given.values)
    how = len(start), method, times is not None, vectorized, options, takes_jacobian, here()
    problem = interned(how, conversion.later, lambda: IvpProblem(conversion.later, *how))
    t, y, counts = solution(problem, given, conversion.called)
    status = int(counts[0])
    return scipy.integrate._ivp.ivp.OdeResult(
        t=t,
        y=y,
        sol=None,
        t_events=None,
        y_events=None,
        nfev=counts[1],
        njev=counts[2],
        nlu=counts[3],
        status=status,
        message=_MESSAGES.get(status, "The solver has failed."),
        success=status >= 0,
    )


def _check(events: Any, dense_output: bool, options: dict[str, Any]) -> None:
    """Refuse what has no derivative."""
    problem = ""
    if events is not None:
        problem = "events= is not differentiated; solve up to a time that is known, by t_span"
    elif dense_output:
        problem = "dense_output=True is not differentiated; give the times that are wanted, t_eval="
    elif has_tracer(options):
        names = ", ".join(k for k, x in options.items() if has_tracer(x))
        problem = f"{names} must be plain numbers, such as chainad.stop_gradient(x)"
    if problem:
        raise TraceError(f"{here()}solve_ivp: {problem}")


def vector_of(x: Any, what: str) -> Any:
    """Return a traced or plain vector of floats."""
    x = x if isinstance(x, Tracer) else np.asarray(x)
    if len(x.shape) != 1:
        raise ValueError(f"{what} must be 1-dimensional, but has shape {x.shape}")
    if x.dtype.kind == "c":
        raise TraceError(
            f"{here()}solve_ivp: {what} is complex, which is not differentiated; solve for real and"
            " imaginary parts"
        )
    return x if x.dtype.kind == "f" else x.astype(float)


def _number(x: Any) -> Any:
    return x if isinstance(x, Tracer) else np.float64(x)
