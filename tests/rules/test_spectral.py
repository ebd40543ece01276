"""Functions of matrices written by eigenvectors or singular vectors, at equal values too."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg
from numpy.linalg import eigh, svd
from sampling import sampled

import chainad

Function = Callable[[Any], Any]


def orthogonal(n: int, seed: int = 0) -> Any:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]


def symmetric(*values: float) -> Any:
    v = orthogonal(len(values))
    return v * np.array(values) @ v.T


def general(m: int, n: int, *values: float) -> Any:
    k = min(m, n)
    return orthogonal(m)[:, :k] * np.array(values) @ orthogonal(n, 1)[:, :k].T


_rng = np.random.default_rng(2)
b = _rng.normal(size=4)
B = _rng.normal(size=(4, 2))
f = np.exp


def of_eigenvectors(function: Callable[..., Any], **options: Any) -> Function:
    return lambda a: function(*eigh(a, **options))


def of_singular_vectors(function: Callable[..., Any]) -> Function:
    return lambda a: function(*svd(a, full_matrices=False))


def gram(x: Any) -> Any:
    return x @ x.T


def exponential(w: Any, v: Any) -> Any:
    return (v * f(w)) @ v.T


def quadratic(w: Any, c: Any) -> Any:
    return c @ (f(w) * c)


EIGENVECTORS: dict[str, Function] = {
    "columns": of_eigenvectors(lambda w, v: (v * f(w)) @ v.T),
    "columns of a row": of_eigenvectors(lambda w, v: (v * f(w)[None, :]) @ v.T),
    "diag": of_eigenvectors(lambda w, v: v @ np.diag(f(w)) @ v.T),
    "diag first": of_eigenvectors(lambda w, v: v @ (np.diag(f(w)) @ v.T)),
    "rows": of_eigenvectors(lambda w, v: v @ (f(w)[:, None] * v.T)),
    "einsum": of_eigenvectors(lambda w, v: np.einsum("ij,j,kj->ik", v, f(w), v)),
    "einsum of two": of_eigenvectors(lambda w, v: np.einsum("ij,kj->ik", v * f(w), v)),
    "roots": of_eigenvectors(lambda w, v: gram(v * np.sqrt(w + 5))),
    "conj": of_eigenvectors(lambda w, v: (v * f(w)) @ v.conj().T),
    "mT": of_eigenvectors(lambda w, v: (v * f(w)) @ v.mT),
    "swapaxes": of_eigenvectors(lambda w, v: (v * f(w)) @ np.swapaxes(v, 0, 1)),
    "dot": of_eigenvectors(lambda w, v: v.dot(np.diag(f(w))).dot(v.T)),
    "quotient": of_eigenvectors(lambda w, v: (v / (w + 5)) @ v.T),
    "softmax": of_eigenvectors(lambda w, v: (v * (f(w) / np.sum(f(w)))) @ v.T),
    "where": of_eigenvectors(lambda w, v: (v * np.where(w > 0.7, w * w, w**2)) @ v.T),
    "maximum": of_eigenvectors(lambda w, v: (v * np.maximum(w, 0.3)) @ v.T),
    "numbers": of_eigenvectors(lambda w, v: 3.0 * (v * 2.0 * f(w)) @ v.T / 7),
    "projector": of_eigenvectors(lambda w, v: v @ v.T),
    "upper": of_eigenvectors(lambda w, v: (v * f(w)) @ v.T, UPLO="U"),
    "of a sum": lambda a: a @ of_eigenvectors(lambda w, v: (v * f(w)) @ v.T)(a + a.T),
    "to the left": lambda a: of_eigenvectors(lambda w, v: a @ (v * f(w)) @ v.T)(a),
    "parts": lambda a: (eigh(a)[1] * f(eigh(a)[0])) @ eigh(a)[1].T,
    "eigvalsh": lambda a: (eigh(a)[1] * f(np.linalg.eigvalsh(a))) @ eigh(a)[1].T,
    "twice": of_eigenvectors(lambda w, v: (v * f(w)) @ v.T @ (v * np.sin(w)) @ v.T),
    "trace": of_eigenvectors(lambda w, v: np.trace((v * np.cos(w)) @ v.T @ np.diag(b))),
    "times a vector": of_eigenvectors(lambda w, v: v @ (f(w) * (v.T @ b))),
    "times a matrix": of_eigenvectors(lambda w, v: v @ ((v.T @ B) / (w + 5)[:, None])),
    "times a column": lambda a: of_eigenvectors(lambda w, v: v @ (f(w) * (v.T @ a[0])))(a),
    "vector times": of_eigenvectors(lambda w, v: ((b @ v) * f(w)) @ v.T),
    "matrix times": of_eigenvectors(lambda w, v: ((B.T @ v) * f(w)) @ v.T),
    "transposed": of_eigenvectors(lambda w, v: v @ (f(w)[:, None] * (B.T @ v).T)),
    "between": of_eigenvectors(lambda w, v: ((B.T @ v) * f(w)) @ (v.T @ B[:, :1])),
    "scipy": lambda a: exponential(*chainad.scipy.linalg.eigh(a)),
    "some": of_eigenvectors(lambda w, v: (v[:, ::-1] * f(w[::-1])) @ v[:, ::-1].T),
    "scaled, then chosen": of_eigenvectors(lambda w, v: gram((v * f(w))[:, [3, 1, 0, 2]])),
    "quadratic form": of_eigenvectors(lambda w, v: quadratic(w, v.T @ b)),
}

SINGULAR_VECTORS: dict[str, Function] = {
    "columns": of_singular_vectors(lambda u, s, vh: (u * s) @ vh),
    "polar factor": of_singular_vectors(lambda u, s, vh: u @ vh),
    "tanh": of_singular_vectors(lambda u, s, vh: (u * np.tanh(s)) @ vh),
    "diag": of_singular_vectors(lambda u, s, vh: u @ np.diag(np.sin(s)) @ vh),
    "rows": of_singular_vectors(lambda u, s, vh: u @ (np.log1p(s * s)[:, None] * vh)),
    "einsum": of_singular_vectors(lambda u, s, vh: np.einsum("ij,j,jk", u, s**3, vh)),
    "transposed einsum": of_singular_vectors(lambda u, s, vh: np.einsum("ij,j,jk->ki", u, s, vh)),
    "pseudo-inverse": of_singular_vectors(lambda u, s, vh: (vh.T / s) @ u.T),
    "inverse by diag": of_singular_vectors(lambda u, s, vh: vh.T @ np.diag(1 / s) @ u.T),
    "soft threshold": of_singular_vectors(lambda u, s, vh: (u * np.maximum(s - 0.3, 0)) @ vh),
    "norm": of_singular_vectors(lambda u, s, vh: np.linalg.norm((u * s) @ vh)),
    "least squares": of_singular_vectors(
        lambda u, s, vh: vh.T @ ((u.T @ np.arange(1.0, 1 + len(u))) / s)
    ),
    "times a vector": of_singular_vectors(
        lambda u, s, vh: u @ (s**2 * (vh @ np.arange(1.0, 1 + vh.shape[1])))
    ),
}

SYMMETRIC = {
    "identity": np.eye(4),
    "pairs": symmetric(1, 1, 2, 2),
    "three": symmetric(0.5, 0.5, 0.5, -1),
    "nearly equal": symmetric(1, 1 + 1e-9, 2, 2 + 1e-6),
    "close": symmetric(1, 1 + 1e-4, 1 + 1e-12, 0.2),
    "distinct": symmetric(1, 2, 3.5, -1),
    "small": symmetric(1e-3, 1e-3, 2e-3, 1e-3),
}
GENERAL = {
    "square": general(4, 4, 1, 1, 2, 3),
    "diagonal": np.diag([1.0, 1, 2, 3]),
    "orthogonal": orthogonal(4),
    "tall": general(5, 3, 1, 1, 2),
    "wide": general(3, 5, 2, 2, 2),
    "nearly equal": general(3, 3, 1, 1 + 1e-8, 2),
    "close": general(4, 3, 1, 1 + 1e-4, 1),
    "distinct": general(4, 3, 1, 2, 3),
}


def along(function: Function, a: Any, direction: Any) -> Any:
    """Return the derivative in a direction by differences: such functions are smooth."""

    def at(t: float) -> Any:
        return np.asarray(function(a + t * direction))

    h = 1e-5
    return (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)


def direction_like(a: Any, is_symmetric: bool) -> Any:
    found = np.random.default_rng(1).normal(size=a.shape)
    return found + found.T if is_symmetric else found


CASES = [
    *[(function, a, True) for function in EIGENVECTORS.values() for a in SYMMETRIC.values()],
    *[(function, a, False) for function in SINGULAR_VECTORS.values() for a in GENERAL.values()],
]
IDS = [
    *[f"eigenvectors: {name}, {matrix}" for name in EIGENVECTORS for matrix in SYMMETRIC],
    *[f"singular vectors: {name}, {matrix}" for name in SINGULAR_VECTORS for matrix in GENERAL],
]


@pytest.mark.parametrize(("function", "a", "is_symmetric"), sampled(CASES, 5, IDS))
def test_functions_of_matrices_are_differentiated_whatever_the_gaps(
    function: Function, a: Any, is_symmetric: bool
) -> None:
    direction = direction_like(a, is_symmetric)
    wanted = along(function, a, direction)
    compiled = chainad.jacobian(function).compile(a + 0.1 * direction)
    jacobians = [
        *(chainad.jacobian(function, mode=mode)(a) for mode in ("auto", "forward", "reverse")),
        compiled(a),
        chainad.jacobian(function, batch=0)(np.stack([a, a + 0.1 * direction]))[0],
    ]
    for jacobian in jacobians:
        found = np.tensordot(jacobian, direction, 2)
        np.testing.assert_allclose(found, wanted, rtol=2e-8, atol=2e-8 * (1 + abs(wanted).max()))


# Two vectors, or as many as there are values above a gap.
PROJECTORS: dict[str, Function] = {
    "slices": of_eigenvectors(lambda w, v: v[:, -2:] @ v[:, -2:].T),
    "one slice": of_eigenvectors(lambda w, v: gram(v[:, -2:])),
    "einsum": of_eigenvectors(lambda w, v: np.einsum("ik,jk->ij", v[:, -2:], v[:, -2:])),
    "rows": of_eigenvectors(lambda w, v: v.T[2:].T @ v.T[2:]),
    "mask": of_eigenvectors(lambda w, v: gram(v[:, w > 1.5])),
    "largest first": of_eigenvectors(lambda w, v: gram(v[:, np.argsort(w)[::-1]][:, :2])),
    "the others": of_eigenvectors(lambda w, v: np.eye(4) - gram(np.take(v, [0, 1], axis=1))),
    "weights": of_eigenvectors(lambda w, v: (v[:, 2:] * f(w[2:])) @ v[:, 2:].T),
    "weights of all": of_eigenvectors(lambda w, v: (v * f(w))[:, 2:] @ v[:, 2:].T),
    "of a vector": of_eigenvectors(lambda w, v: v[:, 2:] @ (np.sqrt(w[2:]) * (v[:, 2:].T @ b))),
    "left": of_singular_vectors(lambda u, s, vh: u[:, :2] @ u[:, :2].T),
    "left, weights": of_singular_vectors(lambda u, s, vh: gram(u[:, :2] * s[:2])),
    "left, all": of_singular_vectors(lambda u, s, vh: (u * s**2) @ u.T),
    "right": of_singular_vectors(lambda u, s, vh: vh[:2].T @ vh[:2]),
    "right, all": of_singular_vectors(lambda u, s, vh: vh.T @ (f(s)[:, None] * vh)),
    "low rank": of_singular_vectors(lambda u, s, vh: (u[:, :2] * s[:2]) @ vh[:2]),
}
SEPARATED = {
    "eigenvalues": symmetric(1, 1, 2, 2),
    "nearly equal": symmetric(1, 1 + 1e-9, 2, 2 + 1e-6),
    "distinct": symmetric(0.5, 1, 2, 3),
    "tall": general(5, 3, 2, 2, 1),
    "wide": general(3, 4, 2, 2, 1),
    "square": general(4, 4, 2, 2, 1, 1),
}


OF_GENERAL = ("left", "right", "low rank")


@pytest.mark.parametrize(
    ("name", "matrix"),
    [
        (name, matrix)
        for name in PROJECTORS
        for matrix, a in SEPARATED.items()
        if name.startswith(OF_GENERAL) or np.allclose(a, a.T if len(a) == a.shape[1] else 0)
    ],
)
def test_projectors_on_vectors_of_equal_values_are_differentiated(name: str, matrix: str) -> None:
    function, a = PROJECTORS[name], SEPARATED[matrix]
    is_symmetric = not name.startswith(OF_GENERAL)
    direction = direction_like(a, is_symmetric)
    wanted = along(function, a, direction)
    compiled = chainad.jacobian(function).compile(a)
    for jacobian in (
        chainad.jacobian(function, mode="forward"),
        chainad.jacobian(function, mode="reverse"),
        compiled,
    ):
        found = np.tensordot(jacobian(a), direction, 2)
        np.testing.assert_allclose(found, wanted, rtol=2e-8, atol=2e-8 * (1 + abs(wanted).max()))


@pytest.mark.parametrize(
    "function",
    [
        of_eigenvectors(lambda w, v: gram(v[:, :3])),
        of_eigenvectors(lambda w, v: v[:, :2] @ v[:, 2:].T),
        of_eigenvectors(lambda w, v: (v[:, :2] * w[2:]) @ v[:, :2].T),
        of_singular_vectors(lambda u, s, vh: gram(u[:, :1])),
        of_singular_vectors(lambda u, s, vh: u[:, :2] @ u[:, 2:].T),
    ],
)
@pytest.mark.filterwarnings("ignore:.*no derivative")
def test_projectors_without_a_gap_have_derivative_nan(function: Function) -> None:
    a = symmetric(1, 1, 2, 2)
    assert np.isnan(chainad.jacobian(function)(a)).any()


def test_the_exponential_has_the_derivative_that_scipy_gives_it() -> None:
    for a in SYMMETRIC.values():
        direction = direction_like(a, True)
        jacobian = chainad.jacobian(EIGENVECTORS["columns"])(a)
        _, wanted = scipy.linalg.expm_frechet(a, direction)
        np.testing.assert_allclose(np.tensordot(jacobian, direction, 2), wanted, rtol=1e-10)


def test_stacks_of_matrices_have_gaps_of_their_own() -> None:
    a = np.stack([SYMMETRIC["pairs"], SYMMETRIC["distinct"], np.eye(4)])

    def function(a: Any) -> Any:
        w, v = eigh(a)
        return (v * f(w)[:, None, :]) @ np.swapaxes(v, -1, -2)

    jacobian = chainad.jacobian(function)(a)
    for k, each in enumerate(a):
        alone = chainad.jacobian(EIGENVECTORS["columns"])(each)
        np.testing.assert_allclose(jacobian[k, :, :, k], alone, atol=1e-12)


def test_other_operands_keep_their_derivatives() -> None:
    def function(p: Any) -> Any:
        w, v = eigh(p[0] * np.eye(3) + p[1] * np.ones((3, 3)))
        return (v * np.exp(p[2] * w)) @ v.T

    p = np.array([0.7, 0.0, 1.3])
    steps = 1e-6 * np.eye(3)
    columns = [(function(p + h) - function(p - h)) / 2e-6 for h in steps]
    np.testing.assert_allclose(
        chainad.jacobian(function)(p), np.stack(columns, -1), rtol=1e-8, atol=1e-8
    )


@pytest.mark.parametrize(
    ("function", "a", "is_symmetric"),
    [
        (EIGENVECTORS["columns"], SYMMETRIC["distinct"], True),
        (EIGENVECTORS["times a vector"], SYMMETRIC["distinct"], True),
        (SINGULAR_VECTORS["tanh"], GENERAL["distinct"], False),
        (SINGULAR_VECTORS["polar factor"], GENERAL["distinct"], False),
    ],
)
def test_second_derivatives_at_distinct_values(
    function: Function, a: Any, is_symmetric: bool
) -> None:
    def scalar(a: Any) -> Any:
        return np.sum(np.sin(function(a)))

    direction = direction_like(a, is_symmetric)
    wanted = along(chainad.jacobian(scalar), a, direction)
    hessian = chainad.jacobian(chainad.jacobian(scalar))(a)
    np.testing.assert_allclose(np.tensordot(hessian, direction, 2), wanted, rtol=1e-6, atol=1e-6)


def test_a_quotient_that_is_the_mean_slope_by_chance_has_its_own_derivative() -> None:
    def scalar(a: Any) -> Any:  # between 0 and exp(4), at a gap of 2, the mean slope is exp(4) / 2
        w, v = eigh(a)
        return np.sum(np.sin(np.arange(16.0)).reshape(4, 4) * ((v[:, 2:] * f(w[2:])) @ v[:, 2:].T))

    a = symmetric(1, 2, 4, 6)
    direction = direction_like(a, True)
    wanted = along(chainad.jacobian(scalar), a, direction)
    hessian = chainad.jacobian(chainad.jacobian(scalar))(a)
    np.testing.assert_allclose(np.tensordot(hessian, direction, 2), wanted, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(
    "function",
    [
        lambda w, v: (v * w[::-1]) @ v.T,
        lambda w, v: (v * np.cumsum(w)) @ v.T,
        lambda w, v: (v * np.arange(4.0)) @ v.T,
    ],
)
def test_other_weights_at_equal_eigenvalues_have_derivative_nan(
    function: Callable[..., Any],
) -> None:
    for a in (SYMMETRIC["pairs"], np.eye(4)):
        assert np.isnan(chainad.jacobian(of_eigenvectors(function))(a)).any()


@pytest.mark.parametrize("gap", [0.0, 1e-12, 1e-9])
@pytest.mark.parametrize(
    "function",
    [
        of_eigenvectors(lambda w, v: v[:, 0]),
        of_eigenvectors(lambda w, v: v @ v),
        of_singular_vectors(lambda u, s, vh: u),
        of_singular_vectors(lambda u, s, vh: vh @ vh),
    ],
)
def test_vectors_of_nearly_equal_values_have_derivative_nan_and_one_warning(
    function: Function, gap: float
) -> None:
    a = symmetric(1, 1 + gap, 2, 3)
    with pytest.warns(RuntimeWarning, match="no derivative"):
        assert np.isnan(chainad.jacobian(function)(a)).any()
    assert np.isfinite(chainad.jacobian(function)(symmetric(1, 1 + 1e-6, 2, 3))).all()


def test_no_local_jacobian_has_more_entries_than_the_matrices() -> None:
    n = 12
    plan = chainad.jacobian(lambda a: np.sum(EIGENVECTORS["columns"](a))).plan(symmetric(*range(n)))
    assert all(step.structure.count <= 4 * n**2 for step in plan.steps)
