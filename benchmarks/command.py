"""The command line: which workloads to run, for how long, and where the report goes.

Started by `python -m benchmarks`, which pins the process first.
"""

import argparse
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from time import perf_counter

from benchmarks.check import MismatchError
from benchmarks.measure import Effort, checked, measure
from benchmarks.peers import load
from benchmarks.report import progress, report, summary
from benchmarks.workloads import WORKLOADS

RESULTS = Path(__file__).parent / "results"


def main(arguments: Sequence[str]) -> int:
    """Run the workloads; return 1 if a Jacobian was wrong."""
    options = _parser().parse_args(arguments)
    names = select(options.names)
    if not names:
        print(f"no workload {' '.join(options.names)}; choose from {', '.join(WORKLOADS)}")
        return 2
    if options.list:
        for name in names:
            print(name)
        return 0
    try:
        return _check(names) if options.quick else _measure(names, options)
    except MismatchError as error:
        print(f"WRONG\n{error}")
        return 1


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


def _check(names: Sequence[str]) -> int:
    """Check every workload on small sizes: all modes, the limit, complex steps; time nothing."""
    start = perf_counter()
    for name in names:
        print(f"{name} ...", end=" ", flush=True)
        runners, _ = checked(WORKLOADS[name](True))
        print(f"correct: {', '.join(sorted(runners.keys() - {'f'}))}", flush=True)
    print(f"{len(names)} workloads in {perf_counter() - start:.0f} s")
    return 0


def _measure(names: Sequence[str], options: argparse.Namespace) -> int:
    libraries, failed = load()
    effort = Effort(options.seconds, 3, options.rivals)
    found = []
    for name in names:
        print(f"{name} ...", end=" ", flush=True)
        found.append(measure(WORKLOADS[name](False), libraries, effort))
        print(progress(found[-1]), flush=True)
        text = report(found, failed)
        if options.save:  # at once: a long run may be cut short
            save(str(date.today()), text)
    print(f"\n{text}\nGoals: {summary(found)}")
    return 0


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
        help="workloads, or how their names begin (default: all)",
    )
    parser.add_argument("--quick", action="store_true", help="check on small sizes, time nothing")
    parser.add_argument("--list", action="store_true", help="only print the names")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/DATE.md too")
    parser.add_argument(
        "--rivals", action="store_true", help="leave out the peers that no goal speaks of"
    )
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="how long to time each runner (default: 2)"
    )
    return parser
