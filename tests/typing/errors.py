"""What type checkers refuse, each with a comment that they ignore it, which they check, too."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import chainad

Vector = NDArray[np.float64]

x = np.ones(3)


def f(x: Vector, scale: float = 1.0) -> Vector:
    return scale * x


def energy(x: Vector) -> float:
    return float(np.sum(x))


class Model:
    @chainad.compile
    def method(self, x: Vector) -> Vector:
        return x


# Options.
chainad.jacobian(f, output="spares")  # type: ignore[call-overload]
chainad.jacobian(f, mode="fwd")  # type: ignore[arg-type]
chainad.jacobian(f, cost="flops")  # type: ignore[call-overload]
chainad.jacobian(f, backend="nmba")  # type: ignore[call-overload]
chainad.jacobian(f, effort="most")  # type: ignore[call-overload]
chainad.jacobian(f, progress="bar")  # type: ignore[call-overload]
chainad.jacobian(f, argnums=0.0)  # type: ignore[call-overload]
chainad.jacobian(f, model="forward")  # type: ignore[call-overload]
chainad.value_and_jacobian(f, output="spares")  # type: ignore[call-overload]
chainad.hessian(energy, output="spares")  # type: ignore[call-overload]
chainad.hessian(energy, holomorphic=True)  # type: ignore[call-overload]
chainad.grad(energy, mode="fwd")  # type: ignore[arg-type]
chainad.grad(energy, output="sparse")  # type: ignore[call-overload]
chainad.value_and_grad(energy, mode="fwd")  # type: ignore[arg-type]
chainad.compile(f, backend="nmba")  # type: ignore[call-overload]
chainad.plan(f, x, mode="fwd")  # type: ignore[arg-type]
chainad.jvp(f, (x,), (x,), mode="fwd")  # type: ignore[arg-type]
chainad.vjp(f, x, output="sparse")  # type: ignore[call-overload]
chainad.for_scipy(f, output="structured")  # type: ignore[call-overload]

# Arguments.
chainad.jacobian(f)("no")  # type: ignore[call-overload]
chainad.jacobian(f)()  # type: ignore[call-overload]
chainad.jacobian(f)(x, scale="no")  # type: ignore[call-overload]
chainad.jacobian(f)(x, 1.0, 2.0)  # type: ignore[call-overload]
chainad.jacobian(f).compile()("no")  # type: ignore[call-overload]
chainad.value_and_jacobian(f)("no")  # type: ignore[call-overload]
chainad.grad(energy)("no")  # type: ignore[call-overload]
chainad.hessian(energy)("no")  # type: ignore[call-overload]
chainad.compile(f)(x, scala=2.0)  # type: ignore[call-overload]
Model().method("no")  # type: ignore[call-overload]
chainad.jacobian(3)  # type: ignore[call-overload]
chainad.for_scipy(f)("no")  # type: ignore[call-overload]

# Results.
chainad.jacobian(f)(x).tocsr()  # type: ignore[attr-defined]
print(chainad.jacobian(f, output="structured")(x).shpae)  # type: ignore[attr-defined]
