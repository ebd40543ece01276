"""Jacobians of holomorphic functions, from those of their real and imaginary parts by real ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np

from chainad.api.function_of import F_co, P, R_co, V_co
from chainad.api.jacobian_functions import JacobianFunction, ValueAndJacobianFunction
from chainad.api.options import Options
from chainad.api.points import Batch
from chainad.errors import InputError
from chainad.frontends.numpy.trace import Key
from chainad.frontends.numpy.tracers import Tracer
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.plan import Plan
from chainad.rules.complexes import COMPLEX

# The largest difference, relative to the largest entry, that counts as rounding.
_TOLERANCE = 1e-5


class _NotObviousError(Exception):
    """Functions that are not holomorphic were called, so that the result may not be, either."""


class HolomorphicJacobianFunction(JacobianFunction[P, V_co, R_co, F_co]):
    """The Jacobian of a holomorphic function, complex; made by `jacobian(f, holomorphic=True)`.

    For such a function df/dz is the derivative by the real part of z. Where functions that are not
    holomorphic are called, it is compared with the one by the imaginary part.
    """

    _is_holomorphic = True

    def __init__(
        self, f: Callable[..., Any], options: Options, batch: Batch | None, has_value: bool
    ) -> None:
        if options.output not in ("dense", "sparse"):
            raise InputError(
                f"output={options.output!r} with holomorphic=True is not offered; use"
                " output='dense' or output='sparse'"
            )
        self._has_value = has_value
        super().__init__(f, options, batch)
        self._arguments = f, options, batch, has_value
        self._is_compiled = self._is_checked = False
        # By the number of arguments, and by whether also the imaginary parts are derived by.
        self._inner: dict[tuple[int, bool], Any] = {}

    @property
    def _parts(self) -> tuple[Any, ...]:
        return self._arguments

    def compile(self, *args: Any, **kwargs: Any) -> Any:
        """Return a function that replays what a call does, without tracing."""
        compiled = type(self)(*self._arguments)
        compiled._is_compiled = True
        if args or kwargs:
            compiled(*args, **kwargs)
        return compiled

    def plan(self, *args: Any, **kwargs: Any) -> Plan | ChunkedPlan:
        """Return the plan for the derivatives of both parts, by real parts."""
        return self._of_parts(len(args)).plan(*self._real_arguments(args), **kwargs)

    def explain(self, *args: Any, **kwargs: Any) -> Any:
        """Explain the derivatives of both parts, by real parts, as `JacobianFunction.explain`."""
        return self._of_parts(len(args)).explain(*self._real_arguments(args), **kwargs)

    def _of_parts(self, count: int) -> JacobianFunction:
        """Return the derivatives of both parts, by real parts, for a call of `count` arguments."""
        f, options, batch, _ = self._arguments
        places = options.positions(f, count)
        split = _split(f, places, count, by_both=True)
        return JacobianFunction(split, replace(options, argnums=places), batch)

    def _call(self, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        if out is not None:
            raise InputError("out= with holomorphic=True is not offered; leave it away")
        f, options, _, has_value = self._arguments
        parts, count = self._real_arguments(args), len(options.positions(f, len(args)))
        if not self._is_checked:
            try:
                (re, im), (by_re, by_im) = self._run(len(args), False, parts, kwargs)
            except _NotObviousError:
                self._is_checked = True
        if self._is_checked:
            (re, im), (by_re, by_im) = self._run(len(args), True, parts, kwargs)
            _check(by_re, by_im, count)
        found = tuple(a + 1j * b for a, b in zip(by_re[:count], by_im, strict=False))
        jacobian = found[0] if options.is_single else found
        return (re + 1j * im, jacobian) if has_value else jacobian

    if not TYPE_CHECKING:  # which is overloaded in FunctionOf
        __call__ = _call

    def _real_arguments(self, args: tuple[Any, ...]) -> list[Any]:
        """Return real parts in the places of what is differentiated by, then imaginary ones."""
        f, options, _, _ = self._arguments
        numbers = {
            k: args[k] if hasattr(args[k], "dtype") else np.asarray(args[k])
            for k in options.positions(f, len(args))
        }
        real = [np.real(numbers[k]) if k in numbers else x for k, x in enumerate(args)]
        return [*real, *map(np.imag, numbers.values())]

    def _run(self, count: int, by_both: bool, parts: list[Any], kwargs: dict[str, Any]) -> Any:
        """Return real and imaginary part of the value, and their derivatives."""
        f, options, batch, _ = self._arguments
        key = count, by_both
        if key not in self._inner:
            places = options.positions(f, count)
            imaginary = tuple(range(count, count + len(places)))
            argnums = (*places, *imaginary) if by_both else places
            if batch is not None:
                axes: dict[Key, int | None] = (
                    dict.fromkeys(places, batch) if isinstance(batch, int) else dict(batch)
                )
                batch = axes | {n: axes[k] for n, k in zip(imaginary, places, strict=True)}
            split = _split(f, places, count, by_both)
            inner: ValueAndJacobianFunction = ValueAndJacobianFunction(
                split, replace(options, argnums=argnums), batch
            )
            self._inner[key] = inner.compile() if self._is_compiled else inner
        return self._inner[key](*parts, **kwargs)


def _split(
    f: Callable[..., Any], places: tuple[int, ...], count: int, by_both: bool
) -> Callable[..., Any]:
    """Return f as a function of real parts, followed by imaginary ones, to the parts of f."""

    @wraps(f)
    def parts(*args: Any, **kwargs: Any) -> Any:
        given = list(args[:count])
        for k, im in zip(places, args[count:], strict=True):
            given[k] = given[k] + 1j * im
        result = f(*given, **kwargs)
        if isinstance(result, (tuple, list)):
            raise InputError("a function with holomorphic=True has one output; join its outputs")
        if not by_both and isinstance(result, Tracer) and not _is_obvious(result):
            raise _NotObviousError
        return np.real(result), np.imag(result)

    return parts


_NOT_HOLOMORPHIC = {replacement for replacement in COMPLEX.values() if replacement is not None}


def _is_obvious(result: Tracer) -> bool:
    """Return whether a value comes from holomorphic functions alone."""
    entries, seen, pending = result.tape.entries, set(), [result.number]
    while pending:
        k = pending.pop()
        if k in seen:
            continue
        seen.add(k)
        if entries[k].function in _NOT_HOLOMORPHIC:
            return False
        pending += [source for source in entries[k].sources if source is not None]
    return True


def _check(by_re: Any, by_im: Any, count: int) -> None:
    """Refuse a function whose parts do not obey the equations of Cauchy and Riemann."""
    for k in range(count):
        slope = by_re[k] + 1j * by_im[k]
        other = by_re[count + k] + 1j * by_im[count + k]
        size = abs(slope).max() if np.prod(slope.shape) else 0.0
        if np.prod(slope.shape) and abs(other - 1j * slope).max() > _TOLERANCE * size:
            raise InputError(
                "the function is not holomorphic here; differentiate by real and imaginary part:"
                " jacobian(lambda re, im: [np.real(f(re + 1j * im)), np.imag(f(re + 1j * im))],"
                " argnums=(0, 1))"
            )
