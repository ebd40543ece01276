"""Sparse and structured Jacobians against asdex and JAX: `python -m benchmarks.sparse [--quick]`.

Each is checked along complex steps first, then timed in turn with its peer in one process. The
peer of a sparse one is asdex (detection and colouring done before, jitted, handed out as a fresh
CSR), that of the others the better of jit(jacfwd) and jit(jacrev).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import scipy.sparse

import chainad
from benchmarks.inside import forget
from benchmarks.workloads.sparse import QUICK, SPARSE

STEP = 1e-200
Run = Callable[[], Any]


def main() -> None:
    """Check and time every workload; print a table."""
    quick = "--quick" in sys.argv
    if not quick and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(HEAD)
    for name, (f, point, output, goal) in (QUICK if quick else SPARSE).items():
        row(name, f, point(), output, goal, quick)


HEAD = (
    f"{'':20}{'nnz':>10}{'mults':>12}{'plan ms':>9}{'first ms':>9}{'J ms':>8}{'f ms':>8}"
    f"{'J/f':>6}  {'peer ms':>9}{'set-up s':>9}{'ratio':>8}{'goal':>7}"
)


def row(name: str, f: Any, x: Any, output: str, goal: float | None, quick: bool) -> None:
    """Print one line."""
    jacobian = chainad.jacobian(f, output=output)
    forget()
    plan_ms, plan = timed(partial(chainad.plan, f, x))
    first_ms, found = timed(partial(jacobian, x))
    check(name, f, x, found)
    peer, setup = (None, 0.0) if quick else peer_of(f, x, output)
    runs: dict[str, Run] = {"J": partial(jacobian, x), "f": partial(f, x)}
    if peer is not None:
        agree(name, peer(), found, x.shape)
        runs["peer"] = peer
    times = race(runs, 1 if quick else 15)
    nnz = found.nnz if hasattr(found, "nnz") else np.size(getattr(found, "array", found))
    line = (
        f"{name:20}{nnz:10,}{plan.multiplications:12,}{plan_ms:9.1f}{first_ms:9.1f}"
        f"{times['J']:8.2f}{times['f']:8.3f}{times['J'] / times['f']:6.1f}"
    )
    if peer is not None:
        ratio = f"{times['peer'] / times['J']:7.2f}x"
        line += f"  {times['peer']:9.2f}{setup:9.2f}{ratio}{goal or '-':>7}"
    print(line, flush=True)


def timed(run: Run) -> tuple[float, Any]:
    """Return milliseconds and result."""
    start = perf_counter()
    result = run()
    return 1e3 * (perf_counter() - start), result


def race(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """Return median milliseconds, all runs taking turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(timed(run)[0])
    return {name: median(each) for name, each in times.items()}


def applied(found: Any, v: Any) -> Any:
    """Return the Jacobian, in any form, times a direction."""
    if hasattr(found, "tosparse"):
        found = found.tosparse()
    if scipy.sparse.issparse(found):
        return found @ np.ravel(v)
    return np.ravel(np.tensordot(found, v, v.ndim))


def check(name: str, f: Any, x: Any, found: Any) -> None:
    """Raise unless the Jacobian is the one of f along three random directions, by complex steps.

    Where maxima are taken, which complex numbers do not have, by central differences.
    """
    for k in range(3):
        v = np.random.default_rng(k).normal(size=x.shape)
        if "softmax" in name or "transformer" in name:
            wanted, tolerance = (f(x + 1e-6 * v) - f(x - 1e-6 * v)) / 2e-6, 1e-6
        else:
            wanted, tolerance = np.imag(f(x + 1j * STEP * v)) / STEP, 1e-9
        error = np.max(np.abs(applied(found, v) - np.ravel(wanted)))
        if not error <= tolerance * np.max(np.abs(wanted)):
            raise SystemExit(f"{name}: off by {error:.1e}")


def agree(name: str, theirs: Any, ours: Any, shape: tuple[int, ...]) -> None:
    """Raise unless the peer's Jacobian is ours along a random direction."""
    v = np.random.default_rng(9).normal(size=shape)
    one, two = applied(theirs, v), applied(ours, v)
    if not np.max(np.abs(one - two)) <= 1e-9 * np.max(np.abs(two)):
        raise SystemExit(f"{name}: the peer disagrees")


def peer_of(f: Any, x: Any, output: str) -> tuple[Run | None, float]:
    """Return a call of the peer, and the seconds that its set-up took; None if not installed."""
    if find_spec("jax") is None or (output == "sparse" and find_spec("asdex") is None):
        return None, 0.0
    return asdex_peer(f, x) if output == "sparse" else jax_peer(f, x)


def asdex_peer(f: Any, x: Any) -> tuple[Run, float]:
    """Return asdex's Jacobian as a fresh CSR; its index arrays are laid out beforehand."""
    asdex, jax, jnp = (import_module(name) for name in ("asdex", "jax", "jax.numpy"))

    jax.config.update("jax_enable_x64", True)
    start = perf_counter()
    point = jnp.asarray(x)
    run = jax.jit(asdex.jacobian(partial(f, np=jnp), point))
    first = run(point)
    places = np.asarray(first.indices)
    order = np.lexsort((places[:, 1], places[:, 0]))
    layout = scipy.sparse.csr_array(
        (np.ones(len(order)), (places[order, 0], places[order, 1])), shape=first.shape
    )
    setup = perf_counter() - start

    def peer() -> Any:
        data = np.asarray(run(point).data)[order]
        parts = (data, layout.indices.copy(), layout.indptr.copy())
        return scipy.sparse.csr_array(parts, shape=layout.shape)

    return peer, setup


def jax_peer(f: Any, x: Any) -> tuple[Run, float]:
    """Return the better of JAX's two modes."""
    jax, jnp = import_module("jax"), import_module("jax.numpy")

    jax.config.update("jax_enable_x64", True)
    start = perf_counter()
    point = jnp.asarray(x)
    runs = []
    for transform in (jax.jacfwd, jax.jacrev):
        run = jax.jit(transform(partial(f, np=jnp)))
        run(point).block_until_ready()
        runs.append((timed(lambda run=run: run(point).block_until_ready())[0], run))
    setup = perf_counter() - start
    best = min(runs, key=lambda pair: pair[0])[1]
    return lambda: np.asarray(best(point).block_until_ready()), setup


if __name__ == "__main__":
    main()
