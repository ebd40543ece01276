"""Functions whose plans are drawn: from none to thousands of operations."""

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

import chainad
from chainad.planning.plan import Plan

Case = tuple[Callable[[Any], Any], np.ndarray]


def none() -> Case:
    return lambda x: x, np.ones(3)


def one() -> Case:
    return np.sin, np.ones(3)


def codec() -> Case:
    """Return a function with a bottleneck of 20 entries between 1,000 at both ends."""
    sizes = [(300, 1000), (20, 300), (300, 20), (1000, 300)]
    narrow, narrower, wide, wider = (np.full(shape, 1e-2) for shape in sizes)

    def codec(x: Any) -> Any:
        hidden = np.tanh(narrower @ (narrow @ x))
        return wider @ (wide @ hidden)

    return codec, np.ones(1000)


def attention(n: int = 24, d: int = 32, heads: int = 4) -> Case:
    q, k, v, o = np.random.default_rng(0).normal(size=(4, d, d)) / np.sqrt(d)

    def split(a: Any) -> Any:
        return a.reshape(n, heads, d // heads).transpose(1, 0, 2)

    def attention(x: Any) -> Any:
        x = x.reshape(n, d)
        centred = x - np.mean(x, axis=-1, keepdims=True)
        y = centred / np.sqrt(np.mean(centred**2, axis=-1, keepdims=True) + 1e-5)
        scores = split(y @ q) @ split(y @ k).transpose(0, 2, 1) / np.sqrt(d // heads)
        weights = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
        weights = weights / np.sum(weights, axis=-1, keepdims=True)
        mixed = (weights @ split(y @ v)).transpose(1, 0, 2).reshape(n, d)
        return (x + mixed @ o).reshape(-1)

    return attention, np.linspace(-1, 1, n * d)


def runge_kutta(steps: int = 100) -> Case:
    """Return a loop of four stages per iteration, of a system with few parameters."""
    coupling, drive, read = np.full((12, 12), 0.01), np.full((12, 6), 0.1), np.full((3, 12), 0.1)

    def simulate(parameters: Any) -> Any:
        def slope(y: Any) -> Any:
            return np.tanh(coupling @ y + drive @ parameters)

        y = np.tanh(drive @ parameters)
        for _ in range(steps):
            one = slope(y)
            two = slope(y + 0.05 * one)
            three = slope(y + 0.05 * two)
            four = slope(y + 0.1 * three)
            y = y + 0.1 / 6 * (one + 2 * two + 2 * three + four)
        return read @ y

    return simulate, np.ones(6)


def equal_layers(count: int = 50, width: int = 64) -> Case:
    layers = np.full((count, width, width), 0.01)
    encoder, decoder = np.full((width, 300), 0.1), np.full((300, width), 0.1)

    def network(x: Any) -> Any:
        x = encoder @ x
        for layer in layers:
            x = np.tanh(layer @ x)
        return decoder @ x

    return network, np.ones(300)


def layers(count: int = 50) -> Case:
    """Return a network of layers of different widths."""
    widths = [*np.random.default_rng(0).integers(5, 200, size=count + 1)]
    weights = [np.full((m, n), 0.01) for n, m in pairwise(widths)]

    def network(x: Any) -> Any:
        for weight in weights:
            x = np.tanh(weight @ x)
        return x

    return network, np.ones(widths[0])


def tangle(operations: int = 300, width: int = 7) -> Case:
    """Return random operations on few scalars, without any pattern."""
    rng = np.random.default_rng(3)
    recipe = [(rng.integers(4), *rng.integers(width, size=2)) for _ in range(operations)]

    def tangle(x: Any) -> Any:
        values = [x[k] for k in range(width)]
        for kind, a, b in recipe:
            u, v = values[a], values[b]
            if kind == 0:
                values[a] = np.sin(u)
            elif kind == 1:
                values[a] = u * v
            elif kind == 2:
                values[a] = u / (2 + v * v)
            else:
                values[a] = np.exp(-u * u) + v
        return np.stack(values[:4])

    return tangle, np.linspace(-1, 1, width)


def burgers(n: int = 200) -> Case:
    """Return the right-hand side of a partial differential equation, a stencil."""

    def burgers(u: Any) -> Any:
        padded = np.concatenate([np.zeros(1), u, np.zeros(1)])
        slope = (padded[2:] - padded[:-2]) * n / 2
        return -u * slope + (padded[2:] - 2 * u + padded[:-2])

    return burgers, np.linspace(0, 1, n)


CASES: dict[str, Callable[[], Case]] = {
    "none": none,
    "one": one,
    "codec": codec,
    "attention": attention,
    "runge_kutta": lambda: runge_kutta(8),
    "equal_layers": equal_layers,
    "layers": layers,
    "tangle": lambda: tangle(80),
    "burgers": burgers,
    "thousands": lambda: tangle(400, 40),
    "long_path": lambda: layers(80),
}


@cache
def plan_of(name: str) -> Plan:
    function, x = CASES[name]()
    is_long = name in ("thousands", "long_path")
    plan = chainad.plan(function, x, mode="reverse" if is_long else "auto", effort="fast")
    assert isinstance(plan, Plan)
    return plan
