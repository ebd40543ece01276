"""Complex values inside real functions, and FourierTransform transforms."""

from typing import Any

import numpy as np
import pytest
from sampling import sampled

import chainad
import chainad.scipy.linalg as sl
from chainad.errors import InputError, TraceError
from chainad.rules.fourier import FourierTransform

rng = np.random.default_rng(0)
V, M = rng.normal(size=6), rng.normal(size=(4, 5))
H = rng.normal(size=4) + 1j * rng.normal(size=4)
C = rng.normal(size=(3, 6)) + 1j * rng.normal(size=(3, 6))
F = np.fft


def numerical(f: Any, x: np.ndarray, h: float = 1e-6) -> np.ndarray:
    """Central differences."""
    J = np.zeros(np.shape(f(x)) + x.shape)
    for k in np.ndindex(x.shape):
        e = np.zeros_like(x)
        e[k] = h
        J[(..., *k)] = (np.asarray(f(x + e)) - np.asarray(f(x - e))) / (2 * h)
    return J


def filled(x: Any) -> Any:
    z = x * 1j
    z[1:3] = x[0] + 2j * x[1]
    z *= 1 + 1j
    return z.imag


CASES: list[tuple[Any, np.ndarray]] = [
    (lambda x: F.irfft(F.rfft(x) * H), V),
    (lambda x: np.abs(F.rfft(x)) ** 2, V),
    (lambda x: F.ifft(F.fft(x) ** 2).real, V),
    (lambda x: np.imag(1 / (1j * x + 1)), V),
    (lambda x: np.exp(1j * x).real, V),
    (lambda x: np.abs(C @ (x + 1j * x**2)), V),
    (lambda x: np.angle(F.fft(np.sin(x)))[1:3], V),
    (lambda x: np.real(np.conj(F.fft(x)) * F.fft(x[::-1])), V),
    (lambda x: F.fft2(x).real, M),
    (lambda x: F.irfft2(F.rfft2(x) * 2.0, s=(4, 5)), M),
    (lambda x: np.abs(F.rfft(x, axis=0, norm="ortho")), M),
    (lambda x: F.fftn(x, axes=(0,)).imag, M),
    (lambda x: F.ifftn(F.fftn(x) * 2).real, M),
    (lambda x: F.irfftn(F.rfftn(x), s=(4, 5), axes=(0, 1)), M),
    (lambda x: F.ifft2(F.fft2(x, norm="forward"), norm="ortho").real, M),
    (lambda x: F.ifft(x, n=8, norm="forward").imag, V),
    (lambda x: F.rfft(x, n=4).real, V),
    (lambda x: F.irfft(x[:4] * (1 + 2j), n=7), V),
    (lambda x: F.irfft(x * (1 + 2j), n=6, norm="ortho"), V),
    (lambda x: F.fftshift(F.fft(x)).real, V),
    (lambda x: np.real(np.sqrt(x * x + 1 + 0j) * np.log(x + 2j)), V),
    (lambda x: np.sum(F.fft(x) * np.conj(F.fft(x))).real, V),
    (lambda x: np.where(x > 0, x + 1j, 2j * x).imag, V),
    (lambda x: np.concatenate([x * 1j, x])[2:8].imag, V),
    (lambda x: F.fft(x[:1]).real, V),
    (lambda x: np.stack([x * 1j, x + 0j]).imag, V),
    (lambda x: np.einsum("ij,j->i", C, x * 1j).real + np.mean(x * 1j).imag, V),
    (filled, V),
    (lambda x: np.sort(x * (1 + 2j)).imag, V),
    (lambda x: np.dot(x, np.rot90(x[:4].reshape(2, 2) * 1j).ravel()[[0, 1, 2, 3, 0, 1]]).imag, V),
    (lambda x: np.copy(np.resize(x * 1j, (2, 4)))[:, ::-1].astype(complex).imag, V),
]


def z(x: Any) -> Any:
    return x * (1 + 0.5j) + x[::-1] ** 2 * 1j


def m(x: Any) -> Any:
    return z(x)[:4].reshape(2, 2) + 2 * np.eye(2)


W = V * 1j + V[::-1]
CASES += [
    *((lambda x, f=f: f(z(x) * (1 + 0.2j) + 0.1j).imag, V)
      for f in (np.log2, np.log10, np.exp2, np.arcsin, np.arccos, np.arctan, np.arcsinh,
                np.arccosh, np.arctanh, np.sign, np.cumsum, np.cumprod)),
    (lambda x: np.linalg.norm(z(x)), V),
    (lambda x: np.linalg.norm(m(x), axis=1, keepdims=True), V),
    (lambda x: np.linalg.norm(m(x)) + np.linalg.norm(m(x), np.inf) + np.linalg.norm(z(x), 3), V),
    (lambda x: np.prod(z(x)).imag, V),
    (lambda x: np.var(z(x)) + np.std(z(x), ddof=1), V),
    (lambda x: x.astype(complex) ** 2 @ W, V),
    (lambda x: np.vdot(z(x), W) + np.vdot(W, x), V),
    (lambda x: np.vecdot(z(x), W) + np.vecdot(W, x), V),
    (lambda x: np.correlate(z(x), W[:3]) + np.correlate(W[:3], z(x)), V),
    (lambda x: np.correlate(x, W[:4], "full"), V),
    (lambda x: np.cov(m(x)) + np.corrcoef(m(x)), V),
    (lambda x: np.linalg.solve(m(x), z(x)[:2]), V),
    (lambda x: np.linalg.solve(W[:4].reshape(2, 2), m(x)), V),
    (lambda x: np.linalg.solve(m(x).real, z(x)[:2]) + sl.solve_triangular(m(x), x[:2]), V),
    (lambda x: np.linalg.solve(np.stack([m(x), m(2 * x)]), z(x)[:4].reshape(2, 2, 1)), V),
    (lambda x: sl.solve_triangular(m(x), x[:2], "C") + sl.lu_solve(sl.lu_factor(m(x)), x[:2], 2),
     V),
    (lambda x: sl.cho_solve((m(x), True), x[:2]) + sl.lu_solve((m(x), [1, 1]), x[:2], 2), V),
    (lambda x: sl.solve_banded((1, 0), m(x), z(x)[:2]), V),
    (lambda x: np.linalg.inv(m(x)), V),
    (lambda x: np.linalg.det(m(x)), V),
    (lambda x: np.linalg.pinv(m(x)), V),
    (lambda x: np.linalg.slogdet(m(x))[0] + np.linalg.slogdet(m(x))[1], V),
    (lambda x: np.linalg.cholesky(m(x) @ np.conj(m(x)).T), V),
    (lambda x: np.linalg.cholesky(np.triu(m(x) @ np.conj(m(x)).T), upper=True), V),
    *((lambda x, k=k: np.linalg.qr(z(x).reshape(2, 3))[k], V) for k in (0, 1)),
    (lambda x: np.linalg.qr(z(x).reshape(3, 2)).Q, V),
    (lambda x: np.linalg.qr(np.stack([m(x), m(x[::-1])]), "r"), V),
    (lambda x: np.angle(z(x), deg=True), V),
    (lambda x: F.hfft(z(x)) + F.hfft(z(x), 10, norm="ortho"), V),
    (lambda x: F.ihfft(x, norm="forward"), V),
    (lambda x: np.interp(x, np.linspace(-3, 3, 4), W[:4]), V),
    (lambda x: np.sum(z(x), where=V > 0, initial=1j), V),
]  # fmt: skip
if hasattr(np, "vecmat"):
    CASES.append((lambda x: np.vecmat(z(x)[:2], m(x)), V))
CASES = [(lambda x, f=f: _parts(f(x)), x) for f, x in CASES]


def _parts(value: Any) -> Any:
    """The real numbers that a value is made of."""
    return np.stack([value.real, value.imag]) if np.iscomplexobj(value) else value


@pytest.mark.parametrize("mode", ["auto", "forward", "reverse", "greedy"])
@pytest.mark.parametrize("case", range(len(CASES)))
def test_complex_values_are_differentiated(case: int, mode: str) -> None:
    f, x = CASES[case]
    value, J = chainad.value_and_jacobian(f, mode=mode)(x)
    np.testing.assert_allclose(value, f(x), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(J, numerical(f, x), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("case", sampled(range(len(CASES)), 3))
def test_hessians_and_operators_go_through_complex_values(case: int) -> None:
    f, x = CASES[case]
    J = chainad.jacobian(f)(x).reshape(-1, x.size)
    operator = chainad.jacobian(f, output="operator")(x)
    np.testing.assert_allclose(operator @ np.eye(x.size), J, atol=1e-12)
    np.testing.assert_allclose(operator.T @ np.eye(len(J)), J.T, atol=1e-12)
    second = chainad.jacobian(chainad.jacobian(f))(x)
    np.testing.assert_allclose(second, numerical(chainad.jacobian(f), x, 1e-5), atol=1e-4)


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_singular_and_hermitian_eigenvalues_of_complex_matrices(mode: str) -> None:
    for f in (
        lambda x: np.linalg.svdvals(m(x)),
        lambda x: np.linalg.svd(m(x), compute_uv=False) * np.linalg.norm(m(x), "nuc"),
        lambda x: np.linalg.norm(m(x), 2),
        lambda x: np.linalg.eigvalsh(m(x)) + np.linalg.eigh(m(x))[0] * np.linalg.svd(m(x))[1],
        lambda x: np.linalg.eigvalsh(m(x) @ np.conj(m(x)).T, "U"),
    ):
        J = chainad.jacobian(f, mode=mode)(V)
        np.testing.assert_allclose(J, numerical(f, V), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("norm", [None, "ortho", "forward"])
@pytest.mark.parametrize(("given", "n"), [(6, 6), (5, 8), (8, 5), (4, 7)])
@pytest.mark.parametrize(
    ("kind", "pairs"),
    [("fft", (True, True)), ("fft", (True, False)), ("ifft", (True, True)),
     ("ifft", (True, False)), ("rfft", (True, False)), ("irfft", (False, True)),
     ("irfft", (False, False))],
)  # fmt: skip
def test_a_transform_pulls_as_the_transpose_of_what_it_pushes(
    kind: str, pairs: Any, given: int, n: int, norm: Any
) -> None:
    map_ = FourierTransform(kind, given, n, norm, pairs)
    array = map_.materialize()
    assert array.shape == map_.shape
    adjoints = np.random.default_rng(1).normal(size=(3, map_.n_out))
    np.testing.assert_allclose(map_.vjp(adjoints), adjoints @ array, atol=1e-12)


def test_complex_numbers_are_blocks_and_real_moves_stay_tied() -> None:
    edges = chainad.plan(lambda x: np.imag((2j * x)[::-1]), V).graph.edges
    product, turned, _ = (edge.structure for edge in edges)
    assert product.count == 2  # (re, im) of 2j, one for all
    assert turned.scale == 1
    assert turned.nonzeros == 12
    assert chainad.plan(lambda x: F.irfft(F.rfft(x)), V).graph.edges[0].structure.kind == "operator"


@pytest.mark.parametrize(
    ("f", "error", "words"),
    [
        (F.fft, InputError, "is complex.*np.real and np.imag"),
        (lambda x: np.linalg.eigh(m(x))[1].real, TraceError, "up to a phase"),
        (lambda x: np.linalg.svd(m(x))[0].real, TraceError, "up to a phase"),
        (lambda x: sl.solve(m(x), x[:2], assume_a="her").real, TraceError, "leave it away"),
        (lambda x: np.sinc(x * 1j).real, TraceError, "of complex numbers is not differentiated"),
        (lambda x: np.maximum(x * 1j, 0).real, TraceError, "np.maximum of complex numbers"),
        (lambda x: (x * 1j).astype(float), TraceError, "of complex numbers"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_what_is_not_holomorphic_is_refused(f: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        chainad.jacobian(f)(V)
