"""Joining, rolling and padding: pieces of the operands at regular places of the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainad.ir.graph import Argument
from chainad.rules.base import Local, Locals, normalize_axes, rule
from chainad.rules.movement import locals_of
from chainad.structure import arrange
from chainad.structure.structure import Axis


@rule(np.concatenate, nested=True)
def _concatenate(
    y: Argument, arrays: Any, axis: Any = 0, dtype: Any = None, casting: Any = None
) -> Locals:
    if axis is None or isinstance(arrays, Argument):
        return locals_of(np.concatenate, (0,))(y, arrays, axis)
    at = normalize_axes(axis, y.ndim)[0]
    found: dict[Argument, Local | tuple[Local, ...] | None] = {}
    start = 0
    for x in arrays:
        n = x.shape[at]
        if x.traced:
            rows = [Axis(m, (k,)) for k, m in enumerate(y.shape)]
            rows[at] = Axis(y.shape[at], (at,), range(start, start + n))
            found[x] = _piece(rows, [Axis(m, (k,)) for k, m in enumerate(x.shape)], x.shape)
        start += n
    return found


@rule(np.roll)
def _roll(y: Argument, x: Argument, shift: Any, axis: Any = None) -> Locals:
    if axis is None or np.ndim(shift) or np.ndim(axis) or x.size == 0:
        return locals_of(np.roll, (0,))(y, x, shift, axis)
    at = normalize_axes(axis, x.ndim)[0]
    n = x.shape[at]
    ahead = int(shift) % n
    # What is shifted out at the end comes in again in front.
    return {x: _pieces(x.shape, at, y.shape, [(0, n - ahead, ahead), (n - ahead, ahead, 0)])}


def _pieces(
    shape: tuple[int, ...], at: int, into: tuple[int, ...], moves: Sequence[tuple[int, int, int]]
) -> tuple[Local, ...]:
    """Return a selection for every move (from, count, to) along axis `at`; all else stays."""
    found = []
    for start, count, to in moves:
        if count:
            rows = [Axis(m, (k,)) for k, m in enumerate(into)]
            cols = [Axis(m, (k,)) for k, m in enumerate(shape)]
            rows[at] = Axis(into[at], (at,), range(to, to + count))
            cols[at] = Axis(shape[at], (at,), range(start, start + count))
            sizes = tuple(count if k == at else m for k, m in enumerate(shape))
            found.append(_piece(rows, cols, sizes))
    return tuple(found)


def _piece(rows: Sequence[Axis], cols: Sequence[Axis], sizes: Sequence[int]) -> Local:
    return Local(arrange(rows, cols, dict(enumerate(sizes)), scale=1), None)


def _pad_with_zeros(x: Any, pad_width: Any, mode: str = "constant", **kwargs: Any) -> Any:
    """Pad like np.pad, whatever the constant: it has derivative zero."""
    if mode not in ("constant", "edge", "reflect", "symmetric", "wrap"):
        raise NotImplementedError(
            f"np.pad with mode={mode!r} is not differentiated; use np.concatenate"
        )
    if kwargs.get("reflect_type", "even") != "even":
        raise NotImplementedError("np.pad with reflect_type='odd' is not differentiated")
    function: Callable[..., Any] = np.pad
    return function(x, pad_width, mode)


@rule(np.pad)
def _pad(y: Argument, x: Argument, pad_width: Any, mode: str = "constant", **kwargs: Any) -> Locals:
    if mode != "constant":
        return locals_of(_pad_with_zeros, (0,))(y, x, pad_width, mode, **kwargs)
    widths = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2))[:, 0].tolist()
    rows = [
        Axis(m, (k,), range(first, first + n))
        for k, (m, first, n) in enumerate(zip(y.shape, widths, x.shape, strict=True))
    ]
    return {x: _piece(rows, [Axis(n, (k,)) for k, n in enumerate(x.shape)], x.shape)}
