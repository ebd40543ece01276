"""Contents: what is kept of arrays and sets to tell later whether they are the same, bit by bit."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

# Smaller arrays are compared as bytes, in one expression.
MAX_COMPARED_BYTES = 1 << 16
# Of larger arrays no copy is kept, but hashes of their blocks.
MAX_KEPT_BYTES = 1 << 26
# Two blocks stay in the processor's cache.
_BLOCK_BYTES = 1 << 18

_drawn_weights: list[npt.NDArray[np.uint64]] = []


def content(value: Any) -> Any:
    """Return what `has_content` compares an array, a set or a deque with."""
    if isinstance(value, (set, frozenset, deque)):
        return tuple(value)
    array = np.asarray(value)
    if array.dtype == object:
        return array.shape, array.dtype, tuple(array.ravel().tolist())
    if array.nbytes > MAX_KEPT_BYTES:
        return array.shape, array.dtype, _hashes(_bytes_of(array))
    kept = _kept(array)
    return array.shape, array.dtype, kept.copy() if isinstance(kept, np.ndarray) else kept


def _kept(array: npt.NDArray[Any]) -> Any:
    """Return the bytes of an array, or a view of them, if they are many."""
    return array.tobytes() if array.nbytes <= MAX_COMPARED_BYTES else _bytes_of(array)


def has_content(value: Any, known: Any) -> bool:
    """Return whether an array, a set or a deque is what it was."""
    if isinstance(value, (set, frozenset, deque)):
        return len(value) == len(known) and not entries_differ(tuple(value), known)
    array = np.asarray(value)
    shape, dtype, kept = known
    if (array.shape, array.dtype) != (shape, dtype):
        return False
    if isinstance(kept, tuple):
        return not entries_differ(array.ravel().tolist(), kept)
    if isinstance(kept, np.ndarray):
        return _are_equal(_bytes_of(array), kept)
    if array.nbytes > MAX_COMPARED_BYTES:
        return bool(_hashes(_bytes_of(array)) == kept)
    return bool(array.tobytes() == kept)


def is_same(one: Any, other: Any) -> bool:
    """Return whether two arrays of numbers, or numbers, are equal, bit by bit; others, whether
    they are one object.
    """
    if type(one) is not type(other):
        return False
    if type(one) is np.ndarray and one.dtype != object:
        return has_content(one, (other.shape, other.dtype, _kept(other)))
    if isinstance(one, (int, float, complex, np.generic)):
        return not differs(one, other)
    return one is other


def _bytes_of(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _are_equal(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> bool:
    words = len(one) // 8 * 8
    a, b = one[:words].view(np.uint64), other[:words].view(np.uint64)
    step = _BLOCK_BYTES // 8
    blocks = [slice(k, k + step) for k in range(0, len(a), step)]
    same = all(bool((a[block] == b[block]).all()) for block in blocks)
    return same and one[words:].tobytes() == other[words:].tobytes()


def _hashes(entries: npt.NDArray[np.uint8]) -> bytes:
    """Return 64 bits for each block of an array.

    A block is hashed by a multilinear function modulo 2**64, whose weights are random and odd: a
    change of one word is always seen, any other but for a chance of less than 2**-32. (High halves
    are added to the low ones first: many floats differ in their high bits alone.)
    """
    words = len(entries) // 8
    numbers, rest = entries[: 8 * words].view(np.uint64), entries[8 * words :]
    step = _BLOCK_BYTES // 8
    if not _drawn_weights:
        drawn = np.random.Generator(np.random.PCG64()).integers(0, 2**63, step, dtype=np.uint64)
        _drawn_weights.append(2 * drawn + 1)
    weights = _drawn_weights[0]
    mixed = np.empty(step, np.uint64)
    found = []
    for k in range(0, words, step):
        block = numbers[k : k + step]
        part = mixed[: len(block)]
        np.right_shift(block, 32, out=part)
        np.bitwise_xor(part, block, out=part)
        np.multiply(part, weights[: len(block)], out=part)
        found.append(np.add.reduce(part))
    return np.array(found, np.uint64).tobytes() + rest.tobytes()


def differs(now: Any, then: Any) -> bool:
    """Return whether a value is another than it was: of another type, or not equal to it.

    nan is nan, and 0.0 is not -0.0.
    """
    if now.__class__ is not then.__class__:
        return True
    if isinstance(then, (float, complex, np.generic)):
        return repr(now) != repr(then)
    return bool(now != then)


def entries_differ(now: Sequence[Any], then: Sequence[Any]) -> bool:
    """Return whether any entry of a list is another than it was."""
    return any(a is not b and differs(a, b) for a, b in zip(now, then, strict=True))
