"""Jacobians of W10 and W11 as one would write them by hand in NumPy: the limits of loops.

States are stepped with their sensitivities, except in the network, which is pulled back.
"""

from __future__ import annotations

import numpy as np

from benchmarks.workload import Array, Function


def kalman(observations: Array) -> Function:
    """Return the gradient of the likelihood: mean and covariance with six sensitivities each."""
    dt, n = 0.1, 6
    F = np.eye(4) + dt * np.eye(4, k=2)
    d_F, d_Q, d_R = np.zeros((n, 4, 4)), np.zeros((n, 4, 4)), np.zeros((n, 2, 2))
    d_F[0, 2, 0] = d_F[0, 3, 1] = d_F[1, 2, 2] = d_F[1, 3, 3] = -dt
    d_Q[2, 0, 0] = d_Q[2, 1, 1] = d_Q[3, 2, 2] = d_Q[3, 3, 3] = 1
    d_R[4, 0, 0] = d_R[5, 1, 1] = 1
    one = np.eye(4)

    def gradient(theta: Array) -> Array:
        A = F.copy()
        A[2, 0] = A[3, 1] = -theta[0] * dt
        A[2, 2] = A[3, 3] = 1 - theta[1] * dt
        Q, R = np.diag(theta[[2, 2, 3, 3]]), np.diag(theta[4:])
        x, P = np.zeros(4), np.eye(4)
        d_x, d_P, total = np.zeros((n, 4)), np.zeros((n, 4, 4)), np.zeros(n)
        for z in observations:
            AP = A @ P
            half = d_F @ AP.T
            d_x = d_F @ x + d_x @ A.T
            d_P = A @ d_P @ A.T + (half + half.transpose(0, 2, 1) + d_Q)
            x, P = A @ x, AP @ A.T + Q
            e, S, d_S = z - x[:2], P[:2, :2] + R, d_P[:, :2, :2] + d_R
            (a, b), (c, d) = S
            inverse = np.array([[d, -b], [-c, a]]) / (a * d - b * c)
            w = inverse @ e
            K = P[:, :2] @ inverse
            weight = 0.5 * (inverse - np.outer(w, w))
            total += d_S.reshape(n, 4) @ weight.ravel() - d_x[:, :2] @ w
            d_K = (d_P[:, :, :2] - K @ d_S) @ inverse
            x = x + K @ e
            d_x = d_x + d_K @ e - d_x[:, :2] @ K.T
            M = one.copy()
            M[:, :2] -= K
            d_P = M @ d_P - d_K @ P[:2]
            P = M @ P
        return total

    return gradient


def lstm(inputs: Array, targets: Array, out: Array) -> Function:
    """Return the gradient of the loss: all steps forward, then back, the weights' at once."""
    n, steps = out.shape[1], len(inputs)

    def gradient(W: Array) -> Array:
        given = np.ones((steps, W.shape[1]))
        given[:, n:-1] = inputs
        gates, cells = np.empty((steps, 4, n)), np.zeros((steps + 1, n))
        states = np.zeros((steps + 1, n))
        for k in range(steps):
            given[k, :n] = states[k]
            z = (W @ given[k]).reshape(4, n)
            gate = gates[k]
            gate[:3] = 1 / (1 + np.exp(-z[:3]))
            gate[3] = np.tanh(z[3])
            cells[k + 1] = gate[0] * cells[k] + gate[1] * gate[3]
            states[k + 1] = gate[2] * np.tanh(cells[k + 1])
        by_h = 2 * (states[1:] @ out.T - targets) @ out
        t = np.tanh(cells[1:])
        slopes = gates * (1 - gates)
        slopes[:, 3] = 1 - gates[:, 3] ** 2
        through = gates[:, 2] * (1 - t * t)
        # By forget, input and cell gate: what the adjoint of the cell is multiplied with.
        by_c = slopes[:, [0, 1, 3]] * np.stack([cells[:-1], gates[:, 3], gates[:, 1]], 1)
        by_o = slopes[:, 2] * t
        found = np.empty((steps, 4, n))
        order = np.array([0, 1, 3])
        h, c = np.zeros(n), np.zeros(n)
        back = np.ascontiguousarray(W[:, :n].T)
        for k in range(steps - 1, -1, -1):
            h = by_h[k] + h
            c = c + h * through[k]
            found[k, order] = by_c[k] * c
            found[k, 2] = by_o[k] * h
            c = c * gates[k, 0]
            h = back @ found[k].ravel()
        result: Array = found.reshape(steps, -1).T @ given
        return result

    return gradient


def _runge_kutta(slope: Function, y: Array, dt: float) -> Array:
    k1 = slope(y)
    k2 = slope(y + dt / 2 * k1)
    k3 = slope(y + dt / 2 * k2)
    k4 = slope(y + dt * k3)
    found: Array = y + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return found


def lotka_volterra(n_steps: int) -> Function:
    """Return the sensitivities of both populations at all times."""

    def jacobian(theta: Array) -> Array:
        a, b, c, d = theta[:4].tolist()
        state = np.zeros((2, 7))  # the sensitivities, then the state itself
        state[0, 4] = state[1, 5] = 1
        state[:, 6] = theta[4:]
        found = np.empty((n_steps + 1, 2, 6))
        found[0] = state[:, :6]

        def slope(now: Array) -> Array:
            x, y = now[0, 6], now[1, 6]
            xy = x * y
            by = np.array([[a - b * y, -b * x], [c * y, c * x - d]]) @ now
            by[0, 0] += x
            by[0, 1] -= xy
            by[1, 2] += xy
            by[1, 3] -= y
            by[0, 6], by[1, 6] = a * x - b * xy, c * xy - d * y
            return by

        for k in range(n_steps):
            state = _runge_kutta(slope, state, 0.05)
            found[k + 1] = state[:, :6]
        return found.reshape(2 * n_steps + 2, 6)

    return jacobian


def leapfrog(masses: Array, n_steps: int) -> Function:
    """Return the sensitivities of all bodies; one matrix of second derivatives a step."""
    n = masses.size
    own = np.arange(n)
    ones = np.eye(n)

    def force(q: Array) -> tuple[Array, Array]:
        """Return the accelerations, and their Jacobian by the positions, (2n, 2n)."""
        d = q[None] - q[:, None]
        r2 = np.sum(d * d, axis=-1) + ones
        weight = masses / r2**1.5
        outer = (weight / r2 * -3)[..., None, None] * (d[..., :, None] * d[..., None, :])
        outer[..., 0, 0] += weight
        outer[..., 1, 1] += weight
        outer[own, own] = 0
        outer[own, own] = -np.sum(outer, axis=1)
        return np.sum(weight[..., None] * d, axis=1), outer.transpose(0, 2, 1, 3).reshape(2 * n, -1)

    def jacobian(x: Array) -> Array:
        q, v = x[: 2 * n].reshape(n, 2), x[2 * n :].reshape(n, 2)
        by = np.eye(4 * n)
        d_q, d_v = by[: 2 * n], by[2 * n :]
        a, A = force(q)
        for _ in range(n_steps):
            v, d_v = v + 0.005 * a, d_v + 0.005 * (A @ d_q)
            q, d_q = q + 0.01 * v, d_q + 0.01 * d_v
            a, A = force(q)
            v, d_v = v + 0.005 * a, d_v + 0.005 * (A @ d_q)
        return np.concatenate([d_q, d_v])

    return jacobian


def implicit_euler(n_steps: int) -> Function:
    """Return the sensitivities of the reaction, by the implicit function theorem at every step."""
    h, one = 0.05, np.eye(3)

    def jacobian(x: Array) -> Array:
        k1, k2, k3 = x[:3].tolist()
        y, d_y = x[3:], np.eye(3, 6, k=3)
        for _ in range(n_steps):
            z = y
            for last in (False, False, False, False, True):
                z0, z1, z2 = z.tolist()
                p, q, r = k2 * z2, k2 * z1, 2 * k3 * z1
                matrix = one - h * np.array([[-k1, p, q], [k1, -p - r, -q], [0, r, 0]])
                if last:
                    break
                a, b, c = k1 * z0, k2 * z1 * z2, k3 * z1**2
                z = z - np.linalg.solve(matrix, z - y - h * np.array([b - a, a - b - c, c]))
            right = d_y.copy()
            b, c = h * z1 * z2, h * z1**2
            right[:, :3] += [[-h * z0, b, 0], [h * z0, -b, -c], [0, 0, c]]
            y, d_y = z, np.linalg.solve(matrix, right)
        return d_y

    return jacobian


def euler(A: Array, n_steps: int) -> Function:
    """Return the sensitivities of the end."""
    n = A.shape[0]
    dot, tanh, multiply, subtract = np.dot, np.tanh, np.multiply, np.subtract

    def jacobian(x: Array) -> Array:
        state = np.empty((n, n + 1))  # the sensitivities, then the state itself
        state[:, :n], state[:, n] = np.eye(n), x
        moved, t, slope = np.empty((n, n + 1)), np.empty(n), np.empty((n, 1))
        last = moved[:, n]
        for _ in range(n_steps):
            dot(A, state, moved)
            tanh(last, t)
            multiply(t, t, slope[:, 0])
            subtract(1, slope, slope)
            multiply(moved, slope, moved)
            moved[:, n] = t
            multiply(moved, 1e-3, moved)
            state += moved
        return state[:, :n].copy()

    return jacobian


def spectral(n_steps: int) -> Function:
    """Return Burgers' Jacobian: all tangents lie along the last axis, through one FFT a stage."""

    def jacobian(u: Array) -> Array:
        n = u.size
        k = np.arange(n // 2 + 1)
        linear, by_square = -0.05 * k**2, -0.5j * k
        state = np.empty((n + 1, n))  # the tangents, then the state itself
        state[:n], state[n] = np.eye(n), u

        def slope(now: Array) -> Array:
            squares = now * now[n]
            squares[:n] *= 2
            hat = np.fft.rfft(now)
            hat *= linear
            other = np.fft.rfft(squares)
            other *= by_square
            hat += other
            found: Array = np.fft.irfft(hat, n)
            return found

        for _ in range(n_steps):
            state = _runge_kutta(slope, state, 1e-3)
        return np.ascontiguousarray(state[:n].T)

    return jacobian
