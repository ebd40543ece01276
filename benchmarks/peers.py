"""The peers: one row each; a library that cannot be imported is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import scipy.sparse
from scipy.optimize._numdiff import approx_derivative  # what solvers of SciPy call

import chainad
from benchmarks.workload import Array, Function, Library, OwnPeer, Step, Workload

Transform = Callable[[Any, Function], Function]  # from a library's module and a function


@dataclass(frozen=True)
class Jitted:
    """What XLA compiles of a function; `finish` makes of its result what a user wants."""

    function: Any
    finish: Callable[[Any], Any]

    def __call__(self, x: Any) -> Any:
        return self.finish(self.function(x))

    def peak(self, x: Any) -> int:
        """Return the bytes that a call holds at most, its result included."""
        used = self.function.lower(x).compile().memory_analysis()
        return int(used.temp_size_in_bytes + used.output_size_in_bytes)


def jitted(library: Library, function: Function, finish: Function | None = None) -> Function:
    """Return a function of JAX, compiled; `finish` gets its result as an array of NumPy."""
    compiled = library.module.jit(function)
    return Jitted(compiled, library.wait if finish is None else lambda y: finish(np.asarray(y)))


def _of_jax(transform: Callable[[Any], Callable[[Function], Function]]) -> OwnPeer:
    """Return the peer that jits JAX's own transform of the function."""

    def make(library: Library, workload: Workload) -> Function:
        assert workload.spell is not None
        return jitted(library, transform(library.module)(workload.spell(library)))

    return make


def _transformed(transform: Transform) -> OwnPeer:
    """Return the peer that applies a library's own transform to the function."""

    def make(library: Library, workload: Workload) -> Function:
        assert workload.spell is not None
        jacobian = transform(library.module, workload.spell(library))
        return lambda x: library.wait(jacobian(x))

    return make


def _asdex(library: Library, workload: Workload) -> Function:
    """Return asdex's Jacobian, its sparsity detected and coloured before, as a fresh CSR."""
    assert workload.spell is not None
    asdex = import_module("asdex")
    x = library.array(workload.point)
    run = asdex.jacobian(workload.spell(library), x)
    first = run(x)
    compress = csr_of(np.asarray(first.indices), first.shape)
    return jitted(library, lambda x: run(x).data, compress)


def csr_of(places: Array, shape: tuple[int, int]) -> Callable[[Array], scipy.sparse.csr_array]:
    """Return a function from numbers to a fresh CSR, number k at (row, column) `places[k]`.

    Numbers whose column is negative or too large are left out. The index arrays are sorted
    beforehand, and copied at every call: whoever gets the matrix may change it.
    """
    inside = np.flatnonzero((places[:, 1] >= 0) & (places[:, 1] < shape[1]))
    order = inside[np.lexsort((places[inside, 1], places[inside, 0]))]
    rows, cols = places[order, 0], places[order, 1]
    indices = cols.astype(np.int32)
    indptr = np.searchsorted(rows, np.arange(shape[0] + 1)).astype(np.int32)
    is_run = bool(np.all(np.diff(order) == 1))
    run = slice(order[0], order[-1] + 1)
    empty = scipy.sparse.csr_array((np.zeros(0), indices[:0], np.zeros_like(indptr)), shape=shape)

    def compress(data: Array) -> scipy.sparse.csr_array:
        matrix = copy(empty)  # SciPy's constructor takes longer than many a Jacobian
        matrix.data = data[run] if is_run else data.take(order)
        matrix.indices, matrix.indptr = indices.copy(), indptr.copy()
        return matrix

    return compress


def _casadi(library: Library, workload: Workload) -> Function:
    """Return CasADi's symbolic Jacobian of scalars, run by its virtual machine."""
    casadi, point = library.module, workload.point
    x = casadi.SX.sym("x", point.size)
    assert workload.spell is not None
    y = workload.spell(library)(_Objects.stack([x[k] for k in range(point.size)]))
    column = casadi.vertcat(*y) if isinstance(y, np.ndarray) else y
    run = casadi.Function("jacobian", [x], [casadi.densify(casadi.jacobian(column, x))])
    shape = np.shape(workload.function(point)) + point.shape
    return lambda x: run(x).full().reshape(shape)


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


def _differences(library: Library, workload: Workload) -> Function:
    """Return forward differences as SciPy's solvers take them; sparse ones know the pattern."""
    f, shape = workload.function, workload.point.shape
    pattern = None
    if workload.output == "sparse":
        pattern = chainad.jacobian(f, output="sparse")(workload.point)
    size = np.shape(f(workload.point)) + shape

    def jacobian(x: Array) -> Any:
        found = approx_derivative(
            lambda v: np.ravel(f(v.reshape(shape))), x.ravel(), "2-point", sparsity=pattern
        )
        return found if pattern is not None else found.reshape(size)

    return jacobian


PEERS: Mapping[str, OwnPeer] = {
    "jax jacfwd": _of_jax(lambda jax: jax.jacfwd),
    "jax jacrev": _of_jax(lambda jax: jax.jacrev),
    "jax grad": _of_jax(lambda jax: jax.grad),
    "jax vmap(jacfwd)": _of_jax(lambda jax: lambda f: jax.vmap(jax.jacfwd(f))),
    "jax vmap(jacrev)": _of_jax(lambda jax: lambda f: jax.vmap(jax.jacrev(f))),
    "jax asdex": _asdex,
    "torch jacfwd": _transformed(lambda torch, f: torch.func.jacfwd(f)),
    "torch jacrev": _transformed(lambda torch, f: torch.func.jacrev(f)),
    "torch grad": _transformed(lambda torch, f: torch.func.grad(f)),
    "autograd": _transformed(lambda autograd, f: autograd.jacobian(f)),
    "autograd grad": _transformed(lambda autograd, f: autograd.grad(f)),
    "casadi": _casadi,
    "numpy differences": _differences,
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

    def repeat(step: Step, y: Any, n: int) -> Any:
        # Unrolled, a hundred steps take XLA minutes to compile.
        return jax.lax.scan(lambda y, _: (step(y), None), y, None, length=n)[0]

    return Library("jax", jax, jnp, jnp.asarray, jax.block_until_ready, repeat, jax.lax.scan)


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


def _numpy() -> Library:
    return Library("numpy", np, np, np.asarray)


LOADERS = {
    "numpy": _numpy,
    "jax": _jax,
    "torch": _torch,
    "autograd": _autograd,
    "casadi": _casadi_library,
}


def load() -> tuple[dict[str, Library], dict[str, str]]:
    """Return the libraries that can be imported, and why the others cannot."""
    loaded, failed = {}, {}
    for name, loader in LOADERS.items():
        try:
            loaded[name] = loader()
        except ImportError as error:
            failed[name] = str(error)
    return loaded, failed
