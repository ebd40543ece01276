"""chainad.scipy.sparse: arrays with traced entries, and solves with them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
from numpy.lib import NumpyVersion

import chainad
from chainad import TraceError
from chainad.rules import sparse_solves

ours, theirs = chainad.scipy.sparse, scipy.sparse

rng = np.random.default_rng(0)
X = np.array([0.6, 1.3, 0.4, 0.9])
ROWS = np.array([0, 0, 1, 2, 3, 4, 5, 5, 2, 1, 3, 4])
COLS = np.array([0, 3, 1, 2, 3, 4, 5, 1, 4, 1, 2, 2])  # one place twice
CONSTANTS, D, B = rng.normal(size=12), rng.normal(size=(6, 4)), rng.normal(size=(6, 3))
K = scipy.sparse.csr_array((CONSTANTS, (ROWS, COLS)), shape=(6, 6))
# Not in order, and one place twice.
REPEATED = scipy.sparse.csr_array(
    (CONSTANTS[:4], [3, 3, 1, 0], [0, 2, 4, 4, 4, 4, 4]), shape=(6, 6)
)
FOUR = 4 * scipy.sparse.eye_array(6, format="csr")


def entries(x: Any) -> Any:
    return np.sin(np.concatenate([x, x * x, x + 1]))


def array(s: Any, x: Any, kind: str = "csr_array") -> Any:
    return getattr(s, kind)((entries(x), (ROWS, COLS)), shape=(6, 6)) + FOUR


def rolled(s: Any, x: Any) -> Any:
    return s.csr_array((x, [3, 0, 1, 2], [0, 2, 3, 4]), shape=(3, 4))


def matrix(s: Any, x: Any) -> Any:
    return s.csr_matrix((entries(x), (ROWS, COLS)), shape=(6, 6))


def filled(x: Any) -> Any:
    z = np.zeros(6)
    for k in range(6):
        z[k] = x[k % 4] * (k + 1)
    return z


# Of the module scipy.sparse, or of ours, and x.
ARRAYS: dict[str, Callable[[Any, Any], Any]] = {
    "csr @ vector": lambda s, x: array(s, x) @ (D @ x),
    "csc @ matrix": lambda s, x: array(s, x, "csc_array") @ B,
    "coo, a place twice": lambda s, x: s.coo_array((entries(x), (ROWS, COLS))) @ (D @ x),
    "vector @ csr": lambda s, x: (D @ x) @ array(s, x),
    "matrix @ csr": lambda s, x: B.T @ array(s, x),
    "csr @ csr": lambda s, x: (array(s, x) @ array(s, x)).toarray(),
    "assembled": lambda s, x: (K.T @ s.diags_array(D @ x) @ K).tocsc().toarray(),
    "indptr": lambda s, x: rolled(s, x).toarray(),
    "transposed": lambda s, x: rolled(s, x).T @ (D.T @ B[:, 0])[:3],
    "dia": lambda s, x: s.dia_array(([D @ x, D @ x], [0, 1]), shape=(6, 6)).tocsr().data,
    "diags": lambda s, x: s.diags([D @ x, x[0], CONSTANTS[:4]], [0, 1, -2]).toarray(),
    "diags of one": lambda s, x: s.diags(D @ x, format="csc").data,
    "diags_array": lambda s, x: s.diags_array([x[0], 2.0], offsets=[0, 1], shape=(3, 4)).toarray(),
    "spdiags": lambda s, x: s.spdiags(np.stack([D @ x] * 2), [0, 1], 6, 6).toarray(),
    "filled": lambda s, x: s.csc_array((filled(x), (ROWS[6:], COLS[6:])), shape=(6, 6)) @ filled(x),
    "filled, of diagonals": lambda s, x: s.diags([filled(x)], [0]).multiply(filled(x)).toarray(),
    "empty": lambda s, x: array(s, x)[[], :].toarray().sum() + abs(array(s, x)).sum(),
    "sums": lambda s, x: array(s, x).sum() + array(s, x).sum(axis=0) * array(s, x).sum(axis=1),
    "times numbers": lambda s, x: (2 * array(s, x) / x[0] - array(s, x) * 1.5).toarray(),
    "times dense": lambda s, x: array(s, x).multiply(D[:, :1]).toarray(),
    "times sparse": lambda s, x: (array(s, x) * K + K.multiply(2)).toarray(),
    "repeated": lambda s, x: (x[0] * REPEATED + array(s, x) - REPEATED * 2).toarray(),
    "stacked on repeated": lambda s, x: s.vstack([array(s, x), REPEATED]).toarray(),
    "minus sparse": lambda s, x: (K - array(s, x)).toarray(),
    "minus dense": lambda s, x: array(s, x) - np.ones((6, 6)),
    "power": lambda s, x: array(s, x).power(2).toarray(),
    "selected": lambda s, x: array(s, x)[[1, 2, 5]][:, [1, 4]].toarray() * array(s, x)[5, 1],
    "grid of indices": lambda s, x: array(s, x)[np.ix_([0, 2, 3], [3, 1])].toarray(),
    "diagonals": lambda s, x: array(s, x).diagonal()[:4] * array(s, x).diagonal(2),
    "blocks": lambda s, x: s.block_array([[array(s, x), None], [None, K]]).toarray(),
    "stacked": lambda s, x: s.vstack([s.hstack([array(s, x), K]), np.ones((1, 12))]).toarray(),
    "block diagonal": lambda s, x: s.block_diag([array(s, x), np.outer(x, x)]).toarray(),
    "kron": lambda s, x: s.kron(np.eye(2), array(s, x)).toarray() + s.kron(K, rolled(s, x)).sum(),
    "kronsum": lambda s, x: s.kronsum(array(s, x), K).tocsr() @ np.arange(36.0),
    "halves": lambda s, x: (s.tril(array(s, x), -1) - s.triu(array(s, x))).toarray(),
    "matrix": lambda s, x: matrix(s, x) * (D @ x) + (matrix(s, x) ** 3 * FOUR).sum(),
    "constants": lambda s, x: (x[0] * K + K * x[1] + sum([x[2] * K, FOUR])) @ (D @ x),
}  # fmt: skip
if NumpyVersion(scipy.__version__) < "1.14.0":
    del ARRAYS["constants"]  # K * x[1] is refused
SOLVES: dict[str, Callable[[Any, Any], Any]] = {
    "spsolve": lambda s, x: s.linalg.spsolve(array(s, x), D @ x),
    "spsolve, one column": lambda s, x: s.linalg.spsolve(array(s, x), (D @ x)[:, None]),
    "spsolve, columns": lambda s, x: s.linalg.spsolve(array(s, x, "csc_array"), B),
    "spsolve of a constant": lambda s, x: s.linalg.spsolve(FOUR + K, D @ x, "MMD_AT_PLUS_A"),
    "splu": lambda s, x: s.linalg.splu(
        array(s, x, "csc_array"), options={"SymmetricMode": True}
    ).solve(D @ x),
    "splu, transposed": lambda s, x: s.linalg.splu(array(s, x, "csc_array")).solve(D @ x, "T"),
    "splu of a constant": lambda s, x: s.linalg.splu((FOUR + K).tocsc()).solve(D @ x),
    "factorized": lambda s, x: s.linalg.factorized(array(s, x, "csc_array"))(D @ x),
    "triangular": lambda s, x: s.linalg.spsolve_triangular(
        s.triu(array(s, x), format="csr"), D @ x, lower=False
    ),
    "unit triangular": lambda s, x: s.linalg.spsolve_triangular(
        s.tril(array(s, x), -1, format="csr") + scipy.sparse.eye_array(6), D @ x,
        unit_diagonal=True,
    ),
    "filled": lambda s, x: s.linalg.spsolve(FOUR + K, filled(x)),
    "one unknown": lambda s, x: s.linalg.spsolve(s.csr_array((x[:1], ([0], [0]))), x[1:2]),
}  # fmt: skip
FUNCTIONS = ARRAYS | SOLVES


def differences(f: Callable[..., Any], h: float = 1e-6) -> Any:
    columns = [(np.asarray(f(X + h * e)) - f(X - h * e)) / (2 * h) for e in np.eye(4)]
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_sparse_arrays_are_those_of_scipy_and_their_derivatives(name: str) -> None:
    def f(x: Any) -> Any:
        return FUNCTIONS[name](ours, x)

    wanted = FUNCTIONS[name](theirs, X)
    np.testing.assert_allclose(f(X), wanted, rtol=1e-14)
    expected = differences(lambda x: FUNCTIONS[name](theirs, x))
    value, J = chainad.value_and_jacobian(f)(X)
    np.testing.assert_allclose(value, wanted, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(J, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", SOLVES)
def test_sparse_solves_in_any_mode_in_batches_compiled_and_twice(name: str) -> None:
    def f(x: Any) -> Any:
        return SOLVES[name](ours, x)

    expected = chainad.jacobian(f)(X)
    for mode in ("forward", "reverse"):
        np.testing.assert_allclose(chainad.jacobian(f, mode=mode)(X), expected, rtol=1e-10)
    J = chainad.jacobian(f, batch=0)(np.stack([X + 1, X]))
    np.testing.assert_allclose(J[1], expected, rtol=1e-10)
    compiled = chainad.jacobian(f).compile(X + 1)
    np.testing.assert_allclose(compiled(X), expected, rtol=1e-10)
    H = chainad.jacobian(chainad.jacobian(f))(X)
    np.testing.assert_allclose(H, differences(compiled, 1e-5), rtol=1e-4, atol=1e-5)


def test_complex_entries_are_solved_with() -> None:
    def f(s: Any, x: Any) -> Any:
        A = s.csc_array(((1 + 2j) * entries(x) + 1j * x[0], (ROWS, COLS)), shape=(6, 6))
        lu = s.linalg.splu(A + (4 - 1j) * FOUR)
        return np.abs(lu.solve(D @ x + 0j)) + np.abs(lu.solve(1j * (D @ x), "H"))

    J = chainad.jacobian(lambda x: f(ours, x))(X)
    np.testing.assert_allclose(J, differences(lambda x: f(theirs, x)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("mode", "asked"), [("forward", np.ravel), ("reverse", np.sum)])
def test_solves_cost_what_their_factors_have(mode: str, asked: Any) -> None:
    n = 4000
    ones, few = np.ones(n), rng.normal(size=(n, 3)) / n

    def f(p: Any) -> Any:
        A = ours.diags_array([4 + few @ p, ones[1:], ones[2:]], offsets=[0, 1, -2])
        return asked(ours.linalg.spsolve(A, few @ p))

    plan = chainad.plan(f, np.ones(3), mode=mode)
    # Three tangents or one adjoint, besides the dense product with `few`.
    assert plan.multiplications < 60 * n
    assert plan.peak.bytes < 800 * n


def test_one_factorization_serves_the_value_and_all_directions() -> None:
    made = []

    class Counting(sparse_solves.SquarePattern):
        def factorize(self, data: Any) -> Any:
            made.append(data)
            return super().factorize(data)

    pattern = Counting(range(6), range(6), 6)

    def f(x: Any) -> Any:
        y = sparse_solves.sparse_solve(2 + D @ x, np.ones(6), pattern)
        return sparse_solves.sparse_solve(2 + D @ x, y, pattern)

    J = chainad.jacobian(f).compile(X)
    made.clear()
    J(X + 1)
    assert len(made) == 1


def test_solves_read_the_matrix_anew_at_each_call() -> None:
    A = (FOUR + K).tocsr()
    J = chainad.jacobian(lambda x: ours.linalg.spsolve(A, D @ x)).compile(X)
    J(X)
    A.data *= 2
    np.testing.assert_allclose(J(X), np.linalg.solve(A.toarray(), D))


def test_a_singular_matrix_is_nan_to_spsolve_and_an_error_to_splu() -> None:
    def of(p: Any) -> Any:
        return ours.diags_array([p[0], 0 * p[1]], format="csc")

    with pytest.warns(scipy.sparse.linalg.MatrixRankWarning, match="exactly singular"):
        J = chainad.jacobian(lambda p: ours.linalg.spsolve(of(p), p))(X[:2])
    assert np.all(np.isnan(J))
    with pytest.raises(RuntimeError, match="exactly singular"):
        chainad.jacobian(lambda p: ours.linalg.splu(of(p)).solve(p))(X[:2])


def test_the_plain_array_behind_a_sparse_array_has_no_derivative() -> None:
    def f(x: Any) -> Any:
        A = chainad.stop_gradient(array(ours, x))
        assert isinstance(A, scipy.sparse.csr_array)
        return A @ (D @ x)

    np.testing.assert_allclose(chainad.jacobian(f)(X), array(theirs, X) @ D)


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "cg": (lambda x: theirs.linalg.cg(FOUR, D @ x)[0], "chainad.scipy.sparse has"),
    "multiply": (lambda x: FOUR.multiply(D @ x), r"x \* A of a constant A"),
    "of dense": (lambda x: ours.csr_array(np.outer(x, x)), r"\(data, \(rows, cols\)\)"),
    "filled": (lambda x: FOUR @ filled(x), r"use A @ np\.copy\(x\)"),
    "sparse b": (lambda x: ours.linalg.spsolve(array(ours, x), FOUR), "b.toarray"),
    "write": (lambda x: array(ours, x).__setitem__((0, 0), x[0]), "all of them at once"),
    "method": (lambda x: array(ours, x).max(), r"\.max of a sparse array"),
    "function": (lambda x: np.dot(array(ours, x), D @ x), "dot takes no sparse arrays"),
    "one axis": (lambda x: array(ours, x)[0], r"A\[\[i\]\]"),
}
if NumpyVersion(scipy.__version__) < "1.14.0":
    del REFUSED["one axis"]  # SciPy refuses it itself


# Functions of SciPy's that are arguments are not looked into.
ARGUMENTS: dict[str, tuple[Any, Callable[[Any, Any], Any], str]] = {
    "csr_array": (theirs.csr_array, lambda f, x: f((x, ROWS[:4], [0, 1, 4])), "scipy.sparse, such"),
    "coo_array": (theirs.coo_array, lambda f, x: f((x, (ROWS[:4], COLS[:4]))), "scipy.sparse, su"),
    "diags_array": (theirs.diags_array, lambda f, x: f([x, x], offsets=[0, 1]), "sparse.diags_a"),
    "spsolve": (theirs.linalg.spsolve, lambda f, x: f(FOUR, D @ x), "chainad.scipy.sparse.linalg"),
    "splu": (theirs.linalg.splu, lambda f, x: f(FOUR.tocsc()).solve(D @ x), "sparse.linalg.splu"),
    "factorized": (
        theirs.linalg.factorized, lambda f, x: f(FOUR.tocsc())(D @ x), "sparse.linalg.splu"),
}  # fmt: skip


@pytest.mark.parametrize("name", ARGUMENTS)
def test_functions_of_scipy_that_are_arguments_are_refused_in_the_users_line(name: str) -> None:
    function, call, words = ARGUMENTS[name]
    with pytest.raises(TraceError, match=rf"test_sparse_arrays\.py:\d+: .*{words}"):
        chainad.jacobian(lambda x, f: call(f, x))(X, function)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_differentiated_is_refused_in_the_users_line(name: str) -> None:
    f, words = REFUSED[name]
    with pytest.raises(TraceError, match=rf"test_sparse_arrays\.py:\d+: .*{words}"):
        chainad.jacobian(f)(X)


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (lambda x: ours.linalg.spsolve(rolled(ours, x), x), "must be square"),
        (lambda x: ours.linalg.spsolve(array(ours, x), x), "dimension mismatch"),
        (lambda x: ours.linalg.splu(array(ours, x)).solve(D @ x, "C"), "must be N, T, or H"),
        (lambda x: array(ours, x) @ x, "do not fit"),
        (lambda x: array(ours, x) @ rolled(ours, x), "do not fit"),
        (lambda x: array(ours, x) + rolled(ours, x), "do not fit"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(f: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        chainad.jacobian(f)(X)
