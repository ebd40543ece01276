"""Duck arrays: recorded calls run on them unchanged, and become calls of `apply`.

What a call means on something else than numbers follows from the kind of its function, or else
from its definition in simpler functions.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from chainad.errors import ChainadError
from chainad.ir.graph import Argument, freeze
from chainad.ir.operators import ARITHMETIC, BITWISE, COMPARISONS
from chainad.rules.base import DEFINED, REDUCTIONS, RULES, Rule, kind_of, normalize_axes
from chainad.rules.elementwise import LOGICAL
from chainad.rules.kinds import (
    Accumulation,
    Contraction,
    Einsum,
    Elementwise,
    Holomorphic,
    Kind,
    Movement,
    Reduction,
    ShapeQuery,
)
from chainad.rules.movement import getitem

Function = Callable[..., Any]
# Calls a function with arrays in the places of its operands.
Call = Callable[[Sequence[Any]], Any]


class DuckArray:
    """What stands for an array while recorded calls run.

    A subclass says what functions of the kinds that it knows are on it; what it does not know
    raises `error`. `known` has functions that are more than their kind.
    """

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    error: ClassVar[type[ChainadError]]
    known: ClassVar[Mapping[Function, Callable[..., Any]]] = {}

    shape: Any
    dtype: Any

    def knows(self, function: Function, kind: Kind, has_definition: bool) -> bool:
        """Return whether to go by the kind of a function, not by its definition."""
        raise NotImplementedError

    def elementwise(self, function: Function, operands: Sequence[Any]) -> Any:
        raise NotImplementedError

    def moved(self, call: Call, operands: Sequence[Any]) -> Any:
        """Return a call that moves the entries of `operands`, all of them duck arrays."""
        raise NotImplementedError

    def reduced(self, function: Function, x: Any, options: dict[str, Any]) -> Any:
        """Return a reduction of x; `options` are those that are not left as they are by default."""
        raise NotImplementedError

    def accumulated(self, function: Function, x: Any, axis: int) -> Any:
        raise NotImplementedError

    def contracted(self, key: Hashable, einsum: Callable[[], Einsum], operands: Any) -> Any:
        """Return a contraction of arrays; `key` is all that its einsum depends on."""
        raise NotImplementedError

    # -------------------------------------------------------------- dispatch

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if kwargs.get("out") is not None:
            raise self.error("out= writes into an array")
        if method == "__call__":
            return self.apply(ufunc, inputs, kwargs)
        if method == "reduce" and ufunc in REDUCTIONS:
            return self.apply(REDUCTIONS[ufunc], inputs, {"axis": 0, **kwargs})
        raise self.error(f"np.{ufunc.__name__} ({method})")

    def __array_function__(
        self, func: Function, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        return self.apply(func, args, kwargs)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise self.error("the numbers themselves are needed")

    def apply(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return a call of a function on duck arrays."""
        if function in self.known:
            return self.known[function](*args, **kwargs)
        if function in LOGICAL:
            if any(x.dtype.kind != "b" for x in args if hasattr(x, "dtype")):
                raise self.error(f"{_name(function)} of numbers")
            function = LOGICAL[function]
        row, kind = RULES.get(function), kind_of(function)
        if isinstance(kind, Holomorphic):  # which says nothing of the entries
            kind = None
        definition = DEFINED.get(function) if row is None else row.definition
        try:
            if row is not None and row.rewrite is not None and (kwargs or len(args) > 1):
                found = row.rewrite(*args, **kwargs)
                if found is not NotImplemented:
                    return found
            if row is not None and row.canonical is not None:
                args, kwargs = row.canonical(*args, **kwargs), {}
            if isinstance(kind, Movement):
                assert row is not None
                operands = self._operands(row, args, kwargs)
                run = definition or function
                return self.moved(lambda arrays: _call(run, args, kwargs, arrays), operands)
            if kind is not None and self.knows(function, kind, definition is not None):
                return self._by_kind(function, kind, args, kwargs)
            if definition is not None:
                return definition(*args, **kwargs)
        except NotImplementedError as error:
            raise self.error(f"{_name(function)}: {error}") from None
        raise self.error(_name(function))

    def _by_kind(
        self, function: Function, kind: Kind, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if isinstance(kind, Elementwise):
            if kwargs or len(args) != (kind.arity or len(args)):
                raise self.error(f"{_name(function)} with arguments that are no operands")
            return self.elementwise(function, args)
        if isinstance(kind, Reduction):
            options = _bound(function, args, kwargs)
            x = options.pop(next(iter(options)))
            return self.reduced(function, x, {k: v for k, v in options.items() if _is_set(k, v)})
        if isinstance(kind, Accumulation):
            x, axis = args
            return self.accumulated(function, x, normalize_axes(axis, np.ndim(x))[0])
        if isinstance(kind, Contraction):
            row, operands, found = RULES[function], [], []
            for k, value in enumerate(args):
                if row.is_operand(k, len(args)):
                    array = value if isinstance(value, DuckArray) else np.asarray(value)
                    operands.append(array)
                    found.append(_OPERAND)
                else:
                    found.append(value)
            shapes = tuple([x.shape for x in operands])
            key = (function, shapes, freeze(found), freeze(kwargs))
            return self.contracted(
                key, lambda: kind.einsum(*_arguments(found, shapes), **kwargs), operands
            )
        assert isinstance(kind, ShapeQuery)
        return function(*map(_shape_alone, args), **kwargs)

    def _operands(self, row: Rule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """Return the duck arrays among the operands; refuse any elsewhere."""
        found: list[Any] = []
        for k, value in enumerate(args):
            ducks = _ducks(value)
            if ducks and not row.is_operand(k, len(args)):
                raise self.error("an index depends on values")
            found += ducks
        if kwargs and _ducks(kwargs):
            raise self.error("an option depends on values")
        return found

    # ------------------------------------------------------------ as an array

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=int))

    @property
    def T(self) -> Any:
        return np.transpose(self)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __neg__(self) -> Any:
        return np.negative(self)

    def __bool__(self) -> bool:
        raise self.error("a branch depends on values")

    def __getitem__(self, key: Any) -> Any:
        return self.apply(getitem, (self, key), {})

    def reshape(self, *shape: Any) -> Any:
        return self.apply(np.reshape, (self, shape[0] if len(shape) == 1 else shape), {})

    def transpose(self, *axes: Any) -> Any:
        order = axes[0] if len(axes) == 1 else axes or None
        return self.apply(np.transpose, (self, order), {})

    def copy(self) -> Any:
        return self


def _operator(ufunc: np.ufunc, swapped: bool) -> Callable[[DuckArray, Any], Any]:
    # A function, since a ufunc is not bound to what it is an attribute of.
    return lambda self, other: ufunc(other, self) if swapped else ufunc(self, other)


for _key, _ufunc in {**ARITHMETIC, **BITWISE}.items():
    setattr(DuckArray, f"__{_key}__", _operator(_ufunc, swapped=False))
    setattr(DuckArray, f"__r{_key}__", _operator(_ufunc, swapped=True))
for _key, _ufunc in COMPARISONS.items():
    setattr(DuckArray, f"__{_key}__", _operator(_ufunc, swapped=False))
DuckArray.__hash__ = None  # type: ignore[assignment]


def _ducks(value: Any) -> list[DuckArray]:
    """Return the duck arrays inside (nested) arguments."""
    if isinstance(value, DuckArray):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [x for item in value if type(item) is not int for x in _ducks(item)]
    return []


def _call(
    function: Function, args: tuple[Any, ...], kwargs: dict[str, Any], arrays: Sequence[Any]
) -> Any:
    """Call a function with arrays in the places of the duck arrays among its arguments."""
    if len(arrays) == 1 and isinstance(args[0], DuckArray):  # as most are
        return function(arrays[0], *args[1:], **kwargs)
    left = iter(arrays)

    def fill(value: Any) -> Any:
        if isinstance(value, DuckArray):
            return next(left)
        return type(value)(map(fill, value)) if isinstance(value, (list, tuple)) else value

    return function(*map(fill, args), **kwargs)


# Stands for an operand among the arguments of a contraction.
_OPERAND = "operand"


def _arguments(args: Sequence[Any], shapes: Sequence[tuple[int, ...]]) -> list[Any]:
    """Return the arguments of a contraction with an `Argument` for every operand."""
    operands = (Argument(k, shape, np.dtype(float), True) for k, shape in enumerate(shapes))
    return [next(operands) if value is _OPERAND else value for value in args]


def _shape_alone(value: Any) -> Any:
    """Return an array of the same shape and dtype."""
    if not isinstance(value, DuckArray):
        return value
    return np.broadcast_to(np.zeros((), value.dtype), value.shape)


def _bound(function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call by name."""
    return {**dict(zip(_parameters(function), args, strict=False)), **kwargs}


def _is_set(name: str, value: Any) -> bool:
    return value is not None and not (name == "where" and value is True)


@lru_cache(maxsize=256)
def _parameters(function: Function) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def _name(function: Function) -> str:
    return f"np.{getattr(function, '__name__', function)}"
