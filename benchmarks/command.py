"""The command line: which workloads to run, for how long, and where the report goes.

Started by `python -m benchmarks`, which pins the process first.
"""

import argparse
import sys
from datetime import date
from pathlib import Path

from benchmarks.check import MismatchError
from benchmarks.measure import Effort, measure
from benchmarks.peers import PEERS, load
from benchmarks.report import progress, report
from benchmarks.workloads import WORKLOADS

RESULTS = Path(__file__).parent / "results"
QUICK = Effort(seconds=0.02, rounds=1)
FULL = Effort(seconds=2.5, rounds=3)


def main(arguments: list[str]) -> int:
    """Run the workloads; return 1 if a Jacobian was wrong."""
    options = _parser().parse_args(arguments)
    names = options.names or list(WORKLOADS)
    if unknown := sorted(set(names) - set(WORKLOADS)):
        print(f"no workload {', '.join(unknown)}; choose from {', '.join(WORKLOADS)}")
        return 2
    libraries, failed = load()
    for library, reason in failed.items():
        print(f"{library} is left out: {reason}")
    peers = [peer for peer in PEERS if peer.library in libraries]
    found = []
    for name in names:
        print(f"{name} ...", end=" ", flush=True)
        try:
            found.append(
                measure(WORKLOADS[name](), peers, libraries, QUICK if options.quick else FULL)
            )
        except MismatchError as error:
            print(f"WRONG\n{error}")
            return 1
        print(progress(found[-1]), flush=True)
    text = report(found, libraries, options.quick)
    print(text)
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{date.today()}.md").write_text(text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Check and time chainad beside its peers, in turn, on one core.",
        epilog=f"Workloads: {', '.join(WORKLOADS)}.",
    )
    parser.add_argument("names", nargs="*", metavar="name", help="workloads to run (default: all)")
    parser.add_argument("--quick", action="store_true", help="check, and hardly time anything")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/DATE.md too")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
