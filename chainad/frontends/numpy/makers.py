"""What functions of NumPy and `math` that do not dispatch do in a traced function.

They take traced values, also in lists, and the arrays that they make can be written into.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import wraps
from itertools import islice
from typing import Any

import numpy as np
import scipy.special

from chainad.frontends.numpy.flat_view import FlatView
from chainad.frontends.numpy.made_arrays import made, settle
from chainad.frontends.numpy.packing import as_one, packed
from chainad.frontends.numpy.tape import active
from chainad.frontends.numpy.traced_calls import call
from chainad.frontends.numpy.tracers import Tracer, has_tracer, raw, undifferentiated
from chainad.rules.base import CONSTANT, DEFINED, DEFINED_ON_LISTS, RULES, first_traced, name_of
from chainad.rules.reduction import in_dtype

# By function, the one that is called instead.
MAKERS: dict[Any, Any] = {}


def makes(*functions: Any) -> Callable[[Any], Any]:
    """Register what is called instead of some functions; it is given the function first."""

    def register(replacement: Any) -> Any:
        for function in functions:
            MAKERS[function] = _with_function(replacement, function)
        return replacement

    return register


def _with_function(replacement: Callable[..., Any], function: Any) -> Callable[..., Any]:
    def replaced(*args: Any, **kwargs: Any) -> Any:
        out = {"out": kwargs.pop("out")} if "out" in kwargs else {}  # written into, not read
        return replacement(function, *settle(args), **settle(kwargs), **out)

    replaced.__name__ = replaced.__qualname__ = getattr(function, "__name__", str(function))
    replaced.__doc__ = function.__doc__
    return replaced


@makes(
    np.zeros, np.ones, np.empty, np.eye, np.identity, np.tri, np.zeros_like, np.ones_like,
    np.empty_like, np.linspace, np.logspace, np.geomspace, np.diag, np.diagflat, np.vander,
    np.indices, np.tile, np.repeat, np.outer, np.kron,
)  # fmt: skip
def _made(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return made(function(*map(packed, args), **{k: packed(x) for k, x in kwargs.items()}))


@makes(np.fromfunction)
def _fromfunction(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    result = function(*args, **kwargs)
    # Somebody else's array is not the function's to write into.
    is_new = type(result) is np.ndarray and result.base is None and sys.getrefcount(result) == 2
    return made(result) if is_new else result


@makes(np.array, np.asarray, np.asanyarray, np.ascontiguousarray, np.asfortranarray)
@makes(np.asarray_chkfinite, np.require, np.copy)
def _converted(function: Callable[..., Any], a: Any, *args: Any, **kwargs: Any) -> Any:
    value: Any = packed(a)
    if not isinstance(value, Tracer):
        result = function(value, *args, **kwargs)
        is_view = isinstance(value, np.ndarray) and np.may_share_memory(result, value)
        return result if is_view else made(result)
    dtype = args[0] if args and function is not np.copy else kwargs.get("dtype")
    if dtype is None or np.dtype(dtype) != object:
        value = in_dtype(value, dtype)
    missing = kwargs.get("ndmin", 0) - len(value.shape)
    if missing > 0:
        value = value.reshape((1,) * missing + value.shape)
    is_copied = function in (np.array, np.copy) and kwargs.get("copy", True)
    return value.copy() if is_copied and value is a else value


# What SciPy's formulas take for NumPy has makers of its own.
SCIPYS_NUMPY: Any = sys.modules.get("scipy._lib.array_api_compat.numpy", np)
for _name in ("zeros", "ones", "empty", "eye"):
    makes(getattr(SCIPYS_NUMPY, _name))(_made)
MAKERS[SCIPYS_NUMPY.asarray] = MAKERS[np.asarray]


@makes(np.full)
def _full(
    function: Any, shape: Any, fill_value: Any, dtype: Any = None, *args: Any, **kwargs: Any
) -> Any:
    value = packed(fill_value)
    if isinstance(value, Tracer):
        return in_dtype(np.copy(np.broadcast_to(value, shape)), dtype)  # type: ignore[call-overload]
    return made(function(shape, value, dtype, *args, **kwargs))


@makes(np.arange)
def _arange(function: Any, *args: Any, **kwargs: Any) -> Any:
    if not has_tracer((args, kwargs)):
        return made(function(*args, **kwargs))
    dtype = function(*map(raw, args), **{name: raw(x) for name, x in kwargs.items()}).dtype
    given = {**dict(zip(("start", "stop", "step"), args, strict=False)), **kwargs}
    start, stop, step = (given.get(name) for name in ("start", "stop", "step"))
    if stop is None:
        start, stop = None, start
    start, step = 0.0 if start is None else start, 1.0 if step is None else step
    # A guard tells whether there are as many entries when this is replayed.
    count = np.ceil((undifferentiated(stop) - undifferentiated(start)) / undifferentiated(step))
    return made(in_dtype(start + step * np.arange(max(float(count), 0.0)), dtype))


@makes(np.fromiter)
def _fromiter(function: Any, iter: Any, dtype: Any, count: int = -1, **kwargs: Any) -> Any:
    items = list(iter if count < 0 else islice(iter, count))
    if not has_tracer(items):
        return made(function(items, dtype, count, **kwargs))
    if len(items) < count:
        raise ValueError(f"iterator too short: Expected {count} but iterator had only {len(items)}")
    return in_dtype(as_one(items), dtype)


@makes(np.ndenumerate)
def _ndenumerate(function: Any, arr: Any) -> Any:
    array: Any = packed(arr)
    if not isinstance(array, Tracer):
        return function(array)
    return zip(np.ndindex(*array.shape), array.reshape(-1), strict=True)  # type: ignore[attr-defined]


@makes(np.nditer)
def _nditer(function: Any, op: Any, *options: Any, **named: Any) -> Any:
    if options or named or not has_tracer(op):
        return function(op, *options, **named)
    if isinstance(op, Tracer):
        return FlatView(op)
    return zip(*map(FlatView, np.broadcast_arrays(*op)), strict=True)


class _Joiner:
    """np.r_ and np.c_; `as_columns`: vectors become columns, joined along the last axis."""

    def __init__(self, function: Any, as_columns: bool) -> None:
        self.function, self.as_columns = function, as_columns

    def __getitem__(self, key: Any) -> Any:
        items = settle(key if isinstance(key, tuple) else (key,))
        if not has_tracer(items):
            return made(self.function[items])
        parts = [self._part(x) for x in items]
        return np.concatenate(parts, axis=-1 if self.as_columns else 0)

    def _part(self, x: Any) -> Any:
        if isinstance(x, slice):
            x = np.r_[x]
        x = np.atleast_1d(packed(x))
        return x[:, None] if self.as_columns and np.ndim(x) == 1 else x


MAKERS[np.r_], MAKERS[np.c_] = _Joiner(np.r_, False), _Joiner(np.c_, True)


class Vectorized:
    """np.vectorize(f), for traced arguments: f is called on their entries, one after the other."""

    def __init__(self, original: Any) -> None:
        self.original = original

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = settle(args), settle(kwargs)
        if not has_tracer((args, kwargs)) or self.original.signature or self.original.excluded:
            return made(self.original(*args, **kwargs))
        arrays = np.broadcast_arrays(*map(packed, args), *map(packed, kwargs.values()))
        shape = np.shape(arrays[0])
        entries = zip(*(np.reshape(x, -1) for x in arrays), strict=True)
        names, count = tuple(kwargs), len(args)
        f = self.original.pyfunc
        found = [f(*x[:count], **dict(zip(names, x[count:], strict=True))) for x in entries]
        if found and isinstance(found[0], tuple):
            columns = list(zip(*found, strict=True))
            return tuple(self._column(list(x), shape, k) for k, x in enumerate(columns))
        return self._column(found, shape)

    def _column(self, found: list[Any], shape: tuple[int, ...], number: int = 0) -> Any:
        """Return the results of all calls as an array, in the dtype of the first one, as NumPy."""
        known = self.original.otypes
        dtype = known[number] if known else np.result_type(found[0] if found else 0.0)
        return np.reshape(in_dtype(as_one(found), dtype), shape)


@makes(np.vectorize)
def _vectorize(function: Any, *args: Any, **kwargs: Any) -> Any:
    made_of = function(*args, **kwargs)
    return Vectorized(made_of) if isinstance(made_of, np.vectorize) else made_of


@makes(np.polynomial.polynomial.polyval)
def _polyval(function: Any, x: Any, c: Any, tensor: bool = True) -> Any:
    if not has_tracer((x, c)):
        return made(function(x, c, tensor))
    x, c = packed(x), packed(c)
    if tensor:
        c = np.reshape(c, np.shape(c) + (1,) * np.ndim(x))
    total = c[-1] + 0.0 * x if len(c) == 1 else c[-1]  # Horner's rule
    for k in range(2, len(c) + 1):
        total = c[-k] + total * x
    return total


# ------------------------------------------- traced arguments that NumPy does not ask for


def _asking_all(function: Any, nested: bool) -> Callable[..., Any]:
    """Return a function that dispatches on traced values in any of its arguments.

    Lists with traced values (`nested`: in a list) are arrays; NumPy asks the arrays among some of
    the arguments alone.
    """

    @wraps(function)
    def replaced(*args: Any, **kwargs: Any) -> Any:
        is_usual = args and (isinstance(args[0], Tracer) or isinstance(args[-1], Tracer))
        if is_usual and not any(map(_may_hold_traced, args)):
            return call(function, args, kwargs)
        if args and _may_hold_traced(args[0]):
            if nested:
                args = ([_array_of(x) for x in args[0]], *args[1:])
            else:
                args = (_array_of(args[0]), *args[1:])
        if len(args) > 1 and _may_hold_traced(args[1]):
            args = (args[0], _array_of(args[1]), *args[2:])
        traced = first_traced((*args, *kwargs.values()) if kwargs else args)
        if traced is None or not isinstance(traced, Tracer):
            return _followed(function(*args, **kwargs), (*args, *kwargs.values()))
        if args and isinstance(args[0], (list, tuple)) and not nested:
            args = (np.asarray(args[0]), *args[1:])  # an array to definitions, too
        kind: Any = type(traced)
        return kind.__array_function__(traced, function, (kind,), args, kwargs)

    return replaced


def _followed(result: Any, given: tuple[Any, ...]) -> Any:
    """Return a new array as one that can be written into, where the function may write into any."""
    is_new = type(result) is np.ndarray and result.base is None and active.tape.has_writes
    return made(result) if is_new and not any(x is result for x in given) else result


def _may_hold_traced(value: Any) -> bool:
    """Return whether a value is a list, a tuple or an array of objects."""
    kind = type(value)
    return kind is list or kind is tuple or (kind is np.ndarray and value.dtype.char == "O")


def _array_of(value: Any) -> Any:
    """Return what holds traced values as one array, unless it is several arrays."""
    if isinstance(value, Tracer):
        return value
    try:
        return packed(settle(value))
    except ValueError:
        return value


def _listing_ufunc(ufunc: np.ufunc) -> Callable[..., Any]:
    """Return a ufunc that takes lists and arrays of objects with traced values as arrays."""
    count = ufunc.nin

    @wraps(ufunc)
    def replaced(*args: Any, **kwargs: Any) -> Any:
        if any(map(_may_hold_traced, args)):
            return ufunc(*map(_array_of, args), **kwargs)
        if kwargs or len(args) != count or not isinstance(args[0], Tracer):
            return _followed(ufunc(*args, **kwargs), (*args, *kwargs.values()))
        return call(ufunc, args, kwargs)  # what NumPy's dispatch would come to

    return replaced


for _function in {**RULES, **CONSTANT, **DEFINED}.keys() - DEFINED_ON_LISTS:
    if isinstance(_function, np.ufunc):
        if getattr(np, _function.__name__, None) is _function:
            MAKERS[_function] = _listing_ufunc(_function)
    elif _function not in MAKERS and name_of(_function).startswith("np."):
        _row = RULES.get(_function)
        MAKERS[_function] = _asking_all(_function, _row is not None and _row.nested)


# ------------------------------------------------------------------------ math

# Functions of `math`, by what does the same to traced numbers.
_MATH: dict[str, Any] = {
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos,
    "atan": np.arctan, "atan2": np.arctan2, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "exp": np.exp, "exp2": np.exp2,
    "expm1": np.expm1, "log1p": np.log1p, "log2": np.log2, "log10": np.log10, "sqrt": np.sqrt,
    "cbrt": np.cbrt, "pow": np.power, "fabs": np.abs, "degrees": np.degrees,
    "radians": np.radians, "copysign": np.copysign, "fmod": np.fmod,
    "erf": scipy.special.erf, "erfc": scipy.special.erfc, "gamma": scipy.special.gamma,
    "lgamma": scipy.special.gammaln, "isnan": np.isnan, "isinf": np.isinf,
    "isfinite": np.isfinite, "hypot": lambda *x: np.linalg.norm(as_one(x)),
    "log": lambda x, *base: np.log(x) / np.log(base[0]) if base else np.log(x),
    "fsum": sum, "prod": lambda x, start=1: math.prod(x, start=start),
    "isclose": lambda a, b, *, rel_tol=1e-9, abs_tol=0.0: bool(
        abs(a - b) <= max(rel_tol * max(abs(a), abs(b)), abs_tol)
    ),
    "dist": lambda p, q: np.linalg.norm(as_one(p) - as_one(q)),
}  # fmt: skip


def _of_math(name: str) -> None:
    function, instead = getattr(math, name), _MATH[name]

    def replaced(*args: Any, **kwargs: Any) -> Any:
        args = settle(args)
        return (instead if has_tracer(args) else function)(*args, **kwargs)

    MAKERS[function] = replaced


for _name in _MATH:
    if hasattr(math, _name):
        _of_math(_name)
