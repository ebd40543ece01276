"""Jacobians as one would write them by hand in NumPy: limits of W3, W4, W6, W7a, W7b, W8.

Each takes the arrays of its workload once; what comes back goes from a point to a fresh Jacobian.
"""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse

from benchmarks.workload import Array, Function


def burgers(n: int) -> Function:
    """Return the three diagonals, row by row, as a CSR whose pattern is known."""
    rows = np.arange(n, dtype=np.int32)
    near = rows[:, None] + np.arange(-1, 2, dtype=np.int32)
    indices, indptr = near.ravel()[1:-1], np.append(np.maximum(3 * rows - 1, 0), 3 * n - 2)
    h, nu = 1 / (n + 1), 0.05
    empty = scipy.sparse.csr_array((np.zeros(0), indices[:0], np.zeros_like(indptr)), shape=(n, n))
    by_u, shifted = np.empty((2, n))

    def jacobian(u: Array) -> scipy.sparse.csr_array:
        numbers = np.empty((n, 3))
        below, middle, above = numbers.T
        np.divide(u, 2 * h, out=by_u)
        np.add(by_u, nu / h**2, out=below)
        np.subtract(nu / h**2, by_u, out=above)
        np.subtract(by_u, 2 * nu / h**2, out=shifted)
        np.subtract(shifted[:-2], by_u[2:], out=middle[1:-1])
        middle[0], middle[-1] = -by_u[1] - 2 * nu / h**2, shifted[-2]
        matrix = copy(empty)  # SciPy's constructor takes as long as all of this
        matrix.data = numbers.ravel()[1:-1]
        matrix.indices, matrix.indptr = indices.copy(), indptr.copy()
        return matrix

    return jacobian


def mixture(data: Array, clusters: int, gamma: float) -> Function:
    """Return W4's gradient of a mixture: one product per cluster there, and one back."""
    (n, d), k = data.shape, clusters
    cols, rows = np.triu_indices(d, 1)  # below the diagonal, column by column
    diagonal = np.arange(d)
    Q, centred, turned = np.zeros((k, d, d)), np.empty((k, n, d)), np.empty((k, n, d))

    def softmax(a: Array) -> Array:
        e = np.exp(a - a.max(-1, keepdims=True))
        e /= e.sum(-1, keepdims=True)
        return e

    def gradient(theta: Array) -> Array:
        weights, means = theta[:k], theta[k : k + k * d].reshape(k, d)
        factors = theta[k + k * d :].reshape(k, -1)
        scale, below = np.exp(factors[:, :d]), factors[:, d:]
        Q[:, diagonal, diagonal], Q[:, rows, cols] = scale, below
        np.subtract(data, means[:, None, :], out=centred)
        np.matmul(centred, Q.transpose(0, 2, 1), out=turned)
        distance = np.vecdot(turned, turned)
        shares = softmax(weights + factors[:, :d].sum(1) - 0.5 * distance.T)
        np.multiply(turned, shares.T[:, :, None], out=turned)
        total = shares.sum(0)
        by_Q = turned.transpose(0, 2, 1) @ centred
        found = np.empty_like(theta)
        found[:k] = total - n * softmax(weights)
        found[k : k + k * d] = (np.matmul(np.ones(n), turned)[:, None, :] @ Q).ravel()
        slopes = found[k + k * d :].reshape(k, -1)
        slopes[:, :d] = total[:, None] + scale * (gamma**2 * scale - by_Q[:, diagonal, diagonal])
        slopes[:, d:] = gamma**2 * below - by_Q[:, rows, cols]
        return found

    return gradient


def solve(A0: Array, U: Array, V: Array, C: Array, B: Array) -> Function:
    """Return W6a: one factorisation, for the solution and for its derivatives."""

    def jacobian(x: Array) -> Array:
        t = np.tanh(C @ x)
        lu = scipy.linalg.lu_factor(A0 + (U * t) @ V, check_finite=False)
        y = scipy.linalg.lu_solve(lu, B @ np.sin(x), check_finite=False)
        right = B * np.cos(x) - U @ ((V @ y * (1 - t * t))[:, None] * C)
        found: Array = scipy.linalg.lu_solve(lu, right, overwrite_b=True, check_finite=False)
        return found

    return jacobian


def bottleneck(E: Array, A0: Array, U: Array, V: Array, b: Array, D: Array) -> Function:
    """Return W6b: everything meets in the few numbers of the middle."""

    def jacobian(x: Array) -> Array:
        z = np.tanh(E @ x)
        lu = scipy.linalg.lu_factor(A0 + (U * z) @ V, check_finite=False)
        y = scipy.linalg.lu_solve(lu, b, check_finite=False)
        by_z = scipy.linalg.lu_solve(lu, U * -(V @ y), check_finite=False)
        w = np.tanh(D @ y)
        left = (1 - w * w)[:, None] * (D @ by_z)
        found: Array = left @ ((1 - z * z)[:, None] * E)
        return found

    return jacobian


def fitted(S: Array, R: Array, y0: Array, n_steps: int) -> Function:
    """Return W6d: the sensitivities of the state are stepped with it."""
    n, dt = y0.size, 0.05
    diagonal = np.arange(n)

    def jacobian(theta: Array) -> Array:
        a, b = theta[:n], theta[n : 2 * n]
        state = np.zeros((n, 3 * n + 1))  # the sensitivities, then the state itself
        state[:, -1] = y0
        own = np.zeros((n, 3 * n + 1))
        own[diagonal, 2 * n + diagonal] = 1
        shift = theta[2 * n :]

        def slope(now: Array) -> Array:
            y = now[:, -1]
            t = np.tanh(R @ y)
            by_y = (S * (b * (1 - t * t))) @ R
            by_y[diagonal, diagonal] -= a
            found: Array = by_y @ now
            own[diagonal, diagonal] = -y
            own[:, n : 2 * n] = S * t
            found += own
            found[:, -1] = shift - a * y + S @ (b * t)
            return found

        for _ in range(n_steps):
            k1 = slope(state)
            k2 = slope(state + dt / 2 * k1)
            k3 = slope(state + dt / 2 * k2)
            k4 = slope(state + dt * k3)
            state += dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return state[:, :-1].copy()

    return jacobian


def encoded(E: Array, K: Array, D: Array, n_steps: int, as_factors: bool) -> Function:
    """Return W8: the physics in its few dimensions, then two thin factors, multiplied or not."""
    k, dt = K.shape[0], 0.1

    def jacobian(x: Array) -> Any:
        z = np.tanh(E @ x)
        inner = (1 - z * z)[:, None] * E
        state = np.empty((k, k + 1))  # the sensitivities, then the state itself
        state[:, :k], state[:, k] = np.eye(k), z

        def slope(now: Array) -> Array:
            t = np.tanh(K @ now[:, k])
            found: Array = ((1 - t * t)[:, None] * K) @ now
            found[:, k] = t
            found -= 0.1 * now
            return found

        for _ in range(n_steps):
            k1 = slope(state)
            k2 = slope(state + dt / 2 * k1)
            k3 = slope(state + dt / 2 * k2)
            k4 = slope(state + dt * k3)
            state += dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        outer = np.cos(D @ state[:, k])[:, None] * (D @ state[:, :k])
        return (outer, inner) if as_factors else outer @ inner

    return jacobian


def softmax_loss(data: Array, label: Array) -> Function:
    """Return W7b: of every sample, its data times how far its probabilities are off."""
    numbers = np.arange(label.size)

    def jacobian(W: Array) -> Array:
        scores = data @ W
        scores -= np.max(scores, axis=1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= np.sum(scores, axis=1, keepdims=True)
        scores[numbers, label] -= 1
        found: Array = data[:, :, None] * scores[:, None, :]
        return found

    return jacobian


def batched(W1: Array, W2: Array, W3: Array) -> Function:
    """Return W7c: a block for every sample, the narrow end first."""
    back, out = np.ascontiguousarray(W1.T), np.ascontiguousarray(W3.T)
    middle = np.ascontiguousarray(W2.T)

    def jacobian(X: Array) -> Array:
        h = np.tanh(X @ W1)
        k = np.tanh(h @ W2)
        left = (out * (1 - k * k)[:, None, :]).reshape(-1, len(W3)) @ middle
        left = left.reshape(len(X), -1, len(W2)) * (1 - h * h)[:, None, :]
        return (left.reshape(-1, len(W2)) @ back).reshape(len(X), -1, len(W1))

    return jacobian


def transformer(
    length: int, heads: int, q: Array, k: Array, v: Array, o: Array, up: Array, down: Array
) -> Function:
    """Return W7a: what the scores are multiplied with, by head; then one product for every token.

    The two largest arrays are kept from call to call.
    """
    width = q.shape[0]
    c = width // heads
    tokens, diagonal, scale = np.arange(length), np.arange(width), np.sqrt(2 / np.pi)
    queries, keys, values = (
        np.ascontiguousarray(each.reshape(width, heads, c).transpose(1, 2, 0)) for each in (q, k, v)
    )
    mixed, by_value = (np.empty((length, heads, c, length, width)) for _ in range(2))

    def norm(a: Array) -> tuple[Array, Array]:
        a = a - np.mean(a, axis=-1, keepdims=True)
        r = 1 / np.sqrt(np.mean(a * a, axis=-1, keepdims=True) + 1e-5)
        return a * r, r

    def by_norm(rows: Array, y: Array, r: Array) -> Array:
        found: Array = np.vecdot(rows, y)[..., None] * (y / -width)
        found += rows - np.mean(rows, axis=-1, keepdims=True)
        found *= r
        return found

    def jacobian(x: Array) -> Array:
        x = x.reshape(length, width)
        y, r = norm(x)
        Q, K, V = ((y @ each).reshape(length, heads, c).transpose(1, 0, 2) for each in (q, k, v))
        w = Q @ K.transpose(0, 2, 1)  # (head, token, other)
        w /= np.sqrt(c)
        w -= np.max(w, axis=-1, keepdims=True)
        np.exp(w, out=w)
        w /= np.sum(w, axis=-1, keepdims=True)
        m = w @ V
        z, s = norm(x + m.transpose(1, 0, 2).reshape(length, width) @ o)
        a = z @ up
        square = a * a
        t = np.tanh(scale * a * (1 + 0.044715 * square))
        slope = 0.5 * (1 + t) + 0.5 * scale * a * (1 - t * t) * (1 + 3 * 0.044715 * square)
        outer = (down.T * slope[:, None, :]).reshape(length * width, -1) @ up.T
        outer = by_norm(outer.reshape(length, width, width), z[:, None], s[:, None])
        outer[:, diagonal, diagonal] += 1  # (token, out, in)
        w, V, m = w.transpose(1, 0, 2), V.transpose(0, 2, 1), m.transpose(1, 0, 2)
        by_score = w[:, :, None] * (V - m[..., None])  # (token, head, of head, other)
        by_score /= np.sqrt(c)
        by_key = by_norm((Q @ keys).transpose(1, 0, 2)[:, :, None], y, r)
        by_query = by_norm((K @ queries)[None], y[:, None, None], r[:, None, None])
        np.multiply(by_score[..., None], by_key[:, :, None], mixed)
        np.multiply(w[:, :, None, :, None], by_norm(values[:, :, None], y, r), by_value)
        np.add(mixed, by_value, mixed)
        mixed[tokens, :, :, tokens] += by_score @ by_query
        found = (outer @ o.T) @ mixed.reshape(length, width, length * width)
        found.reshape(length, width, length, width)[tokens, :, tokens] += outer
        return found.reshape(length * width, length * width)

    return jacobian
