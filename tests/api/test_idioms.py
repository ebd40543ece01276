"""Everyday idioms of scientific NumPy code: right, or loudly refused."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import scipy.special
from scipy.optimize import least_squares

import chainad
from chainad.errors import TraceError

X = np.array([0.6, 1.3, 0.4, 0.9])
A = np.arange(16.0).reshape(4, 4) / 10 + 3 * np.eye(4)
S = scipy.sparse.csr_array(np.diag([1.0, 2.0, 3.0, 4.0]))
KNOTS = np.linspace(0.0, 2.0, 5)


def array_of_scalars(x):
    return np.array([x[0] * x[1], np.sin(x[2]), x[3] ** 2])


def list_and_append(x):
    found = []
    for k in range(3):
        found.append(x[k] * x[k + 1])
    return found


def branch(x):
    return np.exp(x) if x[0] > 0.5 else x


def loop_until_converged(x):
    y = x
    while np.max(np.abs(y * y - x)) > 1e-13:
        y = 0.5 * (y + x / y)
    return y


def fill_in_place(x):
    z = np.zeros_like(x)
    z[0] = x[0]
    for k in range(1, 4):
        z[k] = z[k - 1] + x[k] ** 2
    return z


def fill_a_table(x):
    z = np.empty((2, 4))
    z[0], z[1] = x, x[::-1]
    z[:, 1:3] *= 2
    return z


def special_functions(x):
    return scipy.special.erf(x) * scipy.special.gammaln(x + 1)


def linear_algebra(x):
    m = A + np.outer(x, x)
    return np.linalg.solve(m, x) * np.linalg.det(m) + np.linalg.inv(m) @ x


def spectrum(x):
    return np.abs(np.fft.rfft(x)) ** 2


def sparse_product(x):
    return np.sin(x @ S.T) + S @ np.cos(x)


def interpolation(x):
    return np.interp(x, KNOTS, KNOTS**2)


def masks(x):
    return np.where(x > 0.5, x**2, 0.0) + x * (x < 1) + np.sum(x[x > 0.5])


def cumulative(x):
    return np.cumsum(x) * np.cumprod(x) + np.diff(x, prepend=0.0)


def closure(x):
    return A @ x + KNOTS[:4]


def keywords(x, *args, scale=2.0, **kwargs):
    return scale * x * (args[0] if args else 1.0)


@dataclass
class Model:
    rate: float = 0.3

    def run(self, x):
        return np.exp(-self.rate * x)


def method(x):
    return Model().run(x)


def recursion(x, depth=3):
    return x if depth == 0 else np.sin(recursion(x, depth - 1))


def comprehension(x):
    return np.stack([np.sum(x[:k] ** k) for k in range(1, 4)])


def slicing(x):
    return x[::-1][None, :, np.newaxis] * x[..., -1] + x[[0, 2, 2]].reshape(3, 1)[:, 0][1]


def einsum(x):
    return np.einsum("i,ij,j->", x, A, x) + np.einsum("ij->j", np.outer(x, x))


def sorting(x):
    return np.sort(x)[::-1] + x[np.argsort(x)]


def kinks(x):
    return np.clip(x, 0.5, 1.0) + np.abs(x - 1) + np.max(x)


def newton(x):
    y = np.ones_like(x)
    for _ in range(8):
        J = chainad.jacobian(lambda u: u**3 + u)(y)
        y = y - np.linalg.solve(J, y**3 + y - x)
    return y


def runge_kutta(x):
    def slope(y):
        return A @ np.tanh(y) / 10 - y

    y, h = x, 0.1
    for _ in range(5):
        k1 = slope(y)
        k2 = slope(y + h / 2 * k1)
        k3 = slope(y + h / 2 * k2)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(y + h * k3))
    return y


def printing(x):
    text = f"{x[0]:.3f} {x} {x!r}"
    assert len(text) > 3
    assert x.shape == (4,)
    return x * 2


def noise(x):
    return x * np.random.default_rng(0).normal(size=4)


def running_maximum(x):
    return np.maximum.accumulate(x) + np.minimum.accumulate(np.outer(x, x[::-1]), axis=1)[:, 2]


RIGHT = [
    array_of_scalars, list_and_append, branch, loop_until_converged, fill_in_place, fill_a_table,
    special_functions, linear_algebra, spectrum, sparse_product, interpolation, masks, cumulative,
    closure, keywords, method, recursion, comprehension, slicing, einsum, sorting, kinks, newton,
    runge_kutta, printing, noise, running_maximum,
]  # fmt: skip
LOUD: dict[str, tuple[Any, str]] = {
    "number": (lambda x: float(x[0]), "loses its derivative"),
    "array from elsewhere filled": (lambda x: S.data.__setitem__(0, x[0]), r"np\.copy"),
    "logsumexp": (scipy.special.logsumexp, "use chainad.scipy.special.logsumexp"),
}


@pytest.mark.parametrize("f", RIGHT, ids=lambda f: f.__name__)
def test_idioms_are_right(f: Any) -> None:
    value, J = chainad.value_and_jacobian(f)(X)
    np.testing.assert_allclose(value, f(X.copy()), rtol=1e-12)
    h = 1e-6
    columns = [(np.asarray(f(X + h * e)) - np.asarray(f(X - h * e))) / (2 * h) for e in np.eye(4)]
    np.testing.assert_allclose(J, np.stack(columns, axis=-1), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", LOUD)
def test_idioms_that_cannot_be_are_loud(name: str) -> None:
    f, words = LOUD[name]
    with pytest.raises(TraceError, match=words):
        chainad.jacobian(f)(X)


def test_least_squares_takes_a_jacobian_in_any_form() -> None:
    t = np.linspace(0, 1, 30)
    data = 2.0 * np.exp(-3.0 * t)

    def residuals(p):
        return p[0] * np.exp(-p[1] * t) - data

    for output in ("dense", "sparse", "operator"):
        jac = chainad.jacobian(residuals, output=output)
        solver = "exact" if output == "dense" else "lsmr"
        fit = least_squares(residuals, np.ones(2), jac=jac, tr_solver=solver)
        np.testing.assert_allclose(fit.x, [2.0, 3.0], rtol=1e-5)
