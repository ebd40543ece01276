"""Calibration: what each kind of operation costs on this machine, as a table in a file.

Nothing is measured here, but by `chainad.calibrate`; until it has run, a shipped table is used.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from chainad.errors import ChainadError
from chainad.ir.cache_folder import cache_folder, write_atomically
from chainad.ir.operation_counts import KINDS_OF_OPERATION, OperationCounts

_FORMAT = "chainad calibration 3"
_SHIPPED = "shipped table"
STORED = "calibrated on this machine"

# What is measured is plausible within this factor of the shipped table, and of what was measured
# just before.
PLAUSIBLE_RATIO = 15
MAX_NOISE = 1.0


@dataclass(frozen=True)
class Calibration:
    """What every kind of operation costs, in picoseconds.

    Attributes
    ----------
    costs : tuple of int
        Picoseconds per operation, in the order of `KINDS_OF_OPERATION`.
    source : str
        Where the costs are from.
    noise : float
        By how much a cost differed at most when it was measured again, as a fraction of it.

    Examples
    --------
    >>> import chainad
    >>> from chainad.planning.calibration import SHIPPED_TABLE
    >>> SHIPPED_TABLE.cost("multiplied") > 3 * SHIPPED_TABLE.cost("dots")
    True
    """

    costs: tuple[int, ...]
    source: str
    noise: float = 0.0

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
        noise = f", repeats within {100 * self.noise:.0f} %" if self.noise else ""
        return "\n".join([f"Calibration  {self.source}{noise}", *rows])


# One core of an AMD EPYC server of 2024 with OpenBLAS, rounded.
SHIPPED_TABLE = Calibration(
    costs=(
        440_000,  # calls
        150_000,  # views
        2_600,  # loops
        60,  # moved
        170,  # strided
        480,  # gathered
        110,  # multiplied
        110,  # added
        33,  # dots
        42_000,  # items
        270,  # entries
        11_000_000,  # sparse
        65,  # applied
        3_300_000,  # operators
        210,  # elements
        250,  # fresh
    ),
    source=_SHIPPED,
)


def known(
    shipped: Calibration = SHIPPED_TABLE,
    machine: Mapping[str, str] | None = None,
    source: str = STORED,
) -> Calibration:
    """Return the table stored for a machine, by default this one, or else the shipped one."""
    try:
        text = path(machine).read_text("utf-8")
    except (OSError, RuntimeError, UnicodeDecodeError):  # no file, no home, no text
        return shipped
    return _read(text, source) or shipped


def path(machine: Mapping[str, str] | None = None) -> Path:
    """Return the file of a machine's table."""
    fields = json.dumps(dict(machine or numpy_machine()))
    key = blake2b(fields.encode(), digest_size=8).hexdigest()
    return cache_folder() / f"calibration-{key}.json"


def checked(table: Calibration, shipped: Calibration) -> Calibration:
    """Return a table that was measured, as it is.

    Raises
    ------
    ChainadError
        If it is not plausible beside the shipped one, or if the costs were others each time.
    """
    again = (
        "; other work disturbs the measurement: calibrate again while the machine is idle, or plan"
        " with the shipped table"
    )
    if table.noise > MAX_NOISE:
        raise ChainadError(
            f"the calibration differs by {100 * table.noise:.0f} % from time to time" + again
        )
    for kind, cost, usual in zip(KINDS_OF_OPERATION, table.costs, shipped.costs, strict=True):
        low, high = max(1, usual // PLAUSIBLE_RATIO), usual * PLAUSIBLE_RATIO
        if not low <= cost <= high:
            raise ChainadError(
                f"the calibration says that one of {kind!r} takes {cost:,} ps, where {low:,} to"
                f" {high:,} ps are plausible" + again
            )
    return table


def keep(table: Calibration, machine: Mapping[str, str] | None = None) -> None:
    """Write a table into the file of a machine.

    Raises
    ------
    ChainadError
        If the file cannot be written.
    """
    where = "the user's cache folder"
    try:
        where = str(path(machine))
        write(table, path(machine), machine)
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ChainadError(
            f"the calibration cannot be written to {where}: {reason};"
            " set CHAINAD_CACHE to a folder that can be written, or pass store=False"
        ) from error


@lru_cache(maxsize=1)
def numpy_machine() -> dict[str, str]:
    """Return what the costs of NumPy programs depend on."""
    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})
    return {
        "node": platform.node(),
        "machine": platform.machine(),
        "cores": str(os.cpu_count()),
        "numpy": np.__version__,
        "blas": f"{blas.get('name', '')} {blas.get('version', '')}",
    }


def write(table: Calibration, where: Path, machine: Mapping[str, str] | None = None) -> None:
    """Write a table into a file."""
    fields = {
        "format": _FORMAT,
        **(machine or numpy_machine()),
        "picoseconds": dict(zip(KINDS_OF_OPERATION, table.costs, strict=True)),
        "noise": table.noise,
    }
    write_atomically(where, (json.dumps(fields, indent=1) + "\n").encode())


def _read(text: str, source: str) -> Calibration | None:
    """Return the table of a file; None if it is damaged or of another version."""
    try:
        fields = json.loads(text)
        costs, noise = fields["picoseconds"], float(fields["noise"])
        if fields["format"] != _FORMAT or set(costs) != set(KINDS_OF_OPERATION):
            return None
        found = tuple(costs[kind] for kind in KINDS_OF_OPERATION)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if any(type(cost) is not int or cost < 0 for cost in found):
        return None
    return Calibration(found, source, noise)
