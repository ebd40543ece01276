"""W3, W4 and W7: functions whose Jacobian is sparse or has blocks, by the library's own `np`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Function = Callable[..., Any]


def burgers(u: Any, np: Any = np) -> Any:
    n = u.size
    h, nu = 1 / (n + 1), 0.05
    zero = np.zeros(1)
    p = np.concatenate([zero, u, zero])
    return -u * (p[2:] - p[:-2]) / (2 * h) + nu * (p[2:] - 2 * u + p[:-2]) / h**2


def brusselator(z: Any, np: Any = np) -> Any:
    m = z.size // 2
    u, v = z[:m], z[m:]
    h, diffusion = 1 / (m + 1), 0.02

    def laplacian(w: Any, bound: float) -> Any:
        end = np.full(1, bound)
        p = np.concatenate([end, w, end])
        return (p[2:] - 2 * w + p[:-2]) / h**2

    r = u * u * v
    fu = 1 + r - 4 * u + diffusion * laplacian(u, 1.0)
    return np.concatenate([fu, 3 * u - r + diffusion * laplacian(v, 3.0)])


def gray_scott(z: Any, np: Any = np) -> Any:
    side = round((z.size // 2) ** 0.5)
    n = side * side
    u, v = z[:n].reshape(side, side), z[n:].reshape(side, side)

    def laplacian(a: Any) -> Any:
        up_down = np.roll(a, 1, 0) + np.roll(a, -1, 0)
        return up_down + np.roll(a, 1, 1) + np.roll(a, -1, 1) - 4 * a

    r = u * v * v
    feed, kill = 0.04, 0.06
    fu = 0.16 * laplacian(u) - r + feed * (1 - u)
    fv = 0.08 * laplacian(v) + r - (feed + kill) * v
    return np.concatenate([fu.ravel(), fv.ravel()])


def bundle_adjustment(cameras: int, points: int, observations: int) -> Function:
    """Return reprojection residuals of a flat vector: cameras x 11, points x 3, one weight each."""
    rng = np.random.default_rng(0)
    camera = rng.integers(0, cameras, observations)
    point = rng.integers(0, points, observations)
    seen = rng.normal(size=(observations, 2))

    away = np.array([0.0, 0.0, 6.0])  # every point is well in front of its camera

    def residuals(x: Any, np: Any = np) -> Any:
        ends = 11 * cameras, 11 * cameras + 3 * points
        c = x[: ends[0]].reshape(cameras, 11)[camera]
        p = x[ends[0] : ends[1]].reshape(points, 3)[point]
        w = x[ends[1] :]
        r, centre, focal, x0, rad = c[:, :3], c[:, 3:6], c[:, 6], c[:, 7:9], c[:, 9:]
        d = p - centre + away
        square = np.sum(r * r, axis=1)
        theta = np.sqrt(square)
        axis = r / theta[:, None]
        cos, sin = np.cos(theta)[:, None], np.sin(theta)[:, None]
        along = np.sum(axis * d, axis=1)[:, None]
        a0, a1, a2 = axis[:, 0], axis[:, 1], axis[:, 2]
        d0, d1, d2 = d[:, 0], d[:, 1], d[:, 2]
        cross = np.stack([a1 * d2 - a2 * d1, a2 * d0 - a0 * d2, a0 * d1 - a1 * d0], axis=1)
        turned = d * cos + cross * sin + axis * along * (1 - cos)
        flat = turned[:, :2] / turned[:, 2:]
        size = np.sum(flat * flat, axis=1)
        distorted = flat * (1 + rad[:, 0] * size + rad[:, 1] * size * size)[:, None]
        error = w[:, None] * (focal[:, None] * distorted + x0 - seen)
        return np.concatenate([error.ravel(), 1 - w * w])

    return residuals


def softmax_loss(rows: int = 512) -> Function:
    rng = np.random.default_rng(0)
    data, label = rng.normal(size=(rows, 64)), rng.integers(0, 10, rows)
    numbers = np.arange(rows)

    def loss(weights: Any, np: Any = np) -> Any:
        scores = data @ weights
        top = np.max(scores, axis=1, keepdims=True)
        total = np.log(np.sum(np.exp(scores - top), axis=1)) + top[:, 0]
        return total - scores[numbers, label]

    return loss


def batched_mlp() -> Function:
    rng = np.random.default_rng(0)
    w1, w2, w3 = (rng.normal(size=s) / 5 for s in ((20, 50), (50, 50), (50, 10)))

    def f(x: Any, np: Any = np) -> Any:
        return np.tanh(np.tanh(x @ w1) @ w2) @ w3

    return f


def transformer_block(
    length: int = 16, width: int = 32, heads: int = 2, inner: int = 128
) -> Function:
    rng = np.random.default_rng(0)
    q, k, v, o = (rng.normal(size=(width, width)) / width**0.5 for _ in range(4))
    up, down = rng.normal(size=(width, inner)) / 6, rng.normal(size=(inner, width)) / 11

    def block(x: Any, np: Any = np) -> Any:
        def norm(a: Any) -> Any:
            centred = a - np.mean(a, axis=-1, keepdims=True)
            return centred / np.sqrt(np.mean(centred**2, axis=-1, keepdims=True) + 1e-5)

        def split(a: Any) -> Any:
            return a.reshape(length, heads, width // heads).transpose(1, 0, 2)

        x = x.reshape(length, width)
        y = norm(x)
        scores = split(y @ q) @ split(y @ k).transpose(0, 2, 1) / (width // heads) ** 0.5
        weights = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
        weights = weights / np.sum(weights, axis=-1, keepdims=True)
        mixed = (weights @ split(y @ v)).transpose(1, 0, 2).reshape(length, width)
        x = x + mixed @ o
        z = norm(x) @ up
        gelu = 0.5 * z * (1 + np.tanh(0.7978845608 * (z + 0.044715 * z**3)))
        return (x + gelu @ down).reshape(-1)

    return block


def _point(*shape: int) -> Callable[[], Any]:
    return lambda: np.random.default_rng(1).uniform(0.2, 1.0, size=shape)


def _bundle(cameras: int, points: int, observations: int) -> tuple[Function, Any]:
    size = 11 * cameras + 3 * points + observations
    return bundle_adjustment(cameras, points, observations), _point(size)


# Name -> (function, what makes the point, the form of the result, goal against the peer).
SPARSE: dict[str, tuple[Function, Callable[[], Any], str, float | None]] = {
    "W3 burgers 1e4": (burgers, _point(10_000), "sparse", 1.7),
    "W3 burgers 1e5": (burgers, _point(100_000), "sparse", 1.15),
    "W3 burgers 1e6": (burgers, _point(1_000_000), "sparse", None),
    "W3 brusselator 2e4": (brusselator, _point(20_000), "sparse", None),
    "W3 brusselator 2e5": (brusselator, _point(200_000), "sparse", 1.9),
    "W3 gray_scott 300": (gray_scott, _point(180_000), "sparse", 3.0),
    "W4 bundle": (*_bundle(49, 7776, 31843), "sparse", 1.6),
    "W7a transformer": (transformer_block(), _point(512), "dense", 4.0),
    "W7b softmax loss": (softmax_loss(), _point(64, 10), "dense", 40.0),
    "W7c batched MLP": (batched_mlp(), _point(256, 20), "structured", 400.0),
}
QUICK: dict[str, tuple[Function, Callable[[], Any], str, float | None]] = {
    "burgers": (burgers, _point(300), "sparse", None),
    "brusselator": (brusselator, _point(600), "sparse", None),
    "gray_scott": (gray_scott, _point(512), "sparse", None),
    "bundle": (*_bundle(3, 20, 60), "sparse", None),
    "transformer": (transformer_block(4, 8, 2, 16), _point(32), "dense", None),
    "softmax loss": (softmax_loss(12), _point(64, 10), "dense", None),
    "batched MLP": (batched_mlp(), _point(6, 20), "structured", None),
}
