"""Sums of products along the last axis: one call, which writes no products down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from chainad.compiler.recording.recording import Step
from chainad.frontends.numpy.recorder import Ref


def fuse_multiply_reduce(steps: Sequence[Step], always: set[int]) -> list[Step]:
    """Return steps with `np.vecdot` where products that nothing else reads are added up.

    The sums may differ from NumPy's in the last digits: it adds in another order. `always` are
    values that are read outside of the steps.
    """
    known = {step.number: step for step in steps}
    readers = Counter(k for step in steps for k in step.reads)
    fused: dict[int, Step] = {}
    gone: set[int] = set()
    for step in steps:
        product = known.get(step.reads[0]) if _is_sum(step) else None
        if product is None or product.number in always or readers[product.number] > 1:
            continue
        factors = _factors(product, known)
        if factors is not None and _sums_last(step, len(product.shape)):
            fused[step.number] = replace(step, function=np.vecdot, args=factors, kwargs={})
            gone.add(product.number)
    return [fused.get(step.number, step) for step in steps if step.number not in gone]


def _is_sum(step: Step) -> bool:
    return (
        step.function is np.sum
        and bool(step.args)
        and isinstance(step.args[0], Ref)
        and len(step.args) <= 2
        and set(step.kwargs) <= {"axis"}
        and not step.is_scalar
    )


def _sums_last(step: Step, ndim: int) -> bool:
    axis = step.args[1] if len(step.args) == 2 else step.kwargs.get("axis")
    return type(axis) is int and axis % ndim == ndim - 1


def _factors(step: Step, known: dict[int, Step]) -> tuple[Any, Any] | None:
    """Return the factors of a product of two arrays of the same shape and dtype, or of a square."""
    if step.kwargs or len(step.shape) < 2 or step.dtype not in (np.float64, np.float32):
        return None
    is_square = step.function is np.square or (
        step.function is np.power and type(step.args[1]) in (int, float) and step.args[1] == 2
    )
    if is_square and isinstance(step.args[0], Ref):
        found = step.args[0], step.args[0]
    elif step.function is np.multiply and all(isinstance(x, Ref) for x in step.args):
        found = step.args[0], step.args[1]
    else:
        return None
    makers = [known.get(x.number) for x in found]
    alike = all(m is not None and (m.shape, m.dtype) == (step.shape, step.dtype) for m in makers)
    return found if alike else None
