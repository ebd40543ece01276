"""Past one core and one memory: time and memory by size and by workers, and what limits each.

`python -m benchmarks.scale [--check] [--save]`. Every row is measured in a process of its own, so
that its memory is that of nothing else. Streams write gigabytes into the folder of temporary files.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from time import perf_counter, process_time
from typing import Any

import numpy as np

import chainad
from benchmarks.machine import heading
from benchmarks.pin import ONE_THREAD
from benchmarks.table import table

RESULTS = Path(__file__).parent / "results" / "scale.md"
MEMORY_LIMIT = 2 * 10**9
READ_BACK = 20  # a value of a tape reads one of so many before it
WIDTH = 100  # of the narrow place in the Jacobians that are streamed

Row = dict[str, float]


def graph(size: int) -> Row:
    """Plan a graph of so many vertices, each of which reads the last and an earlier one."""
    rng = Random(0)
    edges = [(v - 1, v) for v in range(1, size)]
    edges += [(rng.randrange(max(0, v - READ_BACK), v - 1), v) for v in range(2, size)]
    return _planned(lambda: chainad.plan_graph(edges), size)


def chain(size: int) -> Row:
    """Plan a chain of so many matrices."""
    rng = Random(0)
    sizes = [rng.randint(1, 100) for _ in range(size + 1)]
    return _planned(lambda: chainad.plan_chain(sizes), size)


def _planned(plan: Callable[[], Any], size: int) -> Row:
    plan_once = chainad.plan_chain([2, 3, 4])  # what is loaded when it is first needed
    before, start = _peak(), process_time()
    made = plan()
    assert made.multiplications > plan_once.cost
    return {"seconds": process_time() - start, "kB each": (_peak() - before) / size / 1e3}


def stream(size: int) -> Row:
    """Write a Jacobian of so many megabytes into a memory map, with 2 GB of memory."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT, MEMORY_LIMIT))
    n = round((size * 1e6 / 8) ** 0.5)
    rng = np.random.default_rng(0)
    A, B = rng.normal(size=(n, WIDTH)), rng.normal(size=(WIDTH, n))
    x = rng.normal(size=n)
    told: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        J = np.lib.format.open_memmap(f"{folder}/jacobian.npy", "w+", shape=(n, n))
        start, cpu = perf_counter(), process_time()
        chainad.stream(
            lambda x: A @ np.sin(B @ x),
            x,
            into=J,
            progress=lambda p: told.append((p.total, _heap())),
        )
        seconds, computed = perf_counter() - start, process_time() - cpu
        for row in (0, n // 2, n - 1):
            assert np.allclose(J[row], (A[row] * np.cos(B @ x)) @ B)
    blocks, heap = map(max, zip(*told, strict=True))
    return {"seconds": seconds, "of a core": computed, "blocks": blocks, "MB": heap / 1e6}


def _peak() -> int:
    """Return the most bytes that this process had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _heap() -> int:
    """Return the bytes of memory that are no file's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


MEASURES = {"graph": graph, "chain": chain, "stream": stream}


def measured(name: str, size: int) -> Row:
    """Return what a measure finds in a process of its own."""
    found: Row = json.loads(_run("benchmarks.scale", "--measure", name, str(size)))
    return found


def _run(module: str, *arguments: str) -> str:
    command = [sys.executable, "-m", module, *arguments]
    environment = os.environ | ONE_THREAD
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def report(quick: bool) -> str:
    """Measure everything; return the tables."""
    sizes = [1_000, 10_000] if quick else [1_000, 10_000, 100_000]
    megabytes = [50] if quick else [500, 2_000, 8_000]
    parts = [heading("Scale")]
    rows = []
    for size in sizes:
        for name in ("graph", "chain"):
            found = measured(name, size)
            what = {"graph": "vertices of a graph", "chain": "factors of a chain"}[name]
            rows.append(
                [f"{size:,} {what}", f"{found['seconds']:.2f} s", f"{found['kB each']:.1f} kB"]
            )
    parts += ["## Planning", table(["plan of", "CPU time", "memory for each"], rows), PLANNING]
    rows = []
    for size in megabytes:
        found = measured("stream", size)
        rows.append(
            [
                f"{size / 1000:g} GB",
                f"{found['blocks']:.0f}",
                f"{found['seconds']:.1f} s",
                f"{found['of a core']:.1f} s",
                f"{size / found['seconds']:.0f} MB/s",
                f"{found['MB']:.0f} MB",
            ]
        )
    head = ["Jacobian", "blocks", "time", "CPU time", "written", "memory besides the file"]
    parts += ["## Larger than memory", table(head, rows), STREAMING]
    workers = _run("benchmarks.executors", *(["--check"] if quick else []))
    return "\n\n".join([*parts, "## Workers", workers.strip(), WORKERS])


PLANNING = """\
What limits it: Python takes some 70 us for each vertex, in one thread, to find an order, to cost
it and to write down its steps. Beyond 3,000 values only the quick rules are tried; orders that cost
many times as much as another one are not followed to their end, so that their cost is not shown."""
STREAMING = """\
A product through 100 numbers, with `ulimit -d` at 2 GB, into an `np.memmap`. What limits it: the
disk, from the size on that its cache holds; computing takes the CPU time, and what is written is
flushed before it counts. Pages of the file that are in memory are the system's, which takes them
back when it needs them."""
WORKERS = """\
By `python -m benchmarks.executors`: two workers, in turn with none. What limits it: the cores that
are free; for threads, what holds Python's lock; for processes, that arguments and results are
copied between them. Processor time is in multiples of that without an executor."""


def main(arguments: Sequence[str]) -> int:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--check", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name}, too")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        name, size = options.measure
        print(json.dumps(MEASURES[name](int(size))))
        return 0
    text = report(options.check)
    print(text)
    if options.save:
        RESULTS.write_text(f"{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
