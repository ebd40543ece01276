"""quad of SciPy, for traced values as well: differentiated under the integral sign."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import scipy  # loads scipy.integrate when it is first used

from chainad.api.solvers.known_values import (
    Derivative,
    as_vector,
    below,
    innermost,
    is_differentiated,
    known_value,
    of_plain_arrays,
)
from chainad.api.solvers.user_functions import EFFORT, Converted, Recorded, conversion_of, interned
from chainad.api.verbs import jacobian
from chainad.errors import TraceError
from chainad.frontends.numpy.closure_conversion import ClosureConversion
from chainad.frontends.numpy.made_arrays import settle
from chainad.frontends.numpy.packing import as_one
from chainad.frontends.numpy.tape import active
from chainad.frontends.numpy.tracers import Tracer, has_tracer, raw
from chainad.ir.cache import cached_property
from chainad.ir.graph import Argument
from chainad.ir.source_lines import here
from chainad.rules.base import Local, Locals
from chainad.rules.scipy_wrappers import WRAPPERS
from chainad.structure import Arrangement, dense

_NAME = "chainad.scipy.integrate.quad"

WRAPPERS["scipy.integrate", "quad"] = _NAME
_known = known_value(_NAME)

# Where in the values of an integral the parameters begin, behind the limits.
_LIMITS = 2


class Integral(ABC):
    """A number: the integral of a function of x and parameters between two limits."""

    options: dict[str, Any]

    def __init__(self) -> None:
        self._components: dict[tuple[int, int], _Component] = {}

    @property
    @abstractmethod
    def user(self) -> Any:
        """The functions of the user that run, whose names are looked up when they are traced."""

    @abstractmethod
    def at(
        self, parameters: Sequence[Any], called: Converted | None = None
    ) -> Callable[[Any], Any]:
        """Return the integrand as a function of x."""

    @cached_property
    def gradient(self) -> Callable[..., Any]:
        """The derivatives of the integrand by the parameters that move."""
        return Recorded(jacobian(partial(_integrand, self.user, self), effort=EFFORT))

    def component(self, parameter: int, entry: int) -> _Component:
        """Return the integral whose integrand is a derivative of this one's."""
        key = parameter, entry
        if key not in self._components:
            self._components[key] = _Component(self, parameter, entry)
        return self._components[key]


def _integrand(user: Any, of: Integral, moving: Sequence[Any], x: Any, others: Any) -> Any:
    left = iter(moving)
    return of.at([next(left) if p is None else p for p in others])(x)


class _Component(Integral):
    """The integral of the derivative of an integrand by one entry of a parameter."""

    def __init__(self, of: Integral, parameter: int, entry: int) -> None:
        super().__init__()
        self.of, self.parameter, self.entry = of, parameter, entry
        self.options = of.options

    @property
    def user(self) -> Any:
        return self.of.user

    def at(
        self, parameters: Sequence[Any], called: Converted | None = None
    ) -> Callable[[Any], Any]:
        k = self.parameter
        moving = (parameters[k],)
        others = tuple(None if j == k else p for j, p in enumerate(parameters))

        def derivative(x: Any) -> Any:
            x = np.float64(x) if type(x) is float else x
            (found,) = self.of.gradient(moving, x, others)
            return np.reshape(found, (-1,))[self.entry]

        return derivative


def integral(
    of: Integral, values: Sequence[Any], called: Converted | None = None
) -> tuple[Any, Any]:
    """Return an integral and the estimate of its error; limits come first, then parameters.

    `called` are the functions to be run now, those of another call by default.
    """
    if not is_differentiated(values):
        value, error = _integrated(of, called, *values)
        return value, error
    tape = innermost(values)
    assert tape is not None
    under = [below(x, tape) for x in values]
    value, error = integral(of, under, called)
    moving = [k for k, x in enumerate(values) if isinstance(x, Tracer) and x.tape is tape]
    derivative = _IntegralDerivative(of, tuple(moving), tuple(map(np.shape, under)))
    theta = as_vector([values[k] for k in moving])
    others = [x for k, x in enumerate(under) if k not in moving]
    return _known(derivative, value, theta, *others), error


@of_plain_arrays
def _integrated(
    of: Integral, called: Converted | None, a: Any, b: Any, *parameters: Any
) -> tuple[Any, Any]:
    value, error = scipy.integrate.quad(of.at(parameters, called), a, b, **of.options)
    return np.float64(value), np.float64(error)


@of_plain_arrays
def _value_at(of: Integral, x: Any, *parameters: Any) -> Any:
    return np.float64(of.at(parameters)(x))


class _IntegralDerivative(Derivative):
    """The derivatives by some of the limits and parameters."""

    def __init__(
        self, of: Integral, moving: tuple[int, ...], shapes: tuple[tuple[int, ...], ...]
    ) -> None:
        self.of, self.moving, self.shapes = of, moving, shapes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _IntegralDerivative) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(self._parts)

    @property
    def _parts(self) -> tuple[Any, ...]:
        return self.of, self.moving, self.shapes

    def locals(self, y: Argument, *operands: Argument) -> Locals:
        theta = operands[0]
        arrangement = Arrangement(dense(y.shape, theta.shape), ())
        stored = arrangement.structure.stored_shape
        return {theta: Local(arrangement, lambda *values: np.reshape(self.row(*values), stored))}

    def row(self, _: Any, value: Any, theta: Any, *others: Any) -> Any:
        """Return the derivatives, a vector."""
        left, start, values = iter(others), 0, []
        for k, shape in enumerate(self.shapes):
            if k in self.moving:
                size = int(np.prod(shape))
                values.append(np.reshape(theta[start : start + size], shape))
                start += size
            else:
                values.append(next(left))
        if not is_differentiated(values):
            return _row(self, *values)
        found: list[Any] = []
        for k in self.moving:
            if k < _LIMITS:
                found.append(self._by_limit(k, values))
            else:
                components = range(int(np.prod(self.shapes[k])))
                of = [self.of.component(k - _LIMITS, j) for j in components]
                found += [integral(each, values)[0] for each in of]
        return as_vector(found)

    def _by_limit(self, k: int, values: Sequence[Any]) -> Any:
        """Return the integrand at a limit, negative at the lower one; 0 at infinity."""
        limit, parameters = values[k], values[_LIMITS:]
        if np.isinf(raw(limit)):
            return np.float64(0.0)
        if is_differentiated((limit, *parameters)):
            found = self.of.at(parameters)(limit)
        else:
            found = _value_at(self.of, limit, *parameters)
        return found if k else -found


@of_plain_arrays
def _row(derivative: _IntegralDerivative, *values: Any) -> Any:
    of, parameters = derivative.of, values[_LIMITS:]
    found: list[Any] = []
    moving = tuple(k - _LIMITS for k in derivative.moving if k >= _LIMITS)
    moved = tuple(parameters[k] for k in moving)
    others = tuple(None if k in moving else p for k, p in enumerate(parameters))
    known: dict[float, Any] = {}

    def gradient(x: float) -> Any:
        # The entries are integrated one by one, as SciPy does, mostly at the same places.
        if x not in known:
            parts = of.gradient(moved, np.float64(x), others)
            known[x] = np.concatenate([np.ravel(part) for part in parts])
        return known[x]

    for k in derivative.moving:
        if k < _LIMITS:
            found.append(derivative._by_limit(k, values))
    for j in range(sum(p.size for p in moved)):
        entry = scipy.integrate.quad(lambda x, j=j: gradient(x)[j], *values[:2], **of.options)
        found.append(entry[0])
    return np.array(found, float)


class _QuadIntegral(Integral):
    """What `quad` is called with, as a function of the traced values in it."""

    def __init__(self, conversion: ClosureConversion, options: dict[str, Any], where: str) -> None:
        super().__init__()
        self.conversion, self.options, self.where = conversion, options, where

    @property
    def user(self) -> Any:
        return self.conversion.value

    def at(
        self, parameters: Sequence[Any], called: Converted | None = None
    ) -> Callable[[Any], Any]:
        f, args = conversion_of(self.conversion, called)(parameters)
        return lambda x: np.reshape(as_one(settle(f(x, *args))), ())


def quad(
    func: Any,
    a: Any,
    b: Any,
    args: Any = (),
    full_output: Any = 0,
    **options: Any,
) -> Any:
    """Integrate between two limits, as scipy.integrate.quad does, for traced values as well.

    Parameters
    ----------
    func, a, b, args, full_output, **options
        As for `scipy.integrate.quad`. Derivatives are those by the limits, where they are finite,
        and by parameters, in `args` or held by `func`.

    Returns
    -------
    y : float
        The integral.
    abserr : float
        An estimate of its error, a constant.

    Raises
    ------
    TraceError
        Of traced values with `full_output` or `complex_func`, or limits with `weight`.

    Notes
    -----
    The derivative by a parameter is the integral of the derivative, found by the same rule with
    the same tolerances; that by a limit is the integrand there (Leibniz).

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> from chainad.scipy.integrate import quad
    >>> area = lambda s: quad(lambda x: np.exp(-s * x), 0, np.inf)[0]  # 1 / s
    >>> chainad.grad(area)(2.0).round(10)
    np.float64(-0.25)
    """
    a, b = settle(a), settle(b)
    args = settle(args if isinstance(args, tuple) else (args,))
    conversion = None
    if active.tape is not None:
        conversion = Converted((func, args))
    if conversion is None or not (conversion.values or has_tracer((a, b))):
        return scipy.integrate.quad(func, a, b, args, full_output, **options)
    problem = ""
    if full_output or options.get("complex_func"):
        problem = "full_output and complex_func are not supported for traced values"
    elif options.get("weight") is not None and has_tracer((a, b)):
        problem = "limits are not differentiated with weight=; write the weight into the integrand"
    elif has_tracer(options):
        problem = "options must be plain numbers, such as chainad.stop_gradient(x)"
    if problem:
        raise TraceError(f"{here()}quad: {problem}")
    where = here()
    of = interned(
        (options, where), conversion.later, lambda: _QuadIntegral(conversion.later, options, where)
    )
    limits = [x if isinstance(x, Tracer) else np.float64(x) for x in (a, b)]
    return integral(of, [*limits, *conversion.values], conversion.called)
