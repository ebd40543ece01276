"""odeint of SciPy, for traced values as well: LSODA under another name and signature."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy  # loads scipy.integrate when it is first used

from chainad.api.solvers.initial_value_problem import Given, Solution, solution
from chainad.api.solvers.integrators import as_dense
from chainad.api.solvers.known_values import is_differentiated, known_value
from chainad.api.solvers.solve_ivp import IvpProblem, vector_of
from chainad.api.solvers.user_functions import Converted, interned
from chainad.errors import TraceError
from chainad.frontends.numpy.closure_conversion import ClosureConversion
from chainad.frontends.numpy.made_arrays import settle
from chainad.frontends.numpy.packing import packed
from chainad.frontends.numpy.tape import active
from chainad.frontends.numpy.tracers import has_tracer
from chainad.ir.source_lines import here
from chainad.rules.scipy_wrappers import WRAPPERS

_NAME = "chainad.scipy.integrate.odeint"
_DEFAULT_TOLERANCE = 1.49012e-8  # as its documentation says

WRAPPERS["scipy.integrate", "odeint"] = _NAME


class _OdeintProblem(IvpProblem):
    """What `odeint` is called with; its options are those of LSODA."""

    known = staticmethod(known_value(_NAME))

    def __init__(
        self,
        conversion: ClosureConversion,
        n: int,
        options: dict[str, Any],
        takes_jacobian: bool,
        where: str,
    ) -> None:
        super().__init__(conversion, n, "LSODA", True, False, options, takes_jacobian, where)
        if options.get("hmax"):
            self.step_options = {"max_step": options["hmax"]}

    def slope_of(self, fun: Callable[..., Any], t: Any, y: Any, args: Sequence[Any]) -> Any:
        return fun(t, y, *args) if self.options.get("tfirst") else fun(y, t, *args)

    def tolerances(self, given: Given) -> tuple[float, Any]:
        rtol, atol = (self.options.get(k) for k in ("rtol", "atol"))
        rtol = _DEFAULT_TOLERANCE if rtol is None else float(np.min(rtol))
        atol = _DEFAULT_TOLERANCE if atol is None else np.asarray(atol, float)
        return rtol, np.broadcast_to(atol, (self.n,))

    def solved(self, given: Given, fun: Any, args: tuple[Any, ...], jac: Any) -> Solution:
        options = dict(self.options)
        if jac is not None:
            options["Dfun"] = jac
        elif self.takes_jacobian and options.get("ml") is None and options.get("mu") is None:
            is_first = bool(options.get("tfirst"))

            def jacobian(one: Any, other: Any, *_: Any) -> Any:
                t, y = (one, other) if is_first else (other, one)
                return as_dense(self.jacobian(t, y, given.parameters))

            options |= {"Dfun": jacobian, "col_deriv": False}
        y, told = scipy.integrate.odeint(
            fun, given.y0, given.times, args, full_output=True, **options
        )
        is_solved = told["message"] == "Integration successful."
        if not is_solved:
            warnings.warn(told["message"], scipy.integrate.ODEintWarning, stacklevel=2)
        evaluations, jacobians = (int(np.max(told[k], initial=0)) for k in ("nfe", "nje"))
        counts = [0 if is_solved else -1, evaluations, jacobians, 0]
        return Solution(given.times, np.transpose(y), np.array(counts))


def odeint(
    func: Callable[..., Any],
    y0: Any,
    t: Any,
    args: tuple[Any, ...] = (),
    Dfun: Any = None,
    col_deriv: bool = False,
    full_output: bool = False,
    *more: Any,
    **options: Any,
) -> Any:
    """Solve an initial value problem, as scipy.integrate.odeint does, for traced values as well.

    Parameters
    ----------
    func, y0, t, args, Dfun, col_deriv, full_output, *more, **options
        As for `scipy.integrate.odeint`. Derivatives are those by initial values, parameters (in
        `args`, or held by `func`) and times.

    Returns
    -------
    array of shape (len(t), len(y0))

    Raises
    ------
    TraceError
        If `full_output` is wanted of traced values, or a solve that failed is differentiated.

    Notes
    -----
    See `solve_ivp` for what the derivative is.
    """
    start, times = packed(settle(y0)), packed(settle(t))
    conversion = None
    if active.tape is not None:
        conversion = Converted((func, settle(tuple(args)), Dfun))
    if conversion is None or not (conversion.values or has_tracer((start, times))):
        given = (func, y0, t, args, Dfun, col_deriv, full_output, *more)
        return scipy.integrate.odeint(*given, **options)
    if full_output:
        raise TraceError(f"{here()}odeint: full_output=True is not supported for traced values")
    if more:
        raise TraceError(f"{here()}odeint: give the options behind full_output by name")
    if has_tracer(options):
        raise TraceError(f"{here()}odeint: options must be plain numbers; see stop_gradient")
    start = np.reshape(start, (1,)) if np.ndim(start) == 0 else start
    start, times = vector_of(start, "y0"), vector_of(times, "t")
    options = {k: x for k, x in options.items() if k != "printmessg"} | {"col_deriv": col_deriv}
    given = Given(start, times[0], times[-1], times, conversion.values)
    how = len(start), options, is_differentiated(given.values), here()
    problem = interned(how, conversion.later, lambda: _OdeintProblem(conversion.later, *how))
    return np.transpose(solution(problem, given, conversion.called).y)
