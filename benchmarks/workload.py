"""The noun of this house: a function, the point where its Jacobian is wanted, and what to beat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.peers import Library

Array = npt.NDArray[np.float64]
Function = Callable[[Any], Any]
Spelling = Callable[[Library], Function]


@dataclass(frozen=True)
class Workload:
    """One line of the report.

    Attributes
    ----------
    name, title : str
        What it is called on the command line, and what it is.
    function : callable
        Plain NumPy code, as a user would write it.
    point : array
        Where the Jacobian is wanted.
    spellings : mapping
        By the name of a library, what makes the same function of its arrays. A library that is
        not named is not compared.
    limit : callable, optional
        The best Jacobian that we can write by hand: from the point to a fresh array.
    goal : float, optional
        How many times faster than the best of `rivals` chainad is to be, at least.
    rivals : tuple of str
        The peers that the goal speaks of.
    """

    name: str
    title: str
    function: Function
    point: Array
    spellings: Mapping[str, Spelling] = field(default_factory=dict)
    limit: Function | None = None
    goal: float | None = None
    rivals: tuple[str, ...] = ("jax jacfwd", "jax jacrev")
