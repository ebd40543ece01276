"""Pinning: one core and one thread, for every command here.

NumPy, JAX and torch read their number of threads once, when they are first imported; hence `pin`
starts the process anew, with the same command line, the first time that it is called.
"""

import os
import sys

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_X64": "1",
}
# NumPy asks Linux for these by itself, XLA does not: page by page, an array of many megabytes takes
# several times longer to get than to fill.
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
DONE = "CHAINAD_BENCHMARKS_PINNED"


def pin(in_huge_pages: bool = False) -> None:
    """Pin this process to the last core and to one thread; does nothing the second time.

    Its memory is in huge pages if it is to be.
    """
    if DONE in os.environ:
        return
    if hasattr(os, "sched_setaffinity"):
        # The last core: the first one answers most interrupts.
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    sys.stdout.flush()
    command = [sys.executable, *sys.orig_argv[1:]]
    pages = HUGE_PAGES if in_huge_pages else {}
    os.execve(sys.executable, command, os.environ | ONE_THREAD | pages | {DONE: "1"})
