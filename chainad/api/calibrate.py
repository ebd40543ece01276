"""Measures what each kind of operation costs on this machine, for plans by time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy  # loads scipy.linalg when it is first used

from chainad.api.stopwatch import quickest
from chainad.ir.array_functions import place, sparse_dot
from chainad.ir.operation_counts import KINDS_OF_OPERATION
from chainad.ir.positions import positions
from chainad.planning.calibration import STORED, Calibration, keep

_SECONDS_PER_KIND = 0.06


def calibrate(store: bool = True) -> Calibration:
    """Measure what each kind of operation costs on this machine, and keep it for `cost="time"`.

    Parameters
    ----------
    store : bool
        Whether to write the table to the user's cache folder, where every later process finds it:
        `chainad` in `$CHAINAD_CACHE`, if that is set, `$XDG_CACHE_HOME` or `~/.cache`,
        `~/Library/Caches` on macOS, `%LOCALAPPDATA%` on Windows. There is one file per machine,
        NumPy and BLAS.

    Returns
    -------
    Calibration
        Picoseconds per kind of operation; `print` it to read it.

    Raises
    ------
    ChainadError
        If the file cannot be written.

    Notes
    -----
    Takes about a second, on a machine that is otherwise idle. Every cost is the least of several
    runs; the time of reading and writing is taken off the others.
    """
    found = Calibration(_measure(), STORED)
    if store:
        keep(found)
    return found


def _measure() -> tuple[int, ...]:
    """Return the costs in the order of `KINDS_OF_OPERATION`, in picoseconds."""
    rng = np.random.default_rng(0)
    n, thin = 512, 16
    a, column, few = rng.random((n, n)), rng.random((n, 1)), rng.random((2, 2))
    index = rng.permutation(n)
    batch = rng.random((2_000, 3, 3))
    rows, cols = (positions(rng.integers(0, n, 5_000)) for _ in range(2))
    one = positions(np.array([0, 1, 1, 0]))
    factors = scipy.linalg.lu_factor(a)
    values, right = rng.random(5_000), a[:, :thin].copy()
    quarter, ones = np.ones(4), np.ones((2, 2))
    call = _time(lambda: np.multiply(few, few))
    elements = _time(lambda: a @ column) / n**2
    sparse = _time(lambda: sparse_dot(quarter, one, one, 2, ones))
    many = _time(lambda: sparse_dot(values, rows, cols, n, right))
    found = {
        "calls": call,
        "views": _time(lambda: few.reshape(4)),
        "moved": _time(lambda: place(a, 0, range(n), n)) / n**2 - 2 * elements,
        "gathered": _time(lambda: a[index]) / n**2 - 2 * elements,
        "multiplied": _time(lambda: a * column) / n**2 - 2 * elements,
        "added": _time(lambda: a + a) / n**2 - 3 * elements,
        "dots": _time(lambda: a @ a) / n**3,
        "items": _time(lambda: batch @ batch) / 2_000,
        "entries": (many - sparse) / (5_000 * thin),
        "sparse": sparse,
        "applied": _time(lambda: scipy.linalg.lu_solve(factors, a)) / n**3,
        "elements": elements,
    }
    # At least one picosecond: no operation is free.
    return tuple(max(1, round(found[kind])) for kind in KINDS_OF_OPERATION)


def _time(run: Callable[[], Any]) -> float:
    """Return the picoseconds of a run, the least of several."""
    return quickest(run, _SECONDS_PER_KIND) * 1e12
