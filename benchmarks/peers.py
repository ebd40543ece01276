"""The peers: one row each; a library that cannot be imported is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import scipy.sparse

from benchmarks.timing import Runner
from benchmarks.workload import Array, Function, Library, OwnPeer, Step, Workload

Transform = Callable[[Any, Function], Function]  # from a library's module and a function


def _transformed(transform: Transform) -> OwnPeer:
    """Return the peer that applies a library's own transform to the function."""

    def make(library: Library, workload: Workload) -> Runner:
        assert workload.spell is not None
        jacobian = transform(library.module, workload.spell(library))
        x = library.array(workload.point)
        return lambda: library.wait(jacobian(x))

    return make


def _asdex(library: Library, workload: Workload) -> Runner:
    """Return asdex's Jacobian, its sparsity detected and coloured before, as a fresh CSR."""
    assert workload.spell is not None
    jax, asdex = library.module, import_module("asdex")
    x = library.array(workload.point)
    run = jax.jit(asdex.jacobian(workload.spell(library), x))
    first = run(x)
    compress = csr_of(np.asarray(first.indices), first.shape)
    return lambda: compress(np.asarray(run(x).data))


def csr_of(places: Array, shape: tuple[int, int]) -> Callable[[Array], scipy.sparse.csr_array]:
    """Return a function from numbers to a fresh CSR, number k at (row, column) `places[k]`.

    The index arrays are sorted beforehand, and copied at every call: whoever gets the matrix may
    change it.
    """
    order = np.lexsort((places[:, 1], places[:, 0]))
    rows, cols = places[order, 0], places[order, 1]
    indices = cols.astype(np.int32)
    indptr = np.searchsorted(rows, np.arange(shape[0] + 1)).astype(np.int32)

    def compress(data: Array) -> scipy.sparse.csr_array:
        return scipy.sparse.csr_array((data[order], indices.copy(), indptr.copy()), shape=shape)

    return compress


def _casadi(library: Library, workload: Workload) -> Runner:
    """Return CasADi's symbolic Jacobian of scalars, run by its virtual machine."""
    casadi, point = library.module, workload.point
    x = casadi.SX.sym("x", point.size)
    assert workload.spell is not None
    y = workload.spell(library)(_Objects.stack([x[k] for k in range(point.size)]))
    column = casadi.vertcat(*y) if isinstance(y, np.ndarray) else y
    run = casadi.Function("jacobian", [x], [casadi.densify(casadi.jacobian(column, x))])
    shape = np.shape(workload.function(point)) + point.shape
    return lambda: run(point).full().reshape(shape)


class _Objects:
    """NumPy for arrays of objects: its functions call the methods of what these hold."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def stack(values: Sequence[Any]) -> Array:
        """Return a vector of scalars, none of which NumPy may take for a sequence."""
        array = np.empty(len(values), object)
        for k, value in enumerate(values):
            array[k] = value
        return array


PEERS: Mapping[str, OwnPeer] = {
    "jax jacfwd": _transformed(lambda jax, f: jax.jit(jax.jacfwd(f))),
    "jax jacrev": _transformed(lambda jax, f: jax.jit(jax.jacrev(f))),
    "jax grad": _transformed(lambda jax, f: jax.jit(jax.grad(f))),
    "jax asdex": _asdex,
    "torch jacfwd": _transformed(lambda torch, f: torch.func.jacfwd(f)),
    "torch jacrev": _transformed(lambda torch, f: torch.func.jacrev(f)),
    "torch grad": _transformed(lambda torch, f: torch.func.grad(f)),
    "autograd": _transformed(lambda autograd, f: autograd.jacobian(f)),
    "autograd grad": _transformed(lambda autograd, f: autograd.grad(f)),
    "casadi": _casadi,
}


def library_of(peer: str) -> str:
    """Return the name of a peer's library."""
    return peer.split(maxsplit=1)[0]


def _jax() -> Library:
    jax = import_module("jax")
    jax.config.update("jax_enable_x64", True)
    jnp = import_module("jax.numpy")
    # The first call of all starts the compiler: no workload is to pay for that.
    jax.jit(jnp.tanh)(jnp.ones(2)).block_until_ready()

    def scan(step: Step, y: Any, n: int) -> Any:
        # Unrolled, a hundred steps take XLA minutes to compile.
        return jax.lax.scan(lambda y, _: (step(y), None), y, None, length=n)[0]

    return Library("jax", jax, jnp, jnp.asarray, jax.block_until_ready, scan)


def _torch() -> Library:
    torch = import_module("torch")
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    return Library("torch", torch, torch, torch.from_numpy)


def _autograd() -> Library:
    autograd = import_module("autograd")
    return Library("autograd", autograd, import_module("autograd.numpy"), np.asarray)


def _casadi_library() -> Library:
    casadi = import_module("casadi")
    casadi.GlobalOptions.setNumpyMode(-1)  # NumPy's functions of its scalars give its scalars
    return Library("casadi", casadi, _Objects(), np.asarray)


LOADERS = {"jax": _jax, "torch": _torch, "autograd": _autograd, "casadi": _casadi_library}


def load() -> tuple[dict[str, Library], dict[str, str]]:
    """Return the libraries that can be imported, and why the others cannot."""
    loaded, failed = {}, {}
    for name, loader in LOADERS.items():
        try:
            loaded[name] = loader()
        except ImportError as error:
            failed[name] = str(error)
    return loaded, failed
