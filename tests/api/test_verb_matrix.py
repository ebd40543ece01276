"""Every verb by every container, traced, compiled and for many points, beside central differences.

A verb is a row: what is called, and what it is of the Jacobian and the Hessian of flat vectors.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, NamedTuple

import numpy as np
import optree
import pytest

import chainad

Function = Callable[..., Any]

RNG = np.random.default_rng(11)
A = RNG.normal(size=(3, 5))


class Pair(NamedTuple):
    a: Any
    b: Any


def leaves_of(tree: Any) -> list[Any]:
    return optree.tree_leaves(tree, namespace="chainad")  # type: ignore[no-any-return]


def entries(tree: Any) -> Any:
    """Return what a container holds as a vector."""
    return np.concatenate([np.ravel(x) for x in leaves_of(tree)])


def model(w: Any) -> Any:
    """Return containers, of whatever arrangement of five numbers; the second is filled."""
    z = entries(w)
    y = np.zeros(3)
    for i in range(3):
        y[i] = np.sin(A[i] @ z) * z[i]
    return {"first": y[:2], "rest": (y[2] * z[0], None)}


def energy(w: Any) -> Any:
    return np.sum(entries(model(w)) ** 2)


KINDS: dict[str, Any] = {
    "array": RNG.normal(size=5),
    "matrix": RNG.normal(size=(5, 1)),
    "tuple": (RNG.normal(size=2), RNG.normal(size=(3, 1))),
    "layers": [(RNG.normal(size=(2, 1)), 0.3), (RNG.normal(size=2), None)],
    "named": Pair({"x": RNG.normal(size=3)}, {"c": [np.float64(0.2), RNG.normal(size=1)]}),
}


def arranged(z: Any, like: Any) -> Any:
    """Return five numbers arranged as a container."""
    leaves, tree = optree.tree_flatten(like, namespace="chainad")
    found, start = [], 0
    for leaf in leaves:
        found.append(np.reshape(z[start : start + np.size(leaf)], np.shape(leaf)))
        start += np.size(leaf)
    return tree.unflatten(found)


def differences(f: Function, z: Any) -> Any:
    """Return the Jacobian of a function of vectors, by central differences of fourth order."""
    h, columns = 1e-3, []
    for e in np.eye(z.size):
        a, b, c, d = (np.asarray(f(z + k * h * e)) for k in (-2, -1, 1, 2))
        columns.append((a - 8 * b + 8 * c - d) / (12 * h))
    return np.stack(columns, -1)


class At(NamedTuple):
    """Derivatives at a point, of flat vectors, and the vectors that they are multiplied by."""

    y: Any
    J: Any
    g: Any
    H: Any
    v: Any
    u: Any


def at(w: Any, v: Any, u: Any) -> At:
    def flat(f: Function) -> Function:
        return lambda z: entries(f(arranged(z, w)))

    z = entries(w)
    slope = differences(flat(energy), z)[0]
    second = differences(lambda z: differences(flat(energy), z)[0], z)
    return At(flat(model)(z), differences(flat(model), z), slope, second, entries(v), entries(u))


# What is called with a point, a tangent and an adjoint, and what that is.
VERBS: dict[str, tuple[Function, Function]] = {
    "jacobian": (lambda w, v, u: chainad.jacobian(model)(w), lambda o: o.J),
    "hessian": (lambda w, v, u: chainad.hessian(energy)(w), lambda o: o.H),
    "value_and_grad": (
        lambda w, v, u: chainad.value_and_grad(energy)(w), lambda o: [o.y @ o.y, *o.g]),
    "jvp": (lambda w, v, u: chainad.jvp(model, (w,), (v,)), lambda o: [*o.y, *o.J @ o.v]),
    "vjp": (lambda w, v, u: chainad.vjp(model, w)[1](u), lambda o: o.u @ o.J),
    "linearize": (lambda w, v, u: chainad.linearize(model, w)[1](v), lambda o: o.J @ o.v),
    "transpose": (
        lambda w, v, u: chainad.linearize(model, w)[1].T @ entries(u), lambda o: o.u @ o.J),
    "hvp": (lambda w, v, u: chainad.hvp(energy, (w,), (v,)), lambda o: o.H @ o.v),
    "hvp of linearize": (
        lambda w, v, u: chainad.linearize(chainad.grad(energy), w)[1](v), lambda o: o.H @ o.v),
    "gauss_newton": (
        lambda w, v, u: chainad.vjp(model, w)[1](chainad.jvp(model, (w,), (v,))[1]),
        lambda o: o.J.T @ o.J @ o.v),
}  # fmt: skip

FORMS: dict[str, Function] = {
    "traced": lambda f: f,
    "compiled": chainad.compile,
    "points": chainad.vmap,
}


def as_vector(found: Any, verb: str, w: Any) -> Any:
    """Return what a verb returned as a vector; a matrix of blocks, row by row."""
    if verb not in ("jacobian", "hessian"):
        return entries(found)
    columns = [np.size(x) for x in leaves_of(w)]
    rows = columns if verb == "hessian" else [2, 1]
    rest = iter(leaves_of(found))
    return np.ravel(np.block([[np.reshape(next(rest), (m, n)) for n in columns] for m in rows]))


def arguments(kind: str) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(5)
    w = KINDS[kind]
    return w, arranged(rng.normal(size=5), w), arranged(rng.normal(size=3), model(w))


# Recording takes its time: few kinds of containers are recorded.
RECORDED = {"compiled": ("layers",), "points": ("named",)}
CASES = [(k, f) for f in FORMS for k in RECORDED.get(f, KINDS)]


@pytest.mark.parametrize(("kind", "form"), CASES)
def test_every_verb_is_what_it_is_of_the_jacobian(kind: str, form: str) -> None:
    points = [arguments(kind)]
    for factor in (0.7, 1.2):
        points.append(optree.tree_map(lambda x, c=factor: x * c, points[0], namespace="chainad"))
    oracles = [at(*point) for point in points]
    for verb, (call, wanted) in VERBS.items():
        f = FORMS[form](call)
        if form == "points":
            stacked = optree.tree_map(lambda *x: np.stack(x), *points, namespace="chainad")
            together = f(*stacked)
            found = [
                optree.tree_map(lambda x, k=k: x[k], together, namespace="chainad")
                for k in range(3)
            ]
        else:
            found = [f(*point) for point in points]
        for point, oracle, each in zip(points, oracles, found, strict=True):
            np.testing.assert_allclose(
                as_vector(each, verb, point[0]), np.ravel(wanted(oracle)),
                rtol=1e-5, atol=1e-6, err_msg=verb,
            )  # fmt: skip


@pytest.mark.parametrize("kind", ["matrix", "named"])
@pytest.mark.parametrize("output", ["sparse", "structured", "operator"])
def test_blocks_come_in_every_form(kind: str, output: Any) -> None:
    w, v, u = arguments(kind)
    oracle, columns = at(w, v, u), [np.size(x) for x in leaves_of(w)]
    for found, wanted, rows in (
        (chainad.jacobian(model, output=output)(w), oracle.J, [2, 1]),
        (chainad.hessian(energy, output=output)(w), oracle.H, columns),
    ):
        rest = iter(optree.tree_leaves(found, namespace="chainad"))
        for m in np.split(wanted, np.cumsum(rows)[:-1]):
            for block in np.split(m, np.cumsum(columns)[:-1], axis=1):
                one = next(rest)
                dense = one @ np.eye(block.shape[1]) if output != "structured" else np.asarray(one)
                np.testing.assert_allclose(
                    np.reshape(dense, block.shape), block, rtol=1e-5, atol=1e-6
                )


def cube(x: Any) -> Any:
    return np.sum(np.sin(x) * x[::-1] ** 2)


def test_third_derivatives_are_one_number_however_they_are_asked_for() -> None:
    x, v, u = RNG.normal(size=(3, 4))
    third = differences(lambda z: np.ravel(chainad.hessian(cube)(z)), x).reshape(4, 4, 4)
    wanted = np.einsum("ijk,j,k->i", third, v, u)

    def slope_along(x: Any) -> Any:
        return chainad.jvp(cube, (x,), (v,))[1]

    ways: dict[str, Function] = {
        "jacobian of hessian": lambda x: chainad.jacobian(chainad.hessian(cube))(x) @ v @ u,
        "hessian of grad": lambda x: chainad.hessian(chainad.grad(cube))(x) @ v @ u,
        "jvp of hvp": lambda x: chainad.jvp(lambda x: chainad.hvp(cube, (x,), (v,)), (x,), (u,))[1],
        "hvp of jvp": lambda x: chainad.hvp(slope_along, (x,), (u,)),
        "vjp of hvp": lambda x: chainad.vjp(lambda x: chainad.hvp(cube, (x,), (v,)), x)[1](u)[0],
        "linearize of hvp": lambda x: (
            chainad.linearize(lambda x: chainad.hvp(cube, (x,), (v,)), x)[1].T @ u),
        "grad of jvp of jvp": chainad.grad(lambda x: chainad.jvp(slope_along, (x,), (u,))[1]),
    }  # fmt: skip
    for name, way in ways.items():
        for f in (way, chainad.compile(way)):
            np.testing.assert_allclose(f(x), wanted, atol=1e-7, err_msg=name)


def test_threads_share_one_compiled_verb() -> None:
    call, _ = VERBS["gauss_newton"]
    f, start = chainad.compile(call), Barrier(8)

    def run(k: int) -> Any:
        point = optree.tree_map(lambda x: x * (1 + k / 8), arguments("tuple"), namespace="chainad")
        start.wait()
        return [entries(f(*point)) for _ in range(20)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(run, range(8)))
    for k, each in enumerate(found):
        point = optree.tree_map(
            lambda x, k=k: x * (1 + k / 8), arguments("tuple"), namespace="chainad"
        )
        for one in each:
            np.testing.assert_allclose(one, entries(call(*point)), rtol=1e-9, atol=1e-12)


def product(x: Any, v: Any) -> Any:
    return chainad.hvp(cube, (x,), (v,))


def test_products_are_pickled_with_what_they_are_made_of() -> None:
    x = RNG.normal(size=(3, 4))
    for f, args in (
        (chainad.compile(product), (x[0], x[1])),
        (chainad.vmap(product), (x, x[::-1])),
        (chainad.vmap(chainad.grad(cube)), (x,)),
    ):
        again = pickle.loads(pickle.dumps(f))
        assert repr(again) == repr(f)
        np.testing.assert_array_equal(again(*args), f(*args))


def test_products_with_hessians_cost_a_small_multiple_of_the_gradient() -> None:
    shapes = (10, 40), (40, 20), (20, 5)
    w = [RNG.normal(size=shape) for shape in shapes]
    data = RNG.normal(size=(16, 10))

    def loss(w: Any) -> Any:
        x = data
        for W in w:
            x = np.tanh(x @ W)
        return np.sum(x**2)

    def along(t: Any) -> Any:
        return chainad.grad(loss)([W + t * V for W, V in zip(w, w, strict=True)])

    gradient = chainad.plan(loss, w).multiplications
    assert gradient <= chainad.plan(along, np.float64(0.0)).multiplications <= 4 * gradient
