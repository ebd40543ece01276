"""Mirrors: functions with SciPy's names that take traced values, where SciPy's own do not.

SciPy hands its ufuncs over to traced values, and nothing else. A mirror is SciPy's own function for
plain arrays; on traced values it is computed by its row in DEFINED or RULES.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from chainad.rules.base import DEFINED

# What to write instead of a function of SciPy: (module, name) -> the name of its mirror.
INSTEAD: dict[tuple[str, str], str] = {}
# The same for all functions of a module.
_ADVICE = {
    "scipy.integrate": "np.trapezoid, or a loop of quadrature or Runge-Kutta steps, is traced",
    "scipy.interpolate": "np.interp and matrix products are traced",
    "scipy.ndimage": "np.convolve, np.pad and slices are traced",
    "scipy.optimize": "by the implicit function theorem, the Jacobian of a solution is"
    " -np.linalg.solve(df/dy, df/dx)",
    "scipy.signal": "np.convolve, np.fft and chainad.scipy.fft are traced",
    "scipy.sparse": "write x @ A.T for a sparse A, and build arrays that depend on x with np",
    "scipy.stats": "a density written with np and the ufuncs of scipy.special is traced",
}


def instead_of_scipy(calls: Sequence[tuple[str, str]]) -> str:
    """Return what to write instead of the first public function of SciPy among calls, or ""."""
    for home, name in calls:
        if (home, name) in INSTEAD:
            return (
                f"{home}.{name} asks for plain numbers, and the derivative would be lost; use"
                f" {INSTEAD[home, name]}, which is traced"
            )
    for home, name in calls:
        if not name.startswith("_"):
            what = f"{home}.{name}" if hasattr(sys.modules.get(home), name) else home
            advice = f" ({_ADVICE[home]})" if home in _ADVICE else ""
            return (
                f"{what} asks for plain numbers, and the derivative would be lost; write it in"
                f" terms of functions that are traced{advice}, make it a chainad.primitive with a"
                " derivative of its own, or say chainad.stop_gradient(x) if the plain numbers are"
                " meant"
            )
    return ""


def first_traced(value: Any) -> Any:
    """Return a traced value among (nested) arguments, or None."""
    if isinstance(value, (list, tuple)):
        found = (first_traced(item) for item in value)
        return next((x for x in found if x is not None), None)
    if isinstance(value, dict):
        return first_traced(list(value.values()))
    if isinstance(value, np.ndarray):
        return first_traced(value.ravel().tolist()) if value.dtype == object else None
    return value if hasattr(type(value), "__array_function__") else None


def own(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function of plain arrays take traced ones, for which it is a call with a row."""

    @wraps(function)
    def dispatching(*args: Any, **kwargs: Any) -> Any:
        traced = first_traced([*args, *kwargs.values()])
        if traced is None:
            return function(*args, **kwargs)
        return traced.__array_function__(dispatching, (type(traced),), args, kwargs)

    return dispatching


def mirror(theirs: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a mirror of SciPy's function `theirs`; the decorated function is its definition."""
    home, name = ".".join(theirs.__module__.split(".")[:2]), theirs.__name__

    def register(definition: Callable[..., Any]) -> Callable[..., Any]:
        ours = own(theirs)
        ours.__module__ = f"chainad.{home}"
        ours.__doc__ = f"The function {home}.{name}, for traced values as well."
        DEFINED[ours] = definition
        INSTEAD[home, name] = f"chainad.{home}.{name}"
        return ours

    return register
