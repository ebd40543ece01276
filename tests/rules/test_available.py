"""What the oldest versions of NumPy and SciPy lack is looked up with care."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from chainad.rules.base import available

# Younger than the oldest versions that pyproject.toml allows.
NEWER = {
    "numpy": ["matvec", "vecmat", "cumulative_sum", "cumulative_prod", "unstack"],
    "scipy.special": ["log_wright_bessel"],
}


def test_a_function_that_is_not_there_has_no_row() -> None:
    assert available(np, "sin") == (np.sin,)
    assert available(np, "no_such_function") == ()


def test_chainad_runs_where_newer_functions_are_missing() -> None:
    code = f"""
import sys, numpy as np, scipy.special
for module, names in {NEWER}.items():
    for name in names:
        vars(sys.modules[module]).pop(name, None)
import chainad
f = lambda x: np.cumsum(x) @ x * np.ones(2)
print(chainad.jacobian(f)(np.ones(2)).tolist(), chainad.jacobian(f).compile()(np.ones(2)).tolist())
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout == "[[3.0, 3.0], [3.0, 3.0]] [[3.0, 3.0], [3.0, 3.0]]\n"
