"""Batches on executors of two workers: `python -m benchmarks.executors [--check]`.

"speedup" is of the wall, the median over rounds in which all take turns; "processor time" what all
processes use together, in multiples of one without an executor. On a machine that others use, the
second says what the first would be at most on a free one: workers / processor time. "Empty loops"
are as many processes that share nothing: no executor gets more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np

import chainad
from benchmarks.table import table

WORKERS = 2
ROUNDS = 5
MALLOC_TRIM = "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_"

_rng = np.random.default_rng(0)
U, V, W = (_rng.normal(size=size) / 10 for size in ((400, 20), (400, 400), (20, 400)))


def layers(x: Any) -> Any:
    """Large products of matrices: BLAS, which leaves Python alone."""
    return W @ np.tanh(V @ np.tanh(U @ x))


def steps(y: Any) -> Any:
    """Many operations on scalars, each on all points."""
    for _ in range(60):
        y = y + 0.01 * np.array(
            [y[1] * y[2] - y[0], np.sin(y[0]) * y[2], y[0] * y[1] - np.exp(-y[2])]
        )
    return y


def spectrum(x: Any) -> Any:
    """What goes one point after the other: eigenvalues."""
    return np.linalg.eigvalsh(np.outer(x, x) + np.diag(np.sin(x)))


FUNCTIONS: dict[str, tuple[Callable[[Any], Any], int, int]] = {
    "20 > 400 > 400 > 20": (layers, 20, 2000),
    "60 steps of 3 unknowns": (steps, 3, 60_000),
    "eigenvalues, 30 x 30": (spectrum, 30, 1500),
}


@contextmanager
def executors() -> Iterator[dict[str, Executor]]:
    """Yield the executors that are installed."""
    with ExitStack() as stack:
        found: dict[str, Any] = {"threads": stack.enter_context(ThreadPoolExecutor(WORKERS))}
        spawn = get_context("spawn")
        found["processes"] = stack.enter_context(ProcessPoolExecutor(WORKERS, mp_context=spawn))
        if find_spec("loky"):
            from loky import get_reusable_executor

            found["loky"] = get_reusable_executor(WORKERS)
        if find_spec("distributed"):
            import dask
            from distributed import Client

            # dask has processes give memory back whenever 64 kB are free, in its own and whatever
            # is started later: arrays that come and go then take several times as long.
            dask.config.set({MALLOC_TRIM: 2**27})
            client = stack.enter_context(Client(n_workers=WORKERS, threads_per_worker=1))
            found["dask"] = client.get_executor()
        yield found


def processor_time() -> float:
    """Return the seconds that this process and all below it have used (on Linux)."""
    ticks, pending = 0, [os.getpid()]
    while pending:
        folder = Path(f"/proc/{pending.pop()}")
        try:
            ticks += sum(map(int, (folder / "stat").read_text().rpartition(")")[2].split()[11:13]))
            for each in folder.glob("task/*/children"):
                pending += map(int, each.read_text().split())
        except OSError:  # it has ended
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def timed(call: Callable[[], Any]) -> tuple[float, float]:
    """Return the seconds of the wall and of all processors."""
    wall, used = perf_counter(), processor_time()
    call()
    return perf_counter() - wall, processor_time() - used


def loop(seconds: float) -> None:
    """Use a processor for some seconds."""
    end = process_time() + seconds
    while process_time() < end:
        pass


def main(is_quick: bool) -> None:
    rows = []
    with executors() as pools:
        seconds, free = 0.01 if is_quick else 0.5, []
        for _ in range(1 if is_quick else ROUNDS):
            alone, _ = timed(partial(pools["processes"].submit(loop, seconds).result))
            both = [pools["processes"].submit(loop, seconds) for _ in range(WORKERS)]
            free.append(WORKERS * alone / timed(lambda both=both: [x.result() for x in both])[0])
        rows.append(["empty loops", "processes", "-", f"{median(free):.2f}x", "-"])
        for name, (f, n, count) in FUNCTIONS.items():
            points = _rng.uniform(0.5, 1.0, size=(count // 50 if is_quick else count, n))
            shape = chainad.jacobian(f)(points[0]).shape
            out = np.empty((len(points), *shape))
            how: Any = {"batch": 0, "backend": "numpy"}  # numba has threads of its own
            ways = {"": chainad.jacobian(f, **how)}
            ways |= {k: chainad.jacobian(f, executor=pool, **how) for k, pool in pools.items()}
            wanted = ways[""](points)
            for way in ways.values():
                np.testing.assert_allclose(way(points, out=out), wanted, rtol=1e-8, atol=1e-8)
            rounds: dict[str, list[tuple[float, float]]] = {k: [] for k in ways}
            for _ in range(1 if is_quick else ROUNDS):
                for k, way in ways.items():
                    rounds[k].append(timed(partial(way, points, out=out)))
            alone = rounds.pop("")
            for k, found in rounds.items():
                speedup = median(a[0] / b[0] for a, b in zip(alone, found, strict=True))
                used = sum(b[1] for b in found) / max(sum(a[1] for a in alone), 1e-9)
                seconds = f"{min(a[0] for a in alone):.3g} s"
                rows.append([name, k, seconds, f"{speedup:.2f}x", f"{used:.2f}x"])
    print(table(["function", "executor", "without", "speedup", "processor time"], rows))


if __name__ == "__main__":
    main("--check" in sys.argv)
