"""scipy.integrate for traced values: integrals of samples, by the rules of Newton and Cotes.

They are sums of products, and are written as such.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy  # loads scipy.special when it is first used

from chainad.rules.base import refuse_unless
from chainad.rules.scipy_wrappers import wrapper_of
from chainad.rules.statistics import as_double


def _inexact(x: Any) -> Any:
    """Return an array, traced or plain, of floats or complex numbers."""
    if isinstance(x, (list, tuple)):
        x = np.stack(x)  # of traced values, perhaps
    return x if np.result_type(x).kind in "fc" else as_double(x)


def _last(x: Any, axis: int, ndim: int) -> Any:
    """Return samples with their axis moved to the end; vectors stay what they are."""
    return x if np.ndim(x) < ndim or np.ndim(x) == 1 else np.moveaxis(x, axis, -1)


def _given(y: Any, x: Any, dx: Any, axis: int) -> tuple[Any, Any]:
    """Return samples along the last axis, and the steps between them."""
    y = _inexact(y)
    ndim = np.ndim(y)
    y = _last(y, axis, ndim)
    count = np.shape(y)[-1]
    if x is not None:
        x = _last(_inexact(x), axis, ndim)
        refuse_unless(np.shape(x)[-1] == count, "x must have as many entries as y along the axis")
        return y, np.diff(x, axis=-1)
    dx = _last(_inexact(dx), axis, ndim)
    return y, np.broadcast_to(dx, (*np.shape(y)[:-1], count - 1))


def _back(found: Any, axis: int) -> Any:
    return np.moveaxis(found, -1, axis) if np.ndim(found) > 1 else found


@wrapper_of("scipy.integrate")
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    return np.trapezoid(y, x, dx, axis)


@wrapper_of("scipy.integrate")
def cumulative_trapezoid(
    y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1, initial: Any = None
) -> Any:
    refuse_unless(initial is None or initial == 0, "initial= must be None or 0")
    y, steps = _given(y, x, dx, axis)
    found = np.cumsum(steps * (y[..., 1:] + y[..., :-1]) / 2, axis=-1)
    return _back(found if initial is None else _begun(0.0, found), axis)


def _begun(initial: Any, found: Any) -> Any:
    """Return cumulative integrals behind an initial value."""
    first = np.broadcast_to(initial, (*np.shape(found)[:-1], 1))
    return np.concatenate([first, found], axis=-1)


@wrapper_of("scipy.integrate")
def simpson(y: Any, x: Any = None, *, dx: Any = 1.0, axis: int = -1) -> Any:
    y, steps = _given(y, x, dx, axis)
    count = np.shape(y)[-1]
    if count == 2:
        return np.sum(steps * (y[..., 1:] + y[..., :-1]) / 2, axis=-1)
    pairs = count - 1 + count % 2  # the entries that parabolas over two steps each go through
    left, middle, right = (y[..., k : pairs - 2 + k : 2] for k in range(3))
    h0, h1 = steps[..., 0 : pairs - 2 : 2], steps[..., 1 : pairs - 1 : 2]
    both = h0 + h1
    areas = (
        both
        / 6
        * (left * (2 - h1 / h0) + middle * (both * both / (h0 * h1)) + right * (2 - h0 / h1))
    )
    found = np.sum(areas, axis=-1)
    if count % 2:
        return found
    # The last step is under the parabola through the last three entries (Cartwright 2017).
    h0, h1 = steps[..., -2], steps[..., -1]
    alpha = (2 * h1**2 + 3 * h0 * h1) / (6 * (h0 + h1))
    beta = (h1**2 + 3 * h0 * h1) / (6 * h0)
    eta = h1**3 / (6 * h0 * (h0 + h1))
    return found + alpha * y[..., -1] + beta * y[..., -2] - eta * y[..., -3]


@wrapper_of("scipy.integrate")
def cumulative_simpson(
    y: Any, *, x: Any = None, dx: Any = 1.0, axis: int = -1, initial: Any = None
) -> Any:
    y, steps = _given(y, x, dx, axis)
    if np.shape(y)[-1] < 3:
        areas = steps * (y[..., 1:] + y[..., :-1]) / 2
    else:
        refuse_unless(x is None or bool(np.all(steps > 0)), "x must be strictly increasing")
        # Under the parabolas through three entries: the first of two steps, and the second.
        first = _first_steps(y, steps)
        second = np.flip(_first_steps(np.flip(y, -1), np.flip(steps, -1)), -1)
        is_first = np.arange(np.shape(y)[-1] - 2) % 2 == 0
        inner = np.where(is_first[1:], first[..., 1:], second[..., :-1])
        areas = np.concatenate([first[..., :1], inner, second[..., -1:]], axis=-1)
    found = np.cumsum(areas, axis=-1)
    if initial is not None:
        initial = _last(_inexact(initial), axis, np.ndim(y))
        found = _begun(initial, found + initial)
    return _back(found, axis)


def _first_steps(y: Any, steps: Any) -> Any:
    """Return the integrals over the first of each two steps, under parabolas."""
    h0, h1 = steps[..., :-1], steps[..., 1:]
    ratio = h0 / (h0 + h1)
    bend = ratio * h0 / h1
    weighted = (3 - ratio) * y[..., :-2] + (3 + bend + ratio) * y[..., 1:-1] - bend * y[..., 2:]
    return h0 / 6 * weighted


@wrapper_of("scipy.integrate")
def romb(y: Any, dx: Any = 1.0, axis: int = -1, show: bool = False) -> Any:
    refuse_unless(not show, "show=True is not supported for traced values")
    y = _last(_inexact(y), axis, np.ndim(y))
    count = np.shape(y)[-1]
    levels = (count - 1).bit_length() - 1
    refuse_unless(count == 2**levels + 1, "there must be one more entry than a power of 2")
    # Weights are those of trapezoids of all widths, extrapolated.
    found = scipy.integrate.romb(np.eye(count), 1.0, axis=0)
    return np.matmul(y, found) * dx


def fixed_quad(
    func: Callable[..., Any], a: Any, b: Any, args: tuple[Any, ...] = (), n: int = 5
) -> tuple[Any, None]:
    """Integrate by the rule of Gauss and Legendre, as scipy.integrate.fixed_quad does.

    It is a sum of n values of `func`, which is traced where it is called.
    """
    nodes, weights = scipy.special.roots_legendre(n)
    refuse_unless(bool(np.isfinite(a) and np.isfinite(b)), "limits must be finite")
    half = (b - a) / 2.0
    return half * np.sum(weights * func((b - a) * (nodes + 1) / 2.0 + a, *args), axis=-1), None
