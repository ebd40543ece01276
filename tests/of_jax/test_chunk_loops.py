"""Jacobians of JAX functions in blocks: the same entries, in less memory, in one loop."""

from functools import partial

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="needs the extra jax")

import jax.numpy as jnp
from jax import lax

import chainad.jax as cj
from chainad.errors import InputError, PlanError, TooLargeError
from chainad.planning.chunked import ChunkedPlan

jax.config.update("jax_enable_x64", True)

RNG = np.random.default_rng(0)
WIDE = [RNG.normal(size=shape) / 10 for shape in ((300, 100), (300, 300), (50, 300))]
x = jnp.asarray(RNG.uniform(0.5, 1.5, size=20))
long = jnp.linspace(0.0, 1.0, 100)


def layers(x):
    for weights in WIDE:
        x = jnp.tanh(weights @ x)
    return x


FUNCTIONS = {
    "stencil": (lambda x: x[1:-1] * (x[2:] - 2 * x[1:-1] + x[:-2]), (x,)),
    "running sums": (lambda x: jnp.cumsum(x[1:] * x[:-1]), (x,)),
    "solve": (lambda x: jnp.linalg.solve(jnp.diag(x) + jnp.outer(x, x), x), (x[:8],)),
    "gather": (lambda x: jnp.sin(x[np.array([3, 1, 1, 0, 7, 2, 5])]) * x[::3], (x,)),
    "several": (
        lambda x, y: (jnp.outer(y, y) @ y * x[0], {"a": x[::2] * y[0], "b": y.sum()}),
        (x, x[:5]),
    ),
    "loop": (lambda x: lax.scan(lambda c, a: (c * jnp.sin(a), c), 1.0, x)[1], (x,)),
}


def assert_close(found, wanted):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert (one.shape, one.dtype) == (two.shape, two.dtype)
        np.testing.assert_allclose(one, two, 1e-9, 1e-12)


def loops_in(f, *args):
    return str(jax.make_jaxpr(f)(*args)).count("scan[")


@pytest.mark.parametrize("mode", ["auto", "forward", "reverse"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_blocks_are_those_of_the_jacobian(name, mode):
    f, args = FUNCTIONS[name]
    argnums = tuple(range(len(args))) if len(args) > 1 else 0
    blocks = cj.jacobian(f, argnums, mode=mode, chunk_size=3)
    assert_close(jax.jit(blocks)(*args), jax.jacfwd(f, argnums)(*args))


def test_blocks_that_are_alike_are_one_loop():
    for size in (10, 20, 1):
        assert loops_in(cj.jacobian(layers, chunk_size=size), long) == 1


def test_a_loop_takes_less_memory_and_the_plan_says_so():
    def temporary(transform):
        return jax.jit(transform).lower(long).compile().memory_analysis().temp_size_in_bytes

    whole = temporary(cj.jacobian(layers, mode="forward"))
    for how in ({"chunk_size": 10}, {"memory_limit": "1.25 MB"}):
        blocks = partial(cj.jacobian, layers, mode="forward", **how)
        assert temporary(blocks()) < whole / 3
        plan = cj.plan(layers, long, mode="forward", **how)
        assert isinstance(plan, ChunkedPlan)
        assert "blocks of columns" in str(plan)
        given = cj.jacobian(layers, mode=ChunkedPlan.from_json(plan.to_json()))
        assert_close(given(long), blocks()(long))


def test_a_limit_that_is_kept_anyway_changes_nothing():
    limited = jax.make_jaxpr(cj.jacobian(layers, mode="forward", memory_limit="1 GB"))(long)
    assert str(limited) == str(jax.make_jaxpr(cj.jacobian(layers, mode="forward"))(long))
    J = cj.jacobian(jnp.sin, output="structured", memory_limit=1000)(x)
    assert_close(J.array, jnp.cos(x))


def test_blocks_compose_as_jacfwd_does():
    f, x = FUNCTIONS["stencil"][0], jnp.linspace(0.5, 1.5, 8)
    J = partial(cj.jacobian, chunk_size=3)
    points = jnp.stack([x, 2 * x])

    def total(jacobian):
        return lambda x: jnp.sum(jacobian(f)(x) ** 2)

    def transformed(jacobian):
        return lambda x: (
            jax.vmap(jacobian(f))(points),
            jax.grad(total(jacobian))(x),
            jacobian(jax.jacfwd(f))(x),
            jax.jacfwd(jacobian(f))(x),
            jacobian(jacobian(f))(x),
        )

    assert_close(jax.jit(transformed(J))(x), jax.jit(transformed(jax.jacfwd))(x))
    single = x.astype(jnp.float32)
    assert J(f)(single).dtype == jnp.float32
    value, found = cj.value_and_jacobian(f, chunk_size=4)(x)
    assert_close((value, found), (f(x), jax.jacfwd(f)(x)))


plan_in_blocks = cj.plan(layers, long, chunk_size=10)
J = cj.jacobian
REFUSED = {
    "memory_limit must be a number of bytes, or text such as '2 GB', but got '2 lots'": (
        lambda: J(jnp.sin, memory_limit="2 lots")
    ),
    "chunk_size must be a positive integer, but got 0": lambda: J(jnp.sin, chunk_size=0),
    "chunk_size= gives a dense Jacobian, but output='bcoo' is requested": (
        lambda: J(jnp.sin, output="bcoo", chunk_size=3)
    ),
    "a plan in blocks gives a dense Jacobian, but output='structured' is requested": (
        lambda: J(jnp.sin, output="structured", mode=plan_in_blocks)
    ),
    "mode= is a plan in blocks already": lambda: J(jnp.sin, mode=plan_in_blocks, chunk_size=3),
    "the plan was made for another function": lambda: J(jnp.sin, mode=plan_in_blocks)(x),
    "raise the limit, or request output='structured' or 'bcoo'": (
        lambda: J(jnp.sin, memory_limit=10)(x)
    ),
    "no block of chunk_size=10 was found that keeps within memory_limit=10 B": (
        lambda: J(layers, memory_limit=10, chunk_size=10)(long)
    ),
    "blocks of a Jacobian have graphs of their own, which an order": (
        lambda: J(layers, mode=[1, 2], chunk_size=10)(long)
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_it_refuses_what_makes_no_sense(message):
    with pytest.raises((InputError, PlanError, TooLargeError)) as refused:
        REFUSED[message]()
    assert message in str(refused.value)
