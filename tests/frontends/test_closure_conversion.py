"""Closure conversion: traced values are found wherever a function holds them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import chainad
from chainad.errors import TraceError
from chainad.frontends.numpy.closure_conversion import ClosureConversion, check_untraced, untraced

_settings: dict[str, Any] = {}


class _Model:
    def __init__(self, a: Any) -> None:
        self.a, self.nested = a, [{"a": a}, (a, SimpleNamespace(a=a))]

    def method(self, x: Any) -> Any:
        return x * self.a + self.nested[0]["a"] + self.nested[1][0] + self.nested[1][1].a


def _of_globals(x: Any) -> Any:
    return x * _settings["a"]


def _recursive(a: Any) -> Callable[..., Any]:
    def f(x: Any, n: int = 2) -> Any:
        return x * a if n == 0 else f(x, n - 1)

    return f


def _calling(g: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: g(x)


def _first_of(c: Any, x: Any) -> Any:
    return x * c[0]


def _made_array(a: Any) -> Callable[..., Any]:
    z, w = np.zeros(2), np.ones(2)
    z[1] = a
    return lambda x: x * z[1] * w[0]


HOLDERS: dict[str, Callable[[Any], Callable[..., Any]]] = {
    "closure": lambda a: lambda x: x * a,
    "closure of a function in the closure": lambda a: _calling(lambda x: x * a),
    "default": lambda a: lambda x, b=a: x * b,
    "keyword default": lambda a: lambda x, *, b=a: x * b,
    "globals": lambda a: _of_globals,
    "attributes": lambda a: _Model(a).method,
    "partial": lambda a: partial(lambda b, x, c: x * b * c, a, c=1.0),
    "array that was made": _made_array,
    "recursive function": _recursive,
    "Jacobian": lambda a: chainad.jacobian(lambda x: x * x * a),
    "list": lambda a: partial(_first_of, [a, None]),
}


@pytest.mark.parametrize("is_snapshot", [False, True])
@pytest.mark.parametrize("holder", HOLDERS)
def test_traced_values_are_replaced_wherever_they_are_held(holder: str, is_snapshot: bool) -> None:
    found: list[Any] = []

    def f(a: Any) -> Any:
        _settings["a"] = a
        g = HOLDERS[holder](a)
        conversion = ClosureConversion(g, is_snapshot)
        given = [np.full(x.shape, 5.0)[()] for x in conversion.values]
        with untraced():
            found.extend([conversion(given)(3.0), len(conversion.values)])
        return g(np.float64(3.0))

    value, slope = chainad.value_and_jacobian(f)(np.float64(2.0))
    replaced, count = found
    assert type(replaced) in (np.float64, np.ndarray)
    assert count == 1
    assert replaced / 5 == value / 2 == slope  # the user's own function is as it was


def test_a_conversion_copies_only_what_holds_traced_values() -> None:
    def f(a: Any) -> Any:
        log: list[float] = []

        def g(x: Any) -> Any:
            log.append(x)
            return x * a

        ClosureConversion(g)([1.0])(7.0)
        ClosureConversion(g, is_snapshot=True)([1.0])(8.0)
        assert log == [7.0]
        return a

    chainad.jacobian(f)(np.float64(2.0))


def test_a_snapshot_keeps_what_changes_later() -> None:
    def f(a: Any) -> Any:
        model, kept = _Model(a), []
        for k in range(3):
            model.k = k  # type: ignore[attr-defined]
            g = lambda x: x + k + model.k + 0 * a  # noqa: B023
            kept.append(ClosureConversion(g, is_snapshot=True))
        assert [each([1.0])(0.0) for each in kept] == [0.0, 2.0, 4.0]
        return a

    chainad.jacobian(f)(np.float64(2.0))


def test_values_of_every_trace_are_found() -> None:
    def f(a: Any) -> Any:
        def g(b: Any) -> Any:
            conversion = ClosureConversion((lambda x: x * a * b, (b, a)))
            assert len(conversion.values) == 2
            function, (first, second) = conversion(conversion.values)
            return function(1.0) + first + second

        return chainad.jacobian(g)(3 * a)

    assert chainad.jacobian(f)(np.float64(2.0)) == 1.0


def test_what_is_held_elsewhere_is_refused() -> None:
    class Holder:
        a: Any = None

    def f(a: Any) -> Any:
        Holder.a = a
        g = ClosureConversion(lambda x: x * Holder.a)([])
        with untraced():
            check_untraced(g(1.0), "the residual")

    with pytest.raises(TraceError, match=r"test_closure_conversion.py:\d+: the residual reads"):
        chainad.jacobian(f)(np.float64(2.0))
