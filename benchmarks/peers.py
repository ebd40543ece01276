"""The peers: one row each; a library that is not installed is left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Library:
    """A library that differentiates functions of its own arrays.

    `np` plays the part of NumPy, `array` makes its arrays of NumPy's, and `wait` returns a result
    once all its numbers are there.
    """

    name: str
    module: Any
    np: Any
    array: Callable[[np.ndarray], Any]
    wait: Callable[[Any], Any]

    @property
    def version(self) -> str:
        return version(self.name)


@dataclass(frozen=True)
class Peer:
    """One way to make a Jacobian of a function of a library's arrays."""

    name: str
    library: str
    jacobian: Callable[[Any, Callable[[Any], Any]], Callable[[Any], Any]]


PEERS = (
    Peer("jax jacfwd", "jax", lambda jax, f: jax.jit(jax.jacfwd(f))),
    Peer("jax jacrev", "jax", lambda jax, f: jax.jit(jax.jacrev(f))),
    Peer("torch jacfwd", "torch", lambda torch, f: torch.func.jacfwd(f)),
    Peer("torch jacrev", "torch", lambda torch, f: torch.func.jacrev(f)),
    Peer("autograd", "autograd", lambda autograd, f: autograd.jacobian(f)),
)


def _jax() -> Library:
    jax = import_module("jax")
    jax.config.update("jax_enable_x64", True)
    jnp = import_module("jax.numpy")
    # The first call of all starts the compiler: no workload is to pay for that.
    jax.jit(jnp.tanh)(jnp.ones(2)).block_until_ready()
    return Library("jax", jax, jnp, jnp.asarray, jax.block_until_ready)


def _torch() -> Library:
    torch = import_module("torch")
    torch.set_num_threads(1)
    return Library("torch", torch, torch, torch.from_numpy, lambda result: result)


def _autograd() -> Library:
    autograd = import_module("autograd")
    return Library(
        "autograd", autograd, import_module("autograd.numpy"), np.asarray, lambda result: result
    )


LOADERS = {"jax": _jax, "torch": _torch, "autograd": _autograd}


def load() -> tuple[dict[str, Library], dict[str, str]]:
    """Return the libraries that can be imported, and why the others cannot."""
    loaded, failed = {}, {}
    for name, loader in LOADERS.items():
        try:
            loaded[name] = loader()
        except ImportError as error:
            failed[name] = str(error)
    return loaded, failed
