"""Calls on traced values: which arguments are operands, what is static, and the entry recorded."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeGuard

import numpy as np
import scipy.sparse

from chainad.errors import TraceError
from chainad.frontends.numpy.fast_path import recorded_binary, recorded_unary
from chainad.frontends.numpy.made_arrays import MadeArray, settle
from chainad.frontends.numpy.packing import as_one, pack
from chainad.frontends.numpy.tape import Entry, Tape, active, argument
from chainad.frontends.numpy.tracers import NUMBERS, PLAIN, Tracer, has_tracer, innermost_tape
from chainad.ir.graph import Argument, freeze
from chainad.ir.source_lines import here, raw_site
from chainad.rules.base import CONSTANT, DEFINED, REFUSED, RULES, Rule, name_of, refuse_options
from chainad.rules.complexes import COMPLEX
from chainad.rules.scipy_wrappers import instead_of_scipy
from chainad.rules.writing import written_where

_INTEGERS = (np.integer, np.bool_)


def call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call `function` on traced values: record it, compute its definition, or refuse."""
    rule = RULES.get(function)
    if rule is not None and rule.is_plain and not kwargs:
        if len(args) == 1 and isinstance(args[0], Tracer):
            done = recorded_unary(function, args[0], 4)
        else:
            done = recorded_binary(function, *args, 4) if len(args) == 2 else None
        if done is not None:
            return done
    return call_in_general(function, args, kwargs)


def call_in_general(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Do what `call` does, where the call is none that is recorded at once."""
    rule = RULES.get(function)
    if kwargs or not isinstance(function, np.ufunc):
        args, kwargs, out = without_out(function, args, kwargs)
        if _is_partial(function, kwargs) and isinstance(out, (Tracer, MadeArray, type(None))):
            result = written_where(function, args, kwargs["where"], out)
            return result if out is None else written(out, result, name_of(function))
        if out is not None:
            return _written(out, function, args, kwargs)
    if active.tape is not None:
        args, kwargs = settle(args), settle(kwargs) if kwargs else kwargs
    tape = innermost_tape(args, kwargs)
    if tape.is_recorder:
        return tape.call(function, args, kwargs)  # type: ignore[attr-defined]
    if not tape.is_open:
        raise TraceError(
            f"{here()}a traced value was used after its function had returned; return it from the"
            " function, or keep chainad.stop_gradient(x) instead"
        )
    if function in COMPLEX and (_is_complex(args) or (kwargs and _is_complex(kwargs))):
        replacement = COMPLEX[function]
        if replacement is not None and replacement not in RULES:
            return _defined(tape, replacement, function, args, kwargs)
        if replacement is None or kwargs or len(args) != 1:
            raise TraceError(
                f"{here()}{name_of(function)} of complex numbers is not differentiated like this;"
                " keep real and imaginary parts separately"
            )
        function = replacement
        rule = RULES.get(function)
    if rule is not None and rule.is_plain and not kwargs and isinstance(function, np.ufunc):
        return _record(tape, rule, function, args, kwargs)
    if function in CONSTANT:
        return function(*_untraced(args, tape), **_untraced(kwargs, tape))
    if function in DEFINED:
        return _defined(tape, DEFINED[function], function, args, kwargs)
    if rule is None:
        raise TraceError(here() + _unknown(function))
    if rule.rewrite is not None and (kwargs or len(args) > 1):
        found = _defined(tape, rule.rewrite, function, args, kwargs)
        if found is not NotImplemented:
            return found
    if rule.canonical is not None:
        args, kwargs = _refusing(rule.canonical, function, args, kwargs), {}
    elif kwargs and isinstance(function, np.ufunc):
        _refusing(refuse_options, function, (kwargs,), {})
        kwargs = {}
    elif kwargs:
        args, kwargs = _positional(function, args, kwargs)
    if rule.is_constant is not None and rule.is_constant(args):
        return function(*_untraced(args, tape), **_untraced(kwargs, tape))
    return _record(tape, rule, function, args, kwargs)


def _is_complex(value: Any) -> bool:
    """Return whether any of (nested) arguments is complex."""
    kind = type(value)
    if issubclass(kind, dict):
        return any(map(_is_complex, value.values()))
    if issubclass(kind, (list, tuple)):
        return any(map(_is_complex, value))
    dtype = getattr(value, "dtype", None)
    return issubclass(kind, complex) if dtype is None else getattr(dtype, "kind", "") == "c"


def without_out(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
    """Return the arguments without the array that a call names to write into, and that array."""
    out = None
    if "out" in kwargs:
        out = kwargs["out"]
        kwargs = {k: v for k, v in kwargs.items() if k != "out"}
    else:
        position = _position_of_out(function)
        if position is not None and len(args) > position:
            out = args[position]
            args = (
                *args[:position],
                *((None,) * (len(args) > position + 1)),
                *args[position + 1 :],
            )
    if isinstance(out, tuple) and len(out) == 1:
        (out,) = out
    return args, kwargs, out


def _is_partial(function: Callable[..., Any], options: dict[str, Any]) -> TypeGuard[np.ufunc]:
    """Return whether a call is one of a ufunc with one result and where=, and no other option."""
    if not isinstance(function, np.ufunc) or options.get("where", True) is True:
        return False
    return function.nout == len(options) == 1


def _written(out: Any, function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
    """Write the result of a call into an array, if that can be followed."""
    if not has_tracer((args, kwargs)):
        return written(out, function(*args, **kwargs), name_of(function))
    if not isinstance(out, (Tracer, MadeArray)):
        tape = innermost_tape(args, kwargs)
        if tape.is_recorder:
            return tape.call(function, args, {**kwargs, "out": out})  # type: ignore[attr-defined]
    return written(out, call(function, args, kwargs), name_of(function))


def written(out: Any, result: Any, name: str) -> Any:
    """Return an array into which a result is written, if that can be followed."""
    if not isinstance(out, (Tracer, MadeArray)):
        raise TraceError(
            f"{here()}{name} with out= (or an operator such as +=) writes into an"
            " array, and the derivative would be lost; assign the result instead: z = z + x"
        )
    out.assign(result)  # type: ignore[union-attr]
    return out


# NumPy before 2.4 does not state the signatures of functions in C.
_POSITION_OF_OUT = {np.dot: 2, np.concatenate: 2}


@lru_cache(maxsize=1024)
def _position_of_out(function: Callable[..., Any]) -> int | None:
    if function in _POSITION_OF_OUT:
        return _POSITION_OF_OUT[function]
    signature = None if isinstance(function, np.ufunc) else _signature(function)
    if signature is None or "out" not in signature.parameters:
        return None
    before = list(signature.parameters.values())
    k = list(signature.parameters).index("out")
    return k if before[k].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD else None


def _defined(
    tape: Tape,
    definition: Callable[..., Any],
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Return a call of a function as its definition gives it."""
    if tape.recorder is not None:  # what is computed from plain arrays alone is recorded, too
        args, kwargs = tape.recorder.flowing(args), tape.recorder.flowing(kwargs)
    return _refusing(definition, function, args, kwargs)


def _refusing(
    definition: Callable[..., Any],
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    try:
        return definition(*args, **kwargs)
    except NotImplementedError as error:
        raise TraceError(f"{here()}{name_of(function)}: {error}") from None
    except TypeError as error:
        if isinstance(error, TraceError) or "argument" not in str(error):
            raise
        raise TraceError(f"{here()}{name_of(function)}: {error}") from None


def _unknown(function: Callable[..., Any]) -> str:
    if function in REFUSED:
        return REFUSED[function]
    name = getattr(function, "__name__", "")
    if isinstance(function, np.ufunc) and name.startswith("_"):
        return instead_of_scipy([("scipy.special", name[1:])])
    return (
        f"{name_of(function)} has no rule for its derivative; write it in terms of functions that"
        " have one, or pass chainad.stop_gradient(x) if its derivative is not wanted"
    )


def _untraced(value: Any, tape: Tape) -> Any:
    """Replace the values traced on `tape` by those behind them."""
    if isinstance(value, Tracer):
        return value.value if value.tape is tape else value
    if isinstance(value, (list, tuple)):
        return _rebuild(value, (_untraced(item, tape) for item in value))
    if isinstance(value, dict):
        return {k: _untraced(item, tape) for k, item in value.items()}
    if type(value) is np.ndarray and value.dtype == object and has_tracer(value):
        return _untraced(pack(value), tape)
    return value


def _rebuild(value: Any, items: Iterator[Any]) -> Any:
    """Return a list or tuple of `items`; a named tuple is as good as a plain one."""
    return list(items) if isinstance(value, list) else tuple(items)


@lru_cache(maxsize=1024)
def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def _positional(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Write keyword arguments as positional ones where the function allows it."""
    arrangement = _arrangement(function, len(args), tuple(kwargs))
    if arrangement is None:
        return args, kwargs
    order, named = arrangement
    moved = tuple([args[k] if isinstance(k, int) else kwargs[k] for k in order])
    return moved, {name: kwargs[name] for name in named}


@lru_cache(maxsize=1024)
def _arrangement(
    function: Callable[..., Any], count: int, names: tuple[str, ...]
) -> tuple[tuple[int | str, ...], tuple[str, ...]] | None:
    """Return the positional arguments of a call, by position or name, and the others' names."""
    signature = _signature(function)
    if signature is None:
        return None
    bound = signature.bind(*range(count), **{name: name for name in names})
    return bound.args, tuple(bound.kwargs)


class Template:
    """The arguments of a call, taken apart into operands and what is static.

    It may start with the operands of an earlier call.
    """

    def __init__(
        self,
        tape: Tape,
        rule: Rule,
        sources: Sequence[int | None] = (),
        values: Sequence[Any] = (),
    ) -> None:
        self.tape = tape
        self.rule = rule
        self.sources = [*sources]
        self.values = [*values]

    def argument(self, value: Any, is_operand: bool) -> Any:
        """Return what stands for `value` in the node: an Argument, or a static value."""
        if isinstance(value, Tracer):
            if value.tape is self.tape:
                return self._operand(value.value, value.number)
            if (
                is_operand
                or not value.tape.is_recorder
                or (value.shape and value.dtype.kind in "fc")
            ):
                return self._operand(value.snapshot(), None)
            return concrete(value)
        if isinstance(value, slice):
            return slice(concrete(value.start), concrete(value.stop), concrete(value.step))
        if isinstance(value, np.ndarray):
            return self._array(value, is_operand)
        if isinstance(value, (list, tuple)):
            return self._sequence(value, is_operand)
        if is_operand and isinstance(value, NUMBERS):
            return self._operand(value, None)
        if scipy.sparse.issparse(value):
            raise TraceError(
                f"{here()}functions of NumPy take no sparse arrays beside traced values; use"
                " operators and those of chainad.scipy.sparse, or A.toarray()"
            )
        if hasattr(type(value), "__array__"):  # of pandas, xarray, JAX, torch, ...
            return self._array(np.asarray(value), is_operand)
        return value

    def _array(self, value: np.ndarray[Any, Any], is_operand: bool) -> Any:
        if value.dtype == object and has_tracer(value):
            return self.argument(pack(value), is_operand)
        if value.dtype == object and all(isinstance(x, NUMBERS) for x in value.flat):
            value = value.astype(float)  # np.sign and the like make these of traced scalars
        if type(value) not in PLAIN or value.dtype.kind not in "fiubc":
            raise TraceError(here() + _unfit(value))
        if is_operand or value.dtype.kind in "fc":
            return self._operand(self.tape.keep(value), None)
        return self.tape.keep_static(value)

    def _sequence(self, value: Any, is_operand: bool) -> Any:
        if is_operand and not self.rule.nested:
            return self.argument(as_one(value), is_operand)
        # In a list of operands, an inner list is one operand.
        found = [self.argument(as_one(x) if is_operand else x, is_operand) for x in value]
        return found if isinstance(value, list) else tuple(found)

    def _operand(self, value: Any, source: int | None) -> Argument:
        self.values.append(value)
        self.sources.append(source)
        return argument(len(self.values) - 1, value, source is not None)


def concrete(value: Any) -> Any:
    """Return the concrete value of a recorded one, guarded; other values as they are."""
    if isinstance(value, Tracer) and value.tape.is_recorder:
        return value.tape.concretize(value)  # type: ignore[attr-defined]
    return value


def _record(
    tape: Tape,
    rule: Rule,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    entry = None if kwargs else _plain_entry(tape, rule, function, args)
    if entry is None:
        entry = _entry(tape, rule, function, args, kwargs)
    dtype = getattr(entry.value, "dtype", None)
    if dtype is not None and dtype.kind == "c":
        tape.has_complex, tape.has_fast_path = True, False
    elif dtype is None or dtype.kind != "f":
        raise TraceError(here() + _no_floats(function, dtype))
    return tape.box(entry.value, tape, tape.append(entry), (function, args, kwargs))


def _as_float(x: Any, value: Any) -> Any:
    """Return an operand as formulas take it: integers wrap around, and booleans add to True."""
    kind = type(x)
    if kind is np.ndarray or isinstance(x, Tracer):
        return x if x.dtype.kind in "fc" else x.astype(value.dtype)
    return float(x) if kind is int or kind is bool or isinstance(x, _INTEGERS) else x


def _no_floats(function: Callable[..., Any], dtype: Any) -> str:
    """Say why a result that is no array of real floats has no derivative, and the next move."""
    if dtype is None:
        return f"{name_of(function)} returns several arrays here; call it on one array at a time"
    return (
        f"{name_of(function)} makes {dtype} numbers here, which cuts the derivative; say so with"
        " chainad.stop_gradient(x), or use np.floor, np.round, x != 0 and the like"
    )


def _unfit(value: np.ndarray[Any, Any]) -> str:
    """Say why an array cannot be a constant in a call with traced values, and what to do."""
    if type(value) not in PLAIN:
        return (
            f"a {type(value).__name__} next to a traced value may mean another product or hide"
            " entries; convert it with np.asarray first"
        )
    return (
        f"a constant of dtype {value.dtype} next to a traced value is not differentiated; convert"
        " it to real floats first"
    )


def _plain_entry(
    tape: Tape, rule: Rule, function: Callable[..., Any], args: tuple[Any, ...]
) -> Entry | None:
    """Return the entry of a call whose arguments are its operands one by one, else None."""
    count = len(args)
    sources: list[int | None] = []
    operands: list[Any] = []
    key: list[Any] = [function]
    all_floats = True
    for k, x in enumerate(args):
        source = None
        kind = type(x)
        if isinstance(x, Tracer):
            if x.tape is tape:
                source, x = x.number, x.value  # noqa: PLW2901
                key.append(source)
            elif not rule.is_operand(k, count):
                return None
            else:
                x = x.snapshot()  # noqa: PLW2901
                key.append((x.shape, x.dtype))
                all_floats = all_floats and x.dtype.kind in "fc"
        elif not rule.is_operand(k, count):
            return None
        elif kind is np.ndarray and x.dtype.kind in "fiubc":
            x = tape.keep(x)  # noqa: PLW2901
            key.append((x.shape, x.dtype.char))
            all_floats = all_floats and x.dtype.kind in "fc"
        elif kind is float or kind is complex:
            key.append(kind)
        elif kind is int or (isinstance(x, np.generic) and x.dtype.kind in "fiubc"):
            key.append(kind)
            all_floats = False
        else:
            return None
        sources.append(source)
        operands.append(x)
    value = settle(function(*operands))
    if not all_floats:
        operands = [_as_float(x, value) for x in operands]
    return Entry(function, None, tuple(sources), tuple(operands), value, tuple(key), raw_site())


def _entry(
    tape: Tape,
    rule: Rule,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Entry:
    template = Template(tape, rule)
    count = len(args)
    positional = tuple(
        [template.argument(value, rule.is_operand(k, count)) for k, value in enumerate(args)]
    )
    named = {k: template.argument(value, False) for k, value in kwargs.items()}
    value = settle(function(*refill(positional, template.values), **refill(named, template.values)))
    sources = tuple(template.sources)
    operands = tuple([_as_float(x, value) for x in template.values])
    key = (function, freeze(positional), freeze(named) if named else None, sources)
    return Entry(function, (positional, named), sources, operands, value, key, raw_site())


def refill(value: Any, values: Sequence[Any]) -> Any:
    """Put the operands' values back into the places of their Arguments."""
    if isinstance(value, Argument):
        return values[value.number]
    if isinstance(value, (list, tuple)):
        return _rebuild(value, (refill(item, values) for item in value))
    if isinstance(value, dict):
        return {k: refill(item, values) for k, item in value.items()}
    return value
