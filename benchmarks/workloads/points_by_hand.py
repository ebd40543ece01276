"""Jacobians of some of W5's functions derived by hand: entries of numbers or of arrays.

Of Roe's solvers and the robot's arm, none is known that is shorter than what a program derives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import scipy.special

from benchmarks.workload import Array, Function

Entries = Mapping[tuple[int, int], Any]
ARRAYS = SimpleNamespace(
    cos=np.cos, sin=np.sin, sqrt=np.sqrt, exp=np.exp, log=np.log, erf=scipy.special.erf
)


def heart(np: Any, a: Any, b: Any, c: Any, d: Any, t: Any, u: Any, v: Any, w: Any) -> Entries:
    tv, uw = t * t - v * v, u * u - w * w
    t2v, u2w = 2 * t * v, 2 * u * w
    # Of P(x, y) = x (x x - 3 y y), by x and by y.
    by_t, by_u = 3 * tv, 3 * uw
    t3v, u3w = 3 * t2v, 3 * u2w
    entries = {
        (0, 0): 1.0, (0, 1): 1.0, (1, 2): 1.0, (1, 3): 1.0,
        (2, 0): t, (2, 1): u, (2, 2): -v, (2, 3): -w, (2, 4): a, (2, 5): b, (2, 6): -c, (2, 7): -d,
        (3, 0): v, (3, 1): w, (3, 2): t, (3, 3): u, (3, 4): c, (3, 5): d, (3, 6): a, (3, 7): b,
        (4, 0): tv, (4, 1): uw, (4, 2): -t2v, (4, 3): -u2w,
        (5, 0): -t2v, (5, 1): -u2w, (5, 2): tv, (5, 3): uw,
        (6, 0): t * (tv - 2 * v * v), (6, 1): u * (uw - 2 * w * w),
        (6, 2): v * (v * v - 3 * t * t), (6, 3): w * (w * w - 3 * u * u),
        (6, 4): a * by_t - c * t3v, (6, 5): b * by_u - d * u3w,
        (6, 6): -a * t3v - c * by_t, (6, 7): -b * u3w - d * by_u,
    }  # fmt: skip
    at, av, ct, cv = 2 * a * t, 2 * a * v, 2 * c * t, 2 * c * v
    bu, bw, du, dw = 2 * b * u, 2 * b * w, 2 * d * u, 2 * d * w
    entries |= {
        (4, 4): at - cv, (4, 5): bu - dw, (4, 6): -av - ct, (4, 7): -bw - du,
        (5, 4): ct - av, (5, 5): du - bw, (5, 6): -cv - at, (5, 7): -dw - bu,
        (7, 0): -entries[6, 2], (7, 1): -entries[6, 3], (7, 2): entries[6, 0],
        (7, 3): entries[6, 1], (7, 4): c * by_t + a * t3v, (7, 5): d * by_u + b * u3w,
        (7, 6): -c * t3v + a * by_t, (7, 7): -d * u3w + b * by_u,
    }  # fmt: skip
    return entries


def propane(np: Any, *x: Any) -> Entries:
    x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11 = x
    p = 40.0
    s = np.sqrt(p / x11)
    by_s = -s / (2 * x11)
    r1, r2, r3, r4 = (np.sqrt(each) for each in (x1, x2, x3, x4))
    s1, s4, ratio = r1 * s, r4 * s, p / x11
    h = 0.5
    return {
        (0, 0): 1.0, (0, 3): 1.0, (1, 0): 2.0, (1, 1): 1.0, (1, 3): 1.0, (1, 6): 1.0, (1, 7): 1.0,
        (1, 8): 1.0, (1, 9): 2.0, (2, 1): 2.0, (2, 4): 2.0, (2, 5): 1.0, (2, 6): 1.0,
        (3, 2): 2.0, (3, 8): 1.0, (4, 0): -x5, (4, 1): x4, (4, 3): x2, (4, 4): -x1,
        (5, 0): -h * s * x6 / r1, (5, 1): h * r4 / r2, (5, 3): h * r2 / r4, (5, 5): -s1,
        (5, 10): -r1 * x6 * by_s,
        (6, 0): h * r2 / r1, (6, 1): h * r1 / r2, (6, 3): -h * x7 * s / r4, (6, 6): -s4,
        (6, 10): -r4 * x7 * by_s,
        (7, 0): 1.0, (7, 3): -x8 * ratio, (7, 7): -x4 * ratio, (7, 10): x4 * x8 * ratio / x11,
        (8, 0): r3, (8, 2): h * x1 / r3, (8, 3): -x9 * s, (8, 8): -x4 * s, (8, 10): -x4 * x9 * by_s,
        (9, 0): 2 * x1, (9, 3): -2 * x4 * x10 * ratio, (9, 9): -x4 * x4 * ratio,
        (9, 10): x4 * x4 * x10 * ratio / x11,
        **{(10, k): -1.0 for k in range(10)}, (10, 10): 1.0,
    }  # fmt: skip


def black_scholes(np: Any, S: Any, K: Any, r: Any, sigma: Any, T: Any) -> Entries:
    """Return the Greeks."""
    root, discount = np.sqrt(T), np.exp(-r * T)
    d1 = (np.log(S / K) + (r + sigma * sigma / 2) * T) / (sigma * root)
    d2 = d1 - sigma * root
    half = math.sqrt(0.5)
    N1, N2 = 0.5 + 0.5 * np.erf(half * d1), 0.5 + 0.5 * np.erf(half * d2)
    density = S * np.exp(-0.5 * d1 * d1) / math.sqrt(2 * math.pi)
    by_strike = discount * N2
    rho = K * by_strike
    return {
        (0, 0): N1,
        (0, 1): -by_strike,
        (0, 2): T * rho,
        (0, 3): root * density,
        (0, 4): 0.5 * sigma * density / root + r * rho,
    }


TASKS: dict[str, tuple[int, Callable[..., Entries]]] = {
    "heart": (8, heart),
    "propane": (11, propane),
    "black_scholes": (0, black_scholes),
}


def jacobian(task: str, is_batch: bool) -> Function:
    """Return the Jacobian at one point, or at all that are rows."""
    rows, entries = TASKS[task]

    def at_one(x: Array) -> Array:
        found = np.zeros((rows or 1, x.size))
        for place, value in entries(math, *x.tolist()).items():
            found[place] = value
        return found if rows else found[0]

    def at_all(x: Array) -> Array:
        found = np.zeros((len(x), rows or 1, x.shape[1]))
        for (i, j), value in entries(ARRAYS, *x.T).items():
            found[:, i, j] = value
        return found if rows else found[:, 0]

    return at_all if is_batch else at_one
