"""Recorded values: duck arrays whose calls are recorded while a function is compiled.

They behave as plain arrays do. What NumPy computes from them is recorded in turn; whatever else is
asked of them is answered with concrete values, and each replay checks that these are the same.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from chainad.frontends.numpy.made_arrays import settle
from chainad.frontends.numpy.recorder import Recorder, gradient_stopped
from chainad.frontends.numpy.traced_calls import call
from chainad.frontends.numpy.traced_values import (
    Traced,
    TracedArray,
    TracedScalar,
    in_place,
    make_box,
)
from chainad.frontends.numpy.tracers import innermost_tape, undifferentiated
from chainad.ir import trees
from chainad.ir.operators import BITWISE
from chainad.ir.source_lines import is_called_by_sparse
from chainad.rules.sparse_arrays import SparseArray


class RecordedValue(Traced):
    """What recorded arrays and scalars share; `tape` is their recorder."""

    __slots__ = ()

    tape: Recorder

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        is_written = method == "at" and isinstance(inputs[0], TracedArray)
        if method == "__call__" or is_written or not innermost_tape(inputs, kwargs).is_recorder:
            return super().__array_ufunc__(ufunc, method, *inputs, **kwargs)
        function = getattr(ufunc, method)
        if method == "at":  # into a plain array
            return function(*map(self.tape.concretize_all, inputs))
        return self.tape.call(function, inputs, kwargs)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        if is_called_by_sparse():
            return np.array(None)
        return np.array(self.tape.concretize(self), dtype=dtype)

    def __repr__(self) -> str:
        return f"Recorded({self.value!r})"

    # ------------------------------------------------------------- as numbers

    def __bool__(self) -> bool:
        return self.tape.truth(self)

    def __float__(self) -> float:
        return float(self.tape.concretize(self))

    def __int__(self) -> int:
        return int(self.tape.concretize(self))

    def __index__(self) -> int:
        return operator.index(self.tape.concretize(self))

    def __complex__(self) -> complex:
        return complex(self.tape.concretize(self))

    def __round__(self, ndigits: int | None = None) -> Any:
        return round(self.tape.concretize(self), ndigits)

    def __floor__(self) -> Any:
        return self.tape.concretize(self).__floor__()

    def __ceil__(self) -> Any:
        return self.tape.concretize(self).__ceil__()

    def __trunc__(self) -> Any:
        return self.tape.concretize(self).__trunc__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.tape.concretize(self).__reduce_ex__(protocol)

    # --------------------------------------------------------------- methods

    def tolist(self) -> Any:
        return self.tape.concretize(self).tolist()

    def item(self, *index: Any) -> Any:
        return self.tape.concretize(self).item(*index)

    def view(self, *args: Any, **kwargs: Any) -> Any:
        return self.tape.concretize(self).view(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # protocols of NumPy, which would share the memory
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.tape.concretize(self), name)


class RecordedScalar(RecordedValue, TracedScalar):
    """A recorded number."""

    __slots__ = ()
    __getattr__ = RecordedValue.__getattr__

    def __hash__(self) -> int:
        return hash(self.tape.concretize(self))


class RecordedArray(RecordedValue, TracedArray):
    """A recorded array of one or more axes."""

    __slots__ = ()
    __hash__ = None


def _bitwise(function: np.ufunc, swapped: bool) -> Callable[[Any, Any], Any]:
    return lambda self, other: call(function, (other, self) if swapped else (self, other), {})


for _name, _ufunc in BITWISE.items():
    setattr(RecordedValue, f"__{_name}__", _bitwise(_ufunc, swapped=False))
    setattr(RecordedValue, f"__r{_name}__", _bitwise(_ufunc, swapped=True))
    setattr(RecordedArray, f"__i{_name}__", in_place(_ufunc))
setattr(RecordedValue, "__invert__", lambda self: call(np.invert, (self,), {}))  # noqa: B010


box_recorded = make_box(RecordedScalar, RecordedArray)


def detached(x: Any) -> Any:
    """Return the values of x as constants: recorded values while a function is recorded."""
    if isinstance(x, SparseArray):
        return x.plain(detached(x.entries))
    x = undifferentiated(settle(x))
    if isinstance(x, RecordedValue):
        return x.tape.call(gradient_stopped, (x,), {})
    if isinstance(x, np.ndarray):
        return np.array(x)
    return trees.map_leaves(detached, x) if trees.is_container(x) else x
