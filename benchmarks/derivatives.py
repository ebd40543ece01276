"""Where a solver of SciPy gets its derivatives from: differences, chainad, autograd or JAX.

Each source makes of a function what such a user would write, and counts the calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import scipy.sparse
from scipy import optimize
from scipy.optimize._numdiff import group_columns

import chainad
from benchmarks.workload import Array, Library

Function = Callable[..., Any]
Make = Callable[[Library], Function]  # from a library to a function of its arrays


@dataclass(frozen=True, eq=False)
class Wanted:
    """A function whose derivatives are wanted, and what is known of it.

    Attributes
    ----------
    make : callable
        From a library to the function of its arrays: every library runs the very same text.
    argnums : int
        The position of the unknown.
    is_number : bool
        Whether the function returns a number, so that its Jacobian is a gradient.
    pattern : sparse array, optional
        Where its Jacobian, which is to be sparse, may have entries; chainad finds that out.
    gradient : callable, optional
        By hand. Differences need one where a solver asks for the Hessian.
    """

    make: Make
    argnums: int = 0
    is_number: bool = False
    pattern: scipy.sparse.csr_array | None = None
    gradient: Function | None = None


@dataclass(frozen=True)
class Given:
    """A function and its derivatives, as SciPy's solvers take them: functions, names, or None."""

    fun: Any
    jac: Any
    hess: Any = None
    fun_jac: Any = None
    params_jac: Any = None


@dataclass
class Source:
    """A source of derivatives, which makes those of each function once.

    `calls` counts the calls of functions, "f", of first derivatives, "jac", and second, "hess".
    """

    derive: Callable[[Wanted], Given]
    calls: Counter[str] = field(default_factory=Counter)
    _given: dict[Wanted, Given] = field(default_factory=dict)

    def of(self, wanted: Wanted) -> Given:
        """Return a function and its derivatives, counted."""
        if wanted not in self._given:
            given = self.derive(wanted)
            kinds = ("f", "jac", "hess", "jac", "jac")
            self._given[wanted] = Given(*map(self._counted, vars(given).values(), kinds))
        return self._given[wanted]

    def _counted(self, function: Any, kind: str) -> Any:
        if not callable(function):
            return function
        calls = self.calls

        def counted(*args: Any) -> Any:
            calls[kind] += 1
            return function(*args)

        return counted


def by_differences(library: Library, wanted: Wanted, scheme: str) -> Given:
    """Return the function alone: SciPy steps from point to point, by the scheme of that name."""
    f = wanted.make(library)
    if wanted.gradient is not None:
        return Given(f, wanted.gradient, scheme)
    return Given(f, scheme, optimize.BFGS(), params_jac=scheme)


def by_chainad(library: Library, wanted: Wanted) -> Given:
    """Return what `chainad.for_scipy` gives."""
    output = "dense" if wanted.pattern is None else "sparse"
    f = chainad.for_scipy(wanted.make(library), wanted.argnums, output=output)
    return Given(f, f.jac, f.hess, f.fun_jac, f.params_jac)


@dataclass(frozen=True)
class Transforms:
    """The transforms of a library: each takes a function and the position of an argument.

    `along(f, k)(args, seeds)` returns the derivatives of f along many directions, its first axis.
    """

    compiled: Callable[[Function], Function]
    gradient: Callable[[Function, int], Function]
    hessian: Callable[[Function, int], Function]
    along: Callable[[Function, int], Function]


def by_transforms(library: Library, wanted: Wanted, transforms: Transforms) -> Given:
    """Return what the transforms of a library make of a function, in arrays of NumPy."""
    f, k = wanted.make(library), wanted.argnums
    value, gradient = transforms.compiled(f), transforms.gradient(f, k)
    hessian = transforms.hessian(lambda x, v: library.np.sum(f(x) * v), 0)
    along = transforms.along(f, k)
    along_parameters = transforms.along(lambda params, x: f(x, *params), 0)
    seeds, compress = (None, np.transpose) if wanted.pattern is None else _groups(wanted.pattern)

    def fun(*args: Any) -> Any:
        return np.asarray(value(*args))

    def jac(*args: Any) -> Any:
        if wanted.is_number:
            return np.asarray(gradient(*args))
        return compress(np.asarray(along(args, np.eye(len(args[k])) if seeds is None else seeds)))

    def hess(x: Any, v: Any = 1.0) -> Any:
        return np.asarray(hessian(x, v))

    def fun_jac(x: Any, y: Any) -> Any:
        at_all_points = np.eye(len(y))[:, :, None] * np.ones_like(y)
        return np.moveaxis(np.asarray(along((x, y), at_all_points)), 0, 1)

    def params_jac(x: Any, *params: Any) -> Any:
        return np.asarray(along_parameters((np.array(params), x), np.eye(len(params)))).T

    return Given(fun, jac, hess, fun_jac, params_jac)


def _groups(pattern: scipy.sparse.csr_array) -> tuple[Array, Callable[[Array], Any]]:
    """Return directions that tell a sparse Jacobian, and what makes it of its products with them.

    Source: Curtis, Powell & Reid 1974, *On the estimation of sparse Jacobian matrices*.
    """
    group = group_columns(pattern)
    seeds = np.zeros((group.max() + 1, group.size))
    seeds[group, np.arange(group.size)] = 1.0
    rows, cols = pattern.nonzero()

    def compress(products: Array) -> Any:
        data = products[group[cols], rows]
        return scipy.sparse.csr_array((data, (rows, cols)), shape=pattern.shape)

    return seeds, compress


def _jax_transforms(jax: Any) -> Transforms:
    def along(f: Function, k: int) -> Function:
        @jax.jit
        def run(args: Any, seeds: Any) -> Any:
            def of_one(x: Any) -> Any:
                return f(*args[:k], x, *args[k + 1 :])

            return jax.vmap(lambda seed: jax.jvp(of_one, (args[k],), (seed,))[1])(seeds)

        return run

    return Transforms(
        jax.jit,
        lambda f, k: jax.jit(jax.grad(f, k)),
        lambda f, k: jax.jit(jax.hessian(f, k)),
        along,
    )


def _autograd_transforms(autograd: Any) -> Transforms:
    differential_operators = import_module("autograd.differential_operators")

    def along(f: Function, k: int) -> Function:
        make_jvp = differential_operators.make_jvp(f, k)
        return lambda args, seeds: np.stack([make_jvp(*args)(seed)[1] for seed in seeds])

    return Transforms(lambda f: f, autograd.grad, autograd.hessian, along)


TRANSFORMS = {"autograd": _autograd_transforms, "jax": _jax_transforms}
NUMPY = Library("numpy", np, np, np.asarray)
OURS = "chainad"
DIFFERENCES = "2-point"  # what SciPy does unasked


def sources(libraries: Mapping[str, Library]) -> dict[str, Callable[[], Source]]:
    """Return what makes a fresh source of each kind, by name."""
    derive: dict[str, Callable[[Wanted], Given]] = {
        scheme: partial(by_differences, NUMPY, scheme=scheme)
        for scheme in (DIFFERENCES, "3-point", "cs")
    }
    for name, transforms in TRANSFORMS.items():
        if name in libraries:
            library = libraries[name]
            made = transforms(library.module)
            derive[name] = partial(by_transforms, library, transforms=made)
    derive[OURS] = partial(by_chainad, NUMPY)
    return {name: partial(Source, each) for name, each in derive.items()}
