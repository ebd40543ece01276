"""Equations without a row are operators: one of each sample of a batch, and no more than needed."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="needs the extra jax")

import jax.numpy as jnp
from jax import lax

import chainad.jax as cj
from chainad.errors import TraceError

jax.config.update("jax_enable_x64", True)

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape)


X, BATCH, W = normal(5, 3), normal(4, 2, 3), normal(3, 3)
MATRICES = normal(5, 3, 3) + 4 * np.eye(3)
KERNEL, IMAGES = normal(2, 1, 2, 1), normal(3, 2, 4, 3)


def rnn(xs):
    return lax.scan(lambda h, u: (jnp.tanh(h @ W + u), h.sum(-1)), jnp.zeros((2, 3)), xs)


def steps(xs):
    return lax.scan(lambda c, u: (c * u, jnp.tanh(W @ u)), jnp.ones(3), xs)[1]


def verlet(q):
    return lax.fori_loop(0, 3, lambda _, s: (s[0] + s[1], s[1] - jnp.sin(s[0])), (q, q**2))


def doubled(x):
    return lax.while_loop(lambda c: c.max() < 9, lambda c: jnp.flip(c, 1) * 2, x)


def branches(x):
    return lax.cond(x[0, 0] > 0, lambda x: x @ W, lambda x: jnp.cumsum(x, 1), x)


@jax.custom_vjp
def by_backward(x):
    return x @ W


by_backward.defvjp(lambda x: (x @ W, None), lambda _, g: (2 * g @ W.T,))


def at_traced(x):
    start = jnp.argmax(x[:, 0]) % 2
    return lax.dynamic_update_slice(x, x[:2] ** 2, (start, 0))


# The sizes of the batch, of the result, and of the operand, of every operator.
OPERATORS = {
    "solve": (lambda x: jax.vmap(jnp.linalg.solve)(MATRICES, x), X, [(5, 3, 3)]),
    "several right-hand sides": (lambda x: jnp.linalg.solve(W, x.T), X, [(5, 3, 3)]),
    "fft": (lambda x: jnp.abs(jnp.fft.rfft(x)), X, [(5, 2, 3)]),
    "scan": (rnn, BATCH, [(2, 7, 12)]),
    "scan without a carry": (steps, X, [(5, 3, 3)]),
    "elementwise loop": (verlet, X, [(15, 2, 2)]),
    "while": (doubled, X**2 + 1, [(5, 3, 3)]),
    "cond": (branches, X, [(5, 3, 3)]),
    "custom_vjp": (by_backward, X, [(5, 3, 3)]),
    "sort": (lambda x: jnp.sort(x, 1), X, [(5, 3, 3)]),
    "rows at traced places": (lambda x: x[jnp.argsort(x[:, 0])], X, [(3, 5, 5)]),
    "written at traced places": (at_traced, X, [(3, 5, 2)]),
    "multiplied at traced places": (lambda x: x.at[jnp.argmax(x[:, 0])].multiply(3.0), X, []),
    "max pooling": (
        lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 1), (1, 1, 2, 1), "VALID"),
        IMAGES,
        [(18, 2, 4)],
    ),
    "average pooling": (
        lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 1, 3, 2), (1, 1, 3, 2), "VALID") ** 2,
        IMAGES,
        [],
    ),
    "depthwise convolution": (
        lambda x: lax.conv_general_dilated(x, KERNEL, (1, 1), "SAME", feature_group_count=2),
        IMAGES,
        [(6, 12, 12)],
    ),
    "kernel": (lambda k: lax.conv(IMAGES, k, (1, 1), "VALID"), normal(2, 2, 2, 1), [(2, 27, 4)]),
    "elementwise complex": (lambda x: jnp.real(jnp.exp(1j * x) ** 2), X, []),
    "permuted reshape": (lambda x: lax.reshape(x, (3, 5), (1, 0)) ** 2, X, []),
}


def operators_of(f, x):
    graph = cj.plan(f, x, mode="hybrid", cost="multiplications").graph
    found = [edge.structure for edge in graph.edges if edge.structure.action]
    return [
        tuple(int(np.prod([s.sizes[label] for label in side])) for side in s.sides) for s in found
    ]


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_are_those_of_a_sample(name):
    f, x, operators = OPERATORS[name]
    assert operators_of(f, x) == operators


def test_jacobians_with_operators_are_those_of_jax():
    def jacobians(points):
        found, wanted = {}, {}
        for name, (f, _, _) in OPERATORS.items():
            theirs = jax.jacrev if name == "custom_vjp" else jax.jacfwd
            found[name] = cj.jacobian(f, mode="hybrid")(points[name])
            wanted[name] = theirs(f)(points[name])
        return found, wanted

    found, wanted = jax.jit(jacobians)({name: x for name, (_, x, _) in OPERATORS.items()})
    for name in OPERATORS:
        for one, two in zip(*map(jax.tree.leaves, (found[name], wanted[name])), strict=True):
            np.testing.assert_allclose(one, two, 1e-9, 1e-12, err_msg=name)


def test_what_is_real_before_and_behind_a_complex_region_is_planned():
    def f(x):
        y = jnp.abs(jnp.fft.fft(W @ jnp.tanh(x)))
        return jnp.angle(jnp.fft.fft(jnp.tanh(W @ y))), y

    graph = cj.plan(f, X[0], mode="hybrid", cost="multiplications").graph
    names = [origin.name for origin in graph.origins]
    assert names.count("complex_region") == names.count("dot_general") == 2


def test_complex_regions_around_real_values_are_one():
    def f(x):
        z = jnp.exp(1j * x)
        return jnp.abs(z + jnp.cumsum(z.real))

    assert operators_of(f, X[0]) == [(1, 3, 3)]


def test_a_function_without_either_direction_is_refused_in_its_line():
    def f(x):
        return lax.while_loop(lambda c: c[0, 0] < 9, by_backward, x)

    line = f.__code__.co_firstlineno + 1
    with pytest.raises(TraceError, match=rf"test_operators.py:{line}: .*neither JVPs nor VJPs"):
        cj.plan(f, X)
