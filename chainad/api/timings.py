"""What the derivatives of a function cost in time, beside the function and finite differences."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from math import inf, prod
from typing import Any

import numpy as np

from chainad.api.evaluation import owned
from chainad.api.function_of import check_callable, name_of
from chainad.api.jacobian_functions import JacobianFunction
from chainad.api.options import checked_options
from chainad.api.stopwatch import quickest, timed
from chainad.api.verbs import jacobian
from chainad.errors import FallbackWarning
from chainad.frontends.numpy.trace import Key, argument_leaves, holder_of
from chainad.planning.views.quantities import seconds_text


@dataclass(frozen=True)
class Timing:
    """How long one way takes.

    Attributes
    ----------
    name : str
    first, later : float
        Seconds of the first call, and of the quickest later one.
    is_estimate : bool
        Whether it was multiplied up rather than measured.
    """

    name: str
    first: float
    later: float
    is_estimate: bool = False


@dataclass(frozen=True)
class Timings:
    """What `timings` measured; print it.

    Attributes
    ----------
    title : str
    rows : tuple of Timing
        The function, finite differences, then the ways of computing its Jacobian.
    """

    title: str
    rows: tuple[Timing, ...]

    def __getitem__(self, name: str) -> Timing:
        return next(row for row in self.rows if row.name == name)

    @property
    def quickest(self) -> Timing:
        """The quickest way of computing the Jacobian exactly."""
        return min(self.rows[2:], key=lambda row: row.later)

    @property
    def verdict(self) -> str:
        """Whether it is worth it, in one sentence."""
        differences, best = self["finite differences"], self.quickest
        if best.later >= differences.later:
            return f"finite differences are {_ratio(best.later, differences.later)} as fast"
        text = f"{best.name} is {_ratio(differences.later, best.later)} as fast as differences"
        extra = best.first - best.later
        calls = int(extra / (differences.later - best.later)) + 1
        return f"{text}, and pays for its first call after {calls:,} call{'s' * (calls > 1)}"

    def __str__(self) -> str:
        unit = self["f"].later or inf
        head = f"{self.title:32}{'first call':>12}{'later':>12}{'of f':>10}"
        rows = [
            f"  {row.name:30}{seconds_text(row.first):>12}"
            f"{'~' * row.is_estimate + seconds_text(row.later):>12}{row.later / unit:>9.3g}x"
            for row in self.rows
        ]
        return "\n".join([head, *rows, self.verdict])


def timings(
    f: Callable[..., Any],
    *args: Any,
    argnums: Key | Sequence[Key] = 0,
    seconds: float = 2.0,
    **kwargs: Any,
) -> Timings:
    """Measure whether the Jacobian of `f` is worth it: beside `f` and finite differences.

    Parameters
    ----------
    f : callable
        As for `jacobian`.
    *args, **kwargs
        Its arguments.
    argnums : int, str, or sequence of these
        The arguments to differentiate by.
    seconds : float
        About how long to measure; first calls may take longer.

    Returns
    -------
    Timings
        `print` it: the time of a first call (which traces, plans and compiles) and of a later one,
        for the function, for finite differences (one more call of `f` than there are entries in
        the arguments), and for the Jacobian traced at each call, compiled, and compiled by numba
        where that is installed and can run it.

    Raises
    ------
    InputError, TraceError, TooLargeError
        As for `jacobian`.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> found = chainad.timings(np.sin, np.ones(50), seconds=0.05)
    >>> [row.name for row in found.rows][:4]
    ['f', 'finite differences', 'traced', 'compiled']
    """
    check_callable(f)
    options = checked_options(argnums)
    entries = 0
    for key in options.selected(f, args, kwargs):
        leaves, _ = argument_leaves(f, key, holder_of(key, args, kwargs)[key])
        entries += sum(prod(np.shape(x)) for x in leaves)
    args, kwargs = owned(args), owned(kwargs)  # the function may write into them
    ways: dict[str, Callable[..., Any]] = {"traced": JacobianFunction(f, options)}
    ways["compiled"] = jacobian(f, argnums).compile()
    if find_spec("numba"):
        ways["compiled by numba"] = jacobian(f, argnums, backend="numba").compile()
    share = seconds / (len(ways) + 1)
    first, later = _measured(partial(f, *args, **kwargs), share)
    rows = [
        Timing("f", first, later),
        Timing("finite differences", (entries + 1) * later, (entries + 1) * later, True),
    ]
    for name, way in ways.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error", FallbackWarning)
            try:
                rows.append(Timing(name, *_measured(partial(way, *args, **kwargs), share)))
            except FallbackWarning:
                if name != "compiled by numba":
                    raise
    return Timings(f"{name_of(f)}, {entries:,} entries", tuple(rows))


def _measured(call: Callable[[], Any], seconds: float) -> tuple[float, float]:
    """Return the time of the first call, and of the quickest later one."""
    return timed(call)[0], quickest(call, seconds)


def _ratio(slow: float, fast: float) -> str:
    return f"{slow / fast:.3g} times"
