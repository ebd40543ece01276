"""The equations of a minimum: the gradient of the Lagrangian is zero where no bound is active.

Unknown are x and a multiplier for every constraint. Which bounds and constraints are active is read
off the solution; where that changes, it has a kink.

Source: Nocedal & Wright, *Numerical Optimization* (2nd ed.), ch. 12; A. V. Fiacco 1983.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from chainad.api.jacobian_functions import GradientFunction, HessianFunction, JacobianFunction
from chainad.api.options import checked_options
from chainad.frontends.numpy.made_arrays import settle
from chainad.frontends.numpy.packing import as_one

# The distance from a bound, relative to it, up to which it is active; solvers stop before it.
MAX_DISTANCE = 1e-5

_BY_FIRST = checked_options(0)

Array = np.ndarray[Any, Any]


class Parts(dict[str, Any]):
    """What a function of SciPy is called with, by name.

    A class of its own: in dictionaries of the user's, it is remembered where arrays are held.
    """


# What SciPy's methods of `minimize` ask for.
_WITHOUT_GRADIENT = {"nelder-mead", "powell", "cobyla", "cobyqa"}
_WITH_HESSIAN = {"newton-cg", "dogleg", "trust-ncg", "trust-exact", "trust-krylov"}


def first(value: Any, parts: Parts) -> Any:
    """Return the value of a function that may return its derivative as well."""
    return value[0] if parts.get("jac") is True or parts.get("fprime") is True else value


def value_at(parts: Parts, x: Any) -> Any:
    """Return what `minimize` minimizes at x, a number."""
    return np.reshape(as_one(settle(first(parts["fun"](x, *parts["args"]), parts))), ())


def minimized(parts: Parts) -> dict[str, Any]:
    """Return what SciPy's `minimize` is called with: derivatives are added that it asks for."""
    method = parts["method"]
    given = {**parts}
    name = method.lower() if isinstance(method, str) else ""
    if parts["jac"] is None and name not in _WITHOUT_GRADIENT and not callable(method):
        given["jac"] = _ignoring_args(GradientFunction(partial(value_at, parts), _BY_FIRST))
    if parts["hess"] is None and parts["hessp"] is None and name in _WITH_HESSIAN:
        given["hess"] = _ignoring_args(HessianFunction(partial(value_at, parts), _BY_FIRST))
    return given


def _ignoring_args(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function for a solver that passes `args` on, which are known already."""
    return lambda x, *args, **kwargs: f(x)


class Stationarity(NamedTuple):
    """The equations of a minimum of `objective(parts, x)` with the bounds `bounds(parts, n)`."""

    objective: Callable[[Parts, Any], Any]
    bounds: Callable[[Parts, int], tuple[Any, Any]]

    def residual(self, parts: Parts, z: Any, numbers: Any, at_bound: Any, at_limit: Any) -> Any:
        """Return what is zero at a minimum, by x and the multipliers, one after the other.

        `at_bound` and `at_limit` are -1 where a variable is at its lower bound, or a constraint at
        its lower limit, 1 at the upper one, and 0 elsewhere.
        """
        n = np.size(at_bound)
        x, multipliers = z[:n], z[n:]
        lower, upper = self.bounds(parts, n)
        bound = np.where(at_bound < 0, lower, upper)
        lagrangian = partial(self._lagrangian, parts, multipliers)
        of_x = np.where(at_bound == 0, GradientFunction(lagrangian, _BY_FIRST)(x), x - bound)
        if not np.size(at_limit):
            return of_x
        values, low, high = constraints_at(parts, x)
        limit = np.where(at_limit < 0, low, high)
        return np.concatenate([of_x, np.where(at_limit == 0, multipliers, values - limit)])

    def _lagrangian(self, parts: Parts, multipliers: Any, x: Any) -> Any:
        value = self.objective(parts, x)
        return value - multipliers @ constraints_at(parts, x)[0] if np.size(multipliers) else value

    def facts(self, parts: Parts, x: Any, numbers: Any) -> tuple[Any, ...]:
        """Return x and the multipliers, one after the other, and what is active there."""
        x = np.atleast_1d(np.asarray(x, float))
        n = x.size
        lower, upper = (np.broadcast_to(np.asarray(b, float), n) for b in self.bounds(parts, n))
        near = _near(x, lower, upper)
        slope = GradientFunction(partial(self.objective, parts), _BY_FIRST)(x)
        multipliers = at_limit = np.zeros(0)
        if parts.get("constraints"):
            values, low, high = constraints_at(parts, x)
            at_limit = _near(values, low, high)
            jacobian = JacobianFunction(partial(_constraint_values, parts), _BY_FIRST)(x)
            active = at_limit != 0
            multipliers = np.zeros(values.size)
            free = near == 0
            multipliers[active] = np.linalg.lstsq(
                jacobian[np.ix_(active, free)].T, slope[free], rcond=None
            )[0]
            # A limit that does not hold x back is none.
            at_limit = np.where((low == high) | (multipliers * at_limit < 0), at_limit, 0.0)
            multipliers = np.where(at_limit == 0, 0.0, multipliers)
            slope = slope - multipliers @ jacobian
        at_bound = np.where((lower == upper) | (slope * near < 0), near, 0.0)
        return np.concatenate([x, multipliers]), numbers, at_bound, at_limit


def _near(x: Array, lower: Any, upper: Any) -> Array:
    """Return -1 where x is at the lower bound, 1 at the upper one, and 0 elsewhere."""
    with np.errstate(invalid="ignore"):
        is_low = x - lower <= MAX_DISTANCE * (1 + np.abs(lower))
        is_high = upper - x <= MAX_DISTANCE * (1 + np.abs(upper))
    is_low, is_high = is_low & np.isfinite(lower), is_high & np.isfinite(upper)
    return np.where(is_low, -1.0, np.where(is_high, 1.0, 0.0))


def bounds_of_pairs(parts: Parts, n: int) -> tuple[Any, Any]:
    """Return lower and upper bounds, given as `minimize` takes them."""
    bounds = parts["bounds"]
    if bounds is None:
        return np.full(n, -np.inf), np.full(n, np.inf)
    if hasattr(bounds, "lb"):
        return bounds.lb, bounds.ub
    low, high = zip(*bounds, strict=True)
    return (
        as_one([-np.inf if b is None else b for b in low]),
        as_one([np.inf if b is None else b for b in high]),
    )


def constraints_at(parts: Parts, x: Any) -> tuple[Any, Any, Any]:
    """Return the values of all constraints at x, and their lower and upper limits."""
    given = parts["constraints"]
    every = given if isinstance(given, (list, tuple)) else [given]
    found = [_constraint_at(each, x) for each in every]
    values, low, high = (
        np.concatenate([np.ravel(each[k] + np.zeros(np.shape(each[0]))) for each in found])
        for k in range(3)
    )
    return values, low, high


def _constraint_values(parts: Parts, x: Any) -> Any:
    return constraints_at(parts, x)[0]


def _constraint_at(constraint: Any, x: Any) -> tuple[Any, Any, Any]:
    if isinstance(constraint, dict):
        value = as_one(settle(constraint["fun"](x, *constraint.get("args", ()))))
        return value, 0.0, 0.0 if constraint["type"].lower() == "eq" else np.inf
    if hasattr(constraint, "A"):
        return constraint.A @ x, constraint.lb, constraint.ub
    return as_one(settle(constraint.fun(x))), constraint.lb, constraint.ub


def residuals_at(parts: Parts, x: Any) -> Any:
    """Return the residuals of `least_squares` at x, a vector."""
    value = as_one(settle(parts["fun"](x, *parts["args"], **(parts["kwargs"] or {}))))
    return np.reshape(value, (np.size(value),))


def cost_at(parts: Parts, x: Any) -> Any:
    """Return what `least_squares` minimizes at x."""
    scale, loss = parts["f_scale"], parts["loss"]
    squares = (residuals_at(parts, x) / scale) ** 2
    losses = loss(squares)[0] if callable(loss) else _LOSSES[loss](squares)
    return 0.5 * scale**2 * np.sum(losses)


_LOSSES: dict[str, Callable[[Any], Any]] = {
    "linear": lambda z: z,
    "soft_l1": lambda z: 2 * (np.sqrt(1 + z) - 1),
    "huber": lambda z: np.where(z <= 1, z, 2 * np.sqrt(np.maximum(z, 1)) - 1),
    "cauchy": np.log1p,
    "arctan": np.arctan,
}


def squares_minimized(parts: Parts) -> dict[str, Any]:
    """Return what SciPy's `least_squares` is called with: the Jacobian is added."""
    if not (isinstance(parts["jac"], str) and parts["jac"] == "2-point"):
        return parts
    return {
        **parts,
        "jac": _ignoring_args(JacobianFunction(partial(residuals_at, parts), _BY_FIRST)),
    }


def bounds_of_ends(parts: Parts, n: int) -> tuple[Any, Any]:
    """Return lower and upper bounds, given as `least_squares` and `minimize_scalar` take them."""
    bounds: Any = (-np.inf, np.inf) if parts["bounds"] is None else parts["bounds"]
    low, high = (bounds.lb, bounds.ub) if hasattr(bounds, "lb") else bounds
    return as_one(settle(low)), as_one(settle(high))


MINIMUM = Stationarity(value_at, bounds_of_pairs)
SCALAR_MINIMUM = Stationarity(lambda parts, x: value_at(parts, x[0]), bounds_of_ends)
LEAST_SQUARES = Stationarity(cost_at, bounds_of_ends)
