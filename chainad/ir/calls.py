"""Calls of any function as ops of a program, and guards on what was read off its values."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import CodeType
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np

from chainad.ir.op import Op
from chainad.ir.shapes import Shape

# The state of np.errstate in which nothing is told, as `Call.errstate` has it.
SILENT = ("ignore",) * 4


@dataclass(frozen=True, slots=True)
class Input:
    """The input of an instruction at this position, among the arguments of a call."""

    position: int


@dataclass(frozen=True, slots=True, eq=False)
class Call(Op):
    """A call of `function`, whose arguments hold an `Input` for each register.

    The result has this shape and dtype (`is_scalar`: a NumPy scalar, not an array; dtype None:
    several arrays, or an operator). `errstate` is that of NumPy, None for that of the caller.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    is_scalar: bool
    errstate: tuple[str, ...] | None

    # Only elementwise functions act on rows.
    aligns_last_axes: ClassVar[bool] = True

    def __call__(self, *inputs: Any) -> Any:
        return self.function(*fill(self.args, inputs), **fill(self.kwargs, inputs))

    def infer_shape(self, inputs: Sequence[Shape | None]) -> Shape | None:
        return None if self.dtype is None else self.shape

    @property
    def key(self) -> Hashable:
        """The function and its arguments; None with keywords, or with arguments of other kinds.

        The state of np.errstate is no part of it: the first of equal calls gives all warnings.
        """
        if self.kwargs or not all(type(x) in (Input, int, float) for x in self.args):
            return None
        args = (x if isinstance(x, Input) else (type(x), repr(x)) for x in self.args)
        return self.function, *args

    def value_key(self, inputs: tuple[int, ...]) -> Hashable:
        function = self.function
        is_pure = isinstance(function, np.ufunc) or getattr(function, "is_pure", False)
        return (self.key, inputs) if is_pure and self.key is not None else None

    def on_rows(self, count: int, row: Shape) -> Op | None:
        if self.key is None or self.dtype is None or self.is_scalar == bool(self.shape):
            return None
        return replace(self, shape=(count, *row), is_scalar=False)

    @property
    def positions(self) -> tuple[int | None, ...]:
        """The positions of the inputs that are arguments, None for another argument."""
        return tuple(x.position if isinstance(x, Input) else None for x in self.args)

    @property
    def name(self) -> str:
        """What messages call the function."""
        return getattr(self.function, "__name__", str(self.function))

    def __str__(self) -> str:
        named = [f"{key}={value}" for key, value in self.kwargs.items()]
        return f"{self.name}({', '.join([*map(str, self.args), *named])})"


GuardKind: TypeAlias = Literal["truth", "numbers", "equal", "shape"]


@dataclass(frozen=True, slots=True, eq=False)
class Guard(Op):
    """Whether a value is as it was when something was read off it; a run stops where it is not.

    "truth": whether it is true; "numbers": all entries; "equal": a Python number; "shape": shape
    and dtype.
    """

    kind: GuardKind
    found: Any
    # Where the user reads it: code, and the place of the instruction in it.
    site: tuple[CodeType, int] | None = None

    is_unique: ClassVar[bool] = True

    def infer_shape(self, inputs: Sequence[Shape | None]) -> Shape | None:
        return None


def fill(template: Any, inputs: Sequence[Any]) -> Any:
    """Return (nested) arguments with the inputs of an instruction in their places."""
    if isinstance(template, Input):
        return inputs[template.position]
    return map_items(lambda item: fill(item, inputs), template)


def map_items(function: Callable[[Any], Any], value: Any) -> Any:
    """Return a list, tuple or mapping with a function applied to its items; else the value."""
    if isinstance(value, (list, tuple)):
        items = [function(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return {k: function(x) for k, x in value.items()} if isinstance(value, Mapping) else value


def has_inputs(template: Any) -> bool:
    """Return whether there is an input in (nested) arguments."""
    if isinstance(template, (list, tuple)):
        return any(map(has_inputs, template))
    if isinstance(template, Mapping):
        return any(map(has_inputs, template.values()))
    return isinstance(template, Input)
