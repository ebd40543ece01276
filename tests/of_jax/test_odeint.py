"""odeint: the derivatives of JAX's, which integrates the adjoint equation backwards as well."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="needs the extra jax")

import jax.numpy as jnp
from jax.experimental.ode import odeint as jax_odeint

import chainad
from chainad.scipy.integrate import odeint

jax.config.update("jax_enable_x64", True)

TIMES = np.array([0.0, 0.5, 2.0])
X = np.array([1.0, 0.5, 1.5, 1.0, 0.7, 0.9])


def lotka_volterra(y, t, x, xp):
    a, b, c, d = x[2:]
    return xp.stack([a * y[0] - b * y[0] * y[1] + 0.1 * xp.sin(t), c * y[0] * y[1] - d * y[1]])


def test_odeint_has_the_derivatives_of_jax():
    def ours(x):
        return np.sum(odeint(lotka_volterra, x[:2], TIMES, args=(x, np)) ** 2)

    def theirs(x):
        y = jax_odeint(
            lambda y, t, x: lotka_volterra(y, t, x, jnp),
            x[:2],
            jnp.asarray(TIMES),
            x,
            rtol=1e-10,
            atol=1e-10,
        )
        return jnp.sum(y**2)

    expected = jax.grad(theirs)(X)
    for mode in ("forward", "reverse"):
        found = chainad.grad(ours, mode=mode)(X)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
