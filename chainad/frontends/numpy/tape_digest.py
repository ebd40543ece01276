"""Digests of tapes: what a Jacobian depends on, known again in another process."""

from __future__ import annotations

import pickle
from hashlib import blake2b
from inspect import unwrap
from typing import Any

import numpy as np

from chainad.frontends.numpy.tape import Tape
from chainad.ir.graph import Argument

DIGEST_BYTES = 16


def digest_of_arguments(tape: Tape) -> str:
    """Return a digest of the arrays that a function is differentiated by, bit by bit."""
    found = _Digest()
    for entry in tape.entries[: tape.n_inputs]:
        found.add(entry.value)
    return found.hexdigest()


def digest_of_calls(tape: Tape) -> str:
    """Return a digest of what a function called on what, and of all constants it did so with."""
    found = _Digest()
    for entry in tape.entries[tape.n_inputs :]:
        found.add(entry.function)
        found.add(entry.template)
        for source, operand in zip(entry.sources, entry.operands, strict=True):
            found.add(operand if source is None else source)
    return found.hexdigest()


def digest_of_array(array: np.ndarray[Any, Any]) -> str:
    """Return a digest of the entries of an array, bit by bit."""
    found = _Digest()
    found.add(array)
    return found.hexdigest()


class _Digest:
    """A digest of values of any kind, each with its type."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=DIGEST_BYTES)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()

    def _text(self, text: str) -> None:
        self._hash.update(f"{text}\0".encode())

    def add(self, value: Any) -> None:
        """Add a value; the parts of a container one by one."""
        self._text(type(value).__name__)
        if isinstance(value, (np.ndarray, np.generic)) and value.dtype != object:
            array = np.ascontiguousarray(value)
            self._text(f"{array.dtype.str}{np.shape(value)}")
            self._hash.update(array.reshape(-1).view(np.uint8))
        elif isinstance(value, (tuple, list)):
            self._text(str(len(value)))
            for item in value:
                self.add(item)
        elif isinstance(value, dict):
            self.add([*value.items()])
        elif isinstance(value, (slice, Argument)):
            self._text(repr(value))
        elif callable(value):
            self._add_function(value)
        else:
            self._add_object(value)

    def _add_object(self, value: Any) -> None:
        try:
            self._hash.update(pickle.dumps(value, protocol=4))
        except Exception:  # its own; what has no text of its own then differs from run to run
            self._text(repr(value))

    def _add_function(self, function: Any) -> None:
        name = getattr(function, "__qualname__", getattr(function, "__name__", ""))
        self._text(f"{getattr(function, '__module__', '')}.{name}")
        # What a primitive of the user's does is not on the tape.
        code = getattr(unwrap(function), "__code__", None)
        if code is not None:
            self._hash.update(code.co_code)
            constants = [x for x in code.co_consts if not hasattr(x, "co_code")]
            self._text(repr((code.co_names, constants)))
