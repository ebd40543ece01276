"""The check of a Jacobian against central differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainad.api.verbs import jacobian
from chainad.planning.auto import Mode
from chainad.testing.oracles import Array, Shape


def check_jacobian(
    f: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] = 0,
    modes: Sequence[Mode] = ("auto", "forward", "reverse"),
    rtol: float = 1e-7,
    atol: float = 1e-8,
) -> None:
    """Compare `chainad.jacobian` with central differences; every mode must agree.

    Parameters
    ----------
    f : callable
        A function of arrays, smooth near `args`; returns an array or a tuple of arrays.
    *args
        Where to compare; the arguments differentiated by are taken as float64.
    argnums : int or sequence of int
        The arguments to differentiate by.
    modes : sequence
        Modes of `chainad.jacobian`.
    rtol, atol : float
        Two entries agree if they differ by at most `atol + rtol * abs(wanted)`, where `wanted` is
        the central difference.

    Raises
    ------
    AssertionError
        If shapes or entries differ; it says in which mode, where, and by how much.

    Notes
    -----
    Five points per entry, f(x - 2h) to f(x + 2h) with h near 1e-3: the error is of order h^4.

    Examples
    --------
    >>> check_jacobian(np.sin, np.array([0.5, 1.0]))
    >>> check_jacobian(lambda a, b: (a @ b, a * 2), np.ones((2, 2)), np.ones(2), argnums=(0, 1))
    """
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    point = list(args)
    for k in numbers:
        point[k] = np.array(args[k], np.float64)
    wanted = [_central_difference(f, point, k) for k in numbers]
    for mode in modes:
        got = jacobian(f, argnums, mode=mode)(*point)
        for o, row in enumerate(got if isinstance(f(*point), tuple) else (got,)):
            for k, block, blocks in zip(
                numbers, (row,) if isinstance(argnums, int) else row, wanted, strict=True
            ):
                what = f"mode={mode!r}: d(output {o})/d(argument {k})"
                _compare(what, np.asarray(block), blocks[o], rtol, atol)


def _central_difference(f: Callable[..., Any], point: Sequence[Any], number: int) -> list[Array]:
    """Return the Jacobian of every output with respect to one argument."""
    x: Array = point[number]

    def outputs(moved: Array) -> list[Array]:
        value = f(*[moved if k == number % len(point) else a for k, a in enumerate(point)])
        return [np.array(v, np.float64) for v in (value if isinstance(value, tuple) else (value,))]

    def at(place: Shape, step: float) -> list[Array]:
        moved = x.copy()
        moved[place] += step
        return outputs(moved)

    jacobians = [np.zeros((*value.shape, *x.shape)) for value in outputs(x.copy())]
    for place in np.ndindex(x.shape):
        h = 1e-3 * max(1.0, abs(float(x[place])))
        values = zip(*(at(place, step * h) for step in (-2, -1, 1, 2)), strict=True)
        for J, (a, b, c, d) in zip(jacobians, values, strict=True):
            J[(..., *place)] = (a - 8 * b + 8 * c - d) / (12 * h)
    return jacobians


def _compare(what: str, got: npt.NDArray[Any], wanted: Array, rtol: float, atol: float) -> None:
    if got.shape != wanted.shape:
        raise AssertionError(f"{what} has shape {got.shape}, but must have {wanted.shape}")
    wrong = ~np.isclose(got, wanted, rtol, atol, equal_nan=True)
    if not wrong.any():
        return
    gap = np.where(wrong, np.nan_to_num(np.abs(got - wanted), nan=np.inf), -1.0)
    worst = tuple(int(k) for k in np.unravel_index(np.argmax(gap), gap.shape))
    raise AssertionError(
        f"{what} differs from central differences in {np.count_nonzero(wrong)} of {wrong.size}"
        f" entries, most at {worst}: got {got[worst]:.10g}, wanted {wanted[worst]:.10g}"
    )
