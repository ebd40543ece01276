"""Traced values: duck arrays (NEP 13 and NEP 18) that record what is computed from them.

They hold concrete values, so `if`, loops, `len` and comparisons work as in plain NumPy. What would
lose a derivative raises TraceError with the user's file and line, and what to write instead.

Two classes, because NumPy packs what has no `__array__` into object arrays: a 0-d traced value in
`np.array([x[0] ** 2, np.sin(x[1])])` survives there, and such an array is taken for a stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from chainad.errors import TraceError
from chainad.frontends.numpy.fast_path import recorded_item
from chainad.frontends.numpy.flat_view import FlatView
from chainad.frontends.numpy.made_arrays import MadeArray, made, settle, written_at
from chainad.frontends.numpy.methods import COMMON_OPERAND_TYPES, add_array_methods, ufunc_method
from chainad.frontends.numpy.mutation import (
    ViewedArray,
    ViewPath,
    link,
    rebind,
    static_key,
    write,
    write_whole,
)
from chainad.frontends.numpy.packing import as_one
from chainad.frontends.numpy.proxies import proxy_of
from chainad.frontends.numpy.tape import Tape
from chainad.frontends.numpy.traced_calls import call
from chainad.frontends.numpy.tracers import Tracer, has_tracer, raw
from chainad.ir.calls import map_items
from chainad.ir.operators import ARITHMETIC
from chainad.ir.source_lines import here, instead_of_other_arrays, is_called_by_sparse, scipy_calls
from chainad.rules.base import CONSTANT, RULES, WRITERS
from chainad.rules.movement import astype, getitem
from chainad.rules.scipy_wrappers import instead_of_scipy


class Traced(Tracer):
    """A number or array whose derivative is being recorded; use it like an ndarray."""

    __slots__ = ()

    # ------------------------------------------------------------ attributes

    @property
    def ndim(self) -> int:
        return np.ndim(self.value)

    @property
    def size(self) -> int:
        return np.size(self.value)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize

    @property
    def flags(self) -> Any:
        return raw(self).flags

    @property
    def T(self) -> Any:
        return call(np.transpose, (self,), {})

    @property
    def mT(self) -> Any:
        return call(np.matrix_transpose, (self,), {})

    @property
    def real(self) -> Any:
        return call(np.real, (self,), {}) if self.dtype.kind == "c" else self

    @property
    def imag(self) -> Any:
        if self.dtype.kind == "c":
            return call(np.imag, (self,), {})
        return np.zeros(self.shape, self.dtype)

    @property
    def flat(self) -> Any:
        return FlatView(self)

    def __repr__(self) -> str:
        return f"Traced({self.value!r})"

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(self.value, spec)

    def assign(self, result: Any) -> None:
        """Stand for the result of a call that writes into all of this array."""
        _write_whole(self, result)

    # ------------------------------------------------------------- protocols

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if not kwargs and method == "__call__":
            return call(ufunc, inputs, kwargs)
        if method == "at" and isinstance(inputs[0], (TracedArray, MadeArray)):
            return written_at(ufunc, *inputs)
        if method == "__call__":
            return call(ufunc, inputs, kwargs)
        return ufunc_method(ufunc, method, inputs, kwargs)

    def __array_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if func in WRITERS and isinstance(args[0], (TracedArray, MadeArray)):
            return WRITERS[func](*settle(args), **settle(kwargs))
        if func in CREATION:
            return self._created(func, args, kwargs)
        return call(func, args, kwargs)

    def _created(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        """Return a new array; one of floats can be written into."""
        if has_tracer((args, kwargs)) and func not in _LIKE:
            return as_one(args[0]) if len(args) == 1 and not kwargs else call(func, args, kwargs)
        return made(func(*_all_untraced(args), **_all_untraced(kwargs)))

    def _refuse(self, message: str) -> NoReturn:
        error = TraceError(here() + (instead_of_other_arrays() or message))
        self.tape.refusals.append(error)
        raise error

    def _refuse_numbers(self, message: str) -> NoReturn:
        """Refuse to give plain numbers; say what to write instead of a function of SciPy."""
        self._refuse(instead_of_scipy(scipy_calls()) or message)

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """Return numpy, whose functions take traced values (the array API standard)."""
        return proxy_of(np)

    # -------------------------------------------------------------- as number

    def __bool__(self) -> bool:
        return bool(self.value)

    def __float__(self) -> float:
        return self._refuse_numbers(
            "float() of a traced value loses its derivative (so does writing it into an array that"
            " the function did not make); use it without float(), write into np.copy(a), or say"
            " chainad.stop_gradient(x) if the plain number is meant"
        )

    def __index__(self) -> int:
        return self._refuse(
            "a traced value cannot be an index;"
            " say int(chainad.stop_gradient(x)) if the plain number is meant"
        )

    def __complex__(self) -> complex:
        self._refuse("complex numbers are not traced; keep real and imaginary parts separately")

    def __round__(self, ndigits: int | None = None) -> Any:
        return np.round(self.value, ndigits or 0)

    def __floor__(self) -> Any:
        return np.floor(self.value)

    def __ceil__(self) -> Any:
        return np.ceil(self.value)

    def __trunc__(self) -> Any:
        return np.trunc(self.value)

    def __divmod__(self, other: Any) -> Any:
        return call(np.divmod, (self, other), {})

    def __rdivmod__(self, other: Any) -> Any:
        return call(np.divmod, (other, self), {})

    # ---------------------------------------------------------------- copying

    def __copy__(self) -> Any:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Any:
        # A copied tape would make a constant of this value.
        return self.copy()

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        self._refuse(
            "a traced value cannot be pickled or sent to another process; compute it here, or send"
            " chainad.stop_gradient(x)"
        )

    # ---------------------------------------------------------------- methods

    def reshape(self, *shape: Any, order: str = "C") -> Any:
        new = shape[0] if len(shape) == 1 else shape
        return call(np.reshape, (self, new, order), {})

    def transpose(self, *axes: Any) -> Any:
        order = axes[0] if len(axes) == 1 else (axes or None)
        return call(np.transpose, (self, order), {})

    def flatten(self, order: str = "C") -> Any:
        return call(np.ravel, (self, order), {}).copy()

    def dot(self, other: Any) -> Any:
        return call(np.dot, (self, other), {})

    def compress(self, condition: Any, axis: int | None = None, out: Any = None) -> Any:
        return call(np.compress, (condition, self, axis, out), {})

    def copy(self, order: str = "C") -> Any:
        return call(np.copy, (self,), {})

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> Any:
        return call(astype, (self, np.dtype(dtype)), {})

    def item(self, *index: Any) -> Any:
        flat = self.reshape(-1)
        if len(index) > 1:
            return self[index]
        if not index and self.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        return flat[index[0] if index else 0]

    def tolist(self) -> Any:
        return self if self.ndim == 0 else [self[k].tolist() for k in range(len(self.value))]

    def resize(self, *args: Any, **kwargs: Any) -> None:
        self._refuse("x.resize writes into an array; use np.resize(x, shape)")

    def partition(self, *args: Any, **kwargs: Any) -> None:
        self._refuse("x.partition writes into an array; use np.sort(x)")

    def view(self, *args: Any, **kwargs: Any) -> None:
        self._refuse_numbers("x.view reads the bytes of an array; use x.reshape or x.astype")

    def __delitem__(self, key: Any) -> None:
        self._refuse("entries of an array cannot be deleted; use np.delete")

    def __getitem__(self, key: Any) -> Any:
        done = recorded_item(self, key)
        return call(getitem, (self, key), {}) if done is None else done


add_array_methods(Traced)

# Functions that make an array like another, and those that take like= (NEP 35).
_LIKE: set[Callable[..., Any]] = {np.zeros_like, np.ones_like, np.empty_like}
CREATION: set[Callable[..., Any]] = _LIKE | {
    np.zeros, np.ones, np.empty, np.full, np.array, np.asarray, np.arange, np.eye, np.identity,
    np.asanyarray, np.ascontiguousarray, np.asfortranarray, np.require, np.tri,
}  # fmt: skip


def _all_untraced(value: Any) -> Any:
    """Replace traced values by plain arrays, whatever their tape."""
    return raw(value) if isinstance(value, Tracer) else map_items(_all_untraced, value)


# Attributes of ndarray that tell of its memory.
_MEMORY_ATTRIBUTES = {
    "base", "byteswap", "ctypes", "data", "dump", "dumps", "getfield", "setfield", "setflags",
    "strides", "tobytes", "tofile", "__array_interface__", "__array_struct__", "__dlpack__",
}  # fmt: skip


class TracedScalar(Traced):
    """A 0-d traced value: immutable, as NumPy's scalars are."""

    __slots__ = ()
    # Without this, Python would iterate by index, and find nothing.
    __iter__ = None

    def __hash__(self) -> int:
        # By number, one that happens to be equal would stand in for another's derivative; by
        # identity, a key would not be found again.
        return self._refuse(
            "a traced value cannot be a key of a dict or set, nor an argument of a function with"
            " functools.lru_cache; use chainad.stop_gradient(x) as the key"
        )

    def __getitem__(self, key: Any) -> Any:
        # Of a 0-d array this is a view, which may be written into.
        if (key is ... or key == (...,)) and not isinstance(raw(self), np.generic):
            return self
        return super().__getitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(raw(self), np.generic):
            raise TypeError(f"{here()}a number does not support item assignment")
        if np.size(np.empty(())[static_key(key, self.tape)]):  # x[False] is empty
            _write_whole(self, np.copy(np.reshape(value, ())) if np.ndim(value) else value)

    def __getattr__(self, name: str) -> Any:
        # NumPy calls x.sin() for every element of an object array given to np.sin.
        function = _OBJECT_LOOPS.get(name)
        if function is None:
            if name == "__array_interface__":  # NumPy asks for it before it packs the value
                self.tape.has_objects = True
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return lambda *args: call(function, (self, *args), {})


_OBJECT_LOOPS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (*RULES, *CONSTANT)
    if isinstance(function, np.ufunc) and getattr(np, function.__name__, None) is function
}


class TracedArray(Traced):
    """A traced array of one or more axes.

    `link` tells what it is a view of, or that there are views of it; None if neither.
    """

    __slots__ = ("__weakref__", "link")
    __hash__ = None  # type: ignore[assignment]

    link: tuple[ViewedArray, ViewPath] | None

    # What isinstance(x, np.ndarray) asks for. No traced value is one in C, where its memory would
    # be read without asking; nor in a product of scipy.sparse, which leaves it to us then.
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self) if is_called_by_sparse() else np.ndarray

    def __getattr__(self, name: str) -> NoReturn:
        # An AttributeError, so that hasattr finds what there is.
        what = (
            "belongs to the bytes of an array, which a traced one has none of; use"
            " x.reshape, x.copy, or chainad.stop_gradient(x) for the plain numbers"
            if name in _MEMORY_ATTRIBUTES
            else "is no attribute of traced arrays"
        )
        raise AttributeError(f"{here()}x.{name} {what}", name=name, obj=self)

    def __init__(self, value: Any, tape: Tape, number: int) -> None:
        self.value = value
        self.tape = tape
        self.number = number
        self.link = None

    def __setitem__(self, key: Any, value: Any) -> None:
        write(self, key, value)

    def fill(self, value: Any) -> None:
        """Set every entry to `value`."""
        write(self, ..., value)

    def sort(self, axis: int = -1, kind: Any = None, order: Any = None, **options: Any) -> None:
        """Sort in place."""
        write(self, ..., call(np.sort, (self, axis), {}))

    def put(self, *args: Any, **kwargs: Any) -> None:
        """See numpy.put."""
        WRITERS[np.put](self, *args, **kwargs)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        if is_called_by_sparse():
            return np.array(None)  # an object that it has no product with, so that ours is asked
        return self._refuse_numbers(
            "NumPy asked for the plain numbers of a traced array, and the derivative would be lost"
            " (A.dot(x), writing into an array that the function did not make, SciPy functions that"
            " are no ufuncs); write A @ x, write into np.copy(a), or say chainad.stop_gradient(x)"
            " if plain numbers are meant"
        )

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[Any]:
        return (self[k] for k in range(len(self)))

    def __contains__(self, item: Any) -> bool:
        return bool(np.any(self == item))


def in_place(ufunc: np.ufunc) -> Callable[[Traced, Any], Any]:
    """Return the method of an operator that writes into its left operand."""

    def method(self: Traced, other: Any) -> Any:
        if isinstance(raw(self), np.generic):  # NumPy's scalars are immutable: the name is rebound
            return call(ufunc, (self, other), {})
        _write_whole(self, call(ufunc, (self, other), {}))
        return self

    return method


for _name, _ufunc in ARITHMETIC.items():
    setattr(Traced, f"__i{_name}__", in_place(_ufunc))


def _write_whole(target: Traced, result: Any) -> None:
    if np.shape(result) != target.shape:
        raise ValueError(
            f"non-broadcastable output operand with shape {target.shape} doesn't match the"
            f" broadcast shape {np.shape(result)}"
        )
    if isinstance(target, TracedArray):
        write_whole(target, result)
        return
    if target.number < target.tape.n_inputs or getattr(raw(target), "base", None) is not None:
        target._refuse(
            "this writes into an argument of the function, or into an entry of an array; write"
            " into a copy instead, or say z[k] = value"
        )
    if not isinstance(result, Tracer):
        target._refuse("this makes a constant of a traced number; assign the result instead")
    if result.dtype != target.dtype:
        result = call(astype, (result, target.dtype), {})
    rebind(target, result)


def make_box(scalar: type[TracedScalar], array: type[TracedArray]) -> Callable[..., Traced]:
    """Return what makes the traced value of an entry, of one of two classes."""

    def box(value: Any, tape: Tape, number: int, made: Any = None) -> Traced:
        # `made` is the call that it is the result of; ufuncs make no views.
        if type(value) is np.float64:
            return scalar(value, tape, number)
        plain = value if type(value) is np.ndarray else raw(value)
        if not plain.ndim:
            return scalar(value, tape, number)
        found = array(value, tape, number)
        is_own = made is None or isinstance(made[0], np.ufunc)
        if not is_own and _may_be_view(tape, number, value, plain) and not link(found, *made):
            _mark_shared(tape, number, plain)
        return found

    return box


box = make_box(TracedScalar, TracedArray)
COMMON_OPERAND_TYPES |= {TracedScalar, TracedArray}


def _may_be_view(tape: Tape, number: int, value: Any, plain: np.ndarray[Any, Any]) -> bool:
    """Return False if the result surely has memory of its own, as almost all have."""
    return plain.base is not None or any(
        x is value or x is plain for x in tape.entries[number].operands
    )


def _mark_shared(tape: Tape, number: int, plain: np.ndarray[Any, Any]) -> None:
    """Remember the entries that show the same memory: writing into one would change the others."""
    entry = tape.entries[number]
    for source, operand in zip(entry.sources, entry.operands, strict=True):
        other = raw(operand)
        if isinstance(other, np.ndarray) and np.may_share_memory(other, plain):
            tape.shared.add(number)
            if source is not None:
                tape.shared.add(source)
