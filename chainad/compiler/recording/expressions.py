"""Spelling recorded calls as Python expressions, the quickest way there is to say each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy.special as sp

from chainad.compiler.recording.factorization_reuse import FactorizedSolve
from chainad.compiler.recording.recording import Step, refs_in
from chainad.frontends.numpy.recorder import Ref, gradient_stopped, pick
from chainad.rules.movement import astype, getitem


class Names:
    """The objects that a source names."""

    def __init__(self, ndims: Mapping[int, int] | None = None) -> None:
        # How many axes values have, by number, where that is known.
        self.ndims = ndims or {}
        self.objects: dict[str, Any] = {}
        self._of: dict[int, str] = {}

    def constant(self, value: Any) -> str:
        """Return the name of an object."""
        name = self._of.get(id(value))
        if name is None:
            name = self._of[id(value)] = f"c{len(self._of)}"
            self.objects[name] = value
        return name

    def number(self, value: float, dtype: Any) -> str:
        """Return the name of an array that holds one number."""
        array = np.array(value, dtype)
        digits = repr(float(array)).removesuffix(".0")
        name = "n" + digits.translate({ord("-"): "m", ord("."): "_", ord("+"): None})
        name += "" if array.dtype == np.float64 else "f"
        self.objects[name] = array
        return name

    def function(self, function: Callable[..., Any]) -> str:
        """Return the name of a function: NumPy's own, where it has one."""
        name = getattr(function, "__name__", "")
        if getattr(np, name or "_", None) is not function:
            return self.constant(function)
        self.objects[name] = function
        return name

    def spell(self, value: Any) -> str:
        """Return an expression for an argument."""
        if isinstance(value, Ref):
            return f"v{value.number}"
        if value is None or value is Ellipsis or type(value) in (bool, int, str):
            return "..." if value is Ellipsis else repr(value)
        if type(value) is float and math.isfinite(value):
            return repr(value)
        if type(value) is slice:
            parts = ", ".join(map(self.spell, (value.start, value.stop, value.step)))
            return f"slice({parts})" if refs_in_slice(value) else self.constant(value)
        if not refs_in(value):
            return self.constant(value)
        if isinstance(value, dict):
            return "{" + ", ".join(f"{k!r}: {self.spell(x)}" for k, x in value.items()) + "}"
        items = ", ".join(map(self.spell, value))
        if isinstance(value, list):
            return f"[{items}]"
        return f"({items},)" if len(value) == 1 else f"({items})"


def refs_in_slice(value: slice) -> bool:
    """Return whether a recorded value is a bound of a slice."""
    return any(isinstance(x, Ref) for x in (value.start, value.stop, value.step))


_SIGNS: dict[Callable[..., Any], str] = {
    np.add: "+", np.subtract: "-", np.multiply: "*", np.divide: "/",
    np.power: "**",    np.less: "<", np.less_equal: "<=", np.greater: ">", np.greater_equal: ">=",
    np.equal: "==", np.not_equal: "!=", np.bitwise_and: "&", np.bitwise_or: "|",
    np.bitwise_xor: "^",
}  # fmt: skip
# With another number of the same dtype, these give what they give with a number of Python.
_PLAIN = (np.add, np.subtract, np.multiply, np.divide)
_METHODS: dict[Callable[..., Any], Any] = {
    np.sum: np.add.reduce, np.max: np.maximum.reduce, np.min: np.minimum.reduce,
    np.amax: np.maximum.reduce, np.amin: np.minimum.reduce, np.prod: np.multiply.reduce,
}  # fmt: skip


def expression(step: Step, names: Names) -> str:
    """Return a call as a Python expression."""
    function, kwargs = step.function, step.kwargs
    spelled = arguments(step, names)
    short = None if kwargs else _short(step, names, spelled)
    if short is not None:
        return short
    named = [f"{k}={names.spell(x)}" for k, x in kwargs.items()]
    return f"{names.function(function)}({', '.join([*spelled, *named])})"


def arguments(step: Step, names: Names) -> list[str]:
    """Return the arguments of a call as expressions.

    Numbers of Python become arrays where that makes no difference: NumPy takes half the time.
    """
    is_float = step.dtype in (np.float64, np.float32)
    is_plain = step.function in _PLAIN and is_float and bool(step.shape)
    return [
        names.number(arg, step.dtype)
        if is_plain and type(arg) in (int, float) and abs(arg) < _HUGE
        else names.spell(arg)
        for arg in step.args
    ]


def _short(step: Step, names: Names, args: list[str]) -> str | None:
    """Return a shorter way to say a call without keywords, if there is one."""
    function = step.function
    if function in _SIGNS and len(args) == 2:
        base = f"({args[0]})" if args[0].startswith("-") else args[0]
        return f"{base} {_SIGNS[function]} {args[1]}"
    if function is np.negative:
        return f"-{args[0]}"
    if function is np.matmul and all(_ndim(x, names) in (1, 2) for x in step.args):
        return f"{names.function(np.dot)}({args[0]}, {args[1]})"  # the same, found sooner
    if isinstance(function, FactorizedSolve):
        made = f"{names.constant(function.inverse)}({args[0]})"
        inverse = made if function.known is None else f"v{function.known}"
        return f"(v{function.number} := {inverse}).jvp({args[1]})"
    if function is pick or function is getitem:
        return f"{args[0]}[{args[1]}]"
    if function is astype:
        return f"{args[0]}.astype({args[1]})"
    if function is gradient_stopped:
        return args[0]  # nothing writes into recorded values
    return None


def _ndim(value: Any, names: Names) -> int | None:
    return names.ndims.get(value.number) if isinstance(value, Ref) else None


# ------------------------------------------------------------------- warnings

_BOUNDED: set[Callable[..., Any]] = {
    np.tanh, np.sin, np.cos, sp.erf, sp.expit, np.sign, np.arctan,
}  # fmt: skip
_QUIET: set[Callable[..., Any]] = {getitem, astype, np.reshape, np.transpose, np.negative, np.where}


def is_quiet(step: Step, bounds: dict[int, float]) -> bool:
    """Return whether a call can cause no warning about its numbers, whatever they are.

    `bounds` tells how large the numbers of values can be at most; it is told about this one.
    """
    bounds[step.number] = found = _bound(step, bounds)
    return step.function in _QUIET or found < _HUGE


_HUGE = 1e30


def _bound(step: Step, bounds: dict[int, float]) -> float:
    if step.kwargs or not step.args:
        return math.inf
    if step.function in _BOUNDED:
        return 2.0
    of = [_bound_of(x, bounds) for x in step.args]
    if step.function is np.negative:
        return of[0]
    if step.function is np.multiply:
        return of[0] * of[1] if max(of) < _HUGE else math.inf
    return sum(of) if step.function in (np.add, np.subtract) else math.inf


def _bound_of(value: Any, bounds: dict[int, float]) -> float:
    if isinstance(value, Ref):
        return bounds.get(value.number, math.inf)
    is_number = isinstance(value, (bool, int, float)) and abs(value) < _HUGE
    return float(abs(value)) if is_number else math.inf
