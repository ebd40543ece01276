"""Multiply-reduce fusion: a sum of products along the last axis is one call, without temporary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from chainad.compiler.recording.recording import RecordedCall
from chainad.frontends.numpy.recorder import Ref


def fuse_multiply_reduce(calls: Sequence[RecordedCall], always: set[int]) -> list[RecordedCall]:
    """Return calls with `np.vecdot` where products that nothing else reads are added up.

    The sums may differ from NumPy's in the last digits: it adds in another order. `always` are
    values that are read elsewhere, too.
    """
    known = {call.number: call for call in calls}
    readers = Counter(k for call in calls for k in call.reads)
    fused: dict[int, RecordedCall] = {}
    absorbed: set[int] = set()
    for call in calls:
        product = known.get(call.reads[0]) if _is_sum(call) else None
        if product is None or product.number in always or readers[product.number] > 1:
            continue
        factors = _factors(product, known)
        if factors is not None and _sums_last(call, len(product.shape)):
            fused[call.number] = replace(call, function=np.vecdot, args=factors, kwargs={})
            absorbed.add(product.number)
    return [fused.get(call.number, call) for call in calls if call.number not in absorbed]


def _is_sum(call: RecordedCall) -> bool:
    return (
        call.function is np.sum
        and bool(call.args)
        and isinstance(call.args[0], Ref)
        and len(call.args) <= 2
        and set(call.kwargs) <= {"axis"}
        and not call.is_scalar
    )


def _sums_last(call: RecordedCall, ndim: int) -> bool:
    axis = call.args[1] if len(call.args) == 2 else call.kwargs.get("axis")
    return type(axis) is int and axis % ndim == ndim - 1


def _factors(call: RecordedCall, known: dict[int, RecordedCall]) -> tuple[Any, Any] | None:
    """Return the factors of a product of two arrays of the same shape and dtype, or of a square."""
    if call.kwargs or len(call.shape) < 2 or call.dtype not in (np.float64, np.float32):
        return None
    is_square = call.function is np.square or (
        call.function is np.power and type(call.args[1]) in (int, float) and call.args[1] == 2
    )
    if is_square and isinstance(call.args[0], Ref):
        found = call.args[0], call.args[0]
    elif call.function is np.multiply and all(isinstance(x, Ref) for x in call.args):
        found = call.args[0], call.args[1]
    else:
        return None
    makers = [known.get(x.number) for x in found]
    have_one_type = all(
        m is not None and (m.shape, m.dtype) == (call.shape, call.dtype) for m in makers
    )
    return found if have_one_type else None
