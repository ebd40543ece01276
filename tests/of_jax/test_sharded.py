"""Jacobians of JAX functions on several devices, which only a process of its own has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("jax", reason="needs the extra jax")


def test_sharded_arrays_give_what_jax_gives():
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    script = Path(__file__).with_name("sharded.py")
    done = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "all are those of JAX" in done.stdout
