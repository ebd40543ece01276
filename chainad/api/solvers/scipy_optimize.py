"""The solvers of scipy.optimize inside of traced functions: SciPy's own, differentiated.

Each calls SciPy on plain numbers, and states the equations that its solution satisfies: a residual
for roots, the gradient of what is minimized for minimizers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import scipy  # loads scipy.optimize when it is first used

from chainad.api.solvers.implicit import Solve, is_traced_around
from chainad.api.solvers.stationarity import (
    LEAST_SQUARES,
    MINIMUM,
    SCALAR_MINIMUM,
    Parts,
    cost_at,
    first,
    minimized,
    residuals_at,
    squares_minimized,
    value_at,
)
from chainad.errors import TraceError
from chainad.frontends.numpy.made_arrays import settle
from chainad.frontends.numpy.packing import as_one
from chainad.frontends.numpy.tracers import Tracer
from chainad.ir.source_lines import here
from chainad.rules.scipy_wrappers import wrapped_by

_HOME = "scipy.optimize"

# What SciPy says of a solve, by name: numbers that have no derivative.
_FACTS = (
    "success", "status", "nfev", "njev", "nhev", "nit", "converged", "iterations", "function_calls",
)  # fmt: skip


class _Run:
    """Calls a function of SciPy on plain numbers; keeps what else it returned at the last call."""

    def __init__(self, name: str, solution: str = "x", prepare: Any = None, facts: Any = None):
        self.name, self.solution, self.prepare, self.facts = name, solution, prepare, facts
        self.result: Any = {}

    def __call__(self, parts: Any) -> tuple[Any, ...]:
        given = parts if self.prepare is None else self.prepare(parts)
        result = getattr(scipy.optimize, self.name)(**given)
        if isinstance(result, tuple):  # brentq(full_output=True)
            result = result[1]
        elif not isinstance(result, dict):
            result = {self.solution: result}
        self.result = result
        numbers = np.array([float(result.get(name, np.nan)) for name in _FACTS])
        x = result[self.solution]
        return (x, numbers) if self.facts is None else self.facts(parts, x, numbers)

    def solve(self, parts: Any, residual: Callable[..., Any]) -> tuple[Any, ...]:
        """Return the solution and the facts of a solve inside of a traced function."""
        return Solve(parts, self, residual, told=self._told).solution()

    def _told(self) -> str:
        message = self.result.get("message")
        return f"; SciPy says: {message}" if message and not self.result.get("success") else ""


@cache
def _result_class(name: str) -> type[Any]:
    """Return a class of results of SciPy's whose entries are read when they are asked for."""
    base: Any = getattr(scipy.optimize, name)

    class Result(base):  # type: ignore[misc]
        """What a solver returned inside of a traced function."""

        def __missing__(self, key: str) -> Any:
            run, numbers = self.__dict__["_of"]
            if key not in run.result:
                raise KeyError(key)
            if key in _FACTS:
                value = numbers[_FACTS.index(key)]
                return bool(value) if key in ("success", "converged") else int(value)
            if isinstance(run.result[key], str):
                return run.result[key]
            raise TraceError(
                f"{here()}{key} of a result is not differentiated; compute it from the solution, by"
                " functions that are traced"
            )

    Result.__name__ = Result.__qualname__ = name
    return Result


def _result(base: str, run: _Run, numbers: Any, **entries: Any) -> Any:
    """Return a result of SciPy's class with some entries, and the others that SciPy has told."""
    kind: Any = _result_class(base)
    found = kind.__new__(kind)
    found.__dict__["_of"] = run, numbers
    found.update(entries)
    if not isinstance(numbers, Tracer):  # else a replay compares those that are read
        told = {k: x for k, x in run.result.items() if k in _FACTS or isinstance(x, str)}
        found.update({k: x for k, x in told.items() if k not in entries})
    return found


def _tuple(args: Any) -> tuple[Any, ...]:
    return args if isinstance(args, tuple) else (args,)


def _equations(name: str, parts: Any, x: Any, *facts: Any) -> Any:
    """Return what the function `name` of the parts is at x, in the shape of x."""
    r = as_one(settle(first(parts[name](x, *parts["args"]), parts)))
    return np.reshape(r, np.shape(x)) if np.size(r) == np.size(x) else r


@wrapped_by(_HOME)
def root(
    fun: Callable[..., Any],
    x0: Any,
    args: Any = (),
    method: str = "hybr",
    jac: Any = None,
    tol: float | None = None,
    callback: Any = None,
    options: Any = None,
) -> Any:
    """Return a root of a vector function, as scipy.optimize.root does; `.x` is differentiated.

    What `fun` reads may be traced, by `args` and in closures. The start `x0` has no influence.
    """
    parts = Parts({
        "fun": fun, "x0": x0, "args": _tuple(args), "method": method, "jac": jac, "tol": tol,
        "callback": callback, "options": options,
    })  # fmt: skip
    if not is_traced_around():
        return scipy.optimize.root(**parts)

    def facts(parts: Any, x: Any, numbers: Any) -> tuple[Any, ...]:
        return x, numbers, np.asarray(run.result["fun"], float)

    run = _Run("root", facts=facts)
    x, numbers, at_root = run.solve(parts, partial(_equations, "fun"))
    return _result("OptimizeResult", run, numbers, x=x, fun=at_root)


@wrapped_by(_HOME)
def fsolve(
    func: Callable[..., Any],
    x0: Any,
    args: Any = (),
    fprime: Any = None,
    full_output: bool = False,
    **options: Any,
) -> Any:
    """Return a root of a vector function, as scipy.optimize.fsolve does."""
    parts = Parts({"func": func, "x0": x0, "args": _tuple(args), "fprime": fprime, **options})
    if not is_traced_around():
        return scipy.optimize.fsolve(**parts, full_output=full_output)
    if full_output:
        raise TraceError(_without_full_output("fsolve", "root"))
    return _Run("fsolve").solve(parts, partial(_equations, "func"))[0]


def _without_full_output(name: str, other: str) -> str:
    return (
        f"{here()}{name}(full_output=True) tells of the solve by arrays that are not"
        f" differentiated; chainad.scipy.optimize.{other} tells of it in its result"
    )


def _bracketing(name: str) -> Callable[..., Any]:
    """Return the function of SciPy of that name, which finds a root in a bracket."""

    def find(
        f: Callable[..., Any], a: Any, b: Any, args: Any = (), full_output: bool = False,
        **options: Any,
    ) -> Any:  # fmt: skip
        parts = Parts({"f": f, "a": a, "b": b, "args": _tuple(args), **options})
        if not is_traced_around():
            return getattr(scipy.optimize, name)(**parts, full_output=full_output)
        run = _Run(name, "root", lambda parts: {**parts, "full_output": True})
        x, numbers = run.solve(parts, partial(_equations, "f"))
        return (x, _result("RootResults", run, numbers, root=x)) if full_output else x

    find.__name__ = find.__qualname__ = name
    find.__doc__ = (
        f"Return a root of a function of a number in a bracket, as scipy.optimize.{name} does."
    )
    return wrapped_by(_HOME)(find)


brentq, brenth, bisect, ridder = map(_bracketing, ("brentq", "brenth", "bisect", "ridder"))


@wrapped_by(_HOME)
def root_scalar(
    f: Callable[..., Any], args: Any = (), method: str | None = None, **options: Any
) -> Any:
    """Return a root of a function of a number, as scipy.optimize.root_scalar does."""
    parts = Parts({"f": f, "args": _tuple(args), "method": method, **options})
    if not is_traced_around():
        return scipy.optimize.root_scalar(**parts)
    run = _Run("root_scalar", "root")
    x, numbers = run.solve(parts, partial(_equations, "f"))
    return _result("RootResults", run, numbers, root=x)


@wrapped_by(_HOME)
def newton(
    func: Callable[..., Any],
    x0: Any,
    fprime: Any = None,
    args: Any = (),
    full_output: bool = False,
    **options: Any,
) -> Any:
    """Return a root by Newton's method, or one of each entry, as scipy.optimize.newton does."""
    parts = Parts({"func": func, "x0": x0, "fprime": fprime, "args": _tuple(args), **options})
    if not is_traced_around():
        return scipy.optimize.newton(**parts, full_output=full_output)
    if full_output:
        raise TraceError(_without_full_output("newton", "root_scalar"))
    return _Run("newton").solve(parts, partial(_equations, "func"))[0]


@wrapped_by(_HOME)
def fixed_point(func: Callable[..., Any], x0: Any, args: Any = (), **options: Any) -> Any:
    """Return a fixed point of a function, as scipy.optimize.fixed_point does."""
    parts = Parts({"func": func, "x0": x0, "args": _tuple(args), **options})
    if not is_traced_around():
        return scipy.optimize.fixed_point(**parts)

    def residual(parts: Any, x: Any, *facts: Any) -> Any:
        return x - _equations("func", parts, x)

    return _Run("fixed_point").solve(parts, residual)[0]


@wrapped_by(_HOME)
def minimize(
    fun: Callable[..., Any],
    x0: Any,
    args: Any = (),
    method: Any = None,
    jac: Any = None,
    hess: Any = None,
    hessp: Any = None,
    bounds: Any = None,
    constraints: Any = (),
    tol: float | None = None,
    callback: Any = None,
    options: Any = None,
) -> Any:
    """Return a minimum, as scipy.optimize.minimize does; `.x` and `.fun` are differentiated.

    The gradient and second derivatives are made by chainad, be they given or not. Bounds and
    constraints that are active at the minimum stay active: where these change, the minimum has a
    kink, and the derivative is that on the side where SciPy's solution is.
    """
    parts = Parts({
        "fun": fun, "x0": x0, "args": _tuple(args), "method": method, "jac": jac, "hess": hess,
        "hessp": hessp, "bounds": bounds, "constraints": constraints, "tol": tol,
        "callback": callback, "options": options,
    })  # fmt: skip
    if not is_traced_around():
        return scipy.optimize.minimize(**parts)
    run = _Run("minimize", prepare=minimized, facts=MINIMUM.facts)
    z, numbers, at_bound, _ = run.solve(parts, MINIMUM.residual)
    x = z[: np.size(at_bound)]
    return _result("OptimizeResult", run, numbers, x=x, fun=value_at(parts, x))


@wrapped_by(_HOME)
def minimize_scalar(
    fun: Callable[..., Any],
    bracket: Any = None,
    bounds: Any = None,
    args: Any = (),
    method: Any = None,
    tol: float | None = None,
    options: Any = None,
) -> Any:
    """Return a minimum of a function of a number, as scipy.optimize.minimize_scalar does."""
    parts = Parts({
        "fun": fun, "bracket": bracket, "bounds": bounds, "args": _tuple(args), "method": method,
        "tol": tol, "options": options,
    })  # fmt: skip
    if not is_traced_around():
        return scipy.optimize.minimize_scalar(**parts)
    run = _Run("minimize_scalar", facts=SCALAR_MINIMUM.facts)
    (x,), numbers, *_ = run.solve(parts, SCALAR_MINIMUM.residual)
    return _result("OptimizeResult", run, numbers, x=x, fun=value_at(parts, x))


@wrapped_by(_HOME)
def least_squares(
    fun: Callable[..., Any],
    x0: Any,
    jac: Any = "2-point",
    bounds: Any = (-np.inf, np.inf),
    method: str = "trf",
    *,
    loss: Any = "linear",
    f_scale: Any = 1.0,
    args: Any = (),
    kwargs: Any = None,
    **options: Any,
) -> Any:
    """Return the least squares, as scipy.optimize.least_squares does.

    `.x`, `.fun` and `.cost` are differentiated, by the gradient of the cost: second derivatives of
    `fun` are in there. Active bounds stay active, as in `minimize`.
    """
    parts = Parts({
        "fun": fun, "x0": x0, "jac": jac, "bounds": bounds, "method": method, "loss": loss,
        "f_scale": f_scale, "args": args, "kwargs": kwargs or {}, **options,
    })  # fmt: skip
    if not is_traced_around():
        return scipy.optimize.least_squares(**parts)
    run = _Run("least_squares", prepare=squares_minimized, facts=LEAST_SQUARES.facts)
    x, numbers, at_bound, _ = run.solve(parts, LEAST_SQUARES.residual)
    found = {"x": x, "fun": residuals_at(parts, x), "cost": cost_at(parts, x)}
    return _result("OptimizeResult", run, numbers, active_mask=at_bound, **found)
