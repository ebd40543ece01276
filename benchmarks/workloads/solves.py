"""W6 and W8: linear solves, time stepping, and both between an encoder and a decoder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.goals import AGAINST_EXPERT, GAIN, OVER_F, PEAK, at_least, at_most
from benchmarks.peers import jitted
from benchmarks.workload import (
    OTHERS,
    Array,
    Function,
    Library,
    Maker,
    OwnPeer,
    Repeat,
    Spelling,
    Step,
    Workload,
    loop,
    spelled,
)
from benchmarks.workloads import by_hand, experts


def solve(A0: Any, U: Any, V: Any, C: Any, B: Any, np: Any) -> Function:
    """Return W6a: matrix and right-hand side both depend on x."""

    def f(x: Any) -> Any:
        return np.linalg.solve(A0 + (U * np.tanh(C @ x)) @ V, B @ np.sin(x))

    return f


def bottleneck(E: Any, A0: Any, U: Any, V: Any, b: Any, D: Any, np: Any) -> Function:
    """Return W6b: many parameters, a few in the middle, a solve, many outputs."""

    def f(x: Any) -> Any:
        z = np.tanh(E @ x)
        y = np.linalg.solve(A0 + (U * z) @ V, b)
        return np.tanh(D @ y)

    return f


def one_factorization(A0: Any, U: Any, V: Any, C: Any, B: Any, np: Any) -> Function:
    """Return W6a's Jacobian: the solution and its derivatives from one system."""

    def jacobian(x: Any) -> Any:
        t = np.tanh(C @ x)
        A = A0 + (U * t) @ V
        both = np.linalg.solve(A, np.concatenate([(B @ np.sin(x))[:, None], U, B * np.cos(x)], 1))
        y, by_t = both[:, 0], both[:, 1 : 1 + U.shape[1]]
        return both[:, 1 + U.shape[1] :] - by_t @ ((V @ y * (1 - t * t))[:, None] * C)

    return jacobian


def sensitivities(S: Any, R: Any, y0: Any, n_steps: int) -> OwnPeer:
    """Return who steps the sensitivities of W6d along with its state."""

    def peer(library: Library, workload: Workload) -> Function:
        np = library.np
        s, r, start = map(library.array, (S, R, y0))
        n = start.shape[0]
        one, none = np.eye(n), np.zeros((n, n))

        def jacobian(theta: Any) -> Any:
            a, b, c = theta[:n], theta[n : 2 * n], theta[2 * n :]

            def slope(now: Any) -> Any:
                y = now[:, -1]
                t = np.tanh(r @ y)
                by_y = (s * (b * (1 - t * t))) @ r - a[:, None] * one
                own = np.concatenate([-y[:, None] * one, s * t, one], 1)
                value = c - a * y + s @ (b * t)
                return np.concatenate([by_y @ now[:, :-1] + own, value[:, None]], 1)

            state = np.concatenate([none, none, none, start[:, None]], 1)
            return library.repeat(runge_kutta(slope, 0.05), state, n_steps)[:, :-1]

        return jitted(library, jacobian)

    return peer


def runge_kutta(slope: Step, dt: float) -> Step:
    """Return a classical step of fourth order."""

    def step(y: Any) -> Any:
        k1 = slope(y)
        k2 = slope(y + dt / 2 * k1)
        k3 = slope(y + dt / 2 * k2)
        k4 = slope(y + dt * k3)
        return y + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    return step


def fitted(S: Any, R: Any, y0: Any, n_steps: int, repeat: Repeat, np: Any) -> Function:
    """Return W6d: the end of a trajectory by the parameters of the equation."""
    n = y0.shape[0]

    def f(theta: Any) -> Any:
        a, b, c = theta[:n], theta[n : 2 * n], theta[2 * n :]
        step = runge_kutta(lambda y: c - a * y + S @ (b * np.tanh(R @ y)), 0.05)
        return repeat(step, y0, n_steps)

    return f


def encoded(E: Any, K: Any, D: Any, n_steps: int, repeat: Repeat, np: Any) -> Function:
    """Return W8: an encoder, physics in few dimensions, a decoder."""
    step = runge_kutta(lambda z: np.tanh(K @ z) - 0.1 * z, 0.1)

    def f(x: Any) -> Any:
        return np.sin(D @ repeat(step, np.tanh(E @ x), n_steps))

    return f


def halves(E: Any, K: Any, D: Any, library: Library, n_steps: int) -> tuple[Function, Function]:
    """Return W8 up to its few numbers, and what comes after."""
    np = library.np
    step = runge_kutta(lambda z: np.tanh(K @ z) - 0.1 * z, 0.1)
    return (
        lambda x: np.tanh(E @ x),
        lambda z: np.sin(D @ library.repeat(step, z, n_steps)),
    )


def stepped(
    make: Callable[..., Function], n_steps: int, *arrays: Array
) -> tuple[Function, Spelling]:
    """Return a function with a loop in NumPy, and what makes it with a library's own loop."""

    def spell(library: Library) -> Function:
        return make(*map(library.array, arrays), n_steps, library.repeat, library.np)

    return make(*arrays, n_steps, loop, np), spell


def _scaled(rng: np.random.Generator, m: int, n: int) -> Array:
    scaled: Array = rng.normal(size=(m, n)) / np.sqrt(n)
    return scaled


def _well_posed(rng: np.random.Generator, n: int) -> Array:
    return _scaled(rng, n, n) + 3 * np.eye(n)


def w6a(name: str, n: int, m: int, r: int, goal: float, is_quick: bool) -> Workload:
    """Return a solve of n unknowns by m parameters, through a change of rank r."""
    rng = np.random.default_rng(0)
    A0 = _well_posed(rng, n)
    U, V, C, B = (_scaled(rng, *s) for s in ((n, r), (r, n), (r, m), (n, m)))
    function, spell = spelled(solve, A0, U, V, C, B)
    return Workload(
        name=name,
        title=f"solve: n={n}, m={m}, r={r}",
        function=function,
        point=rng.normal(size=m),
        spell=spell,
        own={experts.NAME: experts.written(one_factorization, A0, U, V, C, B)},
        limit=partial(by_hand.solve, A0, U, V, C, B),
        goals=(at_least(GAIN, goal), at_most(PEAK, 1.5)),
    )


def w6b(is_quick: bool) -> Workload:
    """Return a solve behind a bottleneck."""
    rng = np.random.default_rng(0)
    m, k, n, out = (50, 3, 20, 60) if is_quick else (500, 5, 100, 1000)
    E, A0 = _scaled(rng, k, m), _well_posed(rng, n)
    U, V, b, D = _scaled(rng, n, k), _scaled(rng, k, n), rng.normal(size=n), _scaled(rng, out, n)
    arrays = (E, A0, U, V, b, D)
    function, spell = spelled(bottleneck, *arrays)
    return Workload(
        name="W6b",
        title=f"{m} > {k} > solve of {n} > {out}",
        function=function,
        point=rng.normal(size=m),
        spell=spell,
        own={experts.NAME: experts.split(experts.bottleneck, arrays)},
        limit=partial(by_hand.bottleneck, *arrays),
        goals=(at_least(GAIN, 14), at_most(PEAK, 1.5)),
    )


def w6d(is_quick: bool) -> Workload:
    """Return the sensitivities of a trajectory."""
    rng = np.random.default_rng(0)
    n, n_steps = 10, 10 if is_quick else 100
    S, R, y0 = _scaled(rng, n, n), _scaled(rng, n, n), rng.normal(size=n)
    function, spell = stepped(fitted, n_steps, S, R, y0)
    return Workload(
        name="W6d",
        title=f"RK4, {n_steps} steps, {n} unknowns, {3 * n} parameters",
        function=function,
        point=rng.uniform(0.5, 1.5, size=3 * n),
        spell=spell,
        others=(*OTHERS, "casadi"),
        own={experts.NAME: sensitivities(S, R, y0, n_steps)},
        limit=partial(by_hand.fitted, S, R, y0, n_steps),
        goals=(at_most(OVER_F, 1.7), at_least(GAIN, 1, "compiled", "numba"), at_most(PEAK, 1.5)),
        numba=not is_quick,
    )


def w8(name: str, output: str, into: bool, goal: float, is_quick: bool) -> Workload:
    """Return encoder, physics and decoder, with the Jacobian in one form."""
    rng = np.random.default_rng(0)
    m, k, out, n_steps = (200, 4, 300, 5) if is_quick else (2000, 8, 3000, 50)
    E, K, D = _scaled(rng, k, m), _scaled(rng, k, k), _scaled(rng, out, k)
    function, spell = stepped(encoded, n_steps, E, K, D)
    form = "out=" if into else "as factors" if output == "structured" else "dense"
    return Workload(
        name=name,
        title=f"{m} > {k} > RK4, {n_steps} steps > {out}, {form}",
        function=function,
        point=rng.normal(size=m),
        spell=spell,
        others=(),
        output=output,
        into=into,
        own={
            experts.NAME: experts.split(
                partial(halves, n_steps=n_steps), (E, K, D), output == "structured"
            )
        },
        limit=partial(by_hand.encoded, E, K, D, n_steps, output == "structured"),
        goals=(
            at_least(GAIN, goal),
            at_most(PEAK, 1.5),
            *((at_least(AGAINST_EXPERT, 0.8),) if output == "structured" else ()),
        ),
        numba=not into,
    )


WORKLOADS: dict[str, Maker] = {
    "W6a-50-20": partial(w6a, "W6a-50-20", 50, 20, 10, 1.3),
    "W6a-50-200": partial(w6a, "W6a-50-200", 50, 200, 10, 1.5),
    "W6a-200-50": partial(w6a, "W6a-200-50", 200, 50, 20, 3.8),
    "W6b": w6b,
    "W6d": w6d,
    "W8-dense": partial(w8, "W8-dense", "dense", False, 8),
    "W8-out": partial(w8, "W8-out", "dense", True, 8),
    "W8-factors": partial(w8, "W8-factors", "structured", False, 30),
}
