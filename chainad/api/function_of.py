"""What makes an object a function of another's arguments: name, signature, method, pickle."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Self, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from chainad.errors import InputError
from chainad.ir.pickling import importable_name

# A function has the parameters P and returns V. Something else of the same arguments returns R if
# V and the first of these are arrays or numbers, and F if V alone is one.
if TYPE_CHECKING:  # with defaults, which typing has from Python 3.13 on
    from typing_extensions import ParamSpec, TypeVar

    P = ParamSpec("P", default=...)
    V_co = TypeVar("V_co", covariant=True, default=Any)
    R_co = TypeVar("R_co", covariant=True, default=Any)
    F_co = TypeVar("F_co", covariant=True, default=Any)
else:
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    V_co = TypeVar("V_co", covariant=True)
    R_co = TypeVar("R_co", covariant=True)
    F_co = TypeVar("F_co", covariant=True)

Q = ParamSpec("Q")
T = TypeVar("T")

Array: TypeAlias = npt.NDArray[Any]
ArrayOrNumber: TypeAlias = Array | np.generic | complex

_NAMES = {
    "jacobian": "The Jacobian",
    "value_and_jacobian": "The value and the Jacobian",
    "grad": "The gradient",
    "value_and_grad": "The value and the gradient",
    "hessian": "The Hessian",
}


class _Signature:
    """The signature of the wrapped function, with `out` where that is taken.

    It is found when it is looked at: most never are, and annotations may name what is not there.
    """

    def __get__(self, this: FunctionOf | None, kind: type) -> inspect.Signature | None:
        if this is None:
            return None  # the class has that of its constructor
        try:
            own = inspect.signature(this.__wrapped__)
        except ValueError:  # a function in C that does not tell
            own = inspect.signature(lambda *args, **kwargs: None)
        if not this._verb:
            return own
        # The keyword `out` is the Jacobian's, and is not passed on.
        kept = [each for each in own.parameters.values() if each.name != "out"]
        if this._takes_out:
            last = len(kept) - any(each.kind is each.VAR_KEYWORD for each in kept)
            kept.insert(
                last, inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY, default=None)
            )
        return inspect.Signature(kept)


class Unknown:
    """A type that nothing has: what type checkers take for it they do not know."""


class FunctionOf(Generic[P, V_co, R_co, F_co]):
    """A function of the arguments of another, `__wrapped__`, whose name it has.

    With an empty `verb` it is that function itself. In a class it is a method. It is pickled and
    copied as what it was made from; what it recorded is recorded anew.

    To type checkers it has the parameters P of the other function. It returns R if that takes and
    returns arrays or numbers, F if it takes something else first, such as a dictionary of arrays,
    and Any if it returns something else, or something that they do not know.
    """

    __signature__ = _Signature()

    def __init__(self, f: Callable[..., Any], verb: str, takes_out: bool, how: str) -> None:
        self._verb, self._takes_out = verb, takes_out
        named: Any = f
        while isinstance(named, partial):
            named = named.func
        if not hasattr(named, "__name__"):
            named = type(named)
        self.__wrapped__ = f
        self.__name__ = named.__name__
        self.__qualname__ = getattr(named, "__qualname__", named.__name__)
        self.__module__ = getattr(named, "__module__", None) or "builtins"
        self.__doc__ = f"{_NAMES[verb]} of {name_of(f)}, {how}." if verb else f.__doc__

    @overload
    def __get__(self, instance: None, kind: type | None = None) -> Self: ...

    @overload
    def __get__(
        self: FunctionOf[Concatenate[Any, Q], Any, Any, F_co],
        instance: object,
        kind: type | None = None,
    ) -> FunctionOf[Q, float, F_co, F_co]: ...

    def __get__(self, instance: Any, kind: type | None = None) -> Any:
        # No MethodType: that is pickled by `__name__`, which is the name of another function.
        return self if instance is None else partial(self, instance)

    def __reduce__(self) -> Any:
        return importable_name(self) or (type(self), self._parts)

    # In this order: what is returned is not known, what is taken is not known, both are arrays, a
    # number is taken, something else is taken, something else is returned.
    @overload
    def __call__(
        self: FunctionOf[..., Unknown, Any, Any], *args: P.args, **kwargs: P.kwargs
    ) -> Any: ...

    @overload
    def __call__(
        self: FunctionOf[Concatenate[Unknown, ...], ArrayOrNumber, Any, F_co],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> F_co: ...

    @overload
    def __call__(
        self: FunctionOf[Concatenate[Array, ...], ArrayOrNumber, R_co, Any],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R_co: ...

    @overload
    def __call__(
        self: FunctionOf[Concatenate[float, ...], ArrayOrNumber, R_co, Any],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R_co: ...

    @overload
    def __call__(
        self: FunctionOf[..., ArrayOrNumber, Any, F_co], *args: P.args, **kwargs: P.kwargs
    ) -> F_co: ...

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any: ...

    @overload
    def __call__(self, *args: Any, out: T, **kwargs: Any) -> T: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    @property
    def _parts(self) -> tuple[Any, ...]:
        """What this is made from again."""
        raise NotImplementedError


def check_callable(f: Any) -> None:
    """Raise InputError if there is no function."""
    if not callable(f):
        raise InputError(f"f must be a function, but got {type(f).__name__}")


def name_of(f: Callable[..., Any]) -> str:
    """Return what reports call a function: its name, or that of its type."""
    if isinstance(f, FunctionOf) and f._verb:
        return f"{f._verb}({name_of(f.__wrapped__)})"
    if isinstance(f, FunctionOf):
        return name_of(f.__wrapped__)
    if isinstance(f, partial):
        return name_of(f.func)
    return getattr(f, "__name__", type(f).__name__)


def parameter_names(f: Callable[..., Any]) -> list[str]:
    """Return the names of the parameters that can be given by position; none where f has none."""
    try:
        parameters = inspect.signature(f).parameters.values()
    except (ValueError, TypeError):  # a function in C that does not tell
        return []
    by_position = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    return [each.name for each in parameters if each.kind in by_position]
