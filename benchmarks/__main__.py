"""The door: pins this process to one core and one thread, then runs the command in a fresh one.

NumPy, JAX and torch read their number of threads once, when they are first imported; hence a fresh
process, and no import of theirs here.
"""

import os
import subprocess
import sys

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_X64": "1",
}

if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity"):
        # The last core: the first one answers most interrupts.
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    command = [sys.executable, "-m", "benchmarks.command", *sys.argv[1:]]
    sys.exit(subprocess.call(command, env=os.environ | ONE_THREAD))
