"""Multiply-reduce fusion: a sum of products along the last axis is one call, without temporary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import replace

import numpy as np

from chainad.ir.calls import Call, Input
from chainad.ir.program import Instruction


def fuse_multiply_reduce(
    instructions: Sequence[Instruction], returned: Container[int | None]
) -> list[Instruction]:
    """Return instructions with `np.vecdot` where products that nothing else reads are added up.

    The sums may differ from NumPy's in the last digits: it adds in another order. `returned` are
    registers that are read elsewhere, too.
    """
    calls = {i.output: (i.op, i) for i in instructions if isinstance(i.op, Call)}
    reads = Counter(k for i in instructions for k in i.inputs)
    fused: dict[int, Instruction] = {}
    absorbed: set[int] = set()
    for total, i in calls.values():
        if not _is_sum(total) or i.inputs[0] not in calls:
            continue
        product, of = calls[i.inputs[0]]
        if of.output in returned or reads[of.output] > 1 or not _sums_last(total, product):
            continue
        factors = _factors(product, of)
        if len(factors) == 2 and all(_is_isomorphic(product, calls.get(k)) for k in factors):
            op = replace(total, function=np.vecdot, args=(Input(0), Input(1)), kwargs={})
            fused[i.output] = Instruction(op, factors, i.output)
            absorbed.add(of.output)
    return [fused.get(i.output, i) for i in instructions if i.output not in absorbed]


def _is_sum(call: Call) -> bool:
    return (
        call.function is np.sum
        and call.positions[:1] == (0,)
        and len(call.args) <= 2
        and set(call.kwargs) <= {"axis"}
        and not call.is_scalar
    )


def _sums_last(call: Call, product: Call) -> bool:
    axis, ndim = (
        call.args[1] if len(call.args) == 2 else call.kwargs.get("axis"),
        len(product.shape),
    )
    return type(axis) is int and axis % ndim == ndim - 1


def _factors(product: Call, of: Instruction) -> tuple[int, ...]:
    """Return the registers of the factors of a product of two arrays, or of a square."""
    if product.kwargs or len(product.shape) < 2 or product.dtype not in (np.float64, np.float32):
        return ()
    is_square = product.function is np.square or (
        product.function is np.power
        and type(product.args[1]) in (int, float)
        and product.args[1] == 2
    )
    if is_square:
        return of.inputs * 2
    return of.inputs if product.function is np.multiply else ()


def _is_isomorphic(call: Call, made: tuple[Call, Instruction] | None) -> bool:
    return made is not None and (made[0].shape, made[0].dtype) == (call.shape, call.dtype)
