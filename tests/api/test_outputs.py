"""The forms in which a Jacobian is handed out: sparse, structured, operator, and into `out`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import optree
import pytest
import scipy.sparse
from scipy.sparse.linalg import LinearOperator, gmres, lsmr, svds

import chainad
from chainad.errors import ChainadError, InputError, TraceError
from chainad.structure.results import StructuredJacobian

Function = Callable[..., Any]

RNG = np.random.default_rng(0)
A = RNG.normal(size=(4, 3))
TALL, FLAT = RNG.normal(size=(40, 2)), RNG.normal(size=(2, 30))
X = RNG.normal(size=(5, 3))
WIDE = RNG.normal(size=(3, 4))


def no_meeting(x: np.ndarray) -> np.ndarray:
    """Keep nothing of x: two selections that never meet."""
    return np.concatenate([x[:3], np.zeros(4)])[4:]


# Name, function, argument. All are smooth at their argument.
CASES: dict[str, tuple[Function, np.ndarray | np.float64]] = {
    "diagonal": (np.sin, np.arange(1.0, 6)),
    "identity": (lambda x: x, np.arange(3.0)),
    "minus": (np.negative, np.arange(3.0)),
    "scaled selection": (lambda x: 2.5 * x[::-2], np.arange(7.0)),
    "gather with repeats": (lambda x: np.sin(x[[2, 0, 2]]), np.arange(4.0)),
    "stencil": (lambda x: x[1:] * x[:-1] - x[1:], np.arange(1.0, 9)),
    "dense": (lambda x: np.tanh(A @ x), np.ones(3)),
    "gradient": (lambda x: np.sum(x**3), np.arange(1.0, 5)),
    "batched": (lambda x: np.tanh(x @ WIDE), X),
    "transposed": (lambda x: np.exp(x.T), X),
    "raveled": (lambda x: np.cos(x).ravel(), X),
    "factors": (lambda x: TALL @ np.tanh(FLAT @ x), np.linspace(-1, 1, 30)),
    "factors and more": (lambda x: TALL[:30] @ np.tanh(FLAT @ x) + x**2, np.linspace(-1, 1, 30)),
    "scalar": (np.sin, np.float64(0.5)),
    "from a scalar": (lambda x: x * np.arange(4.0), np.float64(0.5)),
    "constant": (lambda x: np.ones((2, 2)), np.arange(3.0)),
    "cancelled": (lambda x: x - x, np.arange(3.0)),
    "never meeting": (no_meeting, np.arange(7.0)),
    "empty input": (np.sin, np.zeros(0)),
    "empty output": (lambda x: np.sin(x[:0]), np.arange(3.0)),
    "empty axis": (np.sin, np.zeros((3, 0))),
}


def wanted(f: Function, x: Any) -> np.ndarray:
    """Return the Jacobian as a matrix, by central differences."""
    x = np.asarray(x, np.float64)
    columns = []
    for k in range(x.size):
        step = np.zeros(x.size)
        step[k] = 1e-6
        step = step.reshape(x.shape)
        columns.append((np.asarray(f(x + step)) - np.asarray(f(x - step))).ravel() / 2e-6)
    return np.stack(columns, 1) if columns else np.zeros((np.size(f(x)), 0))


def assert_canonical(matrix: scipy.sparse.csr_array) -> None:
    """Assert that what the flags of a matrix promise is true of its arrays."""
    assert isinstance(matrix, scipy.sparse.csr_array)
    assert matrix.has_sorted_indices
    assert matrix.has_canonical_format
    assert matrix.indices.dtype == matrix.indptr.dtype == np.int32
    assert matrix.indptr[0] == 0
    assert matrix.indptr[-1] == matrix.indices.size == matrix.data.size
    for row in range(matrix.shape[0]):
        own = matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]
        assert np.all(np.diff(own) > 0)
    matrix.check_format(full_check=True)


@pytest.mark.parametrize("name", CASES)
def test_every_form_holds_the_same_jacobian(name: str) -> None:
    f, x = CASES[name]
    shape = np.shape(f(x)) + np.shape(x)
    matrix = wanted(f, x)
    tall, wide = RNG.normal(size=(matrix.shape[0], 2)), RNG.normal(size=(matrix.shape[1], 2))
    sparse = chainad.jacobian(f, output="sparse")(x)
    assert_canonical(sparse)
    np.testing.assert_allclose(sparse.toarray(), matrix, atol=1e-7)
    structured = chainad.jacobian(f, output="structured")(x)
    assert structured.shape == shape
    assert structured.matrix_shape == matrix.shape
    np.testing.assert_allclose(structured.toarray(), matrix.reshape(shape), atol=1e-7)
    np.testing.assert_allclose(structured.tosparse().toarray(), matrix, atol=1e-7)
    operator = chainad.jacobian(f, output="operator")(x)
    assert isinstance(operator, LinearOperator)
    assert operator.shape == matrix.shape
    for k in (0, 1, 2):
        np.testing.assert_allclose(operator @ wide[:, :k], matrix @ wide[:, :k], atol=1e-7)
        np.testing.assert_allclose(operator.T @ tall[:, :k], matrix.T @ tall[:, :k], atol=1e-7)
        np.testing.assert_allclose(operator.rmatmat(tall[:, :k]), matrix.T @ tall[:, :k], atol=1e-7)
    np.testing.assert_allclose(operator.matvec(wide[:, 0]), matrix @ wide[:, 0], atol=1e-7)
    np.testing.assert_allclose(operator.rmatvec(tall[:, 0]), matrix.T @ tall[:, 0], atol=1e-7)
    np.testing.assert_allclose(operator.adjoint() @ tall, matrix.T @ tall, atol=1e-7)


@pytest.mark.parametrize("mode", ["auto", "forward", "reverse", "greedy"])
@pytest.mark.parametrize("output", ["sparse", "structured"])
def test_the_mode_changes_no_number(mode: Any, output: str) -> None:
    for f, x in CASES.values():
        found = chainad.jacobian(f, mode=mode, output=output)(x)
        want = chainad.jacobian(f)(x)
        np.testing.assert_allclose(found.toarray().reshape(want.shape), want, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in CASES if name != "constant"])
def test_every_form_keeps_float32(name: str) -> None:
    f, x = CASES[name]
    if name in ("factors", "factors and more", "dense", "batched", "from a scalar"):
        return  # constants of float64 make these functions float64
    x32 = np.asarray(x, np.float32)[()]
    want = np.asarray(f(x32)).dtype
    structured = chainad.jacobian(f, output="structured")(x32)
    assert chainad.jacobian(f, output="sparse")(x32).dtype == want
    assert structured.dtype == structured.toarray().dtype == structured.tosparse().dtype == want
    assert chainad.jacobian(f, output="operator")(x32).dtype == want
    for term in structured.terms:
        for factor in term:
            assert factor.tosparse().dtype == factor.toarray().dtype == want
            assert factor.array is None or factor.array.dtype == want


def test_several_outputs_and_arguments_come_as_nested_tuples() -> None:
    def f(x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
        return x * y, np.sum(y)

    x, y = np.arange(1.0, 4), np.arange(4.0, 7)
    dense = chainad.jacobian(f, argnums=(0, 1))(x, y)
    for output in ("sparse", "structured", "operator"):
        found = chainad.jacobian(f, argnums=(0, 1), output=output)(x, y)
        assert [type(row) for row in found] == [tuple, tuple]
        for got_row, row in zip(found, dense, strict=True):
            for got, want in zip(got_row, row, strict=True):
                matrix = want.reshape(-1, 3)
                if output == "operator":
                    np.testing.assert_allclose(got @ np.eye(3), matrix)
                    np.testing.assert_allclose(got.T @ np.eye(len(matrix)), matrix.T)
                else:
                    np.testing.assert_allclose(got.toarray().reshape(-1, 3), matrix)
    value, jacobian = chainad.value_and_jacobian(f, argnums=1, output="sparse")(x, y)
    np.testing.assert_array_equal(value[0], x * y)
    np.testing.assert_array_equal(jacobian[0].toarray(), np.diag(x))


def test_an_unknown_form_is_refused_at_once() -> None:
    with pytest.raises(InputError) as error:
        chainad.jacobian(np.sin, output="structure")
    assert str(error.value) == (
        "output='structure' is unknown; did you mean 'structured'?"
        " Choose 'dense', 'sparse', 'structured' or 'operator'"
    )


# --------------------------------------------------------------------- sparse


def test_changing_one_sparse_result_leaves_the_next_alone() -> None:
    J = chainad.jacobian(lambda x: x[1:] * x[:-1], output="sparse")
    x = np.arange(1.0, 8)
    want = J(x).toarray()
    spoiled = J(x)
    for array in (spoiled.data, spoiled.indices, spoiled.indptr):
        assert array.flags.writeable
        array[:] = 0
    np.testing.assert_array_equal(J(x).toarray(), want)


@pytest.mark.parametrize(
    "f",
    [np.square, lambda x: x * 1.0, lambda x: x[::2] * W],
    ids=["square", "times one", "slice"],
)
def test_numbers_of_a_result_are_its_own(f: Function) -> None:
    x = np.arange(1.0, 8)
    for output in ("sparse", "structured"):
        found = chainad.jacobian(f, output=output)(x)
        arrays = (
            [found.data] if output == "sparse" else [a for t in found.terms for a in [t[0].array]]
        )
        assert not any(a is not None and np.shares_memory(a, b) for a in arrays for b in (x, W))


W = np.arange(4.0)


def test_a_stencil_has_the_entries_of_its_diagonals_only() -> None:
    n = 1000
    found = chainad.jacobian(lambda x: x[2:] - 2 * x[1:-1] + x[:-2] ** 2, output="sparse")(
        np.ones(n)
    )
    assert found.nnz == 3 * (n - 2)


def test_what_cancels_in_the_structure_has_no_entries() -> None:
    found = chainad.jacobian(lambda x: np.sin(x - x) * 2, output="sparse")(np.ones(3))
    assert found.nnz == 0


def test_an_entry_that_happens_to_be_zero_is_kept() -> None:
    found = chainad.jacobian(np.square, output="sparse")(np.array([0.0, 1.0]))
    np.testing.assert_array_equal(found.data, [0.0, 2.0])


# ----------------------------------------------------------------- structured


def test_a_diagonal_is_a_vector() -> None:
    x = np.arange(3.0)
    J = chainad.jacobian(np.exp, output="structured")(x)
    np.testing.assert_array_equal(J.array, np.exp(x))
    assert repr(J) == "StructuredJacobian((3, 3): diagonal [i | i] stored i)"
    assert repr(J.terms[0][0]) == "Factor(diagonal [i | i] stored i, float64)"


def test_a_batched_network_has_one_block_for_every_sample() -> None:
    one, two = RNG.normal(size=(3, 6)), RNG.normal(size=(6, 2))
    J = chainad.jacobian(lambda x: np.tanh(x @ one) @ two, output="structured")(X)
    assert J.shape == (5, 2, 5, 3)
    assert J.array.shape == (5, 2, 3)
    for sample, block in zip(X, J.array, strict=True):
        want = two.T @ np.diag(1 - np.tanh(sample @ one) ** 2) @ one.T
        np.testing.assert_allclose(block, want, rtol=1e-12)


def test_thin_factors_are_not_multiplied() -> None:
    f, x = CASES["factors"]
    J = chainad.jacobian(f, output="structured")(x)
    (u, v) = J.factors
    assert (u.shape, v.shape) == ((40, 2), (2, 30))
    np.testing.assert_allclose(u @ v, chainad.jacobian(f)(x), rtol=1e-12)
    with pytest.raises(ChainadError, match=r"is not one array; read J\.terms"):
        _ = J.array
    assert repr(J).count("@") == 1


def test_thin_factors_are_not_multiplied_where_they_are_a_part_of_the_result() -> None:
    f, x = CASES["factors"]
    J = chainad.jacobian(lambda x: np.concatenate([f(x), x]), output="structured")(x)
    assert sorted(len(term) for term in J.terms) == [1, 2]
    stored = sum(factor.array.size for term in J.terms for factor in term if factor.structure.count)
    assert stored == 2 * 40 + 2 * 30
    np.testing.assert_allclose(J, np.vstack([chainad.jacobian(f)(x), np.eye(x.size)]), rtol=1e-12)


def test_the_factors_of_one_are_itself() -> None:
    J = chainad.jacobian(lambda x: A @ x, output="structured")(np.ones(3))
    (one,) = J.factors
    np.testing.assert_array_equal(one, A)
    one[:] = 0  # a copy of the user's matrix, and of the Jacobian's own
    np.testing.assert_array_equal(J.toarray(), A)
    assert np.all(A != 0)


def test_a_sum_has_no_factors_and_no_one_array() -> None:
    J = chainad.jacobian(lambda x: x[1:] * x[:-1], output="structured")(np.ones(600))
    assert len(J.terms) == 2
    with pytest.raises(ChainadError, match=r"is a sum of several terms; read J\.terms"):
        _ = J.factors
    with pytest.raises(ChainadError, match=r"is not one array"):
        _ = J.array


def test_a_zero_says_so() -> None:
    J = chainad.jacobian(lambda x: np.ones(2), output="structured")(np.ones(3))
    assert repr(J) == "StructuredJacobian((2, 3): zero)"
    assert J.toarray().tolist() == [[0.0] * 3] * 2


def test_structured_jacobians_compare_and_hash_as_objects() -> None:
    J = chainad.jacobian(np.sin, output="structured")
    one, two = J(np.ones(3)), J(np.ones(3))
    assert isinstance(one, StructuredJacobian)
    assert one != two
    assert len({one, two, one.terms[0][0]}) == 3


@pytest.mark.parametrize("name", CASES)
def test_a_structured_jacobian_is_the_dense_array_to_numpy(name: str) -> None:
    f, x = CASES[name]
    J, dense = chainad.jacobian(f, output="structured")(x), chainad.jacobian(f)(x)
    found = np.asarray(J)
    assert (found.dtype, found.shape) == (dense.dtype, dense.shape)
    assert found.flags.writeable
    np.testing.assert_allclose(found, dense, atol=1e-12)
    np.testing.assert_allclose(np.exp(J), np.exp(dense), atol=1e-12)
    np.testing.assert_allclose(dense - J, 0, atol=1e-12)
    assert (J.shape, J.ndim, J.size, J.dtype) == (dense.shape, dense.ndim, dense.size, dense.dtype)
    assert np.array(J, np.float32).dtype == np.float32
    assert np.stack([J, J]).shape == (2, *dense.shape)
    for term in J.terms:
        for factor in term:
            np.testing.assert_array_equal(np.asarray(factor), factor.toarray())


@pytest.mark.parametrize("name", CASES)
def test_the_transpose_is_that_of_the_dense_array(name: str) -> None:
    f, x = CASES[name]
    J = chainad.jacobian(f, output="structured")(x)
    assert (J.T.shape, J.T.n_rows) == (J.shape[::-1], J.ndim - J.n_rows)
    np.testing.assert_allclose(J.T.toarray(), J.toarray().T, rtol=1e-12)
    np.testing.assert_allclose(J.T.tosparse().toarray().ravel(), J.toarray().T.ravel(), rtol=1e-12)
    np.testing.assert_array_equal(J.T.T.toarray(), J.toarray())
    for term in J.terms:  # in normal form, which is one and the same object
        assert all(factor.T.T.structure is factor.structure for factor in term)


@pytest.mark.parametrize("kind", ["vector", "matrix", "no columns", "integers", "complex", "list"])
@pytest.mark.parametrize("name", CASES)
def test_products_are_those_of_the_dense_array_or_refused(name: str, kind: str) -> None:
    f, x = CASES[name]
    J = chainad.jacobian(f, output="structured")(x)
    dense = J.toarray()
    n, m = dense.shape[-1:] or (1,), dense.shape[-2:-1] or dense.shape[:1] or (1,)
    right: Any = RNG.normal(size=n if kind != "matrix" else (*n, 2))
    left: Any = RNG.normal(size=m if kind != "matrix" else (2, *m))
    if kind == "no columns":
        right, left = right[:, None][:, :0], left[None][:0]
    if kind in ("integers", "complex"):
        right, left = ((10 * a).astype({"c": complex}.get(kind[0], int)) for a in (right, left))
    if kind == "list":
        right, left = right.tolist(), left.tolist()
    one_axis_of_x, is_matrix = np.ndim(x) == 1, (J.ndim, J.n_rows) == (2, 1)
    for is_offered, product, wanted in (
        (one_axis_of_x or J.ndim == 1, lambda: J @ right, lambda: dense @ right),
        (is_matrix or J.ndim == 1, lambda: left @ J, lambda: left @ dense),
        (is_matrix or J.ndim == 1, lambda: np.matmul(left, J), lambda: left @ dense),
    ):
        if not is_offered:
            with pytest.raises(InputError, match=r"toarray|2"):
                product()
            continue
        found, want = product(), np.asarray(wanted())
        assert (found.shape, found.dtype) == (want.shape, want.dtype)
        np.testing.assert_allclose(found, want, atol=1e-12)


def test_products_never_make_the_dense_array() -> None:
    n = 100_000
    J = chainad.jacobian(lambda x: np.concatenate([x[1:], x[:1]]) * x, output="structured")(
        np.arange(1.0, n + 1)
    )
    v = np.ones(n)
    np.testing.assert_array_equal(J @ v, np.roll(np.arange(1.0, n + 1), -1) + np.arange(1.0, n + 1))
    np.testing.assert_allclose((v @ J).sum(), (J @ v).sum())
    np.testing.assert_allclose(J.T @ v, v @ J)
    one = scipy.sparse.eye_array(n, format="csr")
    assert abs(J @ one - J.tosparse()).nnz == 0


def test_products_with_structured_jacobians_are_traced() -> None:
    J = chainad.jacobian(np.sin, output="structured")(np.arange(3.0))
    dense, x = J.toarray(), np.linspace(0, 1, 3)
    for make in (chainad.jacobian, lambda f: chainad.compile(chainad.jacobian(f))):
        np.testing.assert_allclose(make(lambda x: J @ np.exp(x))(x), dense @ np.diag(np.exp(x)))
        np.testing.assert_allclose(make(lambda x: np.exp(x) @ J)(x), dense.T @ np.diag(np.exp(x)))
        np.testing.assert_allclose(make(lambda x: J + x)(x)[0], np.eye(3))


def test_what_a_structured_jacobian_is_not_is_said() -> None:
    J = chainad.jacobian(np.square, output="structured")(np.ones(3))
    assert len(J) == 3
    with pytest.raises(TypeError, match="has no len"):
        len(chainad.jacobian(np.square, output="structured")(1.0))
    with pytest.raises(ValueError, match="copy=False"):
        np.asarray(J, copy=False)
    with pytest.raises(TypeError, match="StructuredJacobian"):
        np.add(np.ones(3), 1, out=J)
    with pytest.raises(InputError, match=r"takes v of shape \(3,\) or \(3, k\), but .* \(4,\)"):
        J @ np.ones(4)
    with pytest.raises(TypeError, match="unsupported operand"):
        J @ 2
    many = chainad.jacobian(np.square, output="structured")(np.ones((2, 3)))
    with pytest.raises(InputError, match=r"np\.tensordot\(J\.toarray\(\), v, 2\), or J\.tosparse"):
        many @ np.ones((2, 3))
    with pytest.raises(InputError, match=r"np\.tensordot\(u, J\.toarray\(\), 2\), or J\.tosparse"):
        np.ones((2, 3)) @ many


# ------------------------------------------------------------------- operator


def test_an_operator_stays_what_it_was_when_the_user_overwrites_the_numbers() -> None:
    x, c = np.arange(1.0, 5), np.arange(2.0, 6)
    J = chainad.jacobian(lambda x: np.sin(x) * c + c * x, output="operator")(x)
    want = np.diag(np.cos(x) * c + c)
    x[:] = 0
    c[:] = 0
    np.testing.assert_allclose(J @ np.eye(4), want)
    np.testing.assert_allclose(J.T @ np.eye(4), want)


def well_posed(x: np.ndarray) -> np.ndarray:
    return 4 * x - np.sin(np.concatenate([x[1:], x[:1]])) + x**3


def test_solvers_of_scipy_take_an_operator() -> None:
    x = np.linspace(0.1, 1, 12)
    J = chainad.jacobian(well_posed, output="operator")(x)
    dense = chainad.jacobian(well_posed)(x)
    b = np.arange(12.0)
    solution, info = gmres(J, b, rtol=1e-12)
    assert info == 0
    np.testing.assert_allclose(solution, np.linalg.solve(dense, b), rtol=1e-8)
    np.testing.assert_allclose(
        lsmr(J, b, atol=1e-14, btol=1e-14)[0], np.linalg.solve(dense, b), rtol=1e-7
    )
    singular = svds(J, k=2, return_singular_vectors=False, v0=np.ones(len(b)))
    np.testing.assert_allclose(sorted(singular)[::-1], np.linalg.svd(dense)[1][:2], rtol=1e-8)


def test_an_operator_takes_complex_vectors() -> None:
    x = np.linspace(0.1, 1, 6)
    J = chainad.jacobian(well_posed, output="operator")(x)
    dense = chainad.jacobian(well_posed)(x)
    v = np.arange(6) + 1j * np.arange(6)[::-1]
    np.testing.assert_allclose(J @ v, dense @ v)
    np.testing.assert_allclose(J.H @ v, dense.T @ v)
    np.testing.assert_allclose(J.T @ v, dense.T @ v)


def test_an_operator_composes() -> None:
    x = np.linspace(0.1, 1, 6)
    J = chainad.jacobian(well_posed, output="operator")(x)
    dense = chainad.jacobian(well_posed)(x)
    v = np.arange(6.0)
    np.testing.assert_allclose((J.T @ J + 2 * J) @ v, (dense.T @ dense + 2 * dense) @ v)


# ------------------------------------------------------------------------ out


def test_out_is_filled_and_returned() -> None:
    J = chainad.jacobian(np.square)
    out = np.full((3, 3), 7.0)
    assert J(np.arange(3.0), out=out) is out
    np.testing.assert_array_equal(out, np.diag(2 * np.arange(3.0)))
    value, same = chainad.value_and_jacobian(np.square)(np.ones(3), out=out)
    assert same is out
    np.testing.assert_array_equal(value, 1)
    np.testing.assert_array_equal(out, 2 * np.eye(3))
    scalar = np.zeros(())
    assert chainad.jacobian(np.sin)(0.0, out=scalar) is scalar
    assert scalar == 1


ROW_MAJOR: dict[str, tuple[Function, np.ndarray]] = {
    "reversed": (lambda x: np.cumsum(x)[::-1], np.ones(3)),
    "transposed places": (lambda x: np.add.outer(x, x), np.ones((1, 3))),
    "transposed sum": (lambda x: np.outer(np.sin(x), np.cos(x)).T, np.ones(3)),
    "float32": (lambda x: np.cumsum(x)[::-1], np.ones(3, np.float32)),
    "transposed chain": (lambda x: np.tanh(A @ np.tanh(x.T)).T, X),
}


@pytest.mark.parametrize("mode", ["auto", "forward", "reverse"])
@pytest.mark.parametrize(("f", "x"), ROW_MAJOR.values(), ids=ROW_MAJOR)
def test_dense_results_are_row_major_and_writable(f: Function, x: np.ndarray, mode: str) -> None:
    compiled = chainad.compile(chainad.jacobian(f, mode=mode), x, backend="numpy")
    found = [chainad.jacobian(f, mode=mode)(x), compiled(x), compiled(x), compiled(x + 1)]
    for jacobian in found:
        assert jacobian.flags.c_contiguous
        assert jacobian.flags.writeable
        assert jacobian.dtype == x.dtype
    both = chainad.jacobian(lambda x: (f(x), f(2 * x)), mode=mode)(x)
    assert all(block.flags.c_contiguous for block in both)
    assert chainad.jacobian(f, mode=mode, batch=0)(np.stack([x, x])).flags.c_contiguous


def test_out_may_be_a_part_of_an_array() -> None:
    whole = np.zeros((4, 8))
    chainad.jacobian(np.square)(np.ones(4), out=whole[:, ::2])
    np.testing.assert_array_equal(whole[:, ::2], 2 * np.eye(4))
    np.testing.assert_array_equal(whole[:, 1::2], 0)
    chainad.compile(chainad.jacobian(np.square), np.ones(4), backend="numpy")(
        np.ones(4), out=whole[:, 1::2]
    )
    np.testing.assert_array_equal(whole[:, 1::2], 2 * np.eye(4))


def test_out_is_nested_as_the_result_is() -> None:
    def f(x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
        return x * y, np.sum(y)

    out = ((np.ones((2, 2)), np.ones((2, 2))), (np.ones(2), np.ones(2)))
    found = chainad.jacobian(f, argnums=(0, 1))(np.array([1.0, 2.0]), np.array([3.0, 4.0]), out=out)
    for got_row, row in zip(found, out, strict=True):
        assert all(got is want for got, want in zip(got_row, row, strict=True))
    np.testing.assert_array_equal(out[0][0], np.diag([3.0, 4.0]))
    np.testing.assert_array_equal(out[0][1], np.diag([1.0, 2.0]))
    np.testing.assert_array_equal(out[1][0], 0)
    np.testing.assert_array_equal(out[1][1], 1)


BAD_OUT = [
    (np.zeros((3, 2)), r"out must be an array of float64 \(3, 3\), but got float64 \(3, 2\)"),
    (np.zeros((3, 3), np.float32), r"float64 \(3, 3\), but got float32 \(3, 3\)"),
    ([[0.0] * 3] * 3, "an array, nested as the Jacobian is, but got list"),
    ((np.zeros((3, 3)),), "an array, nested as the Jacobian is, but got tuple"),
]


@pytest.mark.parametrize(("out", "message"), BAD_OUT)
def test_out_that_does_not_fit_is_refused(out: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        chainad.jacobian(np.square)(np.ones(3), out=out)


@pytest.mark.parametrize("out", [(), (np.zeros((3, 3)),), [np.zeros((3, 3))] * 2])
def test_out_must_have_one_array_for_every_output(out: Any) -> None:
    with pytest.raises(InputError, match="out must be a tuple of 2 arrays, nested as the Jacobian"):
        chainad.jacobian(lambda x: (x, x))(np.ones(3), out=out)


def test_out_that_does_not_fit_is_left_alone() -> None:
    good, bad = np.full((3, 3), 7.0), np.zeros(3)
    with pytest.raises(InputError, match="out must be an array"):
        chainad.jacobian(lambda x: (x, x))(np.ones(3), out=(good, bad))
    np.testing.assert_array_equal(good, 7)


def test_out_that_is_read_only_is_refused() -> None:
    out = np.zeros((3, 3))
    out.flags.writeable = False
    with pytest.raises(InputError, match="out must be writeable"):
        chainad.jacobian(np.square)(np.ones(3), out=out)


@pytest.mark.parametrize("output", ["sparse", "structured", "operator"])
def test_out_is_for_dense_jacobians(output: str) -> None:
    with pytest.raises(InputError, match="out= takes dense Jacobians"):
        chainad.jacobian(np.square, output=output)(np.ones(3), out=np.zeros((3, 3)))


# -------------------------------------------------------------------- nesting


@pytest.mark.parametrize("output", ["sparse", "structured", "operator"])
def test_an_inner_jacobian_must_be_dense(output: str) -> None:
    inner = chainad.jacobian(np.exp, output=output)
    with pytest.raises(InputError, match="use output='dense' for the inner one"):
        chainad.jacobian(inner)(np.ones(3))


@pytest.mark.parametrize("output", ["sparse", "structured", "operator"])
def test_an_inner_jacobian_that_closes_over_a_traced_value_is_refused(output: str) -> None:
    def f(a: np.ndarray) -> np.ndarray:
        J = chainad.jacobian(lambda x: a * np.sin(x), output=output)(np.ones(3))
        return J @ np.ones(3) if output == "operator" else J.toarray()

    with pytest.raises((InputError, TraceError)):
        chainad.jacobian(f)(np.ones(3))


@pytest.mark.parametrize("output", ["sparse", "structured"])
def test_a_hessian_comes_in_every_form(output: str) -> None:
    def energy(x: np.ndarray) -> Any:
        return np.sum((x[1:] - x[:-1]) ** 4) + np.sum(np.cos(x))

    x = np.linspace(0, 1, 9) ** 2
    want = chainad.jacobian(chainad.jacobian(energy))(x)
    np.testing.assert_allclose(want, want.T, atol=1e-12)
    found = chainad.jacobian(chainad.jacobian(energy), output=output)(x)
    np.testing.assert_allclose(found.toarray(), want, atol=1e-12)
    operator = chainad.jacobian(chainad.jacobian(energy), output="operator")(x)
    np.testing.assert_allclose(operator @ np.eye(9), want, atol=1e-12)


class Pair(NamedTuple):
    first: Any
    second: Any


RESULTS: dict[str, tuple[Any, Any]] = {
    "list of arrays": (lambda x: [x, 2 * x], [np.eye(2), 2 * np.eye(2)]),
    "ragged list": (lambda x: [x[:1], 3 * x], [np.eye(2)[:1], 3 * np.eye(2)]),
    "parts": (lambda x: np.split(x, 2), [np.eye(2)[:1], np.eye(2)[1:]]),
    "a number and an array": (lambda x: [x[0], x], [np.eye(2)[0], np.eye(2)]),
    "numbers in a list among arrays": (lambda x: ([x[0], 0], x), (np.diag([1, 0]), np.eye(2))),
    "list of numbers": (lambda x: [x[0], 1.5, x[1]], np.array([[1, 0], [0, 0], [0, 1]])),
    "nested list of numbers": (
        lambda x: [[x[0], 1], [2.5, x[1]]], np.array([[[1, 0], [0, 0]], [[0, 0], [0, 1]]])),
    "pairs of numbers": (
        lambda x: [(x[0], 1.0)], [(np.array([1.0, 0.0]), np.array([0.0, 0.0]))]),
    "a dictionary": (
        lambda x: {"b": x, "a": {"c": [x[0], 1.0], "d": None}},
        {"b": np.eye(2), "a": {"c": np.diag([1.0, 0.0]), "d": None}}),
    "a named tuple": (lambda x: Pair(x, (x[0],)), Pair(np.eye(2), (np.eye(2)[0],))),
    "a constant": (lambda x: 3, np.zeros(2)),
    "integers of Python": (lambda x: [1, 2], np.zeros((2, 2))),
    "a constant array": (lambda x: np.ones(3), np.zeros((3, 2))),
    "nothing": (lambda x: [], np.zeros((0, 2))),
}  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
def test_lists_with_arrays_are_several_outputs_and_lists_of_numbers_are_arrays(name: str) -> None:
    f, wanted = RESULTS[name]
    x = np.array([2.0, 3.0])
    compiled = chainad.jacobian(f).compile(x)
    for found in (chainad.jacobian(f)(x), compiled(x), compiled(x)):
        assert optree.tree_structure(found) == optree.tree_structure(wanted)
        for one, other in zip(optree.tree_leaves(found), optree.tree_leaves(wanted), strict=True):
            assert one.shape == other.shape
            assert one.dtype == float
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("f", [
    lambda x: np.sin(np.cumsum(x))[[-2, -1]],
    lambda x: np.sin(np.cumsum(x))[[-2, -1]] + np.cumsum(x * 2)[:2],
    lambda x: (np.ones((2, 3)) @ np.cumsum(np.cos(x)))[:1] * np.ones(5),
])  # fmt: skip
@pytest.mark.parametrize("mode", ["auto", "forward", "reverse"])
def test_operators_are_no_factors_of_structured_jacobians(f: Function, mode: str) -> None:
    x = np.array([0.568, -1.156, -1.112])
    wanted = chainad.jacobian(f)(x)
    J = chainad.jacobian(f, mode=mode, output="structured")
    for g in (J, J.compile()):
        found = g(x)
        assert all(k.array is None or type(k.array) is np.ndarray for t in found.terms for k in t)
        np.testing.assert_allclose(found.toarray(), wanted, rtol=1e-12)
