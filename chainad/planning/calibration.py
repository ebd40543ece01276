"""Calibration: what each kind of operation costs on this machine, measured once and kept in a file.

Nothing is measured but by `calibrate()`; until it has run, a shipped table is used.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from timeit import repeat
from typing import Any

import numpy as np
import scipy  # loads scipy.linalg when it is first used

from chainad.errors import ChainadError
from chainad.ir.array_functions import place, sparse_dot
from chainad.ir.cache_folder import cache_folder, write_atomically
from chainad.ir.positions import positions
from chainad.structure.operation_counts import KINDS_OF_OPERATION, OperationCounts

_FORMAT = "chainad calibration 2"
_SHIPPED = "shipped table"
STORED = "calibrated on this machine"


@dataclass(frozen=True)
class Calibration:
    """What every kind of operation costs, in picoseconds.

    Attributes
    ----------
    costs : tuple of int
        Picoseconds per operation, in the order of `KINDS_OF_OPERATION`.
    source : str
        Where the costs are from.

    Examples
    --------
    >>> import chainad
    >>> from chainad.planning.calibration import SHIPPED_TABLE
    >>> SHIPPED_TABLE.cost("multiplied") > 4 * SHIPPED_TABLE.cost("dots")
    True
    """

    costs: tuple[int, ...]
    source: str

    def cost(self, kind: str) -> int:
        """Return the picoseconds of one operation of a kind."""
        return self.costs[KINDS_OF_OPERATION.index(kind)]

    def time(self, counts: OperationCounts) -> int:
        """Return how long some operations take, in picoseconds."""
        return sum(
            getattr(counts, kind) * cost
            for kind, cost in zip(KINDS_OF_OPERATION, self.costs, strict=True)
        )

    def __str__(self) -> str:
        rows = [
            f"  {kind:<11}{cost:>12,} ps"
            for kind, cost in zip(KINDS_OF_OPERATION, self.costs, strict=True)
        ]
        return "\n".join([f"Calibration  {self.source}", *rows])


# One core of an AMD EPYC server of 2024 with OpenBLAS, rounded.
SHIPPED_TABLE = Calibration(
    costs=(
        600_000,  # calls
        210_000,  # views
        150,  # moved
        400,  # gathered
        300,  # multiplied
        100,  # added
        50,  # dots
        140_000,  # items
        400,  # entries
        32_000_000,  # sparse
        150,  # applied
        180,  # elements
    ),
    source=_SHIPPED,
)


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
        where = "the user's cache folder"
        try:
            where = str(path())
            _write(found, path())
        except (OSError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ChainadError(
                f"the calibration cannot be written to {where}: {reason};"
                " set CHAINAD_CACHE to a folder that can be written, or pass store=False"
            ) from error
    return found


def known() -> Calibration:
    """Return the table stored for this machine, or the shipped one where there is none."""
    try:
        text = path().read_text("utf-8")
    except (OSError, RuntimeError, UnicodeDecodeError):  # no file, no home, no text
        return SHIPPED_TABLE
    return _read(text) or SHIPPED_TABLE


def path() -> Path:
    """Return the file of this machine's table."""
    key = blake2b(json.dumps(_machine()).encode(), digest_size=8).hexdigest()
    return cache_folder() / f"calibration-{key}.json"


@lru_cache(maxsize=1)
def _machine() -> dict[str, str]:
    """Return what the costs depend on."""
    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})
    return {
        "node": platform.node(),
        "machine": platform.machine(),
        "cores": str(os.cpu_count()),
        "numpy": np.__version__,
        "blas": f"{blas.get('name', '')} {blas.get('version', '')}",
    }


def _write(table: Calibration, where: Path) -> None:
    fields = {
        "format": _FORMAT,
        **_machine(),
        "picoseconds": dict(zip(KINDS_OF_OPERATION, table.costs, strict=True)),
    }
    write_atomically(where, (json.dumps(fields, indent=1) + "\n").encode())


def _read(text: str) -> Calibration | None:
    """Return the table of a file; None if it is damaged or of another version."""
    try:
        fields = json.loads(text)
        costs = fields["picoseconds"]
        if fields["format"] != _FORMAT or set(costs) != set(KINDS_OF_OPERATION):
            return None
        found = tuple(costs[kind] for kind in KINDS_OF_OPERATION)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if any(type(cost) is not int or cost < 0 for cost in found):
        return None
    return Calibration(found, STORED)


# ------------------------------------------------------------------ measuring


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


def _time(run: Callable[[], Any], budget: float = 0.08) -> float:
    """Return the picoseconds of a run, the least of several that take `budget` seconds in all."""
    once = min(repeat(run, number=1, repeat=3))
    number = max(1, round(budget / 8 / max(once, 1e-7)))
    return min(repeat(run, number=number, repeat=5)) / number * 1e12
