"""Arguments and results that hold arrays: nested, named, registered; and auxiliary results."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import optree
import pytest

import chainad
from chainad.errors import InputError

Function = Callable[..., Any]

RNG = np.random.default_rng(3)
X = RNG.normal(size=3)


class Layer(NamedTuple):
    W: Any
    b: Any


@dataclasses.dataclass
class Model:
    layers: Any
    slope: Any
    name: str = "model"

    def __eq__(self, other: object) -> bool:
        raise AssertionError("models are not compared")

    __hash__ = None  # type: ignore[assignment]


optree.register_pytree_node(
    Model,
    lambda m: ((m.layers, m.slope), m.name),
    lambda name, parts: Model(*parts, name),
    namespace="chainad",
)

LAYERS = [Layer(RNG.normal(size=(4, 3)), np.zeros(4)), Layer(RNG.normal(size=(2, 4)), np.ones(2))]


def network(w: Any, x: Any) -> Any:
    layers = w.layers if isinstance(w, Model) else w["layers"]
    slope = w.slope if isinstance(w, Model) else w["slope"]
    for W, b in layers:
        x = np.tanh(W @ x + b)
    return {"y": slope * x, "size": np.sum(x**2)}


ARGUMENTS = {
    "dict": {"layers": LAYERS, "slope": 0.5},
    "ordered": OrderedDict(slope=np.float64(0.5), layers=deque(LAYERS)),
    "registered": Model(tuple(LAYERS), np.array(0.5)),
}
FORMS: dict[str, Function] = {
    "traced": lambda f, **how: chainad.jacobian(f, **how),
    "compiled": lambda f, **how: chainad.jacobian(f, **how).compile(),
    "numpy": lambda f, **how: chainad.jacobian(f, backend="numpy", **how).compile(),
}


def flat_jacobian(f: Function, w: Any, *args: Any) -> list[Any]:
    """Return the blocks by complex steps, result over argument."""
    leaves, tree = optree.tree_flatten(w, namespace="chainad")
    blocks: list[list[Any]] = []
    for n, leaf in enumerate(leaves):
        columns = []
        for place in np.ndindex(np.shape(leaf)):
            moved = np.array(leaf, complex)
            moved[place] += 1e-30j
            value = f(tree.unflatten([*leaves[:n], moved, *leaves[n + 1 :]]), *args)
            columns.append([np.imag(y) / 1e-30 for y in optree.tree_leaves(value)])
        outputs = zip(*columns, strict=True)
        blocks.append([np.stack(c, -1).reshape(np.shape(c[0]) + np.shape(leaf)) for c in outputs])
    return [block for row in zip(*blocks, strict=True) for block in row]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ARGUMENTS)
def test_jacobians_are_nested_as_the_result_over_the_argument(kind: str, form: str) -> None:
    w = ARGUMENTS[kind]
    J = FORMS[form](network)
    wanted = flat_jacobian(network, w, X)
    for _ in range(3):
        found = J(w, X)
        leaves, tree = optree.tree_flatten(found, namespace="chainad")
        over = optree.tree_structure({"size": 0, "y": 0}).compose(
            optree.tree_structure(w, namespace="chainad")
        )
        assert tree == over
        for one, other in zip(leaves, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("form", FORMS)
def test_a_container_with_other_parts_is_another_call(form: str) -> None:
    J = FORMS[form](network, argnums="w")
    for layers, slope in ((LAYERS, 0.5), (LAYERS[:1], 0.5), (LAYERS, 2.0)):
        for w in (
            {"layers": layers, "slope": slope},
            Model(layers, slope),
            Model(layers, 3.0, "n"),
        ):
            found = optree.tree_leaves(J(x=X, w=w), namespace="chainad")
            for one, other in zip(found, flat_jacobian(network, w, X), strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("form", FORMS)
def test_arguments_are_named_by_position_or_name(form: str) -> None:
    def f(a: Any, b: Any, *, c: Any) -> Any:
        return a * b**2 * np.sum(c["d"] ** 3)

    a, b, c = np.ones(2), np.full(2, 2.0), {"d": np.full(2, 3.0)}
    for argnums in (("c", 0, "b"), ("c", "a", 1), ("c", "a", -1)):
        dc, da, db = FORMS[form](f, argnums=argnums)(a, b, c=c)
        np.testing.assert_allclose(da, np.diag(b**2 * 54))
        np.testing.assert_allclose(db, np.diag(2 * b * 54))
        np.testing.assert_allclose(dc["d"], np.full((2, 2), 4.0 * 27))
    np.testing.assert_allclose(FORMS[form](f, argnums="b")(b=b, a=a, c=c), np.diag(2 * b * 54))
    with pytest.raises(InputError, match="argument 'e', which was not given to f"):
        FORMS[form](f, argnums="e")(a, b, c=c)


@pytest.mark.parametrize("form", FORMS)
def test_what_else_is_returned_is_not_differentiated(form: str) -> None:
    def f(x: Any) -> Any:
        y = x * x
        return y, {
            "trace": [y, np.sum(x)],
            "count": 3,
            "positive": x > 0,
            "name": "f",
            "none": None,
        }

    J = FORMS[form](f, has_aux=True)
    for x in (X, X + 1.0, -X):
        slope, aux = J(x)
        np.testing.assert_allclose(slope, np.diag(2 * x))
        np.testing.assert_allclose(aux["trace"][0], x * x)
        np.testing.assert_allclose(aux["trace"][1], x.sum())
        assert type(aux["trace"][0]) is np.ndarray
        np.testing.assert_array_equal(aux["positive"], x > 0)
        assert (aux["count"], aux["name"], aux["none"]) == (3, "f", None)
    both = chainad.value_and_jacobian(f, has_aux=True)
    for g in (both, both.compile()):
        (value, aux), slope = g(X)
        np.testing.assert_allclose(value, X * X)
        np.testing.assert_allclose(aux["trace"][0], X * X)
        np.testing.assert_allclose(slope, np.diag(2 * X))
        aux["trace"][0][:] = 0  # nobody else's memory
        np.testing.assert_allclose(g(X)[0][0], X * X)


@pytest.mark.parametrize("form", FORMS)
def test_values_come_as_the_function_returns_them(form: str) -> None:
    values = chainad.value_and_jacobian(network)
    for g in (values, values.compile()):
        value, slope = g(ARGUMENTS["dict"], X)
        assert [*value] == ["y", "size"]
        np.testing.assert_allclose(value["y"], network(ARGUMENTS["dict"], X)["y"])
        assert slope["y"]["layers"][0].W.shape == (2, 4, 3)


@pytest.mark.parametrize("output", ["sparse", "structured", "operator"])
def test_every_output_is_nested(output: str) -> None:
    J = chainad.jacobian(lambda w: {"y": w["a"] * w["b"][0]}, output=output)
    w = {"a": X, "b": (2.0 * X, np.ones(1))}
    found = J(w)["y"]
    np.testing.assert_allclose(found["a"] @ np.eye(3), np.diag(2 * X))
    np.testing.assert_allclose(found["b"][0] @ np.eye(3), np.diag(X))
    assert found["b"][1].shape[0] == 3


def test_containers_are_differentiated_again_and_fill_buffers() -> None:
    def energy(w: Any) -> Any:
        return np.sum(w["a"] ** 3) * w["b"] + w["b"] ** 2

    w = {"a": X, "b": np.float64(2.0)}
    H = chainad.jacobian(chainad.jacobian(energy))(w)
    np.testing.assert_allclose(H["a"]["a"], np.diag(6 * X * 2.0))
    np.testing.assert_allclose(H["a"]["b"], 3 * X**2)
    np.testing.assert_allclose(H["b"]["b"], 2.0)
    out = {"a": np.empty(3), "b": np.empty(())}
    assert chainad.jacobian(energy)(w, out=out) is out
    np.testing.assert_allclose(out["a"], 6 * X**2)
    with pytest.raises(
        InputError, match="out must be a dict of 2 arrays, nested as the Jacobian is"
    ):
        chainad.jacobian(energy)(w, out={"a": np.empty(3)})


def test_made_arrays_in_results_are_differentiated() -> None:
    def f(x: Any) -> Any:
        filled, found = np.zeros(2), Layer(np.zeros((2, 2)), None)
        filled[1] = x[0]
        found.W[0] = x[:2]
        return {"filled": filled, "layer": found}

    J = chainad.jacobian(f)
    for g in (J, J.compile()):
        found = g(X)
        np.testing.assert_array_equal(found["filled"], [[0, 0, 0], [1, 0, 0]])
        np.testing.assert_array_equal(found["layer"].W[0], np.eye(3)[:2])
        np.testing.assert_array_equal(found["layer"].W[1], np.zeros((2, 3)))


def test_what_is_no_container_needs_no_optree() -> None:
    script = (
        "import sys, numpy as np, chainad\n"
        "f = lambda x, n, name=None: np.sin(x) ** n\n"
        "for g in (chainad.jacobian(f), chainad.value_and_jacobian(f), chainad.hessian(f)):\n"
        "    g(np.ones(3), 2), g.compile()(np.ones(3), 2.0, name='a'), g.compile()([1.0, 2.0], 2)\n"
        "chainad.for_scipy(lambda x: np.sum(x * x)).jac(np.ones(3))\n"
        "assert 'optree' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
