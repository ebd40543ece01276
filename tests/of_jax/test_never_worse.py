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


def mapped(transform, f, x):
    return jax.jit(jax.vmap(transform(f))).lower(x).as_text()


@pytest.mark.parametrize(
    ("f", "width", "transform"),
    [
        (roe_like, 3, jax.jacfwd),
        (
            lambda x: jnp.cumsum(x**2),
            100,
            jax.jacrev,
        ),  # the seeds are summed for all points at once
        (lambda x: jnp.exp(jnp.cumsum(x)), 100, jax.jacfwd),
    ],
    ids=["tangents are faster", "seeds are pulled", "seeds are pushed"],
)
def test_under_vmap_auto_is_the_mode_in_which_least_depends_on_the_point(f, width, transform):
    x = jnp.ones((5, width))
    assert mapped(cj.jacobian, f, x) == mapped(transform, f, x)


def test_under_vmap_auto_leaves_jax_where_structure_gains():
    x = jnp.ones((5, 200))
    found = mapped(cj.jacobian, jax.nn.softmax, x)
    assert found not in [mapped(mode, jax.nn.softmax, x) for mode in (jax.jacfwd, jax.jacrev)]


def test_of_as_many_results_as_arguments_there_are_tangents():
    x = jnp.ones((2, 3))
    f = lambda x: x / jnp.sum(x, 0)
    assert program(cj.jacobian, f, x) == program(jax.jacfwd, f, x)


def test_what_convolutions_take_is_in_the_plan():
    f = lambda x: jnp.convolve(x, jnp.ones(5), mode="same")
    assert cj.plan(f, jnp.ones(100), cost="multiplications").multiplications == 100 * 500


@pytest.mark.parametrize(
    ("widths", "mode"),
    [((20, 300, 1000), "jacfwd"), ((1000, 300, 20), "jacrev"), ((50, 1000, 1000, 50), "jacrev")],
)
def test_auto_stays_with_jax_where_no_order_gains(widths, mode):
    made = cj.plan(*layers(*widths))
    costs = {offer.name: offer.cost for offer in made.alternatives}
    assert min(("jacfwd", "jacrev"), key=costs.__getitem__) == mode
    assert costs[mode] < 1.2 * made.cost
    assert f"f(x) (runs jax.{mode}; this is the best besides): " in str(made)


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


def with_aux(x):
    return {"a": roe_like(x), "b": x[1] * x}, {"sum": jnp.sum(x)}


def while_loop(x):
    return jax.lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, jnp.sin(s[1])), (0, x))[1]


@jax.custom_vjp
def pulled_only(x):
    return jnp.sin(x) * x[0]


pulled_only.defvjp(
    lambda x: (pulled_only(x), x),
    lambda x, y: (jnp.cos(x) * x[0] * y + jnp.zeros_like(x).at[0].set(jnp.sum(y * jnp.sin(x))),),
)


def check(f, x, theirs, **options):
    found = cj.jacobian(f, **options)(x)
    wanted = theirs(f, **options)(x)
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-6), found, wanted)


@pytest.mark.parametrize("jit", [lambda f: f, jax.jit])
def test_what_jax_answers_is_nested_as_by_jax(jit):
    x = jnp.arange(1.0, 4.0)
    value, found = jit(cj.value_and_jacobian(with_aux, has_aux=True))(x)
    wanted, aux = jax.jacrev(with_aux, has_aux=True)(x)
    assert jax.tree.structure(((with_aux(x)), (wanted))) == jax.tree.structure((value, found))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, 1e-5), (value[1], found), (aux, wanted)
    )


def test_what_jax_answers_goes_the_only_way_there_is():
    x = jnp.arange(1.0, 4.0)
    check(while_loop, x, jax.jacfwd)
    check(pulled_only, x, jax.jacrev)
    check(cj.jacobian(roe_like), x, lambda f: jax.jacfwd(jax.jacrev(roe_like)))
    check(lambda x: jnp.sum(cj.jacobian(roe_like)(x) ** 2), x, jax.grad)
    check(lambda x: jnp.zeros((0, 3)) * x, x, jax.jacrev)
    check(lambda x: x * 2, jnp.zeros(0), jax.jacrev)
    check(lambda x: jnp.ones(2), x, jax.jacrev)
    np.testing.assert_allclose(
        cj.jacobian(lambda x, y: x * y, argnums=(0, 1))(2.0, 3.0), (3.0, 2.0)
    )
