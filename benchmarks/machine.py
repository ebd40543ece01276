"""What was measured on what: the processor, its load, and the versions."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

import chainad

# What slows NumPy's BLAS or changes its ops: older ops cost a factor of two in a product.
VARIABLES = (
    "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OMP_NUM_THREADS", "XLA_FLAGS", "GLIBC_TUNABLES",
)  # fmt: skip


def heading(title: str, libraries: Iterable[str] = ()) -> str:
    """Return the head of a report: its title and date, the machine, versions, variables."""
    return "\n".join(
        [
            f"# {title}, {datetime.now():%Y-%m-%d %H:%M}",
            "",
            f"{machine()}.",
            f"{versions(libraries)}.",
            f"{variables()}.",
            "",
        ]
    )


def machine() -> str:
    """Return the processor, how many cores this process may use, and how busy they are."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else "any"
    load = f", load {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    return f"{_processor()}, {os.cpu_count()} cores, pinned to {cores}{load}"


def versions(libraries: Iterable[str] = ()) -> str:
    """Return the versions of all that took part, and the BLAS that NumPy was built with."""
    found = {"Python": platform.python_version(), "chainad": f"{chainad.__version__}{_commit()}"}
    for name in ("numpy", "scipy", "networkx", *libraries):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return ", ".join(f"{name} {number}" for name, number in found.items()) + f", BLAS {_blas()}"


def variables() -> str:
    """Return the environment variables that matter, as they are set."""
    return ", ".join(f"{name}={os.environ.get(name, '(not set)')}" for name in VARIABLES)


def _blas() -> str:
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{blas['name']} {blas['version']}"


def _commit() -> str:
    """Return the commit that is measured, with a + if it was changed since; empty if unknown."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=here, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f" ({found.stdout.strip()})"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
