"""What a rule is: one row per NumPy function, from which everything else follows.

A rule states, for every array operand of a call, the structure of the local Jacobian and a formula
for its stored entries, if any. Forward, reverse, hybrid, sparsity and cost all follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import scipy.special

from chainad.ir.array_functions import is_ndarray
from chainad.ir.graph import Argument
from chainad.rules.kinds import Kind, Reduction
from chainad.structure import Arrangement

# Takes the result and the operands of a call; the result comes first, since formulas often need it.
Formula: TypeAlias = Callable[..., Any]


@dataclass(frozen=True)
class Local:
    """A local Jacobian: its structure, and a formula for the array that `arrangement` takes.

    `mask` is one for an array that is zero where that array has exact zeros, whatever they are
    multiplied by; of a row whose kind is a selection, that follows from the formula.
    """

    arrangement: Arrangement
    formula: Formula | None
    mask: Formula | None = None


# Several for one operand are summed; None: the derivative is zero. A traced operand that is missing
# is refused.
Locals: TypeAlias = Mapping[Argument, Local | tuple[Local, ...] | None]


@dataclass(frozen=True)
class Composite:
    """Local Jacobians in two factors: y depends on the operands through an intermediate r.

    `outer` is dy/dr, `inner` are dr/dx, and `shape` is that of r. The tape has no value of r; all
    formulas take the result and the operands of the call.
    """

    shape: tuple[int, ...]
    outer: Local
    inner: Locals


ALL = slice(None)


@dataclass(frozen=True)
class Rule:
    """How one function is differentiated.

    `locals(y, *args, **kwargs)` is called like the function itself, after its result y, with an
    `Argument` in the place of every array operand; it returns `Locals` or `Composite`.

    `operands` are the positions of arguments that are operands whatever their type, so that lists
    and numbers become arrays (`nested`: a list there is a list of operands). Elsewhere only traced
    values and arrays of floats are operands; all else is static, and may shape the structure.
    `is_constant(args)` tells calls whose result has derivative zero. `canonical` takes the
    arguments of a call and returns them in the form that `locals` takes. `rewrite` takes
    those of a call with options, and returns its result in other functions; NotImplemented where
    `locals` takes the options. `kind` is what kind of function it is, if of any; `definition` says
    the same in simpler functions, for compilers that know only these. `partials` are the formulas
    of the partial derivatives of an elementwise function. `square`, of functions with a
    kink, returns the square of the result in terms of functions that have none there: it takes a
    function that squares an operand, the result, and the arguments. `has_pairs` says that the
    structures of complex operands have a last axis (re, im) already. `is_plain` says that all
    arguments are operands, and that calls need not be looked at any further.
    """

    locals: Callable[..., Locals | Composite]
    operands: slice | tuple[int, ...] = (0,)
    nested: bool = False
    is_constant: Callable[[tuple[Any, ...]], bool] | None = None
    canonical: Callable[..., tuple[Any, ...]] | None = None
    rewrite: Callable[..., Any] | None = None
    kind: Kind | None = None
    definition: Callable[..., Any] | None = None
    square: Callable[..., Any] | None = None
    partials: tuple[Formula | float | str | None, ...] | None = None
    has_pairs: bool = False
    is_plain: bool = field(init=False)

    def __post_init__(self) -> None:
        simple = self.canonical is None and self.rewrite is None and self.is_constant is None
        object.__setattr__(self, "is_plain", simple and self.operands is ALL)

    def is_operand(self, position: int, count: int) -> bool:
        """Return whether the argument at `position` of `count` must be an operand."""
        if self.operands is ALL:
            return True
        if isinstance(self.operands, slice):
            return position in range(count)[self.operands]
        return position in self.operands


RULES: dict[Callable[..., Any], Rule] = {}
# Functions with derivative zero wherever they have one, and their kind: computed on plain arrays.
# None: what is returned is no array, or one whose shape depends on values.
CONSTANT: dict[Callable[..., Any], Kind | None] = {}
# By ufunc, the function that reduces axes by it.
REDUCTIONS: dict[np.ufunc, Callable[..., Any]] = {}
# Functions written in terms of others.
DEFINED: dict[Callable[..., Any], Callable[..., Any]] = {}

# Those among them that take lists of arrays.
DEFINED_ON_LISTS: set[Callable[..., Any]] = set()
# Functions that write into their first argument, in terms of item assignment.
WRITERS: dict[Callable[..., Any], Callable[..., None]] = {}
# Functions whose result may share the memory of their first argument.
VIEWS: set[Callable[..., Any]] = set()
# Functions that must not be called on traced values, with the reason and the next move.
REFUSED: dict[Callable[..., Any], str] = {
    np.save: "np.save stores plain numbers; save chainad.stop_gradient(x)",
    np.savez: "np.savez stores plain numbers; save chainad.stop_gradient(x)",
    np.savez_compressed: "np.savez_compressed stores plain numbers; save chainad.stop_gradient(x)",
    np.savetxt: "np.savetxt stores plain numbers; save chainad.stop_gradient(x)",
}
REFUSED |= {
    function: f"np.{name} takes {what}, and traced values are floats; convert the plain numbers,"
    " chainad.stop_gradient(x).astype(...)"
    for what, names in {
        "integers": """bitwise_and bitwise_count bitwise_or bitwise_xor invert left_shift
            right_shift gcd lcm packbits unpackbits ravel_multi_index ix_""",
        "dates": "busday_count busday_offset datetime_as_string is_busday isnat",
    }.items()
    for name in names.split()
    for function in [getattr(np, name)]
}


def available(module: ModuleType, name: str) -> tuple[Callable[..., Any], ...]:
    """Return the function of that name, or nothing where this version of the library lacks it.

    >>> available(np, "no_such_function")
    ()
    """
    return (getattr(module, name),) if hasattr(module, name) else ()


def rule(
    *functions: Callable[..., Any], kind: Kind | None = None, **options: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated `locals` for some functions; see `Rule` for the options."""

    def register(locals_: Callable[..., Any]) -> Callable[..., Any]:
        for function in functions:
            RULES[function] = Rule(locals_, kind=kind, **options)
            _enter_reduction(function, kind)
        return locals_

    return register


def constant(*functions: Callable[..., Any], kind: Kind | None = None) -> None:
    """Register functions with derivative zero."""
    for function in functions:
        CONSTANT[function] = kind
        _enter_reduction(function, kind)


def _enter_reduction(function: Callable[..., Any], kind: Kind | None) -> None:
    if isinstance(kind, Reduction) and kind.ufunc is not None:
        REDUCTIONS.setdefault(kind.ufunc, function)


def kind_of(function: Callable[..., Any]) -> Kind | None:
    """Return the kind that the row of a function names."""
    row = RULES.get(function)
    return CONSTANT.get(function) if row is None else row.kind


def defined(
    *functions: Callable[..., Any], nested: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function as the definition of some functions.

    If `nested`, a list that they are given is a list of arrays, not an array.
    """

    def register(definition: Callable[..., Any]) -> Callable[..., Any]:
        DEFINED.update(dict.fromkeys(functions, definition))
        if nested:
            DEFINED_ON_LISTS.update(functions)
        return definition

    return register


def first_traced(values: Iterable[Any]) -> Any:
    """Return a traced value among (nested) arguments, or None."""
    for value in values:
        kind, found = type(value), None
        if kind is tuple or kind is list:
            found = first_traced(value)
        elif is_ndarray(value):
            if getattr(value, "is_traced", False):  # one that a traced function has filled
                return value
            if value.dtype.char == "O":
                found = first_traced(value.flat)
        elif hasattr(kind, "__array_function__"):
            return value
        elif isinstance(value, (list, tuple)):
            found = first_traced(value)
        elif kind is dict:
            found = first_traced(value.values())
        if found is not None:
            return found
    return None


def dispatching(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function of plain arrays take traced ones, for which it is a call with a row."""

    @wraps(function)
    def dispatched(*args: Any, **kwargs: Any) -> Any:
        traced = first_traced((*args, *kwargs.values()) if kwargs else args)
        if traced is None:
            return function(*args, **kwargs)
        return traced.__array_function__(dispatched, (type(traced),), args, kwargs)

    return dispatched


@dispatching
def static(value: Any) -> Any:
    """Return an argument that decides which formula holds; refuse a traced one.

    A definition compares it with some values, and would take its derivative for zero.
    """
    return value


REFUSED[static] = (
    "an argument that decides what is computed, such as ord= or q=, has no derivative; keep it"
    " constant with chainad.stop_gradient"
)


def arguments_in(value: Any) -> list[Argument]:
    """Return the operands inside a (nested) argument."""
    if isinstance(value, Argument):
        return [value]
    if isinstance(value, (list, tuple)):
        return [found for item in value for found in arguments_in(item)]
    return []


def normalize_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """Return an axis argument as a tuple of non-negative axes; None means all."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(int(a) % ndim if ndim else 0 for a in np.ravel(axis))


def refuse_options(options: Mapping[str, Any]) -> None:
    """Raise for options of a ufunc other than where=True: they change results unknown to a rule."""
    extra = sorted(k for k, v in options.items() if not (k == "where" and v is True))
    if extra:
        raise NotImplementedError(
            f"{', '.join(f'{k}=' for k in extra)} is not differentiated;"
            " call it without, and use np.where or astype afterwards"
        )


def refuse_unless(holds: bool, message: str) -> None:
    """Raise unless a condition holds; the tracer adds the user's file and line."""
    if not holds:
        raise NotImplementedError(message)


def name_of(function: Callable[..., Any]) -> str:
    """Return the name users write: `np.tanh`, `scipy.special.erf`, `x[...]`."""
    name = getattr(function, "__name__", str(function))
    module = getattr(function, "__module__", None) or "numpy"
    if isinstance(function, np.ufunc):
        modules = {"np": np, "scipy.special": scipy.special}
        found = [k for k, each in modules.items() if getattr(each, name, None) is function]
        return f"{found[0]}.{name}" if found else name
    if module.startswith("chainad.scipy"):
        return f"{module}.{name}"
    if module.startswith("chainad"):
        return {"getitem": "x[...]", "astype": "x.astype", "clip": "np.clip"}.get(name, name)
    return f"{module.replace('numpy', 'np', 1)}.{name}"
