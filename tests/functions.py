"""Functions to differentiate, each at a point, and independent derivatives to hold ours against."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.special as sp

import chainad

Function = Callable[..., Any]
rng = np.random.default_rng(11)


def normal(*shape: int) -> Any:
    return rng.normal(size=shape) / np.sqrt(shape[-1] if shape else 1)


def numerical(f: Function, x: Any, h: float = 1e-3) -> Any:
    """Central differences by the five-point formula, for one array in and one out."""
    x = np.asarray(x, dtype=float)
    columns = []
    for place in np.ndindex(*x.shape):
        move = np.zeros(x.shape)
        move[place] = h
        a, b, c, d = (np.asarray(f(x + k * move), dtype=float) for k in (-2, -1, 1, 2))
        columns.append((a - 8 * b + 8 * c - d) / (12 * h))
    if not columns:
        return np.zeros(np.shape(f(x)) + x.shape)
    return np.stack(columns, axis=-1).reshape(np.shape(columns[0]) + x.shape)


def complex_step(f: Function, x: Any) -> Any:
    """Exact to rounding, for functions made of analytic ones."""
    columns = []
    for place in np.ndindex(*x.shape):
        move = np.zeros(x.shape, complex)
        move[place] = 1e-100j
        columns.append(np.imag(np.asarray(f(x + move))) / 1e-100)
    return np.stack(columns, axis=-1).reshape(np.shape(columns[0]) + x.shape)


FUNCTIONS: dict[str, tuple[Function, Any]] = {}


def function(x: Any, name: str | None = None) -> Callable[[Function], Function]:
    """Register a function of one array, at x."""

    def register(f: Function) -> Function:
        FUNCTIONS[name or f.__name__] = (f, np.asarray(x, dtype=float))
        return f

    return register


# ------------------------------------------------------------------ networks


def mlp(widths: list[int], name: str) -> None:
    W = [normal(n, m) for m, n in pairwise(widths)]
    b = [normal(n) for n in widths[1:]]

    @function(normal(widths[0]), name)
    def f(x):
        for w, c in zip(W[:-1], b, strict=False):
            x = np.tanh(w @ x + c)
        return W[-1] @ x + b[-1]


mlp([7, 9, 9, 5], "mlp")
mlp([10, 8, 2, 8, 9], "mlp with a bottleneck")
mlp([6, 6, 6, 6, 1], "mlp with a scalar result")
mlp([1, 6, 6, 6], "mlp of one number")
mlp([4, 3, 1, 3, 4], "mlp through one number")
mlp([5] * 12, "deep mlp")
for _k in range(4):
    mlp([int(n) for n in rng.integers(1, 9, size=12)], f"random chain {_k}")

W1, W2, W3 = normal(6, 6), normal(6, 6), normal(3, 6)
x6 = normal(6)


@function(x6)
def residual(x):
    for W in (W1, W2, W1):
        x = x + np.tanh(W @ x)
    return W3 @ x


@function(x6)
def branches(x):
    a, b = np.sin(W1 @ x), np.exp(0.3 * (W2 @ x))
    return W3 @ (a * b) + np.sum(a) * W3 @ b


@function(x6)
def long_skip(x):
    y = np.tanh(W1 @ x)
    z = np.tanh(W2 @ y)
    return np.concatenate([W3 @ z, y]) * np.concatenate([x[:3], x])


@function(x6)
def diamonds(x):
    for _ in range(4):
        a, b = np.sin(x), np.cos(x)
        x = a * b + x
    return x


@function(normal(5, 6))
def batch_through_network(X):
    return np.tanh(X @ W1 + x6) @ W3.T


@function(normal(3, 6))
def network_by_weights(W):
    return np.tanh(W @ x6) ** 2


@function(normal(4, 6))
def mean_squared_loss(W):
    X, Y = np.outer(np.arange(5), x6) / 5, np.ones((5, 4))
    return np.mean((np.tanh(X @ W.T) - Y) ** 2)


@function(normal(4, 5))
def softmax_rows(x):
    e = np.exp(x - np.max(x, axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@function(x6)
def log_softmax(x):
    return x - np.log(np.sum(np.exp(x)))


@function(normal(3, 6))
def layer_norm(x):
    centred = x - x.mean(axis=-1, keepdims=True)
    return x6 * centred / np.sqrt(np.var(x, axis=-1, keepdims=True) + 1e-3) + 1


Wq, Wk, Wv, Wo = (normal(4, 4) for _ in range(4))


@function(normal(3, 4))
def attention(x):
    def heads(z):
        return z.reshape(3, 2, 2).transpose(1, 0, 2)

    q, k, v = heads(x @ Wq), heads(x @ Wk), heads(x @ Wv)
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(2.0)
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    mixed = (e / e.sum(axis=-1, keepdims=True)) @ v
    return x + mixed.transpose(1, 0, 2).reshape(3, 4) @ Wo


@function(normal(3, 4))
def attention_by_einsum(x):
    q, k, v = (np.einsum("sd,dhe->she", x, w.reshape(4, 2, 2)) for w in (Wq, Wk, Wv))
    e = np.exp(np.einsum("qhe,khe->hqk", q, k))
    return np.einsum("hqk,khe->qhe", e / e.sum(-1, keepdims=True), v).reshape(3, 4)


@function(normal(2, 8))
def convolution(x):
    op = np.array([0.2, -1.0, 0.5])
    return np.maximum(sum(op[k] * x[:, k : k + 6] for k in range(3)), 0.1 * x[:, :6])


@function(normal(5))
def recurrent(x):
    h = np.zeros(3)
    for value in x:
        h = np.tanh(W3[:, :3] @ h + value * W3[:, 3])
    return h


# --------------------------------------------------------------- contractions


@function(normal(3, 4))
def gram(x):
    return x @ x.T


@function(normal(2, 3, 3))
def batched_products(x):
    return x @ x @ np.swapaxes(x, 1, 2)


@function(x6)
def quadratic_form(x):
    return np.einsum("i,ij,j", x, W1, x)


@function(normal(3, 3))
def einsum_with_diagonals(x):
    return np.einsum("ii,jk->jk", x, x) + np.diag(np.einsum("ii->i", x))


@function(normal(2, 3, 2))
def einsum_of_three(x):
    return np.einsum("abc,acd,de->be", x, np.swapaxes(x, 1, 2), normal_23)


normal_23 = normal(3, 2)


@function(x6)
def outer_products(x):
    return np.tensordot(np.outer(x, np.sin(x)), W1, axes=([1], [0]))


@function(normal(2, 2))
def kronecker(x):
    return np.kron(x, np.sin(x))


# ------------------------------------------------------------------- physics


@function(1 + 0.3 * normal(12))
def burgers_by_slicing(u):
    for _ in range(3):
        flux = 0.5 * u * u
        inner = u[1:-1] - 0.1 * (flux[1:-1] - flux[:-2]) + 0.05 * (u[2:] - 2 * u[1:-1] + u[:-2])
        u = np.concatenate([u[:1], inner, u[-1:]])
    return u


@function(1 + 0.3 * normal(8))
def burgers_by_roll(u):
    for _ in range(2):
        u = u - 0.1 * u * (u - np.roll(u, 1)) + 0.05 * (np.roll(u, -1) - 2 * u + np.roll(u, 1))
    return u


@function(normal(4, 4))
def laplace_in_two_dimensions(u):
    return sum(np.roll(u, s, axis=a) for s in (1, -1) for a in (0, 1)) - 4 * u + u**3


def roe1d(U, g=0.5):
    def side(U):
        r, m, E = U
        v = m / r
        p = (g - 1) * (E - 0.5 * m * m / r)
        return r, v, p, (E + p) / r, np.array([m, p + m * v, v * (p + E)])

    UL, UR = U
    rL, vL, pL, HL, FL = side(UL)
    rR, vR, pR, HR, FR = side(UR)
    sL, sR = np.sqrt(rL), np.sqrt(rR)
    w = sL + sR
    u, H, rho = (sL * vL + sR * vR) / w, (sL * HL + sR * HR) / w, np.sqrt(rL * rR)
    a2 = (g - 1) * (H - 0.5 * u * u)
    a = np.sqrt(np.abs(a2))
    dr, dp, dv = rR - rL, pR - pL, vR - vL
    al0 = (dr - dp / a2) * abs(u)
    al1 = (dv + dp / (a * rho)) * abs(u + a)
    al2 = (dv - dp / (a * rho)) * abs(u)
    c = 0.5 * rho / a
    D = np.array(
        [
            al0 + c * al1 - c * al2,
            al0 * u + c * al1 * (u + a) - c * al2 * (u - a),
            al0 * u * u / 2 + c * al1 * (H + u * a) - c * al2 * (H - u * a),
        ]
    )
    return 0.5 * (FL + FR - D)


function([[1.0, 0.4, 2.0], [1.3, 0.6, 2.6]])(roe1d)
function([[1.0, 0.4, 2.0], [1.3, 0.6, 2.6]], "roe1d for air")(lambda U: roe1d(U, 1.4))


def roe3d(rL, mL, EL, rR, mR, ER, g=1.4):
    def side(r, m, E):
        v = m / r
        p = (g - 1) * (E - 0.5 * (m @ m) / r)
        flux = m[:1], np.concatenate([p, [0, 0]]) + m * v, v[:1] * (p + E)
        return v, p, (E + p) / r, flux

    vL, _, HL, FL = side(rL, mL, EL)
    vR, _, HR, FR = side(rR, mR, ER)
    sL, sR = np.sqrt(rL), np.sqrt(rR)
    W, H = (sL * vL + sR * vR) / (sL + sR), (sL * HL + sR * HR) / (sL + sR)
    u, v, w = W[:1], W[1:2], W[2:]
    q = W @ W
    a2 = (g - 1) * (H - 0.5 * q)
    a = np.sqrt(a2)
    d0, d, d4 = rR - rL, mR - mL, ER - EL
    c3 = (g - 1) / a2 * ((H - q) * d0 + W @ d - d4) * u
    c2, c1 = (d[2:] / w - d[:1]) * u, (d[1:2] / v - d0) * u
    k1, k2 = d0 - c3, (d[:1] - u * d0) / a
    c0, c4 = 0.5 * (k1 - k2) * (u - a), 0.5 * (k1 + k2) * (u + a)
    D0 = c0 + c3 + c4 * (u + a)
    D1 = c0 * (u - a) + c3 * u + c4 * (u + a)
    D2 = c0 * v + c1 * v + c3 * v + c4 * v
    D3 = c0 * w + c2 * w + c3 * w + c4 * w
    D4 = c0 * (H - u * a) + c1 * v**2 + c2 * w**2 + c3 * 0.5 * q + c4 * (H + u * a)
    return (
        0.5 * (FL[0] + FR[0] - D0),
        0.5 * (FL[1] + FR[1] - np.concatenate([D1, D2, D3])),
        0.5 * (FL[2] + FR[2] - D4),
    )


@function([1.0, 0.4, 0.3, 0.2, 2.0, 1.3, 0.6, 0.5, 0.4, 2.6], "roe3d")
def _roe3d(U):
    return np.concatenate(roe3d(U[:1], U[1:4], U[4:5], U[5:6], U[6:9], U[9:]))


@function([0.3, 0.5, 0.2, 0.7, 0.4, 0.6])
def robot(t):
    t1, t2, t3, t4, t5, t6 = t
    a1, a2, a3, d1, d4, d6 = 175.0, 890.0, 50.0, 575.0, 1035.0, 185.0
    C, S = np.cos, np.sin
    c23, s23 = C(t2) * C(t3) - S(t2) * S(t3), C(t2) * S(t3) + S(t2) * C(t3)
    ax = S(t5) * (C(t1) * c23 * C(t4) + S(t1) * S(t4)) + C(t1) * s23 * C(t5)
    ay = S(t5) * (S(t1) * c23 * C(t4) - C(t1) * S(t4)) + S(t1) * s23 * C(t5)
    az = s23 * C(t4) * S(t5) - c23 * C(t5)
    k = c23 * S(t5) + s23 * C(t4) * C(t5)
    nz, oz = C(t6) * k - s23 * S(t4) * S(t6), -S(t6) * k - s23 * S(t4) * C(t6)
    r = a1 + a2 * C(t2) + a3 * c23 + d4 * s23
    px = d6 * (S(t5) * (C(t1) * c23 * C(t4) + S(t1) * S(t4)) + C(t1) * s23 * C(t5)) + C(t1) * r
    py = d6 * (S(t5) * (S(t1) * c23 * C(t4) + C(t1) * S(t4)) + S(t1) * s23 * C(t5)) + S(t1) * r
    pz = a2 * S(t2) + d1 + a3 * s23 - d4 * c23 + d6 * az
    angles = np.arctan2(ay, ax), np.arctan2(np.sqrt(1 - az**2), az), np.arctan2(oz, -nz)
    return np.array([px, py, pz, *angles])


@function([0.3, 0.5, 0.2, 0.7, 1.4, 0.6, 0.9, 1.1])
def heart(z):
    a, b, c, d, t, u, v, w = z

    def P(x, y):
        return x * (x * x - 3 * y * y)

    def quadratic(a, b, c, d):
        return a * (t * t - v * v) - 2 * c * t * v + b * (u * u - w * w) - 2 * d * u * w - 1

    return np.array(
        [
            a + b - 1,
            c + d - 1,
            t * a + u * b - v * c - w * d - 1,
            v * a + w * b + t * c + u * d - 1,
            quadratic(a, b, c, d),
            quadratic(c, d, a, b),
            a * P(t, v) + c * P(v, t) + b * P(u, w) + d * P(w, u) - 1,
            c * P(t, v) - a * P(v, t) + d * P(u, w) - b * P(w, u) - 1,
        ]
    )


@function(rng.uniform(0.1, 2.0, size=11))
def propane(x, p=40.0, R=10.0):
    x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11 = x
    s = np.sqrt(p / x11)
    return np.array(
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
            x11 - sum(x[:10]),
        ]
    )


def black_scholes(z):
    S, K, r, sg, T = z
    F = np.exp(r * T) * S

    def N(z):
        return (1 + sp.erf(z / np.sqrt(2))) / 2

    d1 = (np.log(F / K) + sg**2 / 2 * T) / (sg * np.sqrt(T))
    d2 = d1 - sg * np.sqrt(T)
    return np.exp(-r * T) * (F * N(d1) - K * N(d2))


function([1.0, 1.1, 0.02, 0.3, 1.0])(black_scholes)


@function([1.0, 0.5, -0.3])
def runge_kutta(y):
    def slope(y):
        return np.stack([y[1], -np.sin(y[0]), y[0] * y[1] - y[2]])

    h = 0.1
    for _ in range(4):
        k1 = slope(y)
        k2 = slope(y + h / 2 * k1)
        k3 = slope(y + h / 2 * k2)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(y + h * k3))
    return y


@function([0.5, 1.0, 1.5])
def lorenz_by_scalars(u):
    x, y, z = u
    for _ in range(5):
        x, y, z = (
            x + 0.02 * 10 * (y - x),
            y + 0.02 * (x * (28 - z) - y),
            z + 0.02 * (x * y - 8 / 3 * z),
        )
    return np.array([x, y, z])


@function([1.2, 0.8, 1.1, 0.9])
def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


@function(normal(5, 2))
def pairwise_distances(x):
    d = x[:, None, :] - x[None, :, :]
    return np.sqrt(np.sum(d * d, axis=-1) + 1e-2)


@function(normal(4, 3))
def gravity(x):
    d = x[None] - x[:, None]
    r2 = np.sum(d**2, axis=-1) + 0.1
    return np.sum(d / r2[..., None] ** 1.5, axis=1)


# ------------------------------------------------------------------ statistics

DATA = rng.normal(size=(7, 2))


@function(np.concatenate([normal(3), normal(6), normal(6) * 0.3]))
def gmm_log_likelihood(theta):
    logits, means, logs = theta[:3], theta[3:9].reshape(3, 2), theta[9:].reshape(3, 2)
    log_weights = logits - np.log(np.sum(np.exp(logits)))
    z = (DATA[:, None, :] - means) * np.exp(-logs)
    terms = log_weights - 0.5 * np.sum(z * z, axis=-1) - np.sum(logs, axis=-1)
    m = np.max(terms, axis=1, keepdims=True)
    return np.sum(m[:, 0] + np.log(np.sum(np.exp(terms - m), axis=1)))


@function(normal(2))
def logistic_regression(w):
    t = DATA @ w
    return np.mean(np.logaddexp(0.0, t) - (DATA[:, 0] > 0) * t)


@function(rng.uniform(0.5, 2, size=3))
def dirichlet(a):
    p = np.array([0.2, 0.3, 0.5])
    return sp.gammaln(np.sum(a)) - np.sum(sp.gammaln(a)) + np.sum(sp.xlogy(a - 1, p))


@function(rng.uniform(0.1, 0.9, size=4))
def special_functions(x):
    return sp.erf(x) * sp.expit(x) + sp.j0(x) * sp.digamma(x + 1) - sp.ndtri(x)


@function(normal(4, 3))
def covariance(x):
    centred = x - x.mean(axis=0)
    return centred.T @ centred / 3


@function(normal(6))
def standardized(x):
    return (x - np.mean(x)) / np.std(x, ddof=1)


# ---------------------------------------------------------------- small shapes


@function([0.3, -0.2, 0.5, 1.5])
def horner(c):
    y = np.zeros(3)
    for a in c:
        y = y * np.array([0.5, 1.0, 2.0]) + a
    return y


@function(0.7, "horner of a number")
def horner_of_a_number(x):
    y = 0.0
    for a in (1.0, -2.0, 0.5, 3.0):
        y = y * x + a
    return y


@function(normal(5), "cumsum")
def cumulated(x):
    return np.cumsum(x) ** 2 + np.cumprod(1 + x)


@function(normal(6))
def sorting(x):
    return np.sort(x)[::-1] * np.arange(6) + x[np.argsort(x)[0]]


@function(normal(8))
def masks(x):
    y = np.where(x > 0, x, 0.1 * x)
    return y[x > 0].sum() * y + np.sum(x[x < 0])


@function(normal(3, 4))
def matrix_to_matrix(x):
    return np.tanh(x).T @ np.ones((3, 2)) + x.sum() - x.T[:, :2]


@function(normal(3, 4))
def reshapes(x):
    return np.stack([x.reshape(4, 3).T, x.T.reshape(3, 4).T.reshape(3, 4)]).ravel()[::3]


@function(normal(2, 1, 3))
def sizes_of_one(x):
    return x * np.ones((1, 4, 1)) - x.sum(axis=0, keepdims=True) + x[:, :, :1]


@function(normal(5))
def pads_and_tiles(x):
    return np.pad(x**2, (1, 2), mode="wrap")[:5] * np.tile(x[:1], 5) + np.pad(x[1:-1], 1)


@function(normal(4))
def a_branch_by_value(x):
    y = x
    while np.sum(y * y) < 50:
        y = 2 * y + 0.1 if y[0] > 0 else 1.5 * y - x
    return y


def _power(x: Any, n: int) -> Any:
    if n == 0:
        return 1.0
    half = _power(x, n // 2)
    return half * half * x if n % 2 else half * half


@function(normal(3))
def a_recursion(x):
    return _power(x, 13) + _power(x[0], 3)


@function(normal(9))
def a_loop_of_scalars(x):
    total, out = 0.0, []
    for k in range(8):
        total = total + x[k] * x[k + 1]
        out.append(np.sin(total))
    return np.stack(out)


@function(normal(4), "the input itself")
def the_input(x):
    return x


@function(normal(4))
def minus_the_input(x):
    return -x


@function(normal(3), "sums of the input alone")
def sums(x):
    return x + x - np.flip(x) + x[0]


@function(normal(2, 3))
def scalar_of_a_matrix(x):
    return np.log(np.sum(np.exp(x))) * np.trace(x[:, :2])


@function(0.4)
def number_to_number(x):
    return np.sin(x) * np.exp(x) / (1 + x**2)


@function(0.4)
def number_to_vector(x):
    return np.array([x, x**2, np.sin(x)]) * np.linspace(0, x, 3)


@function(normal(3))
def norms(x):
    return x / np.linalg.norm(x) + np.linalg.norm(np.outer(x, x), axis=0)


@function(rng.uniform(1, 2, size=(3, 3)))
def determinant_by_hand(A):
    def minor(A, k):
        return A[1:, [j for j in range(len(A)) if j != k]]

    def det(A):
        if len(A) == 1:
            return A[0, 0]
        return sum((-1) ** k * A[0, k] * det(minor(A, k)) for k in range(len(A)))

    return det(A)


@function(np.eye(3) * 3 + normal(3, 3))
def cholesky_by_hand(A):
    A = A + A.T
    L: list[list[Any]] = [[0.0] * 3 for _ in range(3)]
    for i in range(3):
        for j in range(i + 1):
            s = A[i, j] - sum(L[i][k] * L[j][k] for k in range(j))
            L[i][j] = np.sqrt(s) if i == j else s / L[j][j]
    return np.array(L)


@function(normal(4))
def newton_iterations(a):
    x = np.ones(4)
    for _ in range(5):
        x = x - (x**3 + x - a) / (3 * x**2 + 1)
    return x


@function(normal(6))
def in_place(x):
    y = x * 2
    for _ in range(3):
        y += np.sin(y)
        y *= 0.5
    return y


@function(normal(5))
def moving_average(x):
    return np.lib.stride_tricks.sliding_window_view(np.pad(x, 1), 3).mean(axis=1) * x


@function(normal(6))
def polynomial_features(x):
    X = x.reshape(3, 2)
    return np.column_stack([X, X**2, X[:, :1] * X[:, 1:]])


# Made of analytic functions alone, without max, sort or comparisons by value.
ANALYTIC = {
    "mlp", "residual", "branches", "batch_through_network", "log_softmax", "gram", "quadratic_form",
    "burgers_by_slicing", "runge_kutta", "rosenbrock", "heart", "horner", "diamonds", "roe3d",
}  # fmt: skip


HESSIANS: dict[str, tuple[Function, Any]] = {
    "rosenbrock": FUNCTIONS["rosenbrock"],
    "black_scholes": FUNCTIONS["black_scholes"],
    "gmm_log_likelihood": FUNCTIONS["gmm_log_likelihood"],
    "logistic_regression": FUNCTIONS["logistic_regression"],
    "dirichlet": FUNCTIONS["dirichlet"],
    "quadratic_form": FUNCTIONS["quadratic_form"],
    "mean_squared_loss": FUNCTIONS["mean_squared_loss"],
    "determinant_by_hand": FUNCTIONS["determinant_by_hand"],
    "number_to_number": FUNCTIONS["number_to_number"],
    "scalar_of_a_matrix": FUNCTIONS["scalar_of_a_matrix"],
    "mlp": (lambda x: FUNCTIONS["mlp with a scalar result"][0](x)[0], normal(6)),
    "polynomial": (lambda x: np.sum(x**3 + 2 * x**2) * np.prod(x), normal(4)),
    "norm": (lambda x: np.linalg.norm(x) + np.std(x), normal(4)),
    "stencil": (lambda x: np.sum((x[1:] - x[:-1]) ** 4), normal(6)),
    "gathers": (lambda x: np.sum(np.sin(x[[0, 1, 1, 3]]) * np.roll(x, 1)), normal(4)),
    "concatenation": (lambda x: np.sum(np.concatenate([x, x**2])[2:6] ** 2), normal(4)),
    "special": (lambda x: np.sum(sp.erf(x) * sp.gammaln(2 + x) + sp.xlogy(x * x, 3.0)), normal(3)),
    "einsum": (lambda x: np.einsum("i,ij,j,j->", x, W1, x, np.sin(x)), normal(6)),
    "cumulated": (lambda x: np.sum(np.cumsum(x) ** 2 * np.cumprod(x)), normal(4)),
    "sinc": (lambda x: np.sum(np.sinc(x)), np.array([0.0, 1e-4, 0.3, 1.7])),
    "spence": (lambda x: np.sum(sp.spence(x) + sp.exprel(x - 1)), np.array([1.0, 1.04, 2.0])),
}


def points(x: Any, count: int) -> list[Any]:
    """Return x, and points around it where the function is defined, too."""
    rng = np.random.default_rng(5)
    return [x, *(x * (1 + 0.1 * rng.uniform(-1, 1, size=x.shape)) for _ in range(count))]


@cache
def reference(name: str) -> list[tuple[Any, Any, Any]]:
    """Return value and Jacobian of a function, traced, at its point and three around it.

    Made once for all tests of a process: they hold what is compiled against it.
    """
    f, x = FUNCTIONS[name]
    traced = chainad.value_and_jacobian(f)
    return [(point, *traced(point)) for point in points(x, 3)]


def agree(found: Any, wanted: Any) -> None:
    if isinstance(wanted, tuple):
        assert isinstance(found, tuple)
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            agree(one, other)
        return
    assert type(found) is type(wanted)
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-12)
