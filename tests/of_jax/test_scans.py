"""Scans: the blocks of their steps are accumulated at once, and what is left is a chain."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="needs the extra jax")

import jax.numpy as jnp
from jax import lax
from test_jacobians import assert_same

import chainad.jax as cj
from benchmarks.workloads.solves import fitted

jax.config.update("jax_enable_x64", True)

RNG = np.random.default_rng(0)
A = RNG.normal(size=(4, 4)) / 2
x8, x14 = RNG.normal(size=8), RNG.normal(size=14)


def repeated(c, factor, times=4):
    for _ in range(times):
        c = jnp.sin(A @ c * factor)
    return c


def with_slices_and_results(x):
    def step(c, u):
        c = repeated(c + jnp.pad(u, (0, 2)), x[:4])
        return c, c[:2] * u

    return lax.scan(step, x[4:8], x[8:].reshape(3, 2))


def from_constants_backward(x):
    def step(c, _):
        return repeated(c, x[:4]) + x[4:], c[0]

    return lax.scan(step, jnp.ones(4), None, length=6, reverse=True)


def two_carries(x):
    def step(carry, _):
        a, b = carry
        a = repeated(a, x[:4])
        return (a, b + a[:2] * x[4]), None

    return lax.scan(step, (x[4:], x[:2]), None, length=6)[0]


def reading_by_index(x):
    return lax.fori_loop(0, 4, lambda i, c: repeated(c, x[:4]) * x[i], x[4:])


def nested(x):
    def step(c, _):
        return lax.scan(lambda c, _: (repeated(c, x[:4]), None), c, None, length=2)[0], None

    return lax.scan(step, x[4:], None, length=3)[0]


def with_while(x):
    def doubled(c):
        return lax.while_loop(lambda c: jnp.sum(c**2) < 9, lambda c: 2 * c + 0.1, c)

    return lax.scan(lambda c, _: (jnp.cos(A @ doubled(c)) * x[:4], None), x[4:], None, length=4)[0]


SCANS = {
    with_slices_and_results: x14, from_constants_backward: x8, two_carries: x8,
    reading_by_index: x8, nested: x8, with_while: x8,
}  # fmt: skip


@pytest.mark.parametrize("f", SCANS, ids=lambda f: f.__name__)
def test_jacobian_is_that_of_jax_in_both_sweeps(f):
    x = SCANS[f]

    def all_ways(x):
        return [cj.jacobian(f, mode=mode)(x) for mode in ("forward", "reverse", "hybrid")]

    wanted = jax.jit(jax.jacfwd(f))(x)
    for found in jax.jit(all_ways)(x):
        assert_same(found, wanted)


def test_blocks_of_steps_take_fewer_multiplications_than_tangents_through_the_steps():
    def f(x):
        return lax.scan(lambda c, _: (repeated(c, x[:4]), None), x[4:], None, length=100)[0]

    made = cj.plan(f, x8, cost="multiplications")
    # A tangent takes 4 products of 4 x 4 a step, and 8 of entries.
    assert made.multiplications < 100 * 4 * 8 * (4 * 4)


def test_the_chain_of_a_scan_is_one_product_a_step():
    def f(x):
        return lax.scan(lambda c, _: (repeated(c, x[:4]), None), x[4:], None, length=100)[0]

    program = jax.make_jaxpr(cj.jacobian(f, mode="forward"))(x8)
    last = [eqn for eqn in program.jaxpr.eqns if eqn.primitive.name == "scan"][-1]
    names = [eqn.primitive.name for eqn in last.params["jaxpr"].jaxpr.eqns]
    assert names.count("dot_general") == 1


def test_a_scan_of_few_numbers_is_where_tangents_and_adjoints_join():
    E, D = RNG.normal(size=(4, 60)), RNG.normal(size=(70, 4))

    def f(x):
        z = lax.scan(lambda c, _: (repeated(c, 1.0), None), jnp.tanh(E @ x), None, length=9)[0]
        return jnp.sin(D @ z)

    made = cj.plan(f, jnp.ones(60), cost="multiplications")
    assert made.mode == "hybrid"
    # The factors are (70, 4) and (4, 60); each is scaled, and one of them multiplied by (4, 4).
    chain = 9 * 4 * 4 * 4
    blocks = 9 * 4 * 4 * 4 * 4
    joined = 70 * 4 * 60
    assert made.multiplications <= joined + chain + blocks + 60 * 4 * 4 + 4 * (60 + 70)


def test_auto_accumulates_blocks_where_steps_have_many_products():
    def repeat(step, y, n):
        return lax.scan(lambda y, _: (step(y), None), y, None, length=n)[0]

    S, R = RNG.normal(size=(2, 10, 10)) / 10
    f = fitted(S, R, jnp.ones(10), 100, repeat, jnp)
    program = jax.make_jaxpr(cj.jacobian(f))(jnp.ones(30))
    last = [eqn for eqn in program.jaxpr.eqns if eqn.primitive.name == "scan"][-1]
    names = [eqn.primitive.name for eqn in last.params["jaxpr"].jaxpr.eqns]
    assert names.count("dot_general") == 1
