"""Plans of every kind: what shows a plan is tried on all of these."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
from functions_to_draw import CASES, plan_of

import chainad
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.plan import Plan

Maker = Callable[[], Plan | ChunkedPlan]


def hessian() -> Plan:
    A = np.full((40, 12), 0.1)

    def energy(x: Any) -> Any:
        return np.sum(np.log(1 + np.exp(A @ x)))

    return chainad.hessian(energy).plan(np.ones(12))


def several_ends() -> Plan:
    A, B = np.full((8, 30), 0.1), np.full((8, 20), 0.1)

    def fit(x: Any, y: Any) -> Any:
        z = np.tanh(A @ x + B @ y)
        return z * np.sum(z), np.outer(z, z), A.T @ z

    return chainad.jacobian(fit, (0, 1)).plan(np.ones(30), np.ones(20))


def many_inputs() -> Plan:
    def total(*given: Any) -> Any:
        return sum(np.sin(x) * (k + 1) for k, x in enumerate(given))

    inputs = tuple(range(100))
    return chainad.jacobian(total, inputs, mode="forward").plan(*[np.ones(3)] * len(inputs))


def nothing_to_multiply() -> Plan:
    return chainad.plan(lambda x: np.concatenate([x[::2], x[1::2] + 1]), np.ones(6))


def by_bytes() -> Plan:
    return chainad.plan_chain([50, 3, 40, 50], cost="bytes")


def in_blocks() -> ChunkedPlan:
    A, B = np.full((400, 400), 0.1), np.full((400, 400), 0.1)

    def two_layers(x: Any) -> Any:
        return B @ np.tanh(A @ np.tanh(B @ x))

    return chainad.plan(two_layers, np.ones(400), memory_limit=5_500_000)


def many_axes() -> Plan:
    A = np.full((3, 2, 3, 2, 3, 2, 5), 0.1)

    def f(x: Any) -> Any:
        y = np.einsum("abcdefg,g->abcdef", A, x)
        return np.einsum("abcdefg,abcdef->abcdefg", A, np.tanh(y)).transpose(6, 0, 1, 2, 3, 4, 5)

    return chainad.plan(f, np.ones(5))


def unlucky_names() -> Plan:
    """Return a plan whose texts are long, and mean something in HTML."""
    evil = "</code></style><script>alert('&amp;')</script><b title=\"x\">"
    plan = plan_of("layers")
    origins = tuple(
        replace(
            origin,
            name=evil * 9,
            site=origin.site and replace(origin.site, text=f"`{evil}` {k}" * 40),
        )
        for k, origin in enumerate(plan.graph.origins)
    )
    names = tuple(evil * 20 for _ in plan.graph.shapes)
    given = tuple(plan.alternatives)
    others = tuple(replace(a, name=evil * 20) for a in given * 9)
    graph = replace(plan.graph, origins=origins, names=names)
    return replace(plan, graph=graph, alternatives=given + others, title=evil, optimality=evil * 50)


PLANS: dict[str, Maker] = {name: partial(plan_of, name) for name in CASES} | {
    make.__name__: make
    for make in (
        hessian,
        several_ends,
        many_inputs,
        nothing_to_multiply,
        by_bytes,
        in_blocks,
        many_axes,
        unlucky_names,
    )
}
PLANS = {name: cache(make) for name, make in PLANS.items()}
