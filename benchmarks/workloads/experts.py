"""Jacobians as an expert writes them by hand in JAX: peers of W1, W6b and W7b.

Each runs the same text as the others, cut where the expert cuts it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.timing import Runner
from benchmarks.workload import Array, Function, Library, OwnPeer, Workload

NAME = "jax expert"
Halves = Callable[..., tuple[Function, Function]]


def split(make: Halves, arrays: Sequence[Array]) -> OwnPeer:
    """Return who splits a function in two, and multiplies a Jacobian of each mode.

    `make(*arrays, np)` returns the part before the narrowest value, and the part after it.
    """

    def peer(library: Library, workload: Workload) -> Runner:
        jax, x = library.module, library.array(workload.point)
        before, after = make(*map(library.array, arrays), library.np)
        run = jax.jit(lambda x: jax.jacfwd(after)(before(x)) @ jax.jacrev(before)(x))
        return lambda: library.wait(run(x))

    return peer


def network(*arrays: Any) -> tuple[Function, Function]:
    """Return a perceptron up to its narrowest value, and from there on."""
    *flat, np = arrays
    layers = list(zip(flat[::2], flat[1::2], strict=True))
    middle = 1 + min(range(len(layers) - 1), key=lambda k: layers[k][0].shape[0])

    def before(x: Any) -> Any:
        for W, b in layers[:middle]:
            x = np.tanh(W @ x + b)
        return x

    def after(x: Any) -> Any:
        for W, b in layers[middle:-1]:
            x = np.tanh(W @ x + b)
        W, b = layers[-1]
        return W @ x + b

    return before, after


def bottleneck(
    E: Any, A0: Any, U: Any, V: Any, b: Any, D: Any, np: Any
) -> tuple[Function, Function]:
    """Return W6b up to its few numbers, and the solve with what comes after."""
    return (
        lambda x: np.tanh(E @ x),
        lambda z: np.tanh(D @ np.linalg.solve(A0 + (U * z) @ V, b)),
    )


def by_sample(loss: Callable[[Any], Function], data: Array, label: Array) -> OwnPeer:
    """Return who maps the gradient of one sample's loss, `loss(np)(W, row, label)`."""

    def peer(library: Library, workload: Workload) -> Runner:
        jax, W = library.module, library.array(workload.point)
        rows, labels = library.array(data), library.array(label)
        each = jax.jit(jax.vmap(jax.grad(loss(library.np)), (None, 0, 0)))
        return lambda: library.wait(each(W, rows, labels))

    return peer


def softmax_loss(np: Any) -> Function:
    """Return the loss of one sample."""

    def loss(W: Any, row: Any, label: Any) -> Any:
        scores = row @ W
        top = np.max(scores)
        return np.log(np.sum(np.exp(scores - top))) + top - scores[label]

    return loss
