"""What it costs, at each call of a compiled function, to see changes of what it reads elsewhere.

python -m benchmarks.guards

Every function runs with its captures checked, and with all of them named in `constant=`, in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np

import chainad
from benchmarks.table import table
from benchmarks.timing import race

SECONDS, ROUNDS = 0.3, 30

number, matrix = 2.0, np.eye(3)
numbers = [float(k) for k in range(100)]
model = SimpleNamespace(a=1.0, b=2.0, c=3.0, d=4.0, config={"dt": 0.1})
small, medium, large = np.ones(2048), np.ones(1 << 20), np.ones(1 << 24)

# What is read, the function, and how many guards that are, or kB of content.
CASES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "nothing": (lambda x: x * x, ""),
    "a module": (lambda x: np.exp(x) + x, "1 guard"),
    "an array used directly": (lambda x: matrix @ x, "1 guard"),
    "a number": (lambda x: x * number, "1 guard"),
    "four attributes and an entry": (
        lambda x: x * model.a * model.b * model.c * model.d * model.config["dt"],
        "5 guards",
    ),
    "a list of 100 numbers": (lambda x: x * sum(numbers), "1 list"),
    "16 kB of content": (lambda x: x * small[0], "16 kB"),
    "8 MiB of content": (lambda x: x * medium[0], "8192 kB"),
    "128 MiB, by hashes": (lambda x: x * large[0], "131072 kB"),
}
NAMES = ("np", "matrix", "number", "model", "numbers", "small", "medium", "large")


def main() -> None:
    """Print the table."""
    x = np.ones(3)
    rows = []
    for what, (f, count) in CASES.items():
        for backend in ("numpy", "python"):
            checked = chainad.compile(chainad.jacobian(f), x, backend=backend)
            unchecked = chainad.compile(chainad.jacobian(f), x, backend=backend, constant=NAMES)
            times = race(
                {"checked": partial(checked, x), "unchecked": partial(unchecked, x)},
                SECONDS,
                ROUNDS,
            )
            one, other = (median(times[name]) * 1e6 for name in ("checked", "unchecked"))
            rows.append([what, count, backend, f"{other:.2f}", f"{one:.2f}", f"{one - other:.2f}"])
    print(table(["what is read", "", "backend", "unchecked us", "checked us", "difference"], rows))


if __name__ == "__main__":
    main()
