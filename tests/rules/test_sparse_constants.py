"""Products of traced arrays with constant scipy.sparse matrices."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse

import chainad
from chainad.errors import TraceError

rng = np.random.default_rng(0)
A = scipy.sparse.csr_array(
    (rng.normal(size=7), ([0, 0, 1, 2, 4, 4, 4], [1, 3, 0, 2, 0, 1, 3])), (5, 4)
)
D = A.toarray()
X, Y, M = rng.normal(size=4), rng.normal(size=5), rng.normal(size=(4, 3))


def test_the_jacobian_of_a_sparse_product_is_the_matrix() -> None:
    found = chainad.jacobian(lambda x: x @ A.T, output="sparse")(X)
    assert found.nnz == A.nnz
    np.testing.assert_array_equal(found.toarray(), D)


@pytest.mark.parametrize(
    "kind", [scipy.sparse.csr_array, scipy.sparse.coo_array, scipy.sparse.csc_matrix]
)
def test_any_sparse_format_will_do(kind: Any) -> None:
    B = kind(D)

    def f(x: Any) -> Any:
        return np.sin(np.sin(x) @ B.T)

    value, J = chainad.value_and_jacobian(f)(X)
    np.testing.assert_allclose(value, f(X))
    np.testing.assert_allclose(J, np.diag(np.cos(D @ np.sin(X))) @ D @ np.diag(np.cos(X)))


FORMATS = [
    scipy.sparse.csr_array, scipy.sparse.csc_array, scipy.sparse.coo_array, scipy.sparse.bsr_array,
    scipy.sparse.dia_array, scipy.sparse.lil_array, scipy.sparse.csr_matrix,
]  # fmt: skip


@pytest.mark.parametrize("kind", FORMATS)
def test_a_sparse_matrix_on_the_left_leaves_the_product_to_chainad(kind: Any) -> None:
    B = kind(D)
    products = [lambda x: B @ x, lambda x: (B @ np.sin(x[:, None]))[:, 0]]
    if kind is not scipy.sparse.coo_array:  # whose `dot` asks for the numbers
        products.append(lambda x: B.dot(x))
    if kind is scipy.sparse.csr_matrix:
        products.append(lambda x: B * x)
    for f in products:
        J = chainad.jacobian(f, output="sparse")
        assert J(X).nnz == A.nnz
        scale = np.cos(X) if f is products[1] else np.ones(4)
        np.testing.assert_allclose(J(X).toarray(), D * scale, rtol=1e-14)
        compiled = chainad.jacobian(f).compile(X)
        np.testing.assert_allclose(compiled(2 * X), chainad.jacobian(f)(2 * X))
        value = chainad.compile(f, X)
        np.testing.assert_allclose(value(2 * X), f(2 * X))
        np.testing.assert_allclose(B @ X, D @ X)  # what it was outside


def test_matrices_stand_on_either_side() -> None:
    np.testing.assert_allclose(chainad.jacobian(lambda y: y @ A)(Y), D.T)
    J = chainad.jacobian(lambda m: (m.T @ A.T).T)(M)
    np.testing.assert_allclose(J, np.einsum("ij,kl->ikjl", D, np.eye(3)))


def test_hessians_go_through_sparse_products() -> None:
    H = chainad.jacobian(chainad.jacobian(lambda x: np.sum((x @ A.T) ** 3)))(X)
    np.testing.assert_allclose(H, D.T @ np.diag(6 * (D @ X)) @ D)


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (lambda x: np.hypot(x, A), "chainad.scipy.sparse"),
        (lambda x: A.multiply(x), "plain numbers"),
        (lambda x: A * x, "plain numbers"),
    ],
)
def test_what_cannot_be_caught_is_refused_with_what_can(f: Any, words: str) -> None:
    with pytest.raises(TraceError, match=words):
        chainad.jacobian(f)(X)
