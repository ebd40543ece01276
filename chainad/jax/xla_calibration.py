"""Measures what each kind of operation costs in programs that XLA compiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np

from chainad.api.stopwatch import quickest
from chainad.ir.operation_counts import KINDS_OF_OPERATION
from chainad.jax import xla_model
from chainad.planning.calibration import Calibration, keep

_SECONDS_PER_KIND = 0.06


def calibrate(store: bool = True) -> Calibration:
    """Measure what each kind of operation costs on JAX's device, for the orders chosen there.

    Without it, `chainad.jax` takes a shipped table; `chainad.jax.plan(...).model` says which.

    Parameters
    ----------
    store : bool
        Whether to keep the table where every later process finds it, as `chainad.calibrate` does:
        one file per machine, device and version of JAX.

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
    Takes some seconds, on a machine that is otherwise idle. `python -m chainad calibrate --jax` is
    the same.
    """
    found = Calibration(_measure(), xla_model.source())
    if store:
        keep(found, xla_model.xla_machine())
    return found


def _measure() -> tuple[int, ...]:
    """Return the costs in the order of `KINDS_OF_OPERATION`, in picoseconds."""
    rng = np.random.default_rng(0)
    n, few = 500, 16  # no power of two, of which caches hold few
    a, batch = jnp.asarray(rng.random((n, n))), jnp.asarray(rng.random((2_000, 3, 3)))
    small = a[:few, :few] / few
    index, rows = jnp.asarray(rng.permutation(n)), jnp.asarray(rng.integers(0, n, 5_000))
    terms = jnp.asarray(rng.random((5_000, few)))
    factors = jax.scipy.linalg.lu_factor(a)
    base = _time(lambda x: x + 1, small)
    elements = (_time(lambda x: x + 1, a) - base) / n**2 / 2
    dots = (_time(jnp.matmul, a, a) - base) / n**3
    multiplied = _time(_repeated(lambda x: x * (x + 1), 8), a) - _time(lambda x: x * (x + 1), a)
    call = (_time(_repeated(jnp.matmul, 32), small) - _time(jnp.matmul, small, small)) / 31
    # XLA compiles loops, and lays out arrays as it likes.
    nothing = dict.fromkeys(("views", "loops", "strided", "operators", "fresh"), 0)
    found = nothing | {
        "calls": call - few**3 * dots,
        "moved": (_time(lambda x: x.T + 1, a) - base) / n**2 - 2 * elements,
        "gathered": (_time(lambda x, i: x[i], a, index) - base) / n**2 - elements,
        "multiplied": multiplied / n**2 / 7,
        "added": (_time(lambda x: jnp.sum(x, 1), a) - base) / n**2 - elements,
        "dots": dots,
        "items": (_time(jnp.matmul, batch, batch) - base) / 2_000 - 27 * dots,
        "entries": (_time(_scatter, terms, rows) - base) / terms.size,
        "sparse": call,
        "applied": (_time(jax.scipy.linalg.lu_solve, factors, a) - base) / n**3,
        "elements": elements,
    }
    # At least one picosecond: no operation is free.
    return tuple(max(1, round(found[kind])) for kind in KINDS_OF_OPERATION)


def _scatter(terms: Any, rows: Any) -> Any:
    return jnp.zeros((500, terms.shape[1]), terms.dtype).at[rows].add(terms)


def _repeated(step: Callable[..., Any], times: int) -> Callable[[Any], Any]:
    """Return a function that applies a step to what the step before made."""

    def run(x: Any) -> Any:
        y = x
        for _ in range(times):
            y = step(x, y) if step is jnp.matmul else step(y)
        return y

    return run


def _time(function: Callable[..., Any], *args: Any) -> float:
    """Return the picoseconds of a compiled function, the least of several runs."""
    compiled = jax.jit(function).lower(*args).compile()
    jax.block_until_ready(compiled(*args))
    return 1e12 * quickest(lambda: jax.block_until_ready(compiled(*args)), _SECONDS_PER_KIND)


__all__ = ["calibrate"]
