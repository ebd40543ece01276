"""What type checkers know of results. Checked by mypy and pyright, and run: it is right code."""

# mypy: allow-untyped-defs, no-warn-return-any

from __future__ import annotations

from functools import partial
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator

import chainad
from chainad.planning.linear_graph import LinearGraph
from chainad.planning.registry import PlannerName, register, unregister

Vector = NDArray[np.float64]
Array = NDArray[Any]
Weights = dict[str, Vector]

x = np.ones(3)
weights = {"a": np.ones(3)}


def f(x: Vector, scale: float = 1.0) -> Vector:
    return scale * np.sin(x)


def energy(x: Vector) -> float:
    return np.dot(x, x)


def loss(w: Weights, scale: float = 1.0) -> float:
    return scale * np.sum(w["a"] ** 2)


def pair(x: Vector) -> tuple[Vector, Vector]:
    return x, 2 * x


def with_text(x: Vector) -> tuple[Vector, str]:
    return 2 * x, "doubled"


def rhs(t: float, y: Vector) -> Vector:
    return t * y


def cube(x: float) -> float:
    return x**3


# The form of the Jacobian, and the parameters of the function.
assert_type(chainad.jacobian(f)(x), Array)
assert_type(chainad.jacobian(f)(x, scale=2.0), Array)
assert_type(chainad.jacobian(cube)(2.0), Array)
assert_type(chainad.jacobian(f, output="dense")(x), Array)
assert_type(chainad.jacobian(f, output="sparse")(x), csr_array)
assert_type(chainad.jacobian(f, output="structured")(x), chainad.StructuredJacobian)
assert_type(chainad.jacobian(f, output="operator")(x), LinearOperator)
assert_type(chainad.hessian(energy)(x), Array)
assert_type(chainad.hessian(energy, output="sparse")(x), csr_array)
assert_type(chainad.grad(energy)(x), Array)
out: Array = np.empty((3, 3))
assert_type(chainad.jacobian(f)(x, out=out), Array)

# With the value.
assert_type(chainad.value_and_jacobian(f)(x), tuple[Vector, Array])
assert_type(chainad.value_and_jacobian(f, output="sparse")(x), tuple[Vector, csr_array])
assert_type(chainad.value_and_grad(energy)(x), tuple[float, Array])

# Other arguments, several, and what else is returned.
assert_type(chainad.jacobian(rhs, 1)(1.0, x), Any)
assert_type(chainad.value_and_jacobian(rhs, "y")(1.0, x), tuple[Vector, Any])
assert_type(chainad.jacobian(f, (0, 1))(x, 2.0), tuple[Any, ...])
assert_type(chainad.grad(loss, argnums=["w", "scale"])(weights, 2.0), tuple[Any, ...])
assert_type(chainad.jacobian(with_text, has_aux=True)(x), tuple[Any, str])
assert_type(chainad.value_and_jacobian(with_text, has_aux=True)(x), tuple[tuple[Vector, str], Any])

# Containers: what depends on them is not known.
assert_type(chainad.grad(loss)(weights), Any)
assert_type(chainad.value_and_grad(loss)(weights), tuple[float, Any])
assert_type(chainad.jacobian(pair)(x), Any)
assert_type(chainad.jacobian(f, batch=0)(np.ones((4, 3))), Any)

# Compiled.
assert_type(chainad.compile(f)(x, scale=2.0), Vector)
assert_type(chainad.compile(loss)(weights), float)
assert_type(chainad.compile(pair)(x), tuple[Vector, Vector])
assert_type(chainad.jacobian(f).compile()(x), Array)
assert_type(chainad.compile(chainad.jacobian(f, output="sparse"))(x), csr_array)
assert_type(chainad.compile(chainad.value_and_jacobian(f), x)(x), tuple[Vector, Array])
assert_type(chainad.compile(chainad.value_and_grad(loss))(weights), tuple[float, Any])
assert_type(chainad.jacobian(f).compile(x)(x, out=out), Array)
assert_type(chainad.jacobian(f).compile().begin(x)[1](), Any)

# Products, patterns, plans.
assert_type(chainad.jvp(f, (x,), (x,)), tuple[Vector, Any])
assert_type(chainad.jvp(with_text, (x,), (x,), has_aux=True), tuple[Vector, Any, str])
value, pullback = chainad.vjp(loss, weights, argnums=0)
assert_type(value, float)
assert_type(pullback(1.0), tuple[Any, ...])
assert_type(chainad.linearize(f, x, argnums="x"), tuple[Vector, chainad.LinearMap])
assert_type(chainad.linearize(with_text, x, has_aux=True)[2], str)
assert_type(chainad.sparsity(f, x), csr_array)
assert_type(chainad.sparsity(loss, weights), Any)
assert_type(chainad.plan(f, x, mode="reverse"), chainad.Plan)
assert_type(chainad.jacobian(f).explain(x, scale=2.0), chainad.Plan | chainad.ChunkedPlan)
assert_type(chainad.jacobian(f).explain(x, analyze=True, seconds=0.01), chainad.Analysis)
assert_type(chainad.grad(loss).compile().explain(weights), chainad.Plan | chainad.ChunkedPlan)
assert_type(chainad.for_scipy(f).explain(x, analyze=True, seconds=0.01), chainad.Analysis)
assert_type(chainad.plan(f, x, memory_limit="1 MB"), chainad.Plan | chainad.ChunkedPlan)
print(chainad.jvp(np.diff, (x,), (x,))[1].shape)
print(chainad.vjp(lambda w: w["a"], weights)[1](x)[0]["a"].shape)
print(chainad.linearize(np.linalg.inv, np.eye(3))[1].shape)
print(chainad.sparsity(np.diff, x).shape)
print(chainad.hvp(energy, (x,), (x,)).shape)

# For the solvers of SciPy.
assert_type(chainad.for_scipy(f)(x), Vector)
assert_type(chainad.for_scipy(f).jac(x), Array)
assert_type(chainad.for_scipy(rhs, 1, output="sparse").jac(1.0, x), csr_array)
assert_type(chainad.for_scipy(energy).value_and_jac(x), tuple[float, Array])
assert_type(chainad.for_scipy(energy).hess(x), Array)
print(chainad.for_scipy(lambda x: x**2).jac(x).shape)

# Derivatives of derivatives, partial functions, methods, decorators.
assert_type(chainad.jacobian(chainad.grad(energy))(x), Array)
assert_type(chainad.jacobian(chainad.compile(f))(x), Array)


@chainad.compile
def decorated(x: Vector, scale: float = 1.0) -> Vector:
    return scale * x


@chainad.compile(backend="numpy")
def decorated_with_options(x: Vector) -> Vector:
    return 2 * x


class Model:
    def __init__(self) -> None:
        self.scale = 2.0
        self.slope = chainad.jacobian(self.plain)

    def plain(self, x: Vector) -> Vector:
        return self.scale * x

    @chainad.compile
    def compiled(self, x: Vector, power: int = 2) -> Vector:
        return self.scale * x**power

    @chainad.compile(backend="numpy")
    def compiled_with_options(self, x: Vector) -> Vector:
        return self.scale * x

    derivative = chainad.jacobian(plain, argnums=1)


model = Model()
assert_type(decorated(x, scale=3.0), Vector)
assert_type(decorated_with_options(x), Vector)
assert_type(model.slope(x), Array)
assert_type(model.compiled(x, power=3), Vector)
assert_type(model.compiled_with_options(x), Vector)
assert_type(chainad.jacobian(model.plain)(x), Array)
chainad.jacobian(model.compiled)(x)
model.derivative(x)


def slope_of(J: chainad.JacobianFunction) -> chainad.CompiledFunction:
    return J.compile()


slope_of(chainad.jacobian(f))(x)

# Functions without annotations, lambdas, functions of NumPy.
flag = bool(x[0] > 0)


def unannotated(w, x=x):
    return w["a"] * x, flag


print(chainad.jacobian(unannotated, has_aux=True)(weights)[0]["a"].shape)
print(chainad.jacobian(unannotated, has_aux=flag).compile()(weights)[0]["a"].shape)
print(chainad.grad(lambda w, scale: scale * w["a"] @ w["a"])(weights, 2.0)["a"].shape)
print(chainad.compile(lambda w: {"b": w["a"]})(weights)["b"].shape)
print(chainad.hessian(lambda x: x[0] ** 2 * x[1])(x).shape)
print(chainad.jacobian(np.square)(x).shape)
print(chainad.jacobian(np.diff)(x).shape)
print(chainad.jacobian(np.linalg.inv)(np.eye(3)).shape)
print(chainad.jacobian(np.linalg.solve, (0, 1))(np.eye(3), x)[0].shape)
print(chainad.grad(np.linalg.norm)(x).shape)
print(chainad.compile(np.cumsum)(x).shape)
print(chainad.jacobian(partial(f, scale=2.0))(x).shape)
print(chainad.jacobian(partial(unannotated, weights), has_aux=True)(x)[0].shape)


# Orders: by name, by a number of vertices, by a plan, by a function.
def outward(graph: LinearGraph) -> tuple[int, ...]:
    return tuple(sorted(graph.inner))


chainad.jacobian(f, mode="reverse")(x)
chainad.jacobian(f, mode=chainad.plan(f, x))(x)
chainad.jacobian(f, mode=outward)(x)
chainad.jacobian(f, mode=lambda graph: graph.inner)(x)
register("outward", "from the inputs on")(lambda problem: outward(problem.graph))
chainad.jacobian(f, mode=PlannerName("outward"))(x)
unregister("outward")
