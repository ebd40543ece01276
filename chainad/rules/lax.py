"""Linear primitives of JAX: a row for each whose local Jacobian has a structure.

A row is given a linear equation of a jaxpr and which operand is the tangent. It returns the
structure, and what is stored: another operand, or nothing. Primitives without a row are operators,
known by their action. No row needs JAX itself: equations are read by their names and parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from math import prod
from typing import Any, TypeAlias

import numpy as np

from chainad.ir.shapes import Shape
from chainad.structure import Arrangement, arrange, from_labels, reshaped, selection
from chainad.structure.structure import Axis

# Integers up to here are exact in single precision.
MAX_EXACT_NUMBER = 1 << 24


@dataclass(frozen=True)
class Equation:
    """A linear equation, by shapes: its parameters, those of its operands, and of its result.

    `output` tells which result that is. `entries(numbers)` is the result for integers in the place
    of the tangent, and zeros in that of others: it tells where the entries come from.
    `pulled(numbers)` is what is pulled back to the tangent from these in the place of the result:
    it tells where the entries go to. Both are None if that depends on what is not known.
    """

    params: Mapping[str, Any]
    operands: tuple[Shape, ...]
    result: Shape
    tangent: int
    output: int = 0
    entries: Callable[[Any], Any] | None = None
    pulled: Callable[[Any], Any] | None = None

    @property
    def operand(self) -> Shape:
        """The shape of the tangent."""
        return self.operands[self.tangent]


# The structure, and the number of the operand that is stored in it, if any.
Row: TypeAlias = Callable[[Equation], tuple[Arrangement, int | None] | None]
ROWS: dict[str, Row] = {}


def row(*names: str) -> Callable[[Row], Row]:
    """Register the row of primitives."""

    def register(function: Row) -> Row:
        ROWS.update(dict.fromkeys(names, function))
        return function

    return register


@row("reshape", "squeeze", "expand_dims")
def _reshape(eqn: Equation) -> tuple[Arrangement, None] | None:
    found = reshaped(eqn.operand, eqn.result)
    return None if found is None else (found, None)


@row("broadcast_in_dim")
def _broadcast(eqn: Equation) -> tuple[Arrangement, None]:
    return widened(eqn.operand, eqn.result, eqn.params["broadcast_dimensions"]), None


@row("reduce_sum")
def _sum(eqn: Equation) -> tuple[Arrangement, None]:
    cols = [(n, (d,)) for d, n in enumerate(eqn.operand)]
    rows = [cols[d] for d in range(len(cols)) if d not in eqn.params["axes"]]
    return from_labels(rows, cols, dict(enumerate(eqn.operand)), scale=1), None


@row("transpose")
def _transpose(eqn: Equation) -> tuple[Arrangement, None]:
    cols = [(n, (d,)) for d, n in enumerate(eqn.operand)]
    rows = [cols[d] for d in eqn.params["permutation"]]
    return from_labels(rows, cols, dict(enumerate(eqn.operand)), scale=1), None


@row("slice")
def _slice(eqn: Equation) -> tuple[Arrangement, None]:
    starts, steps = eqn.params["start_indices"], eqn.params["strides"]
    steps = steps or (1,) * len(starts)
    cols = [
        Axis(n, (d,), range(start, start + m * step, step))
        for d, (n, m, start, step) in enumerate(
            zip(eqn.operand, eqn.result, starts, steps, strict=True)
        )
    ]
    return _along(eqn.result, cols, is_rows=False), None


@row("rev")
def _reverse(eqn: Equation) -> tuple[Arrangement, None]:
    rows = [
        Axis(n, (d,), range(n - 1, -1, -1) if d in eqn.params["dimensions"] else None)
        for d, n in enumerate(eqn.result)
    ]
    return _along(eqn.operand, rows), None


@row("pad")
def _pad(eqn: Equation) -> tuple[Arrangement, None] | None:
    config = eqn.params["padding_config"]
    if eqn.tangent or any(low < 0 or high < 0 for low, high, _ in config):
        return None
    rows = [
        Axis(m, (d,), range(low, low + n * (gap + 1), gap + 1))
        for d, (m, n, (low, _, gap)) in enumerate(zip(eqn.result, eqn.operand, config, strict=True))
    ]
    return _along(eqn.operand, rows), None


@row("concatenate")
def _concatenate(eqn: Equation) -> tuple[Arrangement, None]:
    axis = eqn.params["dimension"]
    start = sum(shape[axis] for shape in eqn.operands[: eqn.tangent])
    rows = [Axis(n, (d,)) for d, n in enumerate(eqn.result)]
    rows[axis] = Axis(eqn.result[axis], (axis,), range(start, start + eqn.operand[axis]))
    return _along(eqn.operand, rows), None


@row("stack")
def _stack(eqn: Equation) -> tuple[Arrangement, None]:
    axis = eqn.params["axis"]
    rows = [Axis(n, (d,)) for d, n in enumerate(eqn.operand)]
    rows.insert(axis, Axis(eqn.result[axis], (), range(eqn.tangent, eqn.tangent + 1)))
    return _along(eqn.operand, rows), None


@row("split")
def _split(eqn: Equation) -> tuple[Arrangement, None]:
    axis, start = eqn.params["axis"], sum(eqn.params["sizes"][: eqn.output])
    cols = [Axis(n, (d,)) for d, n in enumerate(eqn.operand)]
    cols[axis] = Axis(eqn.operand[axis], (axis,), range(start, start + eqn.result[axis]))
    return _along(eqn.result, cols, is_rows=False), None


def _along(shape: Shape, axes: list[Axis], is_rows: bool = True) -> Arrangement:
    """Return the structure of ones whose plain side has a shape, the other one these axes."""
    plain = [Axis(n, (d,)) for d, n in enumerate(shape)]
    rows, cols = (axes, plain) if is_rows else (plain, axes)
    return arrange(rows, cols, dict(enumerate(shape)), scale=1)


@row("dot_general")
def _dot(eqn: Equation) -> tuple[Arrangement, int]:
    (summed, batch), new = eqn.params["dimension_numbers"], count()
    labels = [dict[int, int](), dict[int, int]()]
    for pair in (*zip(*batch, strict=True), *zip(*summed, strict=True)):
        label = next(new)
        for own, axis in zip(labels, pair, strict=True):
            own[axis] = label
    shared = [*labels]
    named = [
        [shared[k].get(axis, None) for axis in range(len(shape))]
        for k, shape in enumerate(eqn.operands)
    ]
    full = [[next(new) if label is None else label for label in own] for own in named]
    sizes = {
        label: n
        for own, shape in zip(full, eqn.operands, strict=True)
        for label, n in zip(own, shape, strict=True)
    }
    kept = [full[0][axis] for axis in batch[0]]
    for k in (0, 1):
        kept += [x for axis, x in enumerate(full[k]) if axis not in (*batch[k], *summed[k])]
    mine, other = full[eqn.tangent], full[1 - eqn.tangent]
    rows = [(sizes[x], (x,)) for x in kept]
    cols = [(sizes[x], (x,)) for x in mine]
    return from_labels(rows, cols, sizes, tuple(other)), 1 - eqn.tangent


@row("gather", "dynamic_slice", "dynamic_update_slice", "scatter")
def _by_numbers(eqn: Equation) -> tuple[Arrangement, None] | None:
    """Return the structure of a movement whose indices are known: run once on entry numbers."""
    if eqn.entries is None:
        return None
    numbers = np.arange(1, prod(eqn.operand) + 1).reshape(eqn.operand)
    return selection(np.asarray(eqn.entries(numbers)).astype(np.int64) - 1, eqn.operand), None


@row("scatter-add")
def _scatter_add(eqn: Equation) -> tuple[Arrangement, None] | None:
    """Return the structure of an addition at known indices: where its pull takes entries from."""
    if eqn.tangent == 0:
        return scaled(eqn.operand, 1), None
    if eqn.pulled is None or prod(eqn.result) > MAX_EXACT_NUMBER:
        return None
    numbers = np.arange(1, prod(eqn.result) + 1).reshape(eqn.result)
    pull = selection(np.asarray(eqn.pulled(numbers)).astype(np.int64) - 1, eqn.result).structure
    sizes = dict(enumerate(pull.sizes))
    return arrange(pull.cols, pull.rows, sizes, scale=pull.scale), None


def _all_but(eqn: Equation, axis: int) -> tuple[Sequence[int], Sequence[int]]:
    axes = [d for d in range(len(eqn.operand)) if d != axis]
    return axes, axes


def _batch_of_convolution(eqn: Equation) -> tuple[Sequence[int], Sequence[int]]:
    if eqn.tangent or eqn.params["batch_group_count"] != 1:
        return (), ()
    numbers = eqn.params["dimension_numbers"]
    return numbers.lhs_spec[:1], numbers.out_spec[:1]


# From an equation to axes of its operand, and of its result, along which it is independent.
BATCHES: dict[str, Callable[[Equation], tuple[Sequence[int], Sequence[int]]]] = {
    "cumsum": lambda eqn: _all_but(eqn, eqn.params["axis"]),
    "triangular_solve": lambda eqn: (
        _all_but(eqn, len(eqn.operand) - 1 - eqn.params["left_side"]) if eqn.tangent else ((), ())
    ),
    "conv_general_dilated": _batch_of_convolution,
}

# From the parameters of an equation to whether no entry of its result depends on a later entry.
TRIANGULAR: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "cumsum": lambda params: not params["reverse"],
    "triangular_solve": lambda params: (
        params["left_side"] and params["lower"] != params["transpose_a"]
    ),
}


def batched(eqn: Equation, axes: tuple[Sequence[int], Sequence[int]]) -> Arrangement:
    """Return the structure of an equation that is independent along axes, and dense in others."""
    cols = [(n, (-1 - d,)) for d, n in enumerate(eqn.operand)]
    rows = [(n, (d,)) for d, n in enumerate(eqn.result)]
    for col, d in zip(*axes, strict=True):
        cols[col] = rows[d]
    sizes = {labels[0]: n for n, labels in (*rows, *cols)}
    return from_labels(rows, cols, sizes, [*sizes])


def scaled(shape: Shape, factor: float | None = None) -> Arrangement:
    """Return the structure of a multiplication with one number, which is stored if not given."""
    axes = [(n, (d,)) for d, n in enumerate(shape)]
    stored = () if factor is None else None
    return from_labels(axes, axes, dict(enumerate(shape)), stored, factor)


def widened(shape: Shape, result: Shape, axes: Sequence[int] | None = None) -> Arrangement:
    """Return the structure of a broadcast to axes of the result, by default to the last ones."""
    if axes is None:
        axes = range(len(result) - len(shape), len(result))
    rows = [(n, (d,)) for d, n in enumerate(result)]
    cols = [(n, (d,) if n == result[d] else ()) for n, d in zip(shape, axes, strict=True)]
    return from_labels(rows, cols, dict(enumerate(result)), scale=1)
