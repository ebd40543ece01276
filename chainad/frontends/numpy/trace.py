"""Running a function once on traced inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from chainad.errors import InputError, TraceError
from chainad.frontends.numpy.bound_names import BoundNames, with_copies_followed
from chainad.frontends.numpy.kinks import without_kinks
from chainad.frontends.numpy.made_arrays import settle
from chainad.frontends.numpy.packing import as_one, pack, packed
from chainad.frontends.numpy.proxies import replacement_of
from chainad.frontends.numpy.source_lines import here, line_of
from chainad.frontends.numpy.spectral_functions import with_spectral_functions
from chainad.frontends.numpy.tape import Tape, active
from chainad.frontends.numpy.traced_values import Traced, box
from chainad.frontends.numpy.tracers import NUMBERS, PLAIN, Tracer, has_tracer
from chainad.ir.array_functions import is_ndarray
from chainad.ir.graph import Graph
from chainad.ir.signature import Signature

# Integers of up to this size are floats exactly.
MAX_EXACT_INTEGER = 2**53

# What NumPy says of functions that have no loop for objects.
_ABOUT_OBJECTS = (
    "not supported for the input types",
    "which has no callable",
    "dtype('O')",
    "ObjectDType",
    "object is not subscriptable",
    "does not have an identity",
)


@dataclass(frozen=True)
class Run:
    """One traced run: its tape, and what the function returned.

    `outputs` holds, for every output, its entry on the tape (None: it does not depend on the
    inputs) and its shape; `values` their plain arrays; `is_tuple` says that there are several.
    `signature` is what Jacobians depend on beside entries.
    """

    tape: Tape
    outputs: tuple[tuple[int | None, tuple[int, ...]], ...]
    values: tuple[Any, ...]
    is_tuple: bool
    signature: Signature = field(init=False)

    def __post_init__(self) -> None:
        inputs = [self.input(k) for k in range(self.tape.n_inputs)]
        signature = Signature(
            tuple([(x.shape, x.dtype) for x in inputs]),
            tuple([(y.shape, y.dtype) for y in self.values]),
            self.is_tuple,
            self.tape.key(self.outputs),
        )
        object.__setattr__(self, "signature", signature)

    def graph(self) -> Graph:
        """Return the graph of what was called on what."""
        return self.tape.graph(self.outputs)

    def input(self, number: int) -> Any:
        """Return the value of the `number`-th input."""
        return self.tape.entries[number].value

    def without_inputs(self) -> Run:
        """Return the run as one of a function that has these values and is not differentiated."""
        outputs = tuple((None, shape) for _, shape in self.outputs)
        return replace(self, tape=Tape(box), outputs=outputs)


class tracing:  # noqa: N801
    """Trace f(*args) with respect to the arguments `argnums`: `with tracing(...) as run`.

    Large constants that the function used are read-only inside the `with` block, so that the local
    Jacobians can be evaluated; afterwards everything is as it was. Results that cannot be
    differentiated are refused if `has_jacobian`.
    """

    # A class: a generator would turn a StopIteration of the user's into another error.

    def __init__(
        self,
        f: Callable[..., Any],
        args: Sequence[Any],
        argnums: Sequence[int],
        has_jacobian: bool = True,
        reader: Callable[..., Any] | None = None,
    ) -> None:
        self.f, self.args, self.argnums = f, args, argnums
        self.has_jacobian = has_jacobian
        # The user's function, where `f` calls it.
        self.reader = f if reader is None else reader
        self.tape = Tape(box)

    def __enter__(self) -> Run:
        try:
            return self._run()
        except BaseException:
            self.tape.close()
            raise

    def __exit__(self, *error: object) -> None:
        self.tape.close()

    def _result(self, args: Sequence[Any]) -> Any:
        before, names = active.tape, BoundNames()
        try:
            names.bind(self.reader)
            active.tape = self.tape
            return settle(_call(replacement_of(self.f), args, self.tape))
        finally:
            active.tape = before
            names.release()

    def _run(self) -> Run:
        tape, traced = self.tape, with_copies_followed(self.reader, self.args)
        for k in self.argnums:
            value = as_input(self.args[k], k)
            if is_ndarray(value):
                value = value.copy()  # what the caller does with his own array is his affair
            traced[k] = box(value, tape, tape.append_input(value))
        result = self._result(traced)
        if tape.refusals:
            # Caught by the function, which then took another branch than with plain arrays.
            raise tape.refusals[0]
        tape.is_open = tape.has_fast_path = False
        return _finish(tape, result, self.has_jacobian)


def _call(f: Callable[..., Any], args: Sequence[Any], tape: Tape) -> Any:
    try:
        return f(*args)
    except TraceError:
        raise
    except (ValueError, TypeError, AttributeError, SystemError) as error:
        _refuse_numba(error)
        # NumPy, SciPy and compiled code answer a refusal with errors of their own.
        for refusal in (error.__cause__, *tape.refusals):
            if isinstance(refusal, TraceError):
                raise refusal from None
        if "read-only" in str(error):
            error.add_note(
                "chainad makes large arrays read-only once they have met a traced value, since"
                " their entries are needed for the derivative; write into a copy instead"
            )
        elif tape.has_objects:
            _refuse_objects(error)
        raise
    except Exception as error:
        _refuse_numba(error)
        raise


def _refuse_numba(error: Exception) -> None:
    """Raise a TraceError if an error is numba's about a traced value."""
    is_about_array = isinstance(error, TypeError) and str(error).startswith("can't unbox array")
    if is_about_array or type(error).__module__.startswith("numba."):
        place = line_of(error)[0] or here()
        raise TraceError(
            f"{place}functions that numba compiled take no traced values; call the Python"
            " function, f.py_func, and compile its Jacobian instead, with backend='numba'"
        ) from error


def _refuse_objects(error: Exception) -> None:
    """Raise a TraceError if an error is NumPy's about an array of objects."""
    place, is_inside = line_of(error)
    if isinstance(error, AttributeError):
        # np.arctan2 calls x.arctan2(y) for the elements x, y of such arrays.
        is_loop = isinstance(getattr(np, error.name or "", None), np.ufunc)
        is_about_objects = (is_inside or is_loop) and not isinstance(error.obj, Traced)
    else:
        is_about_objects = any(text in str(error) for text in _ABOUT_OBJECTS)
    if is_about_objects:
        raise TraceError(
            f"{place}{error}; this function does not take arrays of objects, as NumPy makes them of"
            " traced numbers: build them with np.array([...]), or fill np.zeros(n)"
        ) from error


def as_input(value: Any, position: int) -> Any:
    """Return an argument as an array of floats; raise InputError if it is none."""
    value = settle(value)
    if isinstance(value, Tracer):
        return value.snapshot()
    of_traced = packed(value)
    if of_traced is not value:
        return of_traced
    if isinstance(value, np.ndarray) and type(value) not in PLAIN:
        raise InputError(
            f"argument {position} must be a plain array, but got a {type(value).__name__}, whose"
            " operators or masks would get lost; pass np.asarray(x)"
        )
    array = np.asarray(value)
    if array.dtype in (np.int32, np.int64) and not (abs(array) > MAX_EXACT_INTEGER).any():
        # What a list of ints is to NumPy; solvers pass it on as it was given to them.
        array = array.astype(np.float64)
    if array.dtype.kind != "f":
        raise InputError(
            f"argument {position} must be an array of real floats, but got a"
            f" {type(value).__name__} of dtype {array.dtype}; {_how_to_pass(array.dtype)}"
        )
    # A Python number stays a scalar, which is immutable.
    return array if isinstance(value, np.ndarray) else array[()]


def _how_to_pass(dtype: np.dtype[Any]) -> str:
    """Return what to do with an argument that is no array of floats."""
    if dtype.kind in "iub":
        return (
            f"arithmetic of {dtype} (wrap-around, logic, exact integers) is not that of floats,"
            " so that it is not converted silently: pass np.asarray(x, dtype=float)"
        )
    if dtype.kind == "c":
        return (
            "say holomorphic=True if the function is holomorphic; else differentiate by real and"
            " imaginary part: jacobian(lambda re, im: f(re + 1j * im), argnums=(0, 1))"
        )
    return "pass an array of floats"


def _finish(tape: Tape, result: Any, has_jacobian: bool) -> Run:
    """Return a finished run; a tuple, or a list with arrays in it, is several outputs."""
    is_tuple = not isinstance(result, Traced) and (isinstance(result, tuple) or _has_arrays(result))
    numbers: list[int | None] = []
    values = []
    for k, item in enumerate(result if is_tuple else [result]):
        what = f"output {k}" if is_tuple else "the result"
        number, value = _output(tape, item, what, has_jacobian)
        numbers.append(number)
        values.append(value)
    numbers = _reopened(tape, partial(with_spectral_functions, tape), numbers)
    if any(is_differentiated(tape.entries[k].value) for k in range(tape.n_inputs)):
        numbers = _reopened(tape, partial(without_kinks, tape), numbers)
    outputs = zip(numbers, map(np.shape, values), strict=True)
    return Run(tape, tuple(outputs), tuple(values), is_tuple)


def is_differentiated(value: Any) -> bool:
    """Return whether a value is traced, and not only recorded."""
    return isinstance(value, Tracer) and not value.tape.is_recorder


def _has_arrays(result: Any) -> bool:
    """Return whether a result is a list, perhaps of lists, with an array of some axes in it."""
    if not isinstance(result, list):
        return False
    return any(
        _has_arrays([*item]) if isinstance(item, (list, tuple)) else getattr(item, "ndim", 0) > 0
        for item in result
    )


def _output(tape: Tape, item: Any, what: str, has_jacobian: bool) -> tuple[int | None, Any]:
    """Return the node of an output (None: it does not depend on the inputs) and its value."""
    if not isinstance(item, Traced):
        item = _as_array(tape, item, what)
    is_own = isinstance(item, Traced) and item.tape is tape
    if is_own or (
        has_jacobian and isinstance(item, (Traced, np.ndarray, np.generic, bool, complex))
    ):
        _check_dtype(getattr(item, "dtype", np.dtype(type(item))), what)
    if is_own:
        return item.number, item.value
    if isinstance(item, Traced):
        if not item.tape.is_open:
            raise TraceError(
                f"{what} is a traced value of an earlier call, whose derivative is lost; compute it"
                " anew, or keep chainad.stop_gradient(x) instead"
            )
        return None, item
    if isinstance(item, (np.ndarray, np.generic, float)):
        return None, np.asarray(item)
    raise InputError(
        f"{what} must be a number, an array of real floats, or a tuple or list of these,"
        f" but got {_described(item)}"
    )


def _as_array(tape: Tape, item: Any, what: str) -> Any:
    """Return lists, arrays of objects and Python's integers as arrays, all else as it is."""
    if isinstance(item, tuple) or _has_arrays(item):
        raise InputError(
            f"{what} is a {type(item).__name__} inside another, and several outputs are not nested;"
            " return one flat tuple of arrays, or np.stack(...) of arrays of one shape"
        )
    # Python's integers are numbers like any others, of a branch that does not depend on the inputs.
    if _is_literal(item):
        return np.asarray(item, float)
    if isinstance(item, list):
        item = _reopened(tape, as_one, item)
    if isinstance(item, np.ndarray) and item.dtype == object:
        item = _from_objects(tape, item, what)
    return item


def _is_literal(item: Any) -> bool:
    """Return whether an output is made of Python's integers alone."""
    return all(map(_is_literal, item)) if isinstance(item, (list, tuple)) else type(item) is int


def _check_dtype(dtype: np.dtype[Any], what: str) -> None:
    """Refuse outputs that are not real floats, with the reason."""
    if dtype.kind == "c":
        raise InputError(
            f"{what} is complex, which is not differentiated; return np.real and np.imag of it, or"
            " say holomorphic=True if the function is holomorphic"
        )
    if dtype.kind in "iub":
        raise InputError(
            f"{what} is of dtype {dtype}: its derivative is zero wherever there is one, which is"
            " hardly what is wanted; return floats, if need be by .astype(float)"
        )
    if dtype.kind != "f":
        raise InputError(f"{what} must be an array of real floats, but got one of dtype {dtype}")


def _from_objects(tape: Tape, item: np.ndarray[Any, Any], what: str) -> Any:
    if has_tracer(item):
        return _reopened(tape, pack, item)
    if not all(isinstance(x, NUMBERS) for x in item.flat):
        raise TraceError(f"{what} is an object array without numbers; return an array of floats")
    return item.astype(float)


def _described(item: Any) -> str:
    if isinstance(item, (np.ndarray, np.generic)):
        return f"an array of dtype {item.dtype}"
    if hasattr(item, "to_numpy"):
        return f"{type(item).__name__}; return its .to_numpy() or its .data"
    return type(item).__name__


def _reopened(tape: Tape, function: Callable[[Any], Any], item: Any) -> Any:
    tape.is_open = True
    try:
        return function(item)
    finally:
        tape.is_open = False
