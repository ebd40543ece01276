"""The command line: which workloads to run, for how long, and where the reports go.

Started by `python -m benchmarks`, which pins the process first.
"""

import argparse
import os
from collections.abc import Sequence
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import numpy as np

import chainad
from benchmarks import comparison, scaling
from benchmarks.check import MismatchError
from benchmarks.measure import Measurement, add_peers, checked, measure
from benchmarks.peers import load
from benchmarks.report import progress, report, summary
from benchmarks.workload import Workload
from benchmarks.workloads import WORKLOADS

RESULTS = Path(__file__).parent / "results"
MAX_DENSE_NUMBERS = 10**8  # of a Jacobian that autograd may keep


def main(arguments: Sequence[str]) -> int:
    """Run the workloads; return 1 if a Jacobian was wrong."""
    options = _parser().parse_args(arguments)
    names = select(options.names or (list(comparison.PROBLEMS) if options.quick else []))
    if not names:
        print(f"no workload {' '.join(options.names)}; choose from {', '.join(WORKLOADS)}")
        return 2
    if options.list:
        for name in names:
            print(name)
        return 0
    if options.check:
        return _check(names)
    with TemporaryDirectory() as folder:  # nothing was compiled yet
        os.environ["CHAINAD_CACHE"] = folder
        _start_numba()
        found = _measure(names, options)
    is_whole = not options.names and not options.quick
    _save_comparison(found, options.save)
    if is_whole:
        print(scaling.run(save=options.save))
    return 0 if len(found) == len(names) else 1


def select(wanted: Sequence[str]) -> list[str]:
    """Return the workloads that are named, or whose names begin so; all if none is wanted."""
    if not wanted:
        return list(WORKLOADS)
    return [name for name in WORKLOADS if name in wanted or name.startswith(tuple(wanted))]


def save(name: str, text: str) -> Path:
    """Write a report into `benchmarks/results`; return where."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.md"
    path.write_text(text.rstrip() + "\n")
    return path


def _start_numba() -> None:
    """Load the compiler, as `load` starts that of JAX: no workload is to pay for that."""
    if find_spec("numba"):
        x = np.ones(3)
        chainad.jacobian(lambda x: np.sin(x) * x, backend="numba").compile(x)


def _check(names: Sequence[str]) -> int:
    """Check every workload on small sizes: all modes, the limit, peers, steps; time nothing."""
    libraries, _ = load()
    start = perf_counter()
    for name in names:
        print(f"{name} ...", end=" ", flush=True)
        try:
            workload = WORKLOADS[name](True)
            found, wanted = checked(workload, with_modes=True)
            add_peers(workload, found, libraries, wanted)
        except MismatchError as error:
            print(f"WRONG\n{error}")
            return 1
        correct = sorted(found.functions.keys() - {"f"})
        print(f"correct: {', '.join(correct)}", *found.failed.values(), flush=True)
    print(f"{len(names)} workloads in {perf_counter() - start:.0f} s")
    return 0


def _measure(names: Sequence[str], options: argparse.Namespace) -> list[Measurement]:
    """Measure every workload that is right; what is wrong or fails is said, and left out."""
    libraries, failed = load()
    found: list[Measurement] = []
    start = process_time()
    for name in names:
        print(f"{name} ...", end=" ", flush=True)
        workload = WORKLOADS[name](False)
        others = (*_peers(workload), *(workload.others if options.others else ()))
        try:
            found.append(measure(workload, libraries, options.seconds, others))
        except Exception as error:  # the others run
            failed[name] = f"{type(error).__name__}: {error}"
            print("FAILED", failed[name], flush=True)
            continue
        print(f"{progress(found[-1])} [{process_time() - start:.0f} s]", flush=True)
        text = report(found, failed)
        if options.save and not options.quick:  # at once: a long run may be cut short
            save(str(date.today()), text)
    print(f"\n{text}\nGoals: {summary(found)}; {process_time() - start:.0f} s of the processor")
    return found


def _peers(workload: Workload) -> tuple[str, ...]:
    size = np.size(workload.function(workload.point)) if not workload.batch else 0
    is_dense = size * workload.point.size < MAX_DENSE_NUMBERS
    return comparison.peers_of(workload.name, workload.rivals, is_dense)


def _save_comparison(found: Sequence[Measurement], is_saved: bool) -> None:
    """Print the README's table, if everything in it was measured, and write it."""
    by_name = {m.workload.name: m for m in found}
    if not by_name.keys() >= comparison.PROBLEMS.keys():
        return
    shown = [by_name[name] for name in comparison.PROBLEMS]
    print(comparison.page(shown))
    if is_saved:
        save("comparison", comparison.page(shown))
        comparison.draw(shown)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Check and time chainad beside its peers, in turn, on one core.",
        epilog=f"Workloads: {', '.join(WORKLOADS)}.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="name",
        help="workloads, or how their names begin (default: all, and how costs grow with size)",
    )
    parser.add_argument("--quick", action="store_true", help="only what the README shows")
    parser.add_argument("--check", action="store_true", help="check on small sizes, time nothing")
    parser.add_argument("--list", action="store_true", help="only print the names")
    parser.add_argument(
        "--save", action="store_true", help="write benchmarks/results: DATE, comparison, scaling"
    )
    parser.add_argument(
        "--others", action="store_true", help="let the peers that no goal speaks of take part"
    )
    parser.add_argument(
        "--seconds", type=float, default=0.2, help="how long to time each runner (default: 0.2)"
    )
    return parser
