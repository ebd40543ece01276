"""The noun of this house: a function, the point where its Jacobian is wanted, and what to beat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from benchmarks.goals import Goal

Array = npt.NDArray[Any]
Function = Callable[[Any], Any]

Step = Callable[[Any], Any]
Repeat = Callable[[Step, Any, int], Any]
Scan = Callable[[Callable[[Any, Any], Any], Any, Any], Any]

JAX = ("jax jacfwd", "jax jacrev")
VMAPPED = ("jax vmap(jacfwd)", "jax vmap(jacrev)")  # never the Jacobian of a vmap: mostly zeros
VECTORISED = "numpy vectorised"  # the same function of whole arrays, by chainad
OTHERS = ("torch jacfwd", "torch jacrev", "autograd")


def loop(step: Step, y: Any, n: int) -> Any:
    """Return y after n steps, in plain Python."""
    for _ in range(n):
        y = step(y)
    return y


def scan(step: Callable[[Any, Any], Any], carry: Any, given: Any) -> Any:
    """Return what is carried through a loop, and what its steps return, as `jax.lax.scan`."""
    found = []
    for item in zip(*given, strict=True) if isinstance(given, tuple) else given:
        carry, kept = step(carry, item)
        found.append(kept)
    return carry, None if found[-1] is None else np.stack(found)


@dataclass(frozen=True)
class Library:
    """A library that differentiates functions of its own arrays.

    `np` plays the part of NumPy, `array` makes its arrays of NumPy's, and `wait` returns a result
    once all its numbers are there. `repeat(step, y, n)` applies a step n times, `scan` is a loop
    that also keeps what its steps return.
    """

    name: str
    module: Any
    np: Any
    array: Callable[[Array], Any]
    wait: Callable[[Any], Any] = lambda result: result
    repeat: Repeat = loop
    scan: Scan = scan


Spelling = Callable[[Library], Function]
OwnPeer = Callable[[Library, "Workload"], Function]  # of the library's arrays


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
    spell : callable, optional
        From a library to the same function of its arrays; without it there are no peers.
    rivals, others : tuple of str
        The peers that the goals speak of, and those that run for comparison.
    own : mapping
        Peers of this workload alone, among them what an expert writes by hand: by name, which
        begins with that of the library, what makes them.
    output : str
        The form of the Jacobian, as for `chainad.jacobian`.
    into : bool
        Whether the Jacobian is written into a buffer, `out=`.
    oracle : str
        "complex" steps, or "central" differences where maxima are taken, which complex numbers do
        not have.
    limit : callable, optional
        Makes the best Jacobian that we can write by hand: a function from the point to a fresh
        array.
    goals : tuple of Goal
        Beside those that all workloads have.
    group : str
        Workloads whose geometric mean has goals of its own, see `goals.OF_GROUPS`.
    batch : bool
        Whether `point` is many points, along its first axis, of a function of one; the Jacobian
        has that axis in front.
    numba : bool
        Whether the numba backend takes part, too.
    """

    name: str
    title: str
    function: Function
    point: Array
    spell: Spelling | None = None
    rivals: tuple[str, ...] = JAX
    others: tuple[str, ...] = OTHERS
    own: Mapping[str, OwnPeer] = field(default_factory=dict)
    output: str = "dense"
    into: bool = False
    oracle: Literal["complex", "central"] = "complex"
    limit: Callable[[], Function] | None = None
    goals: tuple[Goal, ...] = ()
    group: str = ""
    batch: bool = False
    numba: bool = False


Maker = Callable[[bool], Workload]  # called with: is it a quick run, small sizes do?


def spelled(make: Callable[..., Function], *arrays: Array) -> tuple[Function, Spelling]:
    """Return `make(*arrays, np)` in NumPy, and what makes it in any library.

    Every library runs the very same text on arrays of its own.
    """

    def spell(library: Library) -> Function:
        return make(*map(library.array, arrays), library.np)

    return make(*arrays, np), spell
