"""The steps of a plan of a JAX function have the user's lines."""

import sys
from types import SimpleNamespace

import pytest

jax = pytest.importorskip("jax", reason="needs the extra jax")

import jax.numpy as jnp

import chainad.jax


def test_lines_of_a_notebook_are_named_by_their_cell(monkeypatch):
    file = "/tmp/ipykernel_7/596909951.py"
    cells = {file: ("Cell", "In[3]")}
    compiler = SimpleNamespace(format_code_name=cells.get)
    shell = SimpleNamespace(get_ipython=lambda: SimpleNamespace(compile=compiler))
    monkeypatch.setitem(sys.modules, "IPython", shell)
    names = {"jnp": jnp}
    source = "def f(x):\n    y = jnp.sin(x)\n    return jnp.ones((4, 3)) @ y\n"
    exec(compile(source, file, "exec"), names)
    plan = chainad.jax.plan(names["f"], jax.ShapeDtypeStruct((3,), float), mode="forward")
    sites = {str(origin.site) for origin in plan.graph.origins if origin.site}
    assert sites
    assert sites <= {"In[3]:2", "In[3]:3"}


def test_elementwise_local_jacobians_are_from_their_own_lines():
    W = jnp.ones((3, 5))

    def f(x):
        y = jnp.sin(x)
        z = W @ y
        return jnp.tanh(z)

    plan = chainad.jax.plan(f, jax.ShapeDtypeStruct((5,), jnp.float32), mode="forward")
    first = f.__code__.co_firstlineno
    lines = [origin.site.line - first for origin in plan.graph.origins]
    assert lines == [1, 2, 3]


def test_functions_of_jax_are_from_the_lines_of_their_calls():
    def f(x):
        y = jnp.cumsum(x)
        z = jnp.linalg.norm(y * jnp.flip(y))
        return jnp.where(y > 0, y * z, jnp.var(y))

    jax.make_jaxpr(f)(jnp.ones(7))  # from now on, JAX knows its own functions from here
    plan = chainad.jax.plan(f, jax.ShapeDtypeStruct((7,), jnp.float32), mode="forward")
    first = f.__code__.co_firstlineno
    lines = {origin.site.line - first for origin in plan.graph.origins if origin.site}
    assert lines == {1, 2, 3}


def test_inputs_are_called_what_the_function_calls_them():
    def loss(weights, batch, scale):
        return jnp.sum(weights["w"] @ batch * scale[0]) * weights["b"]

    weights = {"w": jnp.ones(3), "b": jnp.ones(())}
    plan = chainad.jax.plan(loss, weights, jnp.ones((3, 2)), [2.0], argnums=(0, 2), mode="reverse")
    names = [plan.graph.names[v] for v in plan.graph.inputs]
    assert names == ["weights['b']", "weights['w']", "scale[0]"]
    assert plan.title == "loss(weights, scale)"
