"""Jacobians of JAX functions under JAX's transformations, and of all kinds of arguments."""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="needs the extra jax")

import jax.numpy as jnp
from jax import lax

import chainad.jax as cj
from chainad.errors import InputError

jax.config.update("jax_enable_x64", True)

RNG = np.random.default_rng(0)
INNER, OUTER = RNG.normal(size=(3, 5)), RNG.normal(size=(4, 3))
x = jnp.asarray(RNG.normal(size=5))
X = jnp.stack([x, 2 * x, x - 1])
planned = partial(cj.jacobian, mode="hybrid")
TOLERANCES = {"float64": 1e-9, "float32": 1e-4, "bfloat16": 0.1, "float16": 0.02}


def layers(x):
    return jnp.tanh(OUTER.astype(x.dtype) @ jnp.sin(INNER.astype(x.dtype) @ x)) * x[0]


def solved(x):
    return jnp.linalg.solve(jnp.outer(x, x) + 3 * jnp.eye(5), jnp.cumsum(x))


def looped(x):
    return lax.scan(lambda c, _: (jnp.sin(c) * x, c[0]), x, None, length=3)


FUNCTIONS = {"layers": layers, "solved": solved, "looped": looped}


def assert_same(found: Any, wanted: Any, tolerance: float | None = None) -> None:
    """Compare containers, shapes, dtypes with their weak types, and entries."""
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        types = [(jax.typeof(a).shape, a.dtype, jax.typeof(a).weak_type) for a in (one, two)]
        assert types[0] == types[1]
        rtol = tolerance or TOLERANCES.get(two.dtype.name, 0)
        np.testing.assert_allclose(np.asarray(one, float), np.asarray(two, float), rtol, rtol)


def total(jacobian, f):
    """Return a function to a number, of all entries of a Jacobian."""
    return lambda x: sum(jnp.sum(block**2) for block in jax.tree.leaves(jacobian(f)(x)))


TRANSFORMED = {
    "jit": lambda J, f: jax.jit(J(f))(x),
    "no jit": lambda J, f: J(f)(x),
    "vmap": lambda J, f: jax.vmap(J(f))(X),
    "vmap along another axis": lambda J, f: jax.vmap(J(lambda x, s: f(x * s)), (1, None))(X.T, 2.0),
    "map": lambda J, f: lax.map(J(f), X),
    "grad": lambda J, f: jax.grad(total(J, f))(x),
    "grad of checkpoint": lambda J, f: jax.grad(jax.checkpoint(total(J, f)))(x),
    "checkpoint inside": lambda J, f: jax.grad(total(J, jax.checkpoint(f)))(x),
    "jvp": lambda J, f: jax.jvp(J(f), (x,), (x,)),
    "vjp": lambda J, f: jax.vjp(J(f), x)[1](J(f)(x)),
    "linearize": lambda J, f: jax.linearize(J(f), x)[1](x),
    "J of J": lambda J, f: J(J(f))(x),
    "jit of J of J": lambda J, f: jax.jit(J(J(f)))(x),
    "jacfwd of J": lambda J, f: jax.jacfwd(J(f))(x),
    "J of jacrev": lambda J, f: J(jax.jacrev(f))(x),
    "scan": lambda J, f: lax.scan(
        lambda c, _: (c * 0.9, J(f)(c)), x, None, length=3
    ),
    "while": lambda J, f: lax.fori_loop(
        0, 2, lambda _, c: c + 0.1 * jnp.sum(jax.tree.leaves(J(f)(c))[0], 0), x
    ),
    "cond": lambda J, f: lax.cond(x[0] > 0, lambda x: J(f)(x), lambda x: J(f)(-x), x),
    "closure over a traced array": lambda J, f: jax.jit(lambda s: J(lambda a: f(a) )(x * s))(2.0),
    "grad by a closure": lambda J, f: jax.grad(lambda s: total(J, lambda a: f(a * s))(x))(2.0),
    "vmap by a closure": lambda J, f: jax.vmap(lambda s: J(lambda a: f(a * s))(x))(x),
    "J by a closure": lambda J, f: J(lambda s: J(lambda a: f(a * s))(x))(x),
}  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("transform", TRANSFORMED)
def test_it_composes_as_jacfwd_does(transform, function):
    apply, f = TRANSFORMED[transform], FUNCTIONS[function]
    assert_same(apply(planned, f), apply(jax.jacfwd, f))


def test_auto_composes_as_jacfwd_does():
    for apply in TRANSFORMED.values():
        assert_same(apply(cj.jacobian, layers), apply(jax.jacfwd, layers))


def test_hessian_is_that_of_jax():
    def f(d):
        return jnp.sum(layers(d["a"]) ** 3) * d["b"]

    point = {"a": x, "b": jnp.asarray(2.0)}
    assert_same(cj.hessian(f, mode="hybrid")(point), jax.hessian(f)(point))

    def g(a, b):
        return jnp.sum(layers(a) ** 3) * b[0], a

    wanted = jax.hessian(g, (0, 1), has_aux=True)(x, x)
    assert_same(cj.hessian(g, (0, 1), has_aux=True)(x, x), wanted)


def test_buffers_may_be_donated():
    def f(x):
        return jnp.sum(jnp.sin(x) ** 2)

    assert_same(jax.jit(planned(f), donate_argnums=0)(x + 0), jax.jacfwd(f)(x))


TYPED = {
    "sum": lambda x: jnp.sum(x) * x,
    "scaled": lambda x: 2 * x,
    "negated": lambda x: -x,
    "cumsum": lambda x: jnp.cumsum(x * x),
    "joined": lambda x: jnp.concatenate([x, x * x]),
    "sliced": lambda x: (x[1:] * x[:-1], x.sum(), 3 * x[::2]),
    "gathered": lambda x: x[np.array([0, 0, 1])] * x[0],
    "constant": lambda x: jnp.ones(3, x.dtype),
    "itself": lambda x: x,
    "outer": lambda x: jnp.outer(x, x),
    "wider and back": lambda x: jnp.cumsum(x.astype(jnp.float32)).astype(x.dtype) * x.sum(),
    "wider": lambda x: jnp.cumsum(x.astype(jnp.float32) * 2),
    "wider loop": lambda x: (
        lax.scan(lambda c, _: (jnp.sin(c), c[0]), x.astype(jnp.float32) * 2, None, length=2)[1]
        * x.sum()
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", TYPED)
def test_dtypes_are_kept(name, dtype):
    f, point = TYPED[name], x.astype(dtype)
    wanted = jax.jacfwd(f)(point)
    for mode in ("forward", "reverse", "hybrid"):
        assert_same(jax.jit(cj.jacobian(f, mode=mode))(point), wanted)


def test_without_x64_all_is_single():
    with jax.enable_x64(False):
        point = jnp.asarray(np.asarray(x), jnp.float32)
        for f in FUNCTIONS.values():
            assert_same(jax.jit(planned(f))(point), jax.jit(jax.jacfwd(f))(point))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_arguments_of_several_dtypes(dtype):
    def f(a, b):
        return a * 2, jnp.cumsum(b), a.sum() * b, jnp.outer(a.astype(b.dtype), jnp.cumsum(b))

    point = x.astype(dtype), x
    wanted = jax.jacfwd(f, (0, 1))(*point)
    assert_same(planned(f, (0, 1))(*point), wanted, TOLERANCES[dtype])


@pytest.mark.parametrize(
    "point", [1.5, jnp.asarray(1.5), np.float32(1.5), np.float64(1.5), np.ones(3)], ids=repr
)
def test_weak_types_are_those_of_jax(point):
    for f in (
        lambda x: x * x,
        lambda x: 2.0 * x,
        lambda x: x,
        lambda x: jnp.sin(x) * jnp.ones(3, jnp.float32),
        lambda x: 3.0,
        lambda x: [x, (x, 2)][:1],
    ):
        assert_same(planned(f)(point), jax.jacfwd(f)(point))


def test_arrays_without_entries():
    z, Z = jnp.zeros(0), jnp.zeros((3, 0))
    for f, point in (
        (lambda x: x * 2, z),
        (lambda x: x.sum(), z),
        (lambda x: jnp.sin(x)[:0], x),
        (lambda X: X @ jnp.zeros((0, 4)), Z),
        (jnp.cumsum, z),
        (lambda x: jnp.concatenate([x, jnp.ones(2)]), z),
    ):
        for apply in (lambda f: f, jax.jit):
            assert_same(apply(planned(f))(point), jax.jacfwd(f)(point))


class Pair(NamedTuple):
    a: Any
    b: Any


@partial(jax.tree_util.register_dataclass, data_fields=["u", "v"], meta_fields=["n"])
@dataclasses.dataclass
class Parameters:
    u: Any
    v: Any
    n: int = 2


def of_containers(p, d):
    return Parameters(p.a * d.u.sum(), (p.b[0] * d.v, None), d.n)


CALLS = {
    "negative": (lambda a, b, c: jnp.outer(a, b) * c, -1, (x, x[:2], 3.0), {}),
    "tuple": (lambda a, b, c: jnp.outer(a, b) * c, (2, 0), (x, x[:2], 3.0), {}),
    "list": (lambda a, b, c: jnp.outer(a, b) * c, [0, -1], (x, x[:2], 3.0), {}),
    "integer of NumPy": (lambda a, b: a * b, np.int64(1), (x, x), {}),
    "scalars": (lambda a, b: (a * b, jnp.sin(a)), (0, 1), (1.0, 2.0), {}),
    "list of numbers": (lambda v: v[0] * v[1], 0, ([1.0, 2.0],), {}),
    "keywords": (lambda a, *, s, on: a * s if on else a, 0, (x,), {"s": x, "on": True}),
    "text": (lambda a, *, name: a * len(name), 0, (x,), {"name": "abc"}),
    "an integer": (lambda n, a: sum(a**k for k in range(n)), 1, (3, x), {}),
    "a function": (lambda h, a: h(a), 1, (jnp.sin, x), {}),
    "containers": (
        of_containers,
        (0, 1),
        (Pair(x, [x[:2] * 1.5, None]), Parameters(x, jnp.asarray(2.0))),
        {},
    ),
    "None": (lambda d: d["a"] * 2, 0, ({"a": x, "b": None},), {}),
    "returns None": (lambda a: (a * 2, None, {}), 0, (x,), {}),
    "returns nothing": (lambda a: (), 0, (x,), {}),
    "returns a constant": (lambda a: jnp.ones(3), 0, (x,), {}),
    "returns a number": (lambda a: 3.0, 0, (x,), {}),
    "returns an array of NumPy": (lambda a: (np.ones(2), np.float32(2), a), 0, (x,), {}),
    "stop_gradient": (lambda a: lax.stop_gradient(a) * 2, 0, (x,), {}),
}


@pytest.mark.parametrize("name", CALLS)
def test_arguments_and_results_are_those_of_jacfwd(name):
    f, argnums, args, kwargs = CALLS[name]
    assert_same(planned(f, argnums)(*args, **kwargs), jax.jacfwd(f, argnums)(*args, **kwargs))


def test_auxiliary_data_is_passed_on():
    def f(a):
        return jnp.sin(a), {"v": a * 2, "n": None, "k": jnp.arange(2)}

    for apply in (lambda f: f, jax.jit):
        wanted = apply(jax.jacfwd(f, has_aux=True))(x)
        assert_same(apply(planned(f, has_aux=True))(x), wanted)
    value, _ = cj.value_and_jacobian(f, has_aux=True)(x)
    assert_same(value, f(x))
    assert planned(lambda a: (a, "text"), has_aux=True)(x)[1] == "text"


def test_no_arguments_have_no_jacobian():
    assert planned(lambda a: a, argnums=())(1.0) == ()
    assert planned(lambda a: jnp.ones(3))(()) == ()


J = cj.jacobian
REFUSED = {
    "value 3 for len(args) == 1": lambda: J(jnp.sin, 3)(x),
    "value -3 for len(args) == 1": lambda: J(jnp.sin, -3)(x),
    "value 0 for len(args) == 0. Pass what": lambda: J(lambda *, a: a)(a=x),
    "argnums=(0, -1) has an argument twice": lambda: J(jnp.sin, (0, -1))(x),
    "real-valued inputs (input dtype that is a sub-dtype of np.floating), but got int64. Convert": (
        lambda: J(jnp.sin)(3)
    ),
    "but got bool. Convert it with astype(float)": lambda: J(jnp.sin)(True),
    "but got complex128. For holomorphic differentiation, use jax.jacfwd": (lambda: J(jnp.sin)(1j)),
    "real-valued outputs (output dtype that is a sub-dtype of np.floating), but got complex128": (
        lambda: J(lambda a: a * 1j)(x)
    ),
    "but got int64. Return it as auxiliary data": lambda: J(jnp.argmax)(x),
    "Argument 's' of type <class 'str'> is not a valid JAX type": lambda: J(jnp.sin)("s"),
    "Expected a callable value, got 3": lambda: J(3),
    "to return a two-element tuple, but got type <class 'tuple'>": (
        lambda: J(lambda x: (x, 1, 2), has_aux=True)(x)
    ),
    "takes no holomorphic=True; use jax.jacfwd": lambda: J(jnp.sin, holomorphic=True),
    "takes no allow_int=True; use jax.jacrev": lambda: J(jnp.sin, allow_int=True),
}


@pytest.mark.parametrize("message", REFUSED)
def test_it_refuses_in_the_words_of_jax(message):
    with pytest.raises((InputError, ValueError)) as refused:
        REFUSED[message]()
    assert message in str(refused.value)
