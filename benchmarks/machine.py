"""What was measured on what: the processor, its load, and the versions."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import scipy

import chainad
from benchmarks.peers import Library


def machine() -> str:
    """Return the processor, how many cores this process may use, and how busy they are."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else "any"
    load = f", load {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    return f"{_processor()}, {os.cpu_count()} cores, pinned to {cores}{load}{_blas()}"


def versions(libraries: Iterable[Library]) -> str:
    """Return the versions of all that took part."""
    found = {
        "Python": platform.python_version(),
        "chainad": chainad.__version__,
        "NumPy": np.__version__,
        "SciPy": scipy.__version__,
    }
    found |= {library.name: library.version for library in libraries}
    return ", ".join(f"{name} {number}" for name, number in found.items())


def _blas() -> str:
    """Return what holds NumPy's BLAS back: older kernels cost a factor of two in a product."""
    names = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    return "".join(f", {name}={os.environ[name]}" for name in names if name in os.environ)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
