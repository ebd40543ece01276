"""Recorded calls as Python expressions, each the fastest form there is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chainad.backends.namespace import Namespace
from chainad.compiler.recording.factorization_reuse import apply_operator
from chainad.frontends.numpy.recorder import gradient_stopped, pick
from chainad.ir.calls import Call, Input, has_inputs
from chainad.ir.operators import SYMBOLS
from chainad.ir.program import Instruction
from chainad.rules.base import kind_of
from chainad.rules.kinds import Elementwise, Movement
from chainad.rules.movement import astype, getitem


def argument(value: Any, inputs: Sequence[int], names: Namespace) -> str:
    """Return an expression for an argument of a call on some registers."""
    if isinstance(value, Input):
        return f"v{inputs[value.position]}"
    if value is None or value is Ellipsis or type(value) in (bool, int, str):
        return "..." if value is Ellipsis else repr(value)
    if type(value) is float and math.isfinite(value):
        return repr(value)
    if not has_inputs(value):
        return names.constant(value)
    if isinstance(value, dict):
        named = (f"{k!r}: {argument(x, inputs, names)}" for k, x in value.items())
        return "{" + ", ".join(named) + "}"
    items = ", ".join(argument(x, inputs, names) for x in value)
    if isinstance(value, list):
        return f"[{items}]"
    return f"({items},)" if len(value) == 1 else f"({items})"


# With a 0-d array of the same dtype, these give what they give with a Python number.
_DTYPE_PRESERVING = (np.add, np.subtract, np.multiply, np.divide)


def expression(
    call: Call, inputs: Sequence[int], names: Namespace, ndims: Mapping[int, int]
) -> str:
    """Return a call on some registers as a Python expression.

    `ndims` has the number of axes of registers, where that is known.
    """
    function, kwargs = call.function, call.kwargs
    positional = arguments(call, inputs, names)
    short = None if kwargs else _short(call, inputs, names, ndims, positional)
    if short is not None:
        return short
    named = [f"{k}={argument(x, inputs, names)}" for k, x in kwargs.items()]
    return f"{names.function(function)}({', '.join([*positional, *named])})"


def arguments(call: Call, inputs: Sequence[int], names: Namespace) -> list[str]:
    """Return the arguments of a call as expressions.

    Python numbers become 0-d arrays where that makes no difference: NumPy takes half the time.
    """
    is_float = call.dtype in (np.float64, np.float32)
    takes_arrays = call.function in _DTYPE_PRESERVING and is_float and bool(call.shape)
    return [
        names.number(arg, call.dtype)
        if takes_arrays and type(arg) in (int, float) and abs(arg) < _MAX_SAFE_MAGNITUDE
        else argument(arg, inputs, names)
        for arg in call.args
    ]


def _short(
    call: Call, inputs: Sequence[int], names: Namespace, ndims: Mapping[int, int], args: list[str]
) -> str | None:
    """Return a faster form of a call without keywords, if there is one."""
    function = call.function
    symbol = None if function is np.matmul else SYMBOLS.get(function)
    if symbol is not None and len(args) == 2:
        base = f"({args[0]})" if args[0].startswith("-") else args[0]
        return f"{base} {symbol} {args[1]}"
    if function is np.negative:
        return f"-{args[0]}"
    if function is np.matmul and all(ndims.get(k) in (1, 2) for k in inputs):
        return f"{names.function(np.dot)}({args[0]}, {args[1]})"  # dispatched faster
    if function is apply_operator:
        return f"{args[0]}.jvp({args[1]})"
    if function is pick or function is getitem:
        return f"{args[0]}[{args[1]}]"
    if function is astype:
        return f"{args[0]}.astype({args[1]})"
    if function is gradient_stopped:
        return args[0]  # nothing writes into recorded values
    return None


# ------------------------------------------------------------------- warnings

# Sums and products below this cannot overflow, in float32 either.
_MAX_SAFE_MAGNITUDE = 1e30


def is_quiet(instruction: Instruction, call: Call, bounds: dict[int, float]) -> bool:
    """Return whether a call can cause no floating-point warning, whatever its operands hold.

    `bounds` has an upper bound of the magnitude of known registers; that of this one is added.
    """
    of = [_bound_of(x, instruction.inputs, bounds) for x in call.args]
    bounds[instruction.output] = found = _bound(call, of)
    kind = kind_of(call.function)
    is_exact = isinstance(kind, Elementwise) and kind.is_exact
    return is_exact or isinstance(kind, Movement) or found < _MAX_SAFE_MAGNITUDE


def _bound(call: Call, of: list[float]) -> float:
    if call.kwargs or not of:
        return math.inf
    kind = kind_of(call.function)
    if isinstance(kind, Elementwise) and kind.bound < math.inf:
        return kind.bound
    if call.function is np.negative:
        return of[0]
    if call.function is np.multiply:
        return of[0] * of[1] if max(of) < _MAX_SAFE_MAGNITUDE else math.inf
    return sum(of) if call.function in (np.add, np.subtract) else math.inf


def _bound_of(value: Any, inputs: Sequence[int], bounds: dict[int, float]) -> float:
    if isinstance(value, Input):
        return bounds.get(inputs[value.position], math.inf)
    is_number = isinstance(value, (bool, int, float)) and abs(value) < _MAX_SAFE_MAGNITUDE
    return float(abs(value)) if is_number else math.inf
