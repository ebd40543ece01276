"""Equations of known numbers are computed in NumPy, as JAX computes them."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="needs the extra jax")

import jax.numpy as jnp
from jax import lax

import chainad.jax as cj
from chainad.frontends.jax.constant_folding import _ELEMENTWISE, _ROWS, folded

X = np.array([[1.5, -2.0, 0.0], [4.0, 0.25, -3.5]], np.float32)

EXAMPLES = {
    "broadcast_in_dim": lambda x: lax.broadcast_in_dim(x, (2, 4, 3), (0, 2)),
    "concatenate": lambda x: lax.concatenate([x, 2 * x], 1),
    "convert_element_type": lambda x: lax.convert_element_type(x, jnp.int32),
    "iota": lambda x: lax.broadcasted_iota(jnp.int32, (2, 3), 1) * x.astype(jnp.int32),
    "reshape": lambda x: [lax.reshape(x, (3, 2)), lax.reshape(x, (3, 2), (1, 0))],
    "rev": lambda x: lax.rev(x, (0, 1)),
    "select_n": lambda x: lax.select_n(x > 0, x, -x),
    "slice": lambda x: lax.slice(x, (0, 1), (2, 3), (1, 2)),
    "squeeze": lambda x: lax.squeeze(lax.slice(x, (0, 0), (1, 3)), (0,)),
    "transpose": lambda x: lax.transpose(x, (1, 0)),
    "binary": lambda x: [
        lax.add(x, X), lax.sub(x, X), lax.mul(x, X), lax.max(x, 1 - X), lax.min(x, 1 - X),
        lax.eq(x, X), lax.ne(x, X), lax.ge(x, 1 - X), lax.gt(x, X), lax.le(x, X), lax.lt(x, 1 - X),
    ],
    "unary": lambda x: [
        lax.abs(x), lax.ceil(x), lax.floor(x), lax.neg(x), lax.sign(x), lax.sqrt(lax.abs(x))
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_equation_is_that_of_jax(name):
    jaxpr = jax.make_jaxpr(EXAMPLES[name])(X)
    known = dict(zip(jaxpr.jaxpr.constvars, jaxpr.consts, strict=True))
    known[jaxpr.jaxpr.invars[0]] = X
    names = set()
    for eqn in jaxpr.eqns:
        values = [getattr(v, "val", None) if hasattr(v, "val") else known[v] for v in eqn.invars]
        wanted = eqn.primitive.bind(*map(jnp.asarray, values), **eqn.params)
        found = folded(eqn.primitive.name, values, eqn.params, eqn.outvars[0].aval)
        names.add(eqn.primitive.name)
        assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
        np.testing.assert_array_equal(found, wanted)
        known[eqn.outvars[0]] = found
    assert name in names or name in ("binary", "unary")


def test_every_row_has_an_example():
    assert {*_ROWS} == {*EXAMPLES} - {"binary", "unary"}
    jaxprs = [jax.make_jaxpr(EXAMPLES[name])(X) for name in ("binary", "unary")]
    assert {*_ELEMENTWISE} <= {eqn.primitive.name for each in jaxprs for eqn in each.eqns}


def test_keys_of_random_numbers_are_left_to_jax():
    def f(x):
        keys = jnp.broadcast_to(jax.random.key(0), (2,))
        return x * jax.random.normal(keys[0], (3,))

    np.testing.assert_allclose(cj.jacobian(f, mode="hybrid")(X[0]), jax.jacfwd(f)(X[0]), 1e-6)
