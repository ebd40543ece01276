"""Jacobians as an expert writes them by hand in JAX, where `jacfwd` or `jacrev` is not best.

Each runs the same text as the others, cut where the expert cuts it, or what an expert derives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.peers import csr_of, jitted
from benchmarks.workload import Array, Function, Library, OwnPeer, Workload
from benchmarks.workloads.mlp_limit import cheapest_splits

NAME = "jax expert"
Halves = Callable[..., tuple[Function, Function]]


def written(make: Callable[..., Function], *arrays: Array) -> OwnPeer:
    """Return who derives the Jacobian by hand, `make(*arrays, np)(x)`."""

    def peer(library: Library, workload: Workload) -> Function:
        return jitted(library, make(*map(library.array, arrays), library.np))

    return peer


def split(make: Halves, arrays: Sequence[Array], as_factors: bool = False) -> OwnPeer:
    """Return who splits a function in two, and multiplies a Jacobian of each mode.

    `make(*arrays, library)` returns the part before the narrowest value, and the part after it.
    """

    def peer(library: Library, workload: Workload) -> Function:
        jax = library.module
        before, after = make(*map(library.array, arrays), library)

        def factors(x: Any) -> Any:
            return jax.jacfwd(after)(before(x)), jax.jacrev(before)(x)

        def product(x: Any) -> Any:
            left, right = factors(x)
            return left @ right

        return jitted(library, factors if as_factors else product)

    return peer


def chain(*arrays: Any) -> Function:
    """Return a perceptron's Jacobian: a product of explicit matrices in the cheapest order."""
    *flat, np = arrays
    layers = list(zip(flat[::2], flat[1::2], strict=True))
    splits = cheapest_splits([W.shape[1] for W, _ in layers] + [layers[-1][1].shape[0]])

    def jacobian(x: Any) -> Any:
        factors = []
        for W, b in layers:
            x = np.tanh(W @ x + b)
            factors += [W, 1 - x * x]

        def product(i: int, j: int) -> Any:
            if i == j:
                return factors[i]
            left, right = product(splits[i, j] + 1, j), product(i, splits[i, j])
            if left.ndim == 1:
                return left[:, None] * right
            return left * right if right.ndim == 1 else left @ right

        return product(0, len(factors) - 2)

    return jacobian


def bottleneck(
    E: Any, A0: Any, U: Any, V: Any, b: Any, D: Any, library: Library
) -> tuple[Function, Function]:
    """Return W6b up to its few numbers, and the solve with what comes after."""
    np = library.np
    return (
        lambda x: np.tanh(E @ x),
        lambda z: np.tanh(D @ np.linalg.solve(A0 + (U * z) @ V, b)),
    )


def by_sample(loss: Callable[[Any], Function], data: Array, label: Array) -> OwnPeer:
    """Return who maps the gradient of one sample's loss, `loss(np)(W, row, label)`."""

    def peer(library: Library, workload: Workload) -> Function:
        jax = library.module
        rows, labels = library.array(data), library.array(label)
        each = jax.vmap(jax.grad(loss(library.np)), (None, 0, 0))
        return jitted(library, lambda W: each(W, rows, labels))

    return peer


def softmax_loss(np: Any) -> Function:
    """Return the loss of one sample."""

    def loss(W: Any, row: Any, label: Any) -> Any:
        scores = row @ W
        top = np.max(scores)
        return np.log(np.sum(np.exp(scores - top))) + top - scores[label]

    return loss


def in_blocks(library: Library, workload: Workload) -> Function:
    """Return who maps the Jacobian of one sample of a batch."""
    jax = library.module
    assert workload.spell is not None
    f = workload.spell(library)
    return jitted(library, jax.vmap(jax.jacrev(lambda row: f(row[None])[0])))


def by_token(halves: Halves, arrays: Sequence[Array]) -> OwnPeer:
    """Return who takes what comes after attention token by token, as blocks."""

    def peer(library: Library, workload: Workload) -> Function:
        jax = library.module
        attention, rest = halves(*map(library.array, arrays), library.np)

        def jacobian(x: Any) -> Any:
            blocks = jax.vmap(jax.jacrev(rest))(attention(x))  # (token, out, in)
            by_x = jax.jacrev(attention)(x)  # (token, in, all)
            return (blocks @ by_x).reshape(x.shape[0], -1)

        return jitted(library, jacobian)

    return peer


Entries = tuple[Array, Callable[[Any], Function]]  # columns, and `make(np)(x)` for their values


def coded(entries: Entries) -> OwnPeer:
    """Return who derives all entries of a sparse Jacobian by hand."""

    def peer(library: Library, workload: Workload) -> Function:
        values = entries[1](library.np)
        return jitted(library, lambda x: values(x).ravel(), compressed(entries, workload.point))

    return peer


def coded_limit(entries: Entries, point: Array) -> Function:
    """Return the same in NumPy."""
    values, compress = entries[1](np), compressed(entries, point)
    return lambda x: compress(values(x).ravel())


def compressed(entries: Entries, point: Array) -> Callable[[Array], Any]:
    """Return what makes a fresh CSR of values."""
    columns = entries[0]  # (rows, most entries of a row), outside where there are fewer
    rows = np.broadcast_to(np.arange(len(columns))[:, None], columns.shape)
    return csr_of(np.stack([rows.ravel(), columns.ravel()], 1), (len(columns), point.size))
