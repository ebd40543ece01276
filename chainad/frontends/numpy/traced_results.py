"""What a traced function returned: its outputs, each as an array or an entry of the tape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainad.errors import InputError, TraceError, ZeroDerivativeWarning
from chainad.frontends.numpy.packing import as_one, pack
from chainad.frontends.numpy.tape import Tape
from chainad.frontends.numpy.traced_values import Traced
from chainad.frontends.numpy.tracers import NUMBERS, has_tracer
from chainad.ir.notices import warn_user
from chainad.ir.trees import LEAF, Tree


def output_place(tree: Tree, number: int) -> str:
    """Return what messages call an array of the result."""
    if tree is LEAF:
        return "the result"
    if tree.is_flat_tuple:
        return f"output {number}"
    return tree.place(number, "the result")


MUST_BE = "must be a number, an array of real floats, or a container of these, but got"


def output_of(
    tape: Tape, item: Any, place: Callable[[], str], has_jacobian: bool
) -> tuple[int | None, Any]:
    """Return the node of an output (None: it does not depend on the inputs) and its value."""
    if not isinstance(item, Traced):
        item = _as_array(tape, item, place)
    is_own = isinstance(item, Traced) and item.tape is tape
    if is_own or (
        has_jacobian and isinstance(item, (Traced, np.ndarray, np.generic, bool, complex))
    ):
        _check_dtype(item.dtype if hasattr(item, "dtype") else np.dtype(type(item)), place)
    if is_own:
        return item.number, item.value
    if isinstance(item, Traced):
        if not item.tape.is_open:
            raise TraceError(
                f"{place()} is a traced value of an earlier call, whose derivative is lost; compute"
                " it anew, or keep chainad.stop_gradient(x) instead"
            )
        return None, item
    if isinstance(item, (np.ndarray, np.generic, float)):
        if tape.has_blanked and np.asarray(item).dtype.kind in "fc" and np.isnan(item).any():
            raise TraceError(
                f"{place()} is nan and does not depend on x: a function that knows no traced values"
                " has read the memory of an array that this function fills with some; use its like"
                " of chainad.scipy, or one of NumPy's"
            )
        array = np.asarray(item)
        if tape.comparisons >= _COMPARISONS_OF_A_SEARCH and array.any():
            _warn_of_search(tape.comparisons, place)
        return None, array
    raise InputError(f"{place()} {MUST_BE} {described(item)}")


# Fewer are branches, such as max(0.0, x), where a constant has the derivative that is meant.
_COMPARISONS_OF_A_SEARCH = 10


def _warn_of_search(comparisons: int, place: Callable[[], str]) -> None:
    """Warn of a result that was found by comparing, as bisection finds a root."""
    warn_user(
        f"{place()} does not depend on x but by {comparisons} comparisons, so that its derivative"
        " is zero; what is searched for by comparing, such as a root, is differentiated by"
        " chainad.implicit, or by the solvers of chainad.scipy.optimize (brentq, bisect)",
        ZeroDerivativeWarning,
    )


def _as_array(tape: Tape, item: Any, place: Callable[[], str]) -> Any:
    """Return lists, arrays of objects and Python's integers as arrays, all else as it is."""
    # Python's integers are numbers like any others, of a branch that does not depend on the inputs.
    if _is_literal(item):
        return np.asarray(item, float)
    if isinstance(item, list):
        item = reopened(tape, as_one, item)
    if isinstance(item, np.ndarray) and item.dtype == object:
        item = _from_objects(tape, item, place)
    return item


def _is_literal(item: Any) -> bool:
    """Return whether an output is made of Python's integers alone."""
    return all(map(_is_literal, item)) if isinstance(item, list) else type(item) is int


def _check_dtype(dtype: np.dtype[Any], place: Callable[[], str]) -> None:
    """Refuse outputs that are not real floats, with the reason."""
    if dtype.kind == "c":
        raise InputError(
            f"{place()} is complex, which is not differentiated; return np.real and np.imag of it,"
            " or say holomorphic=True if the function is holomorphic"
        )
    if dtype.kind in "iub":
        raise InputError(
            f"{place()} is of dtype {dtype}: its derivative is zero wherever there is one, which is"
            " hardly what is wanted; return floats, if need be by .astype(float)"
        )
    if dtype.kind != "f":
        raise InputError(f"{place()} must be an array of real floats, but got one of dtype {dtype}")


def _from_objects(tape: Tape, item: np.ndarray[Any, Any], place: Callable[[], str]) -> Any:
    if has_tracer(item):
        return reopened(tape, pack, item)
    if not all(isinstance(x, NUMBERS) for x in item.flat):
        raise TraceError(f"{place()} is an object array without numbers; return an array of floats")
    return item.astype(float)


def described(item: Any) -> str:
    """Return what messages call a result."""
    if isinstance(item, Traced):
        return f"an array of shape {item.shape}"
    if isinstance(item, (np.ndarray, np.generic)):
        return f"an array of dtype {item.dtype}"
    if isinstance(item, tuple):
        return f"a tuple of {len(item)}"
    if hasattr(item, "to_numpy"):
        return f"{type(item).__name__}; return its .to_numpy() or its .data"
    return type(item).__name__


def reopened(tape: Tape, function: Callable[[Any], Any], item: Any) -> Any:
    """Return a function's value of what was returned, while calls are put on the tape again."""
    tape.is_open = True
    try:
        return function(item)
    finally:
        tape.is_open = False
