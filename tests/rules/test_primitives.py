"""Own primitives: derivatives given by hand, as numbers or as actions."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse

import chainad
from chainad.errors import InputError, TraceError
from chainad.testing import check_jacobian

X = np.array([0.3, 1.2, -0.5, 0.9])
MAP = np.random.default_rng(0).normal(size=(3, 4))


def opaque(x: Any) -> Any:
    """A function that cannot be traced: it asks for plain numbers."""
    return np.asarray([float(v) ** 3 for v in np.ravel(x)]).reshape(np.shape(x))


@pytest.fixture
def cube() -> chainad.Primitive:
    found = chainad.primitive(opaque)
    found.jacobian(structure="diagonal")(lambda y, x: 3 * x**2)
    return found


def test_a_primitive_is_its_function_on_plain_arrays(cube: chainad.Primitive) -> None:
    np.testing.assert_array_equal(cube(X), opaque(X))
    assert cube.__doc__ == opaque.__doc__
    assert "opaque" in repr(cube)


def test_a_diagonal_primitive_is_one_sparse_vertex(cube: chainad.Primitive) -> None:
    check_jacobian(lambda x: np.sin(cube(x)), X)
    plan = chainad.plan(lambda x: np.sin(cube(2 * x)), X)
    assert [e.structure.kind for e in plan.graph.edges][-1] == "diagonal"
    assert chainad.jacobian(cube, output="sparse")(X).nnz == 4
    H = chainad.jacobian(chainad.jacobian(lambda x: np.sum(cube(x))))(X)
    np.testing.assert_allclose(H, np.diag(6 * X))


def test_a_dense_primitive_of_two_arguments() -> None:
    @chainad.primitive
    def outer(x, y):
        return np.asarray(x)[:, None] * np.asarray(y)

    @outer.jacobian(0)
    def by_x(z, x, y):
        return np.einsum("ik,j->ijk", np.eye(len(x)), y)

    @outer.jacobian(1)
    def by_y(z, x, y):
        return np.einsum("jk,i->ijk", np.eye(len(y)), x)

    check_jacobian(lambda x: outer(x, x[:2] ** 2), X)
    check_jacobian(lambda x: outer(x, np.ones(2)), X)
    check_jacobian(lambda x: outer(np.ones(3), x), X)


def test_a_primitive_with_a_pattern_stays_sparse() -> None:
    rows, cols = np.repeat(np.arange(3), 2), np.array([0, 1, 1, 2, 2, 3])

    def numbers(y, x):
        d = 2 * (x[1:] - x[:-1])
        return np.reshape(np.stack([-d, d], axis=1), -1)

    for pattern in ((rows, cols), scipy.sparse.coo_array((np.ones(6), (rows, cols)), (3, 4))):
        differences = chainad.primitive(lambda x: np.diff(np.asarray(x)) ** 2)
        differences.jacobian(structure=pattern)(numbers)
        check_jacobian(lambda x, d=differences: d(np.sin(x)), X)
        assert chainad.jacobian(differences, output="sparse")(X).nnz == 6


@pytest.mark.parametrize("given", [("jvp", "vjp"), ("jvp",), ("vjp",)])
@pytest.mark.parametrize("mode", ["auto", "forward", "reverse"])
def test_an_operator_primitive_needs_one_direction_only(given: Any, mode: str) -> None:
    rule = {"jvp": lambda t, y, x: MAP @ t, "vjp": lambda a, y, x: a @ MAP}
    apply = chainad.primitive(lambda x: MAP @ np.asarray(x))
    apply.operator(0, **{name: rule[name] for name in given})

    def f(x):
        return np.sin(apply(np.cos(x)))

    wanted = np.diag(np.cos(MAP @ np.cos(X))) @ MAP @ np.diag(-np.sin(X))
    np.testing.assert_allclose(chainad.jacobian(f, mode=mode)(X), wanted)
    np.testing.assert_allclose(chainad.jacobian(f, output="operator")(X) @ X, wanted @ X)
    np.testing.assert_allclose(chainad.jacobian(apply)(X), MAP)


def test_scalars_have_operators_too() -> None:
    square = chainad.primitive(lambda x: np.asarray(x) ** 2)
    square.operator(jvp=lambda t, y, x: 2 * x * t)
    assert float(chainad.jacobian(square)(np.float64(3.0))) == 6.0


def test_what_does_not_fit_is_refused() -> None:
    bare = chainad.primitive(opaque)
    with pytest.raises(TraceError, match=r"no derivative was given for argument 0"):
        chainad.jacobian(bare)(X)
    with pytest.raises(InputError, match="structure='banded' is unknown"):
        bare.jacobian(structure="banded")
    with pytest.raises(InputError, match="give jvp=, vjp= or both"):
        bare.operator(0)
    bare.jacobian()(lambda y, x: np.ones((2, 2)))
    with pytest.raises(InputError, match="has a derivative by argument 0 already"):
        bare.operator(jvp=lambda t, y, x: t)
    with pytest.raises(InputError, match=r"must have shape \(4, 4\), but has \(2, 2\)"):
        chainad.jacobian(bare)(X)
    short = chainad.primitive(opaque)
    short.operator(jvp=lambda t, y, x: t[:2])
    with pytest.raises(InputError, match=r"jvp of .* must return shape \(4,\), but got \(2,\)"):
        chainad.jacobian(short)(X)
    total = chainad.primitive(lambda x: np.sum(np.asarray(x)))
    total.jacobian(structure="diagonal")(lambda y, x: x)
    with pytest.raises(TraceError, match="needs equal shapes"):
        chainad.jacobian(total)(X)
    wide = chainad.primitive(opaque)
    wide.jacobian(structure=([9], [0]))(lambda y, x: np.ones(1))
    with pytest.raises(TraceError, match="outside of a 4 x 4"):
        chainad.jacobian(wide)(X)
