"""Padding, as a movement of entries, or axis by axis where more is put around these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainad.ir.graph import Argument
from chainad.rules.base import Locals, first_traced, rule
from chainad.rules.kinds import Movement
from chainad.rules.movement import locals_of, piece
from chainad.rules.reduction import in_dtype
from chainad.structure.structure import Axis

# Modes that repeat entries, and those that take a function of the entries next to an end.
_REPEATING = ("constant", "edge", "reflect", "symmetric", "wrap")
_STATISTICS: dict[str, Callable[..., Any]] = {
    "maximum": np.max, "mean": np.mean, "median": np.median, "minimum": np.min,
}  # fmt: skip


def _pad_by_parts(
    array: Any,
    pad_width: Any,
    mode: Any = "constant",
    *,
    reflect_type: str = "even",
    **options: Any,
) -> Any:
    """Pad like np.pad, axis by axis, where more than entries and constants is inserted."""
    is_traced = first_traced(options.values()) is not None
    if mode in _REPEATING and reflect_type == "even" and not is_traced:
        return NotImplemented
    if mode not in (*_REPEATING, *_STATISTICS, "linear_ramp"):
        raise NotImplementedError(
            f"np.pad with mode={mode!r} is not differentiated; use np.concatenate"
        )
    x = array
    for axis, widths in enumerate(_widths(pad_width, np.ndim(x))):
        x = np.moveaxis(x, axis, -1)
        if reflect_type == "odd":
            # Sums of entries, times small integers.
            function: Callable[..., Any] = np.pad
            unit = np.eye(np.shape(x)[-1], dtype=x.dtype)
            padded = function(unit, ((0, 0), widths), mode, reflect_type=reflect_type)
            stop = np.shape(padded)[1] - widths[1]
            parts = [x @ padded[:, : widths[0]], x, x @ padded[:, stop:]]
        else:
            ends = [_end(x, k, n, axis, mode, options) for k, n in enumerate(widths)]
            parts = [in_dtype(end, x.dtype) for end in ends]
            parts.insert(1, x)
        x = np.moveaxis(np.concatenate(parts, axis=-1), -1, axis)
    return x


def _widths(pad_width: Any, ndim: int) -> list[list[int]]:
    """Return how many entries are put before and after those of every axis."""
    if isinstance(pad_width, dict):  # by axis, since NumPy 2.4
        pairs = [pad_width.get(k, pad_width.get(k - ndim)) or 0 for k in range(ndim)]
        return [np.broadcast_to(pair, 2).tolist() for pair in pairs]
    found: list[list[int]] = np.broadcast_to(np.asarray(pad_width), (ndim, 2)).tolist()
    return found


def _end(x: Any, side: int, width: int, axis: int, mode: str, options: dict[str, Any]) -> Any:
    """Return what is put in front of the last axis of x (`side` 0), or after it (1)."""
    for name in ("constant_values", "end_values", "stat_length"):
        given = options.get(name, 0)
        given = np.stack(given) if isinstance(given, (list, tuple)) else given
        options = {**options, name: np.broadcast_to(given, (np.ndim(x), 2))[axis, side]}
    shape = (*np.shape(x)[:-1], width)
    if mode == "constant":
        return np.broadcast_to(options["constant_values"], shape)
    if mode == "linear_ramp":
        rise = np.arange(width, dtype=x.dtype) / max(width, 1)
        rise = rise[::-1] if side else rise
        edge = x[..., -1:] if side else x[..., :1]
        return options["end_values"] * (1 - rise) + edge * rise
    length = int(options["stat_length"]) or np.shape(x)[-1]
    part = x[..., max(np.shape(x)[-1] - length, 0) :] if side else x[..., :length]
    return np.broadcast_to(_STATISTICS[mode](part, axis=-1, keepdims=True), shape)


def _pad_with_zeros(x: Any, pad_width: Any, mode: str, **kwargs: Any) -> Any:
    """Pad like np.pad, whatever the constant: it has derivative zero."""
    function: Callable[..., Any] = np.pad
    return function(x, pad_width, mode)


@rule(np.pad, rewrite=_pad_by_parts, kind=Movement())
def _pad(y: Argument, x: Argument, pad_width: Any, mode: str = "constant", **kwargs: Any) -> Locals:
    if mode != "constant":
        return locals_of(_pad_with_zeros, (0,))(y, x, pad_width, mode, **kwargs)
    widths = _widths(pad_width, x.ndim)
    rows = [
        Axis(m, (k,), range(first, first + n))
        for k, (m, (first, _), n) in enumerate(zip(y.shape, widths, x.shape, strict=True))
    ]
    return {x: piece(rows, [Axis(n, (k,)) for k, n in enumerate(x.shape)], x.shape)}
