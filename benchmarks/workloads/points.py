"""W5: functions of a few numbers, at one point or at many; every library runs the same text.

Formulas: Roe's approximate Riemann solver in one and three dimensions (Roe 1981), a robot arm of
six joints, the human heart dipole and the combustion of propane (MINPACK-2), Black-Scholes; they
are the tasks of Lohoff & Neftci 2024. Each takes one array, since that is how points come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Function = Callable[[Any], Any]
Array = np.ndarray


def roe1d(np: Any, erf: Any) -> Function:
    def side(U: Any, g: float) -> Any:
        r, m, E = U[0], U[1], U[2]
        v = m / r
        p = (g - 1) * (E - 0.5 * m * m / r)
        H = (E + p) / r
        return r, v, p, H, np.stack([m, p + m * v, v * (p + E)])

    def f(x: Any, g: float = 1.4) -> Any:
        rL, vL, pL, HL, FL = side(x[:3], g)
        rR, vR, pR, HR, FR = side(x[3:], g)
        sL, sR = np.sqrt(rL), np.sqrt(rR)
        w = sL + sR
        u = (sL * vL + sR * vR) / w
        H = (sL * HL + sR * HR) / w
        rho = np.sqrt(rL * rR)
        a2 = (g - 1) * (H - 0.5 * u * u)
        a = np.sqrt(a2)
        dr, dp, dv = rR - rL, pR - pL, vR - vL
        al0 = (dr - dp / a2) * abs(u)
        al1 = (dv + dp / (a * rho)) * abs(u + a)
        al2 = (dv - dp / (a * rho)) * abs(u)
        c = 0.5 * rho / a
        D = np.stack(
            [
                al0 + c * al1 - c * al2,
                al0 * u + c * al1 * (u + a) - c * al2 * (u - a),
                al0 * u * u / 2 + c * al1 * (H + u * a) - c * al2 * (H - u * a),
            ]
        )
        return 0.5 * (FL + FR - D)

    return f


def roe3d(np: Any, erf: Any) -> Function:
    def side(r: Any, m: Any, E: Any, g: float) -> Any:
        v = m / r
        p = (g - 1) * (E - 0.5 * (m @ m) / r)
        H = (E + p) / r
        F = np.concatenate([m[:1], m * v + np.concatenate([p, np.zeros(2)]), v[:1] * (p + E)])
        return v, p, H, F

    def f(x: Any, g: float = 1.4) -> Any:
        rL, mL, EL, rR, mR, ER = x[:1], x[1:4], x[4:5], x[5:6], x[6:9], x[9:]
        vL, _, HL, FL = side(rL, mL, EL, g)
        vR, _, HR, FR = side(rR, mR, ER, g)
        sL, sR = np.sqrt(rL), np.sqrt(rR)
        W = (sL * vL + sR * vR) / (sL + sR)
        H = (sL * HL + sR * HR) / (sL + sR)
        u, v, w = W[:1], W[1:2], W[2:]
        q = W @ W
        a2 = (g - 1) * (H - 0.5 * q)
        a = np.sqrt(a2)
        d0, d, d4 = rR - rL, mR - mL, ER - EL
        c3 = (g - 1) / a2 * ((H - q) * d0 + W @ d - d4) * u
        c2 = (d[2:] / w - d[:1]) * u
        c1 = (d[1:2] / v - d0) * u
        k1 = d0 - c3
        k2 = (d[:1] - u * d0) / a
        c0 = 0.5 * (k1 - k2) * (u - a)
        c4 = 0.5 * (k1 + k2) * (u + a)
        D = [
            c0 + c3 + c4 * (u + a),
            c0 * (u - a) + c3 * u + c4 * (u + a),
            c0 * v + c1 * v + c3 * v + c4 * v,
            c0 * w + c2 * w + c3 * w + c4 * w,
            c0 * (H - u * a) + c1 * v**2 + c2 * w**2 + c3 * 0.5 * q + c4 * (H + u * a),
        ]
        return 0.5 * (FL + FR - np.concatenate(D))

    return f


def robot(np: Any, erf: Any) -> Function:
    a1, a2, a3, d1, d4, d6 = 175.0, 890.0, 50.0, 575.0, 1035.0, 185.0

    def f(t: Any) -> Any:
        t1, t2, t3, t4, t5, t6 = (t[k] for k in range(6))
        C, S = np.cos, np.sin
        c23 = C(t2) * C(t3) - S(t2) * S(t3)
        s23 = C(t2) * S(t3) + S(t2) * C(t3)
        ax = S(t5) * (C(t1) * c23 * C(t4) + S(t1) * S(t4)) + C(t1) * s23 * C(t5)
        ay = S(t5) * (S(t1) * c23 * C(t4) - C(t1) * S(t4)) + S(t1) * s23 * C(t5)
        az = s23 * C(t4) * S(t5) - c23 * C(t5)
        k = c23 * S(t5) + s23 * C(t4) * C(t5)
        nz = C(t6) * k - s23 * S(t4) * S(t6)
        oz = -S(t6) * k - s23 * S(t4) * C(t6)
        r = a1 + a2 * C(t2) + a3 * c23 + d4 * s23
        px = d6 * (S(t5) * (C(t1) * c23 * C(t4) + S(t1) * S(t4)) + C(t1) * s23 * C(t5)) + C(t1) * r
        py = d6 * (S(t5) * (S(t1) * c23 * C(t4) + C(t1) * S(t4)) + S(t1) * s23 * C(t5)) + S(t1) * r
        pz = a2 * S(t2) + d1 + a3 * s23 - d4 * c23 + d6 * az
        angles = np.arctan2(ay, ax), np.arctan2(np.sqrt(1 - az**2), az), np.arctan2(oz, -nz)
        return np.stack([px, py, pz, *angles])

    return f


def heart(np: Any, erf: Any) -> Function:
    def cubic(x: Any, y: Any) -> Any:
        return x * (x * x - 3 * y * y)

    def f(z: Any) -> Any:
        a, b, c, d, t, u, v, w = (z[k] for k in range(8))
        P = cubic
        return np.stack(
            [
                a + b - 1,
                c + d - 1,
                t * a + u * b - v * c - w * d - 1,
                v * a + w * b + t * c + u * d - 1,
                a * (t * t - v * v) - 2 * c * t * v + b * (u * u - w * w) - 2 * d * u * w - 1,
                c * (t * t - v * v) - 2 * a * t * v + d * (u * u - w * w) - 2 * b * u * w - 1,
                a * P(t, v) + c * P(v, t) + b * P(u, w) + d * P(w, u) - 1,
                c * P(t, v) - a * P(v, t) + d * P(u, w) - b * P(w, u) - 1,
            ]
        )

    return f


def propane(np: Any, erf: Any) -> Function:
    def f(x: Any, p: float = 40.0, R: float = 10.0) -> Any:
        x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11 = (x[k] for k in range(11))
        s = np.sqrt(p / x11)
        return np.stack(
            [
                x1 + x4 - 3,
                2 * x1 + x2 + x4 + x7 + x8 + x9 + 2 * x10 - R,
                2 * x2 + 2 * x5 + x6 + x7 - 8,
                2 * x3 + x9 - 4 * R,
                x2 * x4 - x1 * x5,
                np.sqrt(x2 * x4) - np.sqrt(x1) * s * x6,
                np.sqrt(x1 * x2) - np.sqrt(x4) * x7 * s,
                x1 - x4 * x8 * p / x11,
                x1 * np.sqrt(x3) - x4 * x9 * s,
                x1**2 - x4**2 * x10 * p / x11,
                x11 - (x1 + x2 + x3 + x4 + x5 + x6 + x7 + x8 + x9 + x10),
            ]
        )

    return f


def black_scholes(np: Any, erf: Any) -> Function:
    def N(z: Any) -> Any:
        return (1 + erf(z / np.sqrt(2.0))) / 2

    def f(z: Any) -> Any:
        S, K, r, sigma, T = (z[k] for k in range(5))
        F = np.exp(r * T) * S
        d1 = (np.log(F / K) + sigma**2 / 2 * T) / (sigma * np.sqrt(T))
        d2 = d1 - sigma * np.sqrt(T)
        return np.exp(-r * T) * (F * N(d1) - K * N(d2))

    return f


@dataclass(frozen=True)
class Task:
    """A function of one point, and points around which it is to be differentiated.

    `best` is the least number of multiplications known, by factors other than units and constants.
    """

    name: str
    make: Callable[[Any, Any], Function]
    low: tuple[float, ...]
    high: tuple[float, ...]
    best: int

    def points(self, count: int) -> Array:
        """Return so many random points."""
        rng = np.random.default_rng(0)
        return rng.uniform(self.low, self.high, (count, len(self.low)))


_GAS = (1.0, 0.3, 2.0), (1.4, 0.6, 3.0)
_GAS_3D = (1.0, 0.3, 0.2, 0.1, 2.0), (1.4, 0.6, 0.5, 0.4, 3.0)
TASKS = (
    Task("roe1d", roe1d, _GAS[0] * 2, _GAS[1] * 2, 186),
    Task("roe3d", roe3d, _GAS_3D[0] * 2, _GAS_3D[1] * 2, 462),
    Task("robot", robot, (0.1,) * 6, (0.9,) * 6, 134),
    Task("heart", heart, (0.1,) * 8, (2.0,) * 8, 48),
    Task("propane", propane, (0.1,) * 11, (2.0,) * 11, 24),
    Task(
        "black_scholes", black_scholes, (0.8, 0.8, 0.01, 0.2, 0.5), (1.2, 1.2, 0.05, 0.4, 2.0), 28
    ),
)
