"""Jacobians of JAX functions, beside those of JAX, in every order."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="needs the extra jax")

from jax_functions import CASES

import chainad.jax as cj

WITHOUT_REVERSE = {"while"}


def assert_same(found, wanted, tolerance=1e-9):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert (one.shape, one.dtype) == (two.shape, two.dtype)
        rtol = tolerance if one.dtype == np.float64 else 1e-4
        np.testing.assert_allclose(one, two, rtol, rtol)


@pytest.mark.parametrize("mode", ["auto", "hybrid", "forward", "reverse"])
@pytest.mark.parametrize("name", CASES)
def test_jacobian_is_that_of_jax(name, mode):
    f, x = CASES[name]
    theirs = jax.jacfwd if name in WITHOUT_REVERSE else jax.jacrev
    found, wanted = jax.jit(lambda x: (cj.jacobian(f, mode=mode)(x), theirs(f)(x)))(x)
    assert_same(found, wanted)
