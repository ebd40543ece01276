"""Auto answers by JAX's own modes, unless another order is predicted to be quicker."""

from itertools import pairwise

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="needs the extra jax")

import jax.numpy as jnp

import chainad.jax as cj

RNG = np.random.default_rng(0)


def layers(*widths):
    matrices = [RNG.normal(size=(m, n)) / n for n, m in pairwise(widths)]

    def f(x):
        for matrix in matrices:
            x = jnp.tanh(matrix @ x)
        return x

    return f, jnp.ones(widths[0])


def program(transform, f, x):
    return str(jax.make_jaxpr(transform(f))(x))


def roe_like(x):
    return jnp.stack([x[0] * x[1] / (1 + x[2]), jnp.sqrt(x[0] ** 2 + x[2] ** 2)])


def test_a_function_of_few_numbers_has_the_program_of_jax():
    x = jnp.ones(3)
    assert program(cj.jacobian, roe_like, x) == program(jax.jacrev, roe_like, x)


def test_under_vmap_a_tangent_of_few_numbers_costs_less_than_an_adjoint():
    x = jnp.ones((5, 3))
    found = program(lambda f: jax.vmap(cj.jacobian(f)), roe_like, x)
    assert found == program(lambda f: jax.vmap(jax.jacfwd(f)), roe_like, x)


@pytest.mark.parametrize(
    ("widths", "mode"),
    [((20, 300, 1000), "jacfwd"), ((1000, 300, 20), "jacrev"), ((50, 1000, 1000, 50), "jacrev")],
)
def test_auto_stays_with_jax_where_no_order_gains(widths, mode):
    made = cj.plan(*layers(*widths))
    costs = {offer.name: offer.cost for offer in made.alternatives}
    assert min(("jacfwd", "jacrev"), key=costs.__getitem__) == mode
    assert costs[mode] < 1.2 * made.cost
    assert f"f, by jax.{mode}: " in str(made)


def test_auto_leaves_jax_at_a_bottleneck():
    f, x = layers(500, 200, 5, 200, 500)
    made = cj.plan(f, x)
    assert made.mode == "hybrid"
    assert "by jax" not in str(made)
    costs = {offer.name: offer.cost for offer in made.alternatives}
    assert min(costs["jacfwd"], costs["jacrev"]) > 5 * made.cost
    found = jax.jit(cj.jacobian(f))(x)
    np.testing.assert_allclose(found, jax.jacrev(f)(x), 1e-3, 1e-6)


def test_the_plan_says_whose_costs_it_is_by():
    assert "XLA" in cj.plan(*layers(5, 4, 3)).model
    assert cj.plan(*layers(5, 4, 3), cost="multiplications").model == "multiplications"
