"""Too little memory: a call raises MemoryError or is right, and leaves no state behind."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

resource = pytest.importorskip("resource")  # POSIX

PROGRAM = """
import contextlib, pathlib, resource, sys
import numpy as np
import chainad

rng = np.random.default_rng(0)
A, B = rng.normal(size=(600, 700)), rng.normal(size=(700, 600))  # 3.4 MB each, held by traces

def f(x):
    return A @ np.tanh(B @ x)

x = rng.normal(size=600)
z = np.tanh(B @ x)
expected = (A * (1 - z * z)) @ B
calls = {
    "traced": lambda: chainad.jacobian(f)(x),
    "sparse": lambda: chainad.jacobian(f, output="sparse")(x).toarray(),
    "recorded": lambda: chainad.jacobian(f).compile(x)(x),
    "replayed": chainad.jacobian(f).compile(x),
    "batched": lambda: chainad.jacobian(f, batch=0)(x[None])[0],
}
call = calls[sys.argv[1]]
if sys.argv[1] == "replayed":
    replayed = call
    call = lambda: replayed(x)
np.testing.assert_allclose(call(), expected, rtol=1e-9)  # all libraries have what they need

page = resource.getpagesize()
soft, hard = resource.getrlimit(resource.RLIMIT_AS)
failures = successes = 0
for megabytes in range(0, 60, 2):
    used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * page
    resource.setrlimit(resource.RLIMIT_AS, (used + megabytes * 2**20, hard))
    found = None
    with contextlib.suppress(MemoryError):
        found = call()
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert A.flags.writeable and B.flags.writeable and x.flags.writeable, megabytes
    if found is None:
        failures += 1
    else:
        successes += 1
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    del found
np.testing.assert_allclose(call(), expected, rtol=1e-9)
print(failures, successes)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("call", ["traced", "sparse", "recorded", "replayed", "batched"])
def test_a_call_without_memory_fails_or_is_right(call: str) -> None:
    # OpenBLAS ends a process whose threads it has no memory for; glibc is to give all memory back.
    settings = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, call],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | settings,
    )
    assert found.returncode == 0, found.stderr
    failures, successes = map(int, found.stdout.split())
    assert failures >= 1
    assert successes >= 1
