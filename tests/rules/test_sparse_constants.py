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
        (lambda x: A @ x, r"x @ A\.T for a sparse A"),
        (A.dot, r"x @ A\.T for a sparse A"),
        (lambda x: x * A.T, "x @ A or x @ A.T"),
        (lambda x: np.dot(D, x) + A, "x @ A or x @ A.T"),
        (lambda x: scipy.sparse.csr_array((x, ([0, 1, 2, 3], [0] * 4))) * 2, "plain numbers"),
    ],
)
def test_what_cannot_be_caught_is_refused_with_what_can(f: Any, words: str) -> None:
    with pytest.raises(TraceError, match=words):
        chainad.jacobian(f)(X)
