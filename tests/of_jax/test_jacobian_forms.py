"""Jacobians of JAX functions that are structured or sparse: what they store, and as pytrees."""

from functools import partial

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="needs the extra jax")

import jax.numpy as jnp
from jax import lax
from jax.experimental import sparse

import chainad.jax as cj
from chainad.errors import ChainadError, InputError, PlanError

jax.config.update("jax_enable_x64", True)

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(3, 6)), RNG.normal(size=(6, 2))
U, V = RNG.normal(size=(20, 2)), RNG.normal(size=(2, 30))
x, long = jnp.asarray(RNG.normal(size=5)), jnp.asarray(RNG.normal(size=30))
X = jnp.asarray(RNG.normal(size=(4, 3)))
structured = partial(cj.jacobian, output="structured")
bcoo = partial(cj.jacobian, output="bcoo")

CASES = {
    "diagonal": (jnp.sin, x),
    "factors": (lambda x: jnp.tanh(U @ jnp.tanh(V @ x)), long),
    "blocks": (lambda X: jnp.tanh(X @ A) @ B, X),
    "stencil": (lambda x: x[1:] * x[:-1] ** 2, long),
    "gradient": (lambda x: jnp.sum(x**3), x),
    "number": (lambda a: a**2, jnp.asarray(3.0)),
    "column": (lambda a: a * x, jnp.asarray(3.0)),
    "running sums": (jnp.cumsum, x),
    "selection": (lambda x: 2 * x[1:], x),
    "identity": (lambda x: x, x),
    "zero": (lambda x: jnp.ones(3), x),
}
EXACT = {
    "diagonal": 5, "blocks": 24, "stencil": 58, "running sums": 15, "selection": 4, "zero": 0,
}  # fmt: skip


def assert_close(found, wanted):
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_every_form_is_that_of_the_dense_jacobian(name):
    f, point = CASES[name]
    wanted = jax.jacfwd(f)(point)
    J, S = jax.jit(lambda x: (structured(f)(x), bcoo(f)(x)))(point)
    assert (J.shape, J.ndim, J.size, J.dtype) == (
        wanted.shape, wanted.ndim, wanted.size, wanted.dtype
    )  # fmt: skip
    assert_close(J.todense(), wanted)
    assert_close(S.todense(), wanted)
    assert S.nse == EXACT.get(name, S.nse)
    assert S.indices_sorted
    assert S.unique_indices
    places = [*map(tuple, np.asarray(S.indices).tolist())]
    assert places == sorted({*places})


@pytest.mark.parametrize("name", [name for name in CASES if np.ndim(CASES[name][1]) == 1])
def test_products_are_those_of_the_dense_jacobian(name):
    f, point = CASES[name]
    J, dense = structured(f)(point), jax.jacfwd(f)(point)
    v = jnp.linspace(1.0, 2.0, dense.shape[-1])
    assert_close(jax.jit(lambda J, v: J @ v)(J, v), dense @ v)
    assert_close(J @ jnp.stack([v, -v], 1), dense @ jnp.stack([v, -v], 1))
    if dense.ndim == 2:
        u = np.linspace(1.0, 2.0, dense.shape[0])
        assert_close(J.T.todense(), dense.T)
        for found in (J.T @ u, u @ J, jnp.asarray(u) @ J):
            assert_close(found, dense.T @ u)
        assert_close(J.T @ J, dense.T @ dense)


def test_what_is_stored_is_what_there_is():
    blocks, (u, v) = (
        structured(CASES["blocks"][0])(X),
        structured(CASES["factors"][0])(long).factors,
    )
    assert repr(blocks) == ("JacobianPytree((4, 2, 4, 3): block diagonal [i j | i k] stored i j k)")
    assert_close(blocks.array, jax.vmap(jax.jacfwd(CASES["blocks"][0]))(X))
    assert (u.shape, v.shape) == ((20, 2), (2, 30))
    assert_close(structured(jnp.sin)(x).array, jnp.cos(x))
    assert jax.tree.leaves(structured(lambda x: x)(x)) == []
    with pytest.raises(
        ChainadError, match=r'is not one array; .* take output="bcoo" or J\.todense'
    ):
        _ = structured(CASES["factors"][0])(long).array


def test_nothing_of_the_size_of_a_product_of_thin_factors_is_made():
    text = str(jax.make_jaxpr(structured(CASES["factors"][0]))(long))
    assert "20,30" not in text.replace("f64[20,30]", "", 0)


@pytest.mark.parametrize("name", ["diagonal", "factors", "blocks", "stencil"])
def test_forms_are_stacked_by_vmap_and_scan(name):
    f, point = CASES[name]
    points = jnp.stack([point, 2 * point])
    wanted = jax.vmap(jax.jacfwd(f))(points)
    for form in (structured, bcoo):
        assert_close(jax.vmap(form(f))(points).todense(), wanted)
    _, stacked = lax.scan(lambda c, x: (c, structured(f)(x)), 0, points)
    assert_close(stacked.todense(), wanted)
    assert_close(jax.vmap(lambda J: J.todense())(stacked), wanted)


def test_stacked_jacobians_have_the_shape_of_the_stack():
    J = jax.vmap(structured(jnp.sin))(jnp.stack([x, 2 * x]))
    assert (J.shape, J.n_rows, len(J)) == ((2, 5, 5), 2, 2)
    v = jnp.ones((2, 5))
    assert_close(jax.vmap(lambda J, v: J @ v)(J, v), jnp.cos(jnp.stack([x, 2 * x])))
    for refused in (lambda: J @ v, lambda: v @ J, lambda: J.T):
        with pytest.raises(InputError, match=r"these are stacked: take it under vmap"):
            refused()
    u, v = jax.vmap(structured(CASES["factors"][0]))(jnp.stack([long, 2 * long])).factors
    assert_close(u @ v, jax.vmap(jax.jacfwd(CASES["factors"][0]))(jnp.stack([long, 2 * long])))
    other = jax.vmap(structured(CASES["factors"][0]), out_axes=1)(jnp.stack([long, long, long]))
    with pytest.raises(InputError, match=r"stack Jacobians along the first axis"):
        other.todense()


@pytest.mark.parametrize("name", ["diagonal", "factors", "blocks", "stencil"])
def test_what_is_made_of_a_form_is_differentiated(name):
    f, point = CASES[name]

    def squares(form, dense):
        return lambda x: jnp.sum(dense(form(f)(x)) ** 2)

    wanted = jax.grad(squares(jax.jacfwd, lambda J: J))(point)
    for form in (structured, bcoo):
        assert_close(jax.grad(squares(form, lambda J: J.todense()))(point), wanted)


def test_the_jacobian_of_what_is_stored_is_a_jacobian():
    wanted = jax.jacfwd(jax.jacfwd(jnp.sin))(x)
    assert_close(jax.jacfwd(lambda x: structured(jnp.sin)(x).todense())(x), wanted)
    inner = structured(lambda x: structured(jnp.sin)(x).array)(x)
    assert_close(inner.array, -jnp.sin(x))
    assert_close(bcoo(lambda x: bcoo(jnp.sin)(x).data)(x).data, -jnp.sin(x))


@pytest.mark.parametrize("output", ["structured", "bcoo"])
def test_forms_nest_as_the_dense_ones_do(output):
    def f(p, y):
        return {"a": p[0] * y, "b": (p[1].sum(), p[0][:2])}

    def is_form(leaf):
        return isinstance(leaf, (cj.JacobianPytree, sparse.BCOO))

    point, argnums = ((x, X), 2 * x), (0, 1)
    found = cj.jacobian(f, argnums, output=output)(*point)
    dense = jax.tree.map(lambda J: J.todense(), found, is_leaf=is_form)
    wanted = jax.jacfwd(f, argnums)(*point)
    assert jax.tree.structure(dense) == jax.tree.structure(wanted)
    jax.tree.map(assert_close, dense, wanted)


def test_hessians_and_values_come_in_every_form():
    def f(x):
        return jnp.sum(jnp.sin(x) * x)

    assert_close(cj.hessian(f, output="structured")(x).array, jnp.diag(jax.hessian(f)(x)))
    value, J = cj.value_and_jacobian(jnp.sin, output="bcoo")(x)
    assert_close(value, jnp.sin(x))
    assert J.nse == 5


def test_dtypes_are_those_of_the_function():
    point = x.astype(jnp.float32)
    for name in ("diagonal", "selection"):
        J = structured(CASES[name][0])(point)
        assert {J.dtype, *(a.dtype for a in jax.tree.leaves(J))} == {np.dtype("float32")}
        assert J.todense().dtype == (J @ point).dtype == jnp.float32
        assert (J @ x).dtype == jnp.float64


J = cj.jacobian
REFUSED = {
    "output='sparse' is unknown; choose 'dense', 'structured' or 'bcoo'": (
        lambda: J(jnp.sin, output="sparse")
    ),
    "output='structure' is unknown; did you mean 'structured'?": (
        lambda: J(jnp.sin, output="structure")
    ),
    "mode='revers' is unknown; did you mean 'reverse'?": lambda: J(jnp.sin, mode="revers"),
    "cost='tme' is unknown; did you mean 'time'?": lambda: J(jnp.sin, cost="tme"),
    "argnums must be a position (int) of an argument, or a sequence of positions, but got 'x'": (
        lambda: J(jnp.sin, "x")
    ),
    "J @ v takes v of shape (5,) or (5, k), but got one of shape (4,)": (
        lambda: structured(jnp.sin)(x) @ jnp.ones(4)
    ),
    'use jnp.tensordot(J.todense(), v, 2), or output="bcoo"': (
        lambda: structured(jnp.sin)(X) @ jnp.ones(4)
    ),
    'use jnp.tensordot(u, J.todense(), 2), or output="bcoo"': (
        lambda: jnp.ones(4) @ structured(jnp.sin)(X)
    ),
    "Jacobians are dense, but output='bcoo' is requested": (
        lambda: jax.vmap(bcoo(lambda x: lax.psum(x, "i") * x), axis_name="i")(X)
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_it_refuses_what_is_none(message):
    with pytest.raises((InputError, PlanError)) as refused:
        REFUSED[message]()
    assert message in str(refused.value)
