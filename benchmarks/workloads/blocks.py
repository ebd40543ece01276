"""W7: a transformer block, per-sample losses and a batch; their Jacobians have structure."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks.goals import AGAINST_EXPERT, GAIN, PEAK, at_least, at_most
from benchmarks.workload import Function, Maker, Workload, spelled
from benchmarks.workloads import by_hand, experts


def halves(
    length: int, heads: int, q: Any, k: Any, v: Any, o: Any, up: Any, down: Any, np: Any
) -> tuple[Function, Function]:
    """Return attention, of all tokens in one vector, and what then happens to each of them."""
    width = q.shape[0]

    def norm(a: Any) -> Any:
        centred = a - np.mean(a, axis=-1, keepdims=True)
        return centred / np.sqrt(np.mean(centred**2, axis=-1, keepdims=True) + 1e-5)

    def split(a: Any) -> Any:
        return a.reshape(length, heads, width // heads).transpose(1, 0, 2)

    def softmax(a: Any) -> Any:
        weights = np.exp(a - np.max(a, axis=-1, keepdims=True))
        return weights / np.sum(weights, axis=-1, keepdims=True)

    def gelu(a: Any) -> Any:
        return 0.5 * a * (1 + np.tanh(np.sqrt(2 / np.pi) * (a + 0.044715 * a**3)))

    def attention(x: Any) -> Any:
        x = x.reshape(length, width)
        y = norm(x)
        scores = split(y @ q) @ split(y @ k).transpose(0, 2, 1) / np.sqrt(width // heads)
        mixed = (softmax(scores) @ split(y @ v)).transpose(1, 0, 2).reshape(length, width)
        return x + mixed @ o

    return attention, lambda x: x + gelu(norm(x) @ up) @ down


def transformer(length: int, heads: int, *weights: Any) -> Function:
    """Return a block with the norm in front, as a function of all its tokens in one vector."""
    attention, rest = halves(length, heads, *weights)
    return lambda x: rest(attention(x)).reshape(-1)


def softmax_loss(data: Any, label: Any, np: Any) -> Function:
    """Return the loss of every sample by the weights of a linear classifier."""
    numbers = np.arange(data.shape[0])

    def f(W: Any) -> Any:
        scores = data @ W
        top = np.max(scores, axis=1, keepdims=True)
        total = np.log(np.sum(np.exp(scores - top), axis=1)) + top[:, 0]
        return total - scores[numbers, label]

    return f


def batched(W1: Any, W2: Any, W3: Any, np: Any) -> Function:
    """Return a perceptron over all samples of a batch."""

    def f(X: Any) -> Any:
        return np.tanh(np.tanh(X @ W1) @ W2) @ W3

    return f


def w7a(is_quick: bool) -> Workload:
    """Return the transformer block."""
    length, width, heads, inner = (4, 8, 2, 16) if is_quick else (16, 32, 2, 128)
    rng = np.random.default_rng(0)
    q, k, v, o = (rng.normal(size=(width, width)) / np.sqrt(width) for _ in range(4))
    up = rng.normal(size=(width, inner)) / np.sqrt(width)
    down = rng.normal(size=(inner, width)) / np.sqrt(inner)
    weights = (q, k, v, o, up, down)
    function, spell = spelled(partial(transformer, length, heads), *weights)
    return Workload(
        name="W7a",
        title=f"transformer block: {length} tokens of {width}, {heads} heads, inner {inner}",
        function=function,
        point=rng.normal(size=length * width),
        spell=spell,
        others=("autograd",),
        oracle="central",
        own={experts.NAME: experts.by_token(partial(halves, length, heads), weights)},
        limit=partial(by_hand.transformer, length, heads, *weights),
        goals=(at_least(GAIN, 4),),
    )


def w7b(is_quick: bool) -> Workload:
    """Return the losses of all samples by the weights."""
    samples, inputs, classes = (12, 6, 4) if is_quick else (512, 64, 10)
    rng = np.random.default_rng(0)
    data, label = rng.normal(size=(samples, inputs)), rng.integers(0, classes, samples)
    function, spell = spelled(softmax_loss, data, label)
    return Workload(
        name="W7b",
        title=f"softmax loss of {samples} samples by {inputs} x {classes} weights",
        function=function,
        point=rng.normal(size=(inputs, classes)) / np.sqrt(inputs),
        spell=spell,
        others=("autograd",),
        own={experts.NAME: experts.by_sample(experts.softmax_loss, data, label)},
        oracle="central",
        limit=partial(by_hand.softmax_loss, data, label),
        goals=(at_least(GAIN, 40), at_least(AGAINST_EXPERT, 0.8), at_most(PEAK, 1.5)),
        numba=True,
    )


def w7c(is_quick: bool) -> Workload:
    """Return the batch, its Jacobian as blocks beside JAX's full one."""
    batch, n, hidden, out = (6, 5, 7, 3) if is_quick else (256, 20, 50, 10)
    rng = np.random.default_rng(0)
    shapes = (n, hidden), (hidden, hidden), (hidden, out)
    weights = [rng.normal(size=s) / np.sqrt(s[0]) for s in shapes]
    function, spell = spelled(batched, *weights)
    return Workload(
        name="W7c",
        title=f"perceptron of {batch} samples, {batch} blocks of {out} x {n}",
        function=function,
        point=rng.normal(size=(batch, n)),
        spell=spell,
        others=(),
        output="structured",
        own={experts.NAME: experts.in_blocks},
        limit=partial(by_hand.batched, *weights),
        goals=(at_least(GAIN, 400), at_least(AGAINST_EXPERT, 1)),
        numba=True,
    )


WORKLOADS: dict[str, Maker] = {"W7a": w7a, "W7b": w7b, "W7c": w7c}
