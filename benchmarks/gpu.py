"""`chainad.jax.jacobian` on a GPU, beside JAX and an expert: `python -m benchmarks.gpu`.

The workloads of `benchmarks.in_jax`, in single and in double precision, jitted, checked, in turn,
by the clock of the wall. It takes five minutes at most: what would take longer is not begun, and
the table says so. Without a GPU nothing is run. `[--cpu [--check]] [--save] [--minutes M]
[name ...]`; `--cpu` runs it on one core, which checks this script and says nothing of a GPU.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.check import MismatchError
from benchmarks.in_jax import CELLS, GOALS, raced, workload_of
from benchmarks.machine import heading
from benchmarks.peers import LOADERS
from benchmarks.pin import pin
from benchmarks.table import table, times
from benchmarks.workload import Library

RESULTS = Path(__file__).parent / "results" / "gpu.md"
MINUTES = 5.0
SECONDS = 0.2  # for each way
# Of the largest entry; a GPU multiplies matrices in single precision with ten bits (TF32).
TOLERANCES = {"float32": 2e-2, "float64": 1e-9}
HEAD = ("", "function", "", *CELLS, "first call: ours / JAX")
PACKAGES = ("jax", "jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin", "jax-rocm7-plugin")


def row(name: str, precision: str, library: Library, is_quick: bool) -> list[str]:
    """Check and time all ways of one workload; return a row of the table."""
    jax = library.module
    jax.config.update("jax_enable_x64", precision == "float64")
    workload = workload_of(name, is_quick)
    start = [name, workload.title, precision]
    try:
        seconds = 0.0 if is_quick else SECONDS
        found = raced(workload, library, seconds, TOLERANCES[precision], perf_counter)
    except MismatchError as error:
        return [*start, f"WRONG: {error}", *[""] * len(CELLS)]
    except RuntimeError as error:  # too little memory, or what this device does not have
        return [*start, f"FAILED: {str(error).partition(chr(10))[0]}", *[""] * len(CELLS)]
    finally:
        jax.clear_caches()
    if is_quick:
        return [*start, "correct", *[""] * len(CELLS)]
    return [*start, *found.cells, times(found.first_call)]


def rows(names: Sequence[str], library: Library, is_quick: bool, minutes: float) -> list[list[str]]:
    """Return the rows for which there is time; the last one is guessed to take as the longest."""
    start, longest, found = perf_counter(), 0.0, []
    for name in names:
        for precision in TOLERANCES:
            began = perf_counter()
            if began - start + longest > 60 * minutes:
                found.append([name, "", precision, "no time left", *[""] * len(CELLS)])
            else:
                found.append(row(name, precision, library, is_quick))
                longest = max(longest, perf_counter() - began)
            print(*found[-1], sep="  ", flush=True)
    return found


def device_of(jax: Any) -> str:
    """Return what JAX runs on."""
    device = jax.devices()[0]
    return f"{device.device_kind} ({device.platform})"


def main(arguments: Sequence[str]) -> int:
    """Check, time and print; return 1 if a Jacobian was wrong or failed, 2 if there is no GPU."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(GOALS)} (default: all)")
    parser.add_argument("--cpu", action="store_true", help="check this script, on one core")
    parser.add_argument("--check", action="store_true", help="small sizes, time nothing")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS}")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="(default: 5)")
    options = parser.parse_args(arguments)
    if options.save and (options.cpu or options.check):
        parser.error("--save is for times of a GPU")
    try:
        library = LOADERS["jax"]()
    except ImportError as error:
        print(f"nothing was run: {error}")
        return 2
    jax = library.module
    if jax.default_backend() == "cpu" and not options.cpu:
        print("nothing was run: JAX finds no GPU here; --cpu checks this script on the CPU")
        return 2
    found = rows(options.names or [*GOALS], library, options.check, options.minutes)
    text = heading(f"Jacobians in JAX on {device_of(jax)}", PACKAGES) + "\n" + table(HEAD, found)
    print(text)
    if options.save:
        RESULTS.write_text(text + "\n")
    return 1 if any(cell.startswith(("WRONG", "FAILED")) for line in found for cell in line) else 0


if __name__ == "__main__":
    if "--cpu" in sys.argv:
        pin()
    sys.exit(main(sys.argv[1:]))
