"""Wrappers: functions with SciPy's names that take traced values, where SciPy's own do not.

Of SciPy's functions, only ufuncs dispatch to traced values. A wrapper calls SciPy's function on
plain arrays; on traced values it is computed by its row in DEFINED or RULES.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import wraps
from importlib import import_module
from operator import attrgetter
from typing import Any

from chainad.rules.base import DEFINED, dispatching, first_traced

# What to write instead of a function of SciPy: (module, name) -> the name of its wrapper.
WRAPPERS: dict[tuple[str, str], str] = {}
# The same for all functions of a module.
_ADVICE = {
    "scipy.integrate": "chainad.scipy.integrate has solve_ivp, odeint, quad and rules for samples",
    "scipy.interpolate": "np.interp and matrix products are traced",
    "scipy.ndimage": "np.convolve, np.pad and slices are traced",
    "scipy.optimize": "chainad.implicit(solver, residual) differentiates what a solver finds, by"
    " the implicit function theorem",
    "scipy.signal": "np.convolve, np.fft and chainad.scipy.fft are traced",
    "scipy.sparse": "chainad.scipy.sparse has arrays with traced entries, .linalg solves; A @ x,"
    " x @ A and x * A of a constant A are traced",
    "scipy.stats": "chainad.scipy.stats.norm has cdf, logcdf, sf and logsf, and a density written"
    " with np and the ufuncs of scipy.special is traced",
}


def instead_of_scipy(calls: Sequence[tuple[str, str]]) -> str:
    """Return what to write instead of the first public function of SciPy among calls, or ""."""
    for module, name in calls:
        if (module, name) in WRAPPERS:
            what = module if name.startswith("_") else f"{module}.{name}"
            return (
                f"{what} asks for plain numbers, and the derivative would be lost; use"
                f" {WRAPPERS[module, name]}, which is traced"
            )
    for module, name in calls:
        if not name.startswith("_"):
            what = f"{module}.{name}" if hasattr(sys.modules.get(module), name) else module
            advice = f" ({_ADVICE[module]})" if module in _ADVICE else ""
            return (
                f"{what} asks for plain numbers, and the derivative would be lost; write it in"
                f" terms of functions that are traced{advice}, make it a chainad.primitive with a"
                " derivative of its own, or say chainad.stop_gradient(x) if the plain numbers are"
                " meant"
            )
    return ""


def wrapper_of(
    module: str, name: str = "", convert: Callable[[Any], Any] | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make the wrapper of a function of SciPy, by default of the name of its definition.

    The decorated function is that definition, whose positional arguments are converted before;
    SciPy's module is loaded at the first call.
    """

    def register(definition: Callable[..., Any]) -> Callable[..., Any]:
        definition.__name__ = name or definition.__name__
        if convert is not None:
            definition = _converting(definition, convert)

        @wraps(definition)
        def plain(*args: Any, **kwargs: Any) -> Any:
            return attrgetter(definition.__name__)(import_module(module))(*args, **kwargs)

        wrapper = dispatching(plain)
        wrapper.__module__ = f"chainad.{module}"
        wrapper.__qualname__ = wrapper.__name__
        wrapper.__doc__ = f"The function {module}.{wrapper.__name__}, for traced values as well."
        DEFINED[wrapper] = definition
        WRAPPERS[module, wrapper.__name__] = f"{wrapper.__module__}.{wrapper.__name__}"
        return wrapper

    return register


def of_scipy(
    module: str, plain: Callable[[Any], Any] = lambda found: found
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function as what the one of that name in SciPy is on traced values.

    On plain arrays SciPy's own is called, and `plain` on its result.
    """

    def register(of_traced: Callable[..., Any]) -> Callable[..., Any]:
        name = of_traced.__name__
        home = ".".join(module.split(".")[:2])

        @wraps(of_traced)
        def call(*args: Any, **kwargs: Any) -> Any:
            if first_traced((*args, *kwargs.values())) is None:
                return plain(getattr(import_module(module), name)(*args, **kwargs))
            return of_traced(*args, **kwargs)

        WRAPPERS[home, name] = f"chainad.{module}.{name}"
        call.__module__, call.__qualname__ = f"chainad.{module}", name
        call.__doc__ = f"What {module}.{name} returns, for traced values as well."
        return call

    return register


def wrapped_by(
    module: str,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make the decorated function the wrapper of SciPy's function of that name."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        function.__module__ = f"chainad.{module}"
        WRAPPERS[module, function.__name__] = f"{function.__module__}.{function.__name__}"
        return function

    return register


def _converting(
    definition: Callable[..., Any], convert: Callable[[Any], Any]
) -> Callable[..., Any]:
    @wraps(definition)
    def converted(*args: Any, **kwargs: Any) -> Any:
        return definition(*map(convert, args), **kwargs)

    return converted
