"""A problem for a solver: what is solved, and the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.derivatives import Source


@dataclass(frozen=True)
class Problem:
    """What is solved, by which solver, and the answer.

    Attributes
    ----------
    title : str
        What is solved, and how large it is.
    solve : callable
        From a source of derivatives to the answer.
    answer : array
        What is right, up to an absolute `tolerance`.
    """

    title: str
    solve: Callable[[Source], Any]
    answer: npt.ArrayLike
    tolerance: float

    def error(self, found: Any) -> float:
        """Return by how much an answer is off."""
        return float(np.max(np.abs(np.asarray(found) - self.answer)))

    def is_solved(self, found: Any) -> bool:
        """Return whether this is the answer."""
        return self.error(found) <= self.tolerance
