"""Gradients, Hessians, and products with vectors: every verb, by independent values."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.sparse.linalg import lsqr

import chainad
from chainad.errors import InputError

Function = Callable[..., Any]

RNG = np.random.default_rng(7)
A = RNG.normal(size=(3, 4))
X, V = RNG.normal(size=4), RNG.normal(size=4)
W = {"a": np.float64(0.7), "b": [RNG.normal(size=3), RNG.normal(size=(2, 2))]}
DW = {"a": np.float64(0.3), "b": [RNG.normal(size=3), RNG.normal(size=(2, 2))]}


def model(x: Any, w: Any) -> Any:
    """Fill an array entry by entry, as ordinary code does."""
    y = np.zeros(3)
    for i in range(3):
        y[i] = np.sin(A[i] @ x) * w["b"][0][i]
    return {"y": w["a"] * y, "s": (np.sum(w["b"][1] ** 3) * x[0],)}


def energy(x: Any, w: Any) -> Any:
    out = model(x, w)
    return np.sum(out["y"] ** 2) + out["s"][0]


def flat(f: Function, *like: Any) -> tuple[Function, Any]:
    """Return a function as one of vectors."""
    point, unravel = chainad.ravel(like)
    return (lambda z: chainad.ravel(f(*unravel(z)))[0]), point


def differences(f: Function, z: Any) -> Any:
    """Return the Jacobian of a function of vectors, by central differences of fourth order."""
    columns = []
    for e in np.eye(z.size):
        h = 1e-3
        a, b, c, d = (np.asarray(f(z + k * h * e)) for k in (-2, -1, 1, 2))
        columns.append((a - 8 * b + 8 * c - d) / (12 * h))
    return np.stack(columns, -1)


def vector(tree: Any) -> Any:
    return chainad.ravel(tree)[0]


def compiled(f: Function) -> Function:
    g = chainad.compile(f)

    def twice(*args: Any) -> Any:
        first, second = g(*args), g(*args)
        np.testing.assert_array_equal(vector(first), vector(second))
        return second

    return twice


FORMS: dict[str, Function] = {"traced": lambda f: f, "compiled": compiled}
form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


@form
def test_jvp_pushes_tangents_forward(form: Function) -> None:
    f, z = flat(model, X, W)
    wanted = differences(f, z) @ vector((V, DW))
    value, tangent = form(lambda x, w, v: chainad.jvp(model, (x, w), v))(X, W, (V, DW))
    np.testing.assert_allclose(vector(value), f(z), rtol=1e-14)
    np.testing.assert_allclose(vector(tangent), wanted, atol=1e-9)
    assert type(tangent["s"]) is tuple
    alone = form(lambda x, v: chainad.jvp(model, (x, W), (v,), argnums=0)[1])(X, V)
    np.testing.assert_allclose(vector(alone), differences(f, z)[:, :4] @ V, atol=1e-9)


@form
def test_vjp_pulls_adjoints_back(form: Function) -> None:
    f, z = flat(model, X, W)
    adjoints = {"y": np.array([1.0, -2.0, 0.5]), "s": (2.0,)}
    wanted = vector(adjoints) @ differences(f, z)
    found = form(lambda x, w, u: chainad.vjp(model, x, w)[1](u))(X, W, adjoints)
    np.testing.assert_allclose(vector(found), wanted, atol=1e-9)
    assert [*found[1]] == ["a", "b"]


def test_vjp_runs_the_function_once() -> None:
    calls = []

    def f(x: Any) -> Any:
        calls.append(0)
        return x * x

    value, pullback = chainad.vjp(f, X)
    for k in range(3):
        np.testing.assert_allclose(pullback(np.eye(4)[k])[0], 2 * X[k] * np.eye(4)[k])
    assert len(calls) == 1
    np.testing.assert_allclose(value, X * X)


def test_linearize_gives_a_matrix_known_by_its_products() -> None:
    f, z = flat(model, X, W)
    J = differences(f, z)
    value, linear = chainad.linearize(model, X, W)
    np.testing.assert_allclose(vector(value), f(z))
    assert linear.shape == J.shape
    np.testing.assert_allclose(vector(linear(V, DW)), J @ vector((V, DW)), atol=1e-9)
    columns, rows = RNG.normal(size=(J.shape[1], 3)), RNG.normal(size=(J.shape[0], 2))
    for found, wanted in (
        (linear @ columns, J @ columns),
        (linear @ columns[:, 0], J @ columns[:, 0]),
        (linear.matmat(columns), J @ columns),
        (linear.T @ rows, J.T @ rows),
        (linear.rmatmat(rows), J.T @ rows),
        (linear.rmatvec(rows[:, 1]), J.T @ rows[:, 1]),
        (rows.T @ linear, rows.T @ J),
        (rows[:, 0] @ linear, rows[:, 0] @ J),
        (linear.T.T @ columns, J @ columns),
        (linear @ columns[:, :0], J @ columns[:, :0]),
    ):
        np.testing.assert_allclose(found, wanted, atol=1e-8)
    step = lsqr(linear, vector(value), atol=1e-14, btol=1e-14)[0]
    np.testing.assert_allclose(step, np.linalg.lstsq(J, vector(value))[0], atol=1e-6)


@form
def test_hvp_is_the_hessian_times_a_vector(form: Function) -> None:
    f, z = flat(energy, X, W)
    H = differences(lambda z: differences(f, z)[0], z)
    found = form(lambda x, w, v: chainad.hvp(energy, (x, w), v))(X, W, (V, DW))
    np.testing.assert_allclose(vector(found), H @ vector((V, DW)), atol=1e-5)
    one = form(lambda x, v: chainad.hvp(lambda x: energy(x, W), (x,), (v,)))(X, V)
    np.testing.assert_allclose(one, H[:4, :4] @ V, atol=1e-5)


@form
def test_hessians_are_nested_twice(form: Function) -> None:
    f, z = flat(energy, X, W)
    H = differences(lambda z: differences(f, z)[0], z)
    second = chainad.hessian(energy, (0, "w"))
    found = form(second)(X, W)
    np.testing.assert_allclose(found[0][0], H[:4, :4], atol=1e-5)
    np.testing.assert_allclose(found[0][1]["b"][1].reshape(4, 4), H[:4, 8:], atol=1e-5)
    np.testing.assert_allclose(found[1]["a"][1]["b"][0], H[4, 5:8], atol=1e-5)


@pytest.mark.parametrize("output", ["sparse", "structured", "operator"])
def test_hessians_come_in_every_form(output: str) -> None:
    def chain(x: Any) -> Any:
        return np.sum((x[1:] - x[:-1] ** 2) ** 2)

    dense = chainad.hessian(chain)(X)
    np.testing.assert_allclose(dense, dense.T)
    found = chainad.hessian(chain, output=output)(X)
    np.testing.assert_allclose(found @ np.eye(4), dense)
    if output == "sparse":
        assert found.nnz == 10
    assert repr(chainad.hessian(chain)).startswith("chainad.hessian(chain, argnums=0")
    assert str(chainad.hessian(chain).plan(X)).startswith("Hessian of chain(x)")


def test_gradients_are_for_numbers() -> None:
    f, z = flat(energy, X, W)
    wanted = differences(f, z)[0]
    for g in (chainad.grad(energy, (0, 1)), chainad.grad(energy, (0, 1)).compile()):
        np.testing.assert_allclose(vector(g(X, W)), wanted, atol=1e-9)
    value, slope = chainad.value_and_grad(energy, "w").compile()(X, w=W)
    np.testing.assert_allclose(value, energy(X, W))
    np.testing.assert_allclose(vector(slope), wanted[4:], atol=1e-9)
    for g in (chainad.grad(np.sin), chainad.grad(np.sin).compile(), chainad.value_and_grad(np.sin)):
        with pytest.raises(InputError, match=r"sin returned an array of shape \(4,\); use chainad"):
            g(X)
    with pytest.raises(
        InputError, match=r"returned a tuple of 2 arrays, of the shapes \(\), \(4,\)"
    ):
        chainad.grad(lambda x: (x[0], x))(X)
    with pytest.raises(InputError, match="is for functions that return a number"):
        chainad.hvp(np.sin, (X,), (V,))


def test_gradients_of_many_points() -> None:
    points = RNG.normal(size=(5, 4))
    found = chainad.grad(lambda x: np.sum(x**3), batch=0)(points)
    np.testing.assert_allclose(found, 3 * points**2)
    second = chainad.hessian(lambda x: np.sum(x**3), batch=0)(points)
    np.testing.assert_allclose(second, 6 * points[:, :, None] * np.eye(4))


def cubes(x: Any) -> Any:
    return np.sum(x**3)


@pytest.mark.parametrize("make", [chainad.grad, chainad.value_and_grad, chainad.hessian])
def test_verbs_are_pickled(make: Function) -> None:
    for g in (make(cubes), make(cubes).compile()):
        again = pickle.loads(pickle.dumps(g))
        assert repr(again) == repr(g)
        np.testing.assert_array_equal(vector(again(X)), vector(g(X)))


def test_what_else_is_returned_comes_last() -> None:
    def f(x: Any) -> Any:
        return np.sum(x**2), {"twice": 2 * x}

    slope, aux = chainad.grad(f, has_aux=True)(X)
    np.testing.assert_allclose(slope, 2 * X)
    np.testing.assert_allclose(aux["twice"], 2 * X)
    for found in (
        chainad.jvp(f, (X,), (V,), has_aux=True),
        chainad.vjp(f, X, has_aux=True),
        chainad.linearize(f, X, has_aux=True),
        (None, *chainad.hvp(f, (X,), (V,), has_aux=True)),
        (None, *chainad.hessian(f, has_aux=True)(X)),
    ):
        assert len(found) == 3
        np.testing.assert_allclose(found[2]["twice"], 2 * X)


def test_products_are_differentiated_again() -> None:
    f, z = flat(energy, X, W)
    H = differences(lambda z: differences(f, z)[0], z)[:4, :4]
    along = chainad.grad(lambda x: chainad.jvp(lambda x: energy(x, W), (x,), (V,))[1])(X)
    back = chainad.jacobian(lambda x: chainad.vjp(lambda x: energy(x, W), x)[1](1.0)[0])(X)
    np.testing.assert_allclose(along, H @ V, atol=1e-5)
    np.testing.assert_allclose(back, H, atol=1e-5)
    # Each is linear in the vector.
    by_tangent = chainad.jacobian(lambda v: chainad.jvp(np.sin, (X,), (v,))[1])(V)
    by_adjoint = chainad.jacobian(lambda u: chainad.vjp(np.sin, X)[1](u)[0])(V)
    np.testing.assert_allclose(by_tangent, np.diag(np.cos(X)))
    np.testing.assert_allclose(by_adjoint, np.diag(np.cos(X)))
    for f in (lambda x: [x[0] ** 2, x[1]], lambda x: {"y": x[0] ** 2, "t": (x[1],)}):
        u = f(np.ones(2))
        found = chainad.jacobian(lambda x, f=f, u=u: chainad.vjp(f, x)[1](u)[0])(X)
        np.testing.assert_allclose(found, np.diag([2.0, 0, 0, 0]))
    third = chainad.jacobian(lambda x: chainad.hvp(cubes, (x,), (V,)))(X)
    np.testing.assert_allclose(third, 6 * np.diag(V))


def test_tangents_of_nan_leave_the_value_alone() -> None:
    value, tangent = chainad.jvp(lambda x: x * 2, (np.array([1.0, -0.0]),), ([np.nan, np.inf],))
    np.testing.assert_array_equal(value, [2.0, -0.0])
    assert np.signbit(value[1])
    np.testing.assert_array_equal(tangent, [np.nan, np.inf])


def test_vectors_that_do_not_fit_are_refused() -> None:
    part = {**DW, "b": [DW["b"][0], np.ones(3)]}
    for tangents, message in (
        (V, "tangents must be a tuple.* argument 0, 1 of energy, but got an array of dtype"),
        ((V,), r"tangents must be a tuple.* but got a tuple of 1; argnums"),
        (
            (np.ones(3), DW),
            r"tangents\[0\] must have the shape of argument 0, \(4,\), but has \(3,",
        ),
        ((V, part), r"tangents\[1\]\['b'\]\[1\] must have the shape of w\['b'\]\[1\], \(2, 2\)"),
        ((V, V), r"tangents\[1\] must be arranged as w is, w\['a'\], .*, but got an array"),
        ((None, DW), "must be arranged as argument 0 is, an array, but got a container without"),
        ((V * 1j, DW), r"tangents\[0\] must be an array of real numbers.*complex128"),
    ):
        for product in (chainad.jvp, chainad.hvp):
            with pytest.raises(InputError, match=message):
                product(energy, (X, W), tangents)
    for adjoints, message in (
        (np.ones(2), r"adjoints must have the shape of value, \(4,\), but has \(2,\)"),
        ((V,), r"adjoints must be arranged as value is, an array, but got adjoints\[0\]"),
        (V * 1j, "adjoints must be an array of real numbers"),
    ):
        with pytest.raises(InputError, match=message):
            chainad.vjp(np.sin, X)[1](adjoints)
    with pytest.raises(InputError, match=r"primals must be a tuple.* of sin.* written \(x,\)"):
        chainad.jvp(np.sin, X, V)
    with pytest.raises(InputError, match=r"vjp has no option w=; choose mode.*partial\(f, w=...\)"):
        chainad.vjp(energy, X, w=W)
    with pytest.raises(InputError, match=r"w\['a'\] must be an array of real floats"):
        chainad.jvp(energy, (X, {"a": "b"}), (V, {"a": "b"}))
    with pytest.raises(InputError, match="of shape"):
        chainad.linearize(np.sin, X)[1] @ np.ones(3)


def test_sparsity_is_what_is_stored_whatever_the_values() -> None:
    def f(x: Any, w: Any) -> Any:
        return {"d": np.diff(x) * w["a"], "none": np.ones(2)}

    found = chainad.sparsity(f, np.zeros(5), {"a": 0.0}, argnums=(0, 1))
    by_x, by_w = found["d"]
    assert (by_x.dtype, by_x.shape, by_x.nnz) == (bool, (4, 5), 8)
    np.testing.assert_array_equal(by_x.toarray(), np.eye(4, 5) + np.eye(4, 5, 1) > 0)
    assert by_w["a"].toarray().all()
    assert found["none"][0].nnz == 0


@pytest.mark.parametrize("tree", [np.ones((2, 3)), [1.0, 2.0], 3.0, W, (), {"a": np.float32(2)}])
def test_ravel_and_back(tree: Any) -> None:
    flat_tree, unravel = chainad.ravel(tree)
    assert flat_tree.ndim == 1
    again, _ = chainad.ravel(unravel(flat_tree))
    np.testing.assert_array_equal(again, flat_tree)
    assert again.dtype == flat_tree.dtype
    with pytest.raises(InputError, match="unravel takes an array of shape"):
        unravel(np.ones(99))


def test_integers_are_raveled_as_floats() -> None:
    start, unravel = chainad.ravel({"n": 2, "k": np.arange(2)})
    assert start.dtype == float
    assert unravel(start + 0.5)["n"] == 2.5
    for tree, name in (({"a": "text"}, r"x\['a'\]"), (object(), "x"), ([True], "x")):
        with pytest.raises(InputError, match=f"{name} must be an array of numbers, but got"):
            chainad.ravel(tree)


def test_gradients_stop_in_containers() -> None:
    def f(x: Any) -> Any:
        made = np.zeros(4)
        made[1] = x[1]
        parts = chainad.stop_gradient({"x": [x, x[0]], "made": made, "none": None})
        return np.sum(parts["x"][0] * x) + parts["x"][1] * x[0] + np.sum(parts["made"] * x)

    g = chainad.grad(f)
    wanted = X + X * [1, 1, 0, 0]
    np.testing.assert_allclose(g(X), wanted)
    np.testing.assert_allclose(g.compile(X)(2 * X), 2 * wanted)


def test_ravel_is_differentiated() -> None:
    found = chainad.jacobian(lambda x: chainad.ravel({"a": [x[0] ** 2, 1.0], "b": x[1:]})[0])(X)
    np.testing.assert_allclose(found, np.diag([2 * X[0], 0, 1, 1, 1])[:, [0, 2, 3, 4]])
    flat_w, unravel = chainad.ravel(W)
    slope = chainad.grad(lambda z: energy(X, unravel(z)))(flat_w)
    np.testing.assert_allclose(slope, vector(chainad.grad(energy, 1)(X, W)))
