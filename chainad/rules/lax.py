"""Linear primitives of JAX: a row for each whose local Jacobian has a structure.

A row is given a linear equation of a jaxpr and which operand is the tangent. It returns the
structure, and what is stored: another operand, or nothing. Primitives without a row are operators,
known by their action. No row needs JAX itself: equations are read by their names and parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from math import prod
from typing import Any, TypeAlias

import numpy as np

from chainad.ir.shapes import Shape
from chainad.structure import Arrangement, arrange, from_labels, reshaped, selection
from chainad.structure.structure import Axis, Structure

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


@row("squeeze", "expand_dims")
def _squeeze(eqn: Equation) -> tuple[Arrangement, None]:
    return _row_major(eqn), None


@row("reshape")
def _reshape(eqn: Equation) -> tuple[Arrangement, None]:
    order = eqn.params["dimensions"]
    return _row_major(eqn, None if order is None else [*order]), None


def _row_major(eqn: Equation, order: Sequence[int] | None = None) -> Arrangement:
    """Return the structure of a reshape of the axes in an order."""
    found = reshaped(eqn.operand, eqn.result) if order is None else None
    if found is None:
        numbers = np.arange(prod(eqn.operand)).reshape(eqn.operand)
        ordered = numbers if order is None else numbers.transpose(order)
        found = selection(ordered.reshape(eqn.result), eqn.operand)
    return found


@row("broadcast_in_dim")
def _broadcast(eqn: Equation) -> tuple[Arrangement, None]:
    return widened(eqn.operand, eqn.result, eqn.params["broadcast_dimensions"]), None


@row("reduce_sum")
def _sum(eqn: Equation) -> tuple[Arrangement, None]:
    cols = [(n, (d,)) for d, n in enumerate(eqn.operand)]
    rows = [cols[d] for d in range(len(cols)) if d not in eqn.params["axes"]]
    return from_labels(rows, cols, dict(enumerate(eqn.operand)), scale=1), None


@row("reduce_window_sum")
def _sum_of_windows(eqn: Equation) -> tuple[Arrangement, None] | None:
    """Return the structure of sums over windows side by side; None if these overlap."""
    params, windows = eqn.params, eqn.params["window_dimensions"]
    is_plain = tuple(params["window_strides"]) == tuple(windows) and not any(
        low or high for low, high in params["padding"]
    )
    if not is_plain or {*params["base_dilation"], *params["window_dilation"]} - {1}:
        return None
    n = len(windows)
    rows = [Axis(m, (d,)) for d, m in enumerate(eqn.result)]
    cols = [
        Axis(size, (d, n + d), None if size == m * w else range(m * w))
        for d, (size, m, w) in enumerate(zip(eqn.operand, eqn.result, windows, strict=True))
    ]
    return arrange(rows, cols, dict(enumerate((*eqn.result, *windows))), scale=1), None


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


# Axes of the operand, with those of the result along which an equation is independent of the rest:
# the entries at one place of these depend on those at the same place alone.
Pairs: TypeAlias = list[tuple[int, int]]
INDEPENDENT_AXES: dict[str, Callable[[Equation], Pairs]] = {}


def independent(
    *names: str,
) -> Callable[[Callable[[Equation], Pairs]], Callable[[Equation], Pairs]]:
    """Register the independent axes of primitives, which need not have a row."""

    def register(function: Callable[[Equation], Pairs]) -> Callable[[Equation], Pairs]:
        INDEPENDENT_AXES.update(dict.fromkeys(names, function))
        return function

    return register


def _all_but(eqn: Equation, axes: Container[int]) -> Pairs:
    return [(d, d) for d in range(len(eqn.operand)) if d not in axes]


def _of_equal_sizes(eqn: Equation) -> Pairs:
    """Return the axes that are taken as a whole, or written as a whole."""
    sizes = zip(eqn.operand, eqn.result, strict=True)
    return [(d, d) for d, (n, m) in enumerate(sizes) if n == m]


@independent("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")
def _cumulative(eqn: Equation) -> Pairs:
    return _all_but(eqn, (eqn.params["axis"],))


@independent("fft")
def _fft(eqn: Equation) -> Pairs:
    n = len(eqn.operand)
    return _all_but(eqn, range(n - len(eqn.params["fft_lengths"]), n))


@independent("triangular_solve")
def _triangular_solve(eqn: Equation) -> Pairs:
    if not eqn.tangent:
        return []
    return _all_but(eqn, (len(eqn.operand) - 1 - eqn.params["left_side"],))


@independent("tridiagonal_solve")
def _tridiagonal_solve(eqn: Equation) -> Pairs:
    return _all_but(eqn, (len(eqn.operand) - 2,)) if eqn.tangent == 3 else []


@independent("conv_general_dilated")
def _convolution(eqn: Equation) -> Pairs:
    numbers, params = eqn.params["dimension_numbers"], eqn.params
    if params["batch_group_count"] != 1:
        return []
    groups, (batch, features) = params["feature_group_count"], numbers.out_spec[:2]
    if eqn.tangent:
        return [(numbers.rhs_spec[0], features)]
    is_depthwise = groups == eqn.operand[numbers.lhs_spec[1]] == eqn.result[features]
    channels = [(numbers.lhs_spec[1], features)] if is_depthwise else []
    return [(numbers.lhs_spec[0], batch), *channels]


@independent("reduce_window_sum", "select_and_gather_add", "select_and_scatter_add")
def _windows(eqn: Equation) -> Pairs:
    names = ("window_dimensions", "window_strides", "base_dilation", "window_dilation")
    params = [eqn.params[name] for name in names if eqn.params.get(name) is not None]
    low_high = eqn.params["padding"]
    return [
        (d, d)
        for d in range(len(eqn.operand))
        if all(values[d] == 1 for values in params) and tuple(low_high[d]) == (0, 0)
    ]


@independent("dynamic_slice")
def _dynamic_slice(eqn: Equation) -> Pairs:
    return _of_equal_sizes(eqn)


@independent("dynamic_update_slice")
def _dynamic_update_slice(eqn: Equation) -> Pairs:
    return _of_equal_sizes(eqn)


@independent("gather")
def _gather(eqn: Equation) -> Pairs:
    numbers, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    batch = numbers.operand_batching_dims
    kept = [d for d in range(len(sizes)) if d not in (*numbers.collapsed_slice_dims, *batch)]
    slices = zip(kept, numbers.offset_dims, strict=True)
    whole = [(d, int(axis)) for d, axis in slices if sizes[d] == eqn.operand[d]]
    others = [d for d in range(len(eqn.result)) if d not in numbers.offset_dims]
    return whole + [
        (int(d), others[k]) for d, k in zip(batch, numbers.start_indices_batching_dims, strict=True)
    ]


@independent("scatter", "scatter-add", "scatter-mul")
def _scatter(eqn: Equation) -> Pairs:
    if eqn.tangent == 0:
        return _all_but(eqn, ())
    numbers = eqn.params["dimension_numbers"]
    batch, windows = numbers.operand_batching_dims, numbers.update_window_dims
    kept = [d for d in range(len(eqn.result)) if d not in (*numbers.inserted_window_dims, *batch)]
    slices = zip(windows, kept, strict=True)
    whole = [(int(axis), d) for axis, d in slices if eqn.operand[axis] == eqn.result[d]]
    others = [d for d in range(len(eqn.operand)) if d not in windows]
    return whole + [
        (others[k], int(d))
        for d, k in zip(batch, numbers.scatter_indices_batching_dims, strict=True)
    ]


def independent_axes(name: str, eqn: Equation) -> Pairs:
    """Return the independent axes of an equation, as far as its primitive is known."""
    if name in INDEPENDENT_AXES:
        return INDEPENDENT_AXES[name](eqn)
    found = ROWS[name](eqn) if name in ROWS else None
    if found is None:
        return []
    structure = found[0].structure
    return [
        (d, e)
        for d, col in enumerate(structure.cols)
        for e, row in enumerate(structure.rows)
        if col.labels and col == row and col.positions is None
    ]


# From the parameters of an equation to whether no entry of its result depends on a later entry.
TRIANGULAR: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "cumsum": lambda params: not params["reverse"],
    "triangular_solve": lambda params: (
        params["left_side"] and params["lower"] != params["transpose_a"]
    ),
}


def batched(operand: Shape, result: Shape, pairs: Pairs) -> Structure:
    """Return the structure of a map that is independent along axes, and dense in others."""
    cols = [(n, (-1 - d,)) for d, n in enumerate(operand)]
    rows = [(n, (d,)) for d, n in enumerate(result)]
    for d, e in pairs:
        cols[d] = rows[e]
    sizes = {labels[0]: n for n, labels in (*rows, *cols)}
    return from_labels(rows, cols, sizes, [*sizes]).structure


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
