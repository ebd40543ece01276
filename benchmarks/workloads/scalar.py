"""First call: a thousand operations on numbers, where compiling costs far more than running.

JAX is not compared: jit(jacfwd) of this function takes minutes to compile.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks.goals import FIRST, at_most
from benchmarks.workload import Function, Maker, Workload, spelled

N_INPUTS = 10
N_OUTPUTS = 5
N_OPERATIONS = 1000
REACH = 20  # operands are among so many values before


Lines = list[tuple[str, int, int]]


def program(n_operations: int = N_OPERATIONS) -> Lines:
    """Return random operations, each with the places of its operands."""
    rng = np.random.default_rng(0)
    lines = []
    for k in range(N_INPUTS, N_INPUTS + n_operations):
        i, j = (int(n) for n in rng.integers(max(0, k - REACH), k, 2))
        lines.append((str(rng.choice(["add", "multiply", "sin", "cos", "tanh"])), i, j))
    return lines


def run(lines: Lines, np: Any = np) -> Function:
    """Return the function that runs the operations; every library runs this very text."""

    def f(x: Any) -> Any:
        v = [x[k] for k in range(N_INPUTS)]
        for name, i, j in lines:
            if name == "add":
                v.append(v[i] + v[j])
            elif name == "multiply":
                v.append(v[i] * v[j])
            else:
                v.append(getattr(np, name)(v[i]))
        return np.stack(v[-N_OUTPUTS:])

    return f


def make(is_quick: bool) -> Workload:
    """Return the workload; its size is its point, so that a quick run has the same."""
    function, spell = spelled(partial(run, program()))
    return Workload(
        name="first",
        title=f"{N_OPERATIONS} scalar operations",
        function=function,
        point=np.random.default_rng(1).normal(size=N_INPUTS),
        spell=spell,
        rivals=(),
        others=("autograd",),
        goals=(at_most(FIRST, 50, "traced"),),
    )


WORKLOADS: dict[str, Maker] = {"first": make}
