"""Import time: `python -m benchmarks.imports` compares `import chainad` with what it stands on."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from statistics import median

FOUNDATION = "import numpy, scipy.sparse, scipy.special"
RUNS = 10


def cpu_seconds(statement: str, caches: str) -> float:
    """Return the processor time of a statement in a fresh process, with byte code in `caches`."""
    code = f"import time; t = time.process_time(); {statement}; print(time.process_time() - t)"
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": caches}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    return float(run.stdout)


def main() -> None:
    """Print both medians and their ratio; the runs alternate, and the first ones compile."""
    times: dict[str, list[float]] = {FOUNDATION: [], "import chainad": []}
    with tempfile.TemporaryDirectory() as caches:
        for k in range(RUNS + 1):
            for statement, found in times.items():
                seconds = cpu_seconds(statement, caches)
                if k:
                    found.append(seconds)
    medians = {statement: median(found) for statement, found in times.items()}
    for statement, seconds in medians.items():
        print(f"{statement:<45} {seconds:.3f} s")
    print(f"ratio {medians['import chainad'] / medians[FOUNDATION]:.2f}")


if __name__ == "__main__":
    main()
