"""Running a function once on traced inputs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from traceback import walk_tb
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from chainad.errors import InputError, TraceError
from chainad.frontends.numpy.bound_names import DATA, BoundNames, with_copies_followed
from chainad.frontends.numpy.kinks import has_kinks, without_kinks
from chainad.frontends.numpy.made_arrays import settle
from chainad.frontends.numpy.packing import packed
from chainad.frontends.numpy.proxies import replacement_of
from chainad.frontends.numpy.spectral_functions import (
    has_spectral_functions,
    with_spectral_functions,
)
from chainad.frontends.numpy.tape import Tape, active
from chainad.frontends.numpy.traced_results import (
    MUST_BE,
    described,
    output_of,
    output_place,
    reopened,
)
from chainad.frontends.numpy.traced_values import Traced, TracedArray, TracedScalar, box
from chainad.frontends.numpy.tracers import PLAIN, Tracer, has_tracer
from chainad.ir import trees
from chainad.ir.array_functions import is_ndarray
from chainad.ir.graph import Graph
from chainad.ir.signature import Signature, signature_of
from chainad.ir.source_lines import here, line_of, scipy_calls_in
from chainad.ir.trees import LEAF, Tree
from chainad.rules.scipy_wrappers import instead_of_scipy

# An argument: its position, or the name that it is given by.
Key: TypeAlias = int | str

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


class Run(NamedTuple):
    """One traced run: its tape, and what the function returned.

    Attributes
    ----------
    tape : Tape
    outputs : tuple of int or None
        For every array of the result, its entry on the tape (None: it does not depend on the
        inputs); `values` are the plain arrays.
    arguments : tuple of Tree
        How the inputs are arranged in each argument that is differentiated by.
    result : Tree
        How the outputs are arranged in the result.
    aux : Any
        What else the function returned, with plain arrays.
    signature : Signature
        What Jacobians depend on beside entries.
    """

    tape: Tape
    outputs: tuple[int | None, ...]
    values: tuple[Any, ...]
    arguments: tuple[Tree, ...]
    result: Tree
    aux: Any
    signature: Signature

    def graph(self) -> Graph:
        """Return the graph of what was called on what."""
        return self.tape.graph(self.outputs, [shape for shape, _ in self.signature.outputs])

    def input(self, number: int) -> Any:
        """Return the value of the `number`-th input."""
        return self.tape.entries[number].value

    def without_inputs(self) -> Run:
        """Return the run as one of a function that has these values and is not differentiated."""
        numbers = [None] * len(self.values)
        return _run_of(Tape(box), (), numbers, self.values, self.result, self.aux)


def _run_of(
    tape: Tape,
    arguments: tuple[Tree, ...],
    numbers: Sequence[int | None],
    values: Sequence[Any],
    result: Tree,
    aux: Any,
) -> Run:
    inputs = (entry.value for entry in tape.entries[: tape.n_inputs])
    signature = signature_of(inputs, values, tape.key(numbers))
    return Run(tape, tuple(numbers), tuple(values), arguments, result, aux, signature)


class tracing:  # noqa: N801
    """Trace a call with respect to the arguments `argnums`: `with tracing(...) as run`.

    Large constants that the function used are read-only inside the `with` block, so that the local
    Jacobians can be evaluated; afterwards everything is as it was. Results that cannot be
    differentiated are refused if `has_jacobian`. With `has_aux` the function returns a pair of the
    result and something else, which may be anything.
    """

    # A class: a generator would turn a StopIteration of the user's into another error.

    def __init__(
        self,
        f: Callable[..., Any],
        args: Sequence[Any],
        argnums: Sequence[Key],
        kwargs: Mapping[str, Any] | None = None,
        *,
        has_jacobian: bool = True,
        has_aux: bool = False,
        reader: Callable[..., Any] | None = None,
    ) -> None:
        self.f, self.args, self.argnums = f, args, argnums
        self.kwargs = {} if kwargs is None else kwargs
        self.has_jacobian, self.has_aux = has_jacobian, has_aux
        # The user's function, where `f` calls it, and what else it is given that has code.
        self.reader = f if reader is None else reader
        self.functions: list[Any] = []
        self.tape = Tape(box)

    def __enter__(self) -> Run:
        try:
            return self._run()
        except BaseException:
            self.tape.close()
            raise

    def __exit__(self, *error: object) -> None:
        self.tape.close()

    def _result(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        before, names = active.tape, BoundNames()
        try:
            names.bind((self.reader, *functions) if (functions := self.functions) else self.reader)
            self.tape.has_writes = names.writes
            active.tape = self.tape
            result = _call(replacement_of(self.f), args, kwargs, self.tape)
            return result if _is_traced(result) else trees.map_leaves(settle, result)
        finally:
            active.tape = before
            names.release()

    def _run(self) -> Run:
        tape = self.tape
        args, kwargs = [*self.args], dict(self.kwargs)
        if len(args) + len(kwargs) > len(self.argnums):
            args = with_copies_followed(self.reader, args)
            named = with_copies_followed(self.reader, [*kwargs.values()])
            kwargs = dict(zip(kwargs, named, strict=True))
            self.functions = [x for x in (*args, *named) if type(x) not in DATA]
        arguments = []
        for k in self.argnums:
            given = holder_of(k, args, kwargs)
            given[k], tree = self._boxed(k, given[k])
            arguments.append(tree)
        result, aux = self._result(args, kwargs), None
        if tape.refusals:
            # Caught by the function, which then took another branch than with plain arrays.
            raise tape.refusals[0]
        tape.is_open = tape.has_fast_path = False
        if self.has_aux:
            result, aux = split_aux(result)
            aux = trees.map_leaves(partial(_without_tape, tape), aux)
        return _finish(tape, tuple(arguments), result, aux, self.has_jacobian)

    def _boxed(self, key: Key, argument: Any) -> tuple[Any, Tree]:
        """Return an argument with inputs of the tape in place of its arrays."""
        tape = self.tape
        if type(argument) is np.ndarray and argument.dtype.char == "d":  # the usual one
            value = argument.copy()
            return box(value, tape, tape.append_input(value)), LEAF
        boxed = []
        leaves, tree = argument_leaves(self.reader, key, argument)
        for leaf in leaves:
            # What the caller does with his own array is his affair.
            value = leaf.copy() if is_ndarray(leaf) else leaf
            if is_differentiated(value):
                tape.is_differentiated = True
            boxed.append(box(value, tape, tape.append_input(value)))
        return boxed[0] if tree is LEAF else tree.unflatten(boxed), tree


_CLASSES = {TracedScalar, TracedArray}


def _is_traced(result: Any) -> bool:
    """Return whether a result is a traced value, or a tuple of these."""
    return isinstance(result, Traced) or (
        type(result) is tuple and {*map(type, result)} <= _CLASSES
    )


def _call(f: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], tape: Tape) -> Any:
    try:
        return f(*args, **kwargs)
    except TraceError:
        raise
    except (ValueError, TypeError, AttributeError, SystemError) as error:
        _refuse_numba(error)
        # NumPy, SciPy and compiled code answer a refusal with errors of their own.
        for refusal in (error.__cause__, *tape.refusals):
            if isinstance(refusal, TraceError):
                raise refusal from None
        _refuse_scipy(error)
        if "read-only" in str(error):
            error.add_note(
                "chainad makes large arrays read-only once they have met a traced value, since"
                " their entries are needed for the derivative; write into a copy instead"
            )
        elif tape.has_objects:
            _refuse_objects(error)
        elif tape.has_blanked and isinstance(error, ValueError):
            error.add_note(
                "the memory of arrays that the function fills with traced values is nan to others"
                " that know none; use their like of chainad.scipy, or those of NumPy"
            )
        raise
    except Exception as error:
        _refuse_numba(error)
        if tape.refusals and line_of(error)[1]:  # such as that of MINPACK
            raise tape.refusals[0] from None
        raise


def _refuse_scipy(error: Exception) -> None:
    """Raise a TraceError if an error is that of a function of SciPy's about a traced value."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)][::-1]
    of_scipy = [x for x in frames if str(x.f_globals.get("__name__")).startswith("scipy.")]
    if any(has_tracer(frame.f_locals) for frame in of_scipy):
        advice = instead_of_scipy(scipy_calls_in(frames))
    else:  # a method in C has no frame
        advice = _OF_METHODS if re.search(r"not (Traced|Recorded)Array$", str(error)) else ""
    if advice:
        raise TraceError(f"{line_of(error)[0]}{advice}") from error


_OF_METHODS = (
    "compiled code takes no traced arrays; use chainad.scipy.sparse.linalg.splu(A).solve in the"
    " place of that of SciPy, or make it a chainad.primitive with a derivative of its own"
)


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


def argument_leaves(f: Callable[..., Any], key: Key, argument: Any) -> tuple[list[Any], Tree]:
    """Return the arrays of floats in an argument of a function, and how they are arranged there.

    Raises
    ------
    InputError
        If it holds something else; the message says where.
    """
    if argument is None:
        raise InputError(f"{argument_name(key)} must be an array of real floats, but got None")
    leaves, tree = trees.flatten_arrays(argument)
    if tree is LEAF:
        return [as_input(argument, partial(argument_name, key))], LEAF

    def place(number: int) -> str:
        return tree.place(number, argument_root(f, key, tree))

    return [as_input(x, partial(place, n)) for n, x in enumerate(leaves)], tree


def holder_of(key: Key, args: Any, kwargs: Any) -> Any:
    """Return what the argument of a key is found in, of the positional and the named ones."""
    return kwargs if isinstance(key, str) else args


def argument_name(key: Key) -> str:
    """Return what messages call an argument."""
    return f"argument {key!r}"


def argument_root(f: Callable[..., Any], key: Key, tree: Tree) -> str:
    """Return what messages write before the path of an array in an argument: the "w" of "w['b']".

    An array itself is called by its place.
    """
    if tree is LEAF:
        return argument_name(key)
    if isinstance(key, str):
        return key
    try:
        return [*inspect.signature(f).parameters][key]
    except (ValueError, TypeError, IndexError):  # in C, or one of *args
        return f"args[{key}]"


def as_input(value: Any, place: Callable[[], str]) -> Any:
    """Return an argument as an array of floats; raise InputError if it is none.

    `place` returns what messages call it.
    """
    if type(value) is np.ndarray and value.dtype.char == "d":  # the usual one
        return value
    if type(value) is float:  # which stays a scalar, and immutable
        return np.float64(value)
    value = settle(value)
    if isinstance(value, Tracer):
        return value.snapshot()
    of_traced = packed(value)
    if of_traced is not value:
        return of_traced
    if isinstance(value, np.ndarray) and type(value) not in PLAIN:
        raise InputError(
            f"{place()} must be a plain array, but got a {type(value).__name__}, whose operators"
            " or masks would get lost; pass np.asarray(x)"
        )
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError(
            f"{place()} must be an array of real floats, but got a list of lists of different"
            " lengths; a container of arrays has arrays in it: [np.array(row) for row in x]"
        ) from error
    if array.dtype in (np.int32, np.int64) and not (abs(array) > MAX_EXACT_INTEGER).any():
        # What a list of ints is to NumPy; solvers pass it on as it was given to them.
        array = array.astype(np.float64)
    if array.dtype.kind != "f":
        raise InputError(
            f"{place()} must be an array of real floats, but got a"
            f" {type(value).__name__} of dtype {array.dtype}; {_how_to_pass(array)}"
        )
    # A Python number stays a scalar, which is immutable.
    return array if isinstance(value, np.ndarray) else array[()]


def _how_to_pass(array: np.ndarray[Any, Any]) -> str:
    """Return what to do with an argument that is no array of floats."""
    dtype = array.dtype
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
    if dtype.kind == "O" and not hasattr(array[()], "shape"):
        return (
            "pass an array of floats, or a container: a dict, list, tuple, or a type registered for"
            " it, optree.register_pytree_node(cls, flatten, unflatten, namespace='chainad')"
        )
    return "pass an array of floats; what is none is another argument, which argnums leaves out"


def _finish(
    tape: Tape, arguments: tuple[Tree, ...], result: Any, aux: Any, has_jacobian: bool
) -> Run:
    """Return a finished run."""
    if result is None:
        raise InputError(f"the result {MUST_BE} None")
    if not _is_traced(result):
        leaves, tree = trees.flatten_arrays(result)
    elif type(result) is tuple:
        leaves, tree = [*result], trees.tuple_of((LEAF,) * len(result))
    else:
        leaves, tree = [result], LEAF
    found: list[tuple[int | None, Any]] = [
        (item.number, item.value)
        if isinstance(item, Traced) and item.tape is tape and item.value.dtype.kind == "f"
        else output_of(tape, item, partial(output_place, tree, k), has_jacobian)
        for k, item in enumerate(leaves)
    ]
    numbers = [number for number, _ in found]
    values = [value for _, value in found]
    if has_spectral_functions(tape):
        numbers = reopened(tape, partial(with_spectral_functions, tape), numbers)
    if tape.is_differentiated and has_kinks(tape):
        numbers = reopened(tape, partial(without_kinks, tape), numbers)
    return _run_of(tape, arguments, numbers, values, tree, aux)


def split_aux(result: Any) -> tuple[Any, Any]:
    """Return the result of a function with has_aux=True, and what else it returned."""
    if isinstance(result, tuple) and len(result) == 2:
        return result
    raise InputError(
        "a function with has_aux=True returns a pair, its result and anything else, but got"
        f" {described(result)}"
    )


def _without_tape(tape: Tape, value: Any) -> Any:
    """Return the plain array, in memory of its own, for a value of a tape; others as they are."""
    if isinstance(value, Tracer) and value.tape is tape:
        value = value.value
        return value.copy() if is_ndarray(value) else value
    return value


def is_differentiated(value: Any) -> bool:
    """Return whether a value is traced, and not only recorded."""
    return isinstance(value, Tracer) and not value.tape.is_recorder
