"""Fallbacks: warnings that a function is run in a simpler way, and what is a fault of chainad."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from chainad.compiler.vectorize import NotBatchableError
from chainad.errors import ChainadError
from chainad.frontends.captures.find_captures import RandomNumbersError
from chainad.ir.notices import warn_of_fallback
from chainad.ir.progress import is_from_progress
from chainad.ir.scalar_graph import NotScalarError

# What is raised on purpose, or for lack of memory, is no fault.
INTENDED = (ChainadError, MemoryError)

# What NumPy raises for some values, and a function may catch.
_OF_VALUES = (ArithmeticError, np.linalg.LinAlgError, Warning)


# What is raised where something has to be made in another way.
REFUSALS = (NotScalarError, NotBatchableError, RandomNumbersError)

Made = TypeVar("Made")


def attempt(
    make: Callable[[], Made], trace: Callable[[], object] = lambda: None
) -> Made | Exception:
    """Return what is made, or why it is not: one of `REFUSALS`, or a fault of chainad.

    Raises what is intended, what a function that is told of progress raises, and what the function
    itself raises when it is traced.
    """
    try:
        return make()
    except REFUSALS as error:
        return error
    except INTENDED:
        raise
    except Exception as error:
        if is_from_progress(error):
            raise
        fault = error
    trace()  # not while the fault is handled: what it raises has no context
    return fault


def warn_of_refusal(backend: str, error: ChainadError) -> None:
    """Warn that the requested backend cannot run a function, so that NumPy does."""
    if backend != "auto":
        warn_of_fallback(
            f"backend={backend!r} cannot run this function: {error}; NumPy runs it instead"
        )


def warn_of_fault(action: str, error: Exception) -> None:
    """Warn that something failed that should not, so that a function is run in a simpler way."""
    warn_of_fallback(
        f"{action} failed with {type(error).__name__}: {error}; the function is run in a simpler"
        " way, and the results are right, but this is a fault of chainad that is worth reporting"
    )


def warn_of_random_numbers(name: str) -> None:
    """Warn that a function draws random numbers, which a replay would not draw anew."""
    warn_of_fallback(
        f"the function draws by {name}, and a replay would repeat what was drawn; it is traced at"
        " each call instead: draw outside and pass the numbers as an argument, or say"
        f" constant={name!r} if they are to stay as they are"
    )


def is_fault(error: Exception) -> bool:
    """Return whether what a replay raised, and tracing does not, is a fault of chainad.

    Otherwise the function caught what a call raised for these values.
    """
    if isinstance(error, (*INTENDED, *_OF_VALUES)):
        return False
    return not isinstance(error, ValueError) or _is_from_backend(error)


def _is_from_backend(error: Exception) -> bool:
    trace = error.__traceback__
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__")).startswith("chainad.backends."):
            return True
        trace = trace.tb_next
    return False
