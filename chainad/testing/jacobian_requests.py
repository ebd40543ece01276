"""Requests: all the ways of asking for one Jacobian, as lines of source text, and what they use.

A request is made where `f` is the function, `x` a point, `away` another one, and `A` the argnums;
it leaves the Jacobian at `x` in `J`, and perhaps what the function returns there in `value`.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

import numpy as np

import chainad
from chainad.ir import trees
from chainad.planning.cost_models import COSTS
from chainad.planning.registry import modes
from chainad.testing.differences import along, outputs_of
from chainad.testing.oracles import Array
from chainad.testing.random_programs import K

HAS_NUMBA = importlib.util.find_spec("numba") is not None
# Of the requests that name a backend; numba takes seconds where others take milliseconds.
NUMBA_SHARE = 0.02

SIMPLEST = "J = chainad.jacobian(f, A)(*x)"

# How often a request is made, and its text; what stands in braces is drawn from CHOICES.
REQUESTS: tuple[tuple[int, str], ...] = (
    (6, "J = chainad.jacobian(f, A, mode={mode})(*x)"),
    (2, "J = chainad.jacobian(f, A, mode={mode}, effort={effort}, seed=1)(*x)"),
    (2, "J = chainad.jacobian(f, A, cost={cost})(*x)"),
    (1, "J = chainad.jacobian(f, A, memory_limit={limit})(*x)"),
    (2, "value, J = chainad.value_and_jacobian(f, A, mode={mode})(*x)"),
    (3, "J = chainad.jacobian(f, A, mode={mode}, output='sparse')(*x)"),
    (2, "J = chainad.jacobian(f, A, mode={mode}, output='structured')(*x)"),
    (2, "J = chainad.jacobian(f, A, output='operator')(*x)"),
    (1, "J = chainad.jacobian(f, A)(*[q.tolist() if q.size else q for q in x])"),
    (
        1,
        "chainad.jacobian(f, A)(*[q.astype(np.float32) for q in x])\n"
        "J = chainad.jacobian(f, A)(*x)",
    ),
    (
        1,
        "plan = chainad.plan(f, *away, argnums=A, mode={mode})\n"
        "J = chainad.jacobian(f, A, mode=chainad.Plan.from_json(plan.to_json()))(*away)\n"
        "J = chainad.jacobian(f, A)(*x)",
    ),
    (1, "J = each(nan_like, chainad.jacobian(f, A)(*x))\nchainad.jacobian(f, A)(*x, out=J)"),
    (
        2,
        "J = each(nan_like, chainad.jacobian(f, A)(*x))\n"
        "chainad.compile(chainad.jacobian(f, A), *away, backend={backend})(*x, out=J)",
    ),
    (
        4,
        "g = chainad.jacobian(f, A, output={output})\n"
        "compiled = chainad.compile(g, *x, backend={backend})\n"
        "J = compiled(*x)\n"
        "compiled(*away)",
    ),
    (
        4,
        "compiled = chainad.jacobian(f, A, mode={mode}, backend={backend}).compile(*away)\n"
        "compiled(*x)\n"
        "J = compiled(*x)",
    ),
    (
        2,
        "compiled = chainad.value_and_jacobian(f, A, backend={backend}).compile(*away)\n"
        "value, J = compiled(*x)\n"
        "compiled(*away)",
    ),
    (
        3,
        "compiled = chainad.jacobian(f, A, output={output}, backend={backend}).compile()\n"
        "start = [q.copy() for q in x]\n"
        "found, finish = compiled.begin(*start)\n"
        "compiled.begin(*away)\n"
        "each(overwrite, (found, *start))\n"
        "J = finish()",
    ),
    (
        4,
        "points = [np.stack(pair) for pair in zip(away, x)]\n"
        "Js = chainad.jacobian(f, A, batch=0, backend={backend})(*points)\n"
        "J = each(lambda block: block[1], Js)",
    ),
    (
        2,
        "check_second_derivatives(chainad.jacobian(f, A, mode={mode}), x)\n"
        "J = chainad.jacobian(f, A)(*x)",
    ),
    (
        1,
        "value, _ = chainad.jvp(f, x, x)\n"
        "push = lambda v: chainad.jvp(f, x, v, mode={mode})[1]\n"
        "J = blocks_of(matrix_of(push, tuple(x), value), x, value)",
    ),
    (
        1,
        "value, pullback = chainad.vjp(f, *x, mode={mode})\n"
        "J = blocks_of(matrix_of(pullback, value, tuple(x)).T, x, value)",
    ),
    (
        1,
        "value, L = chainad.linearize(f, *x, mode={mode})\n"
        "J = blocks_of(matrix_of(lambda v: L(*v), tuple(x), value), x, value)",
    ),
    (
        1,
        "value, L = chainad.linearize(f, *x)\n"
        "J = blocks_of((L.T @ np.eye(L.shape[0])).T, x, value)",
    ),
    (
        1,
        "push = chainad.compile(lambda x, v: chainad.jvp(f, x, v), backend={backend})\n"
        "value, _ = push(tuple(away), tuple(away))\n"
        "value, _ = push(tuple(x), tuple(x))\n"
        "J = blocks_of(matrix_of(lambda v: push(tuple(x), v)[1], tuple(x), value), x, value)",
    ),
    (
        1,
        "value, (flat, tangents) = f(*x), chainad.ravel(tuple(x))\n"
        "push = lambda v: chainad.ravel(chainad.jvp(f, x, tangents(v))[1])[0]\n"
        "J = blocks_of(chainad.vmap(push, backend={backend})(np.eye(flat.size)).T, x, value)",
    ),
    (
        1,
        "points = [np.stack(pair) for pair in zip(away, x)]\n"
        "value = each(lambda y: y[1], chainad.vmap(f, backend={backend})(*points))\n"
        "J = chainad.jacobian(f, A)(*x)",
    ),
    (
        2,
        "g = lambda w: {'y': f(*w['x'])}\n"
        "value, J = chainad.value_and_jacobian(g, mode={mode}, output={output})({'x': tuple(x)})\n"
        "value, J = value['y'], nested(J, x)",
    ),
    (
        1,
        "J = chainad.jacobian(lambda w: (f(*w),), backend={backend}).compile(tuple(away))\n"
        "J = nested(J(tuple(x)), x)",
    ),
    (
        1,
        "points = {'x': tuple(map(np.stack, zip(away, x)))}\n"
        "Js = chainad.jacobian(lambda w: f(*w['x']), batch=0, backend={backend})(points)\n"
        "J = each(lambda block: block[1], nested(Js, x))",
    ),
    (
        2,
        "g = lambda *x: (f(*x), {'twice': 2 * x[0]})\n"
        "g = chainad.value_and_jacobian(g, A, mode={mode}, output={output}, has_aux=True)\n"
        "(value, aux), J = g(*x)\n"
        "assert np.array_equal(aux['twice'], 2 * x[0])",
    ),
    (
        1,
        "g = lambda *x: (f(*x), {'twice': 2 * x[0]})\n"
        "g = chainad.jacobian(g, A, has_aux=True, backend={backend}).compile(*away)\n"
        "J, aux = g(*x)\n"
        "assert np.array_equal(aux['twice'], 2 * x[0])",
    ),
    (
        1,
        "flat, arguments = chainad.ravel(tuple(x))\n"
        "F = chainad.for_scipy(lambda z: chainad.ravel(f(*arguments(z)))[0], output={form})\n"
        "F.jac(chainad.ravel(tuple(away))[0])\n"
        "y, M = F.value_and_jac(flat)\n"
        "value = chainad.ravel(f(*x))[1](np.reshape(y, -1))\n"
        "J = blocks_of(np.reshape(M @ np.eye(flat.size), (np.size(y), flat.size)), x, value)",
    ),
    (
        2,
        "H = chainad.hessian(sum_of_squares(f), A, mode={mode}, output={output})(*x)\n"
        "check_hessian(f, H, x)\n"
        "J = chainad.jacobian(f, A)(*x)",
    ),
    (
        1,
        "H = chainad.hessian(sum_of_squares(f), A, backend={backend}).compile(*away)\n"
        "check_hessian(f, H(*x), x)\n"
        "J = chainad.jacobian(f, A)(*x)",
    ),
    (
        1,
        "product = lambda v: chainad.hvp(sum_of_squares(f), x, v, mode={mode})\n"
        "H = matrix_of(product, tuple(x), tuple(x))\n"
        "check_hessian(f, blocks_of(H, x, tuple(x)), x)\n"
        "J = chainad.jacobian(f, A)(*x)",
    ),
)
CHOICES: dict[str, tuple[Any, ...]] = {
    "mode": ("auto", *modes()),
    "effort": ("fast", 0.05),
    "cost": tuple(COSTS),
    "limit": (300, 3_000, "1 MB"),
    "output": ("dense", "dense", "sparse", "structured"),
    "form": ("dense", "sparse", "operator"),
    "backend": ("auto", "numpy", "python"),
}


def draw_request(rng: Random, with_numba: bool = HAS_NUMBA) -> str:
    """Return the text of a random request.

    Examples
    --------
    >>> "chainad." in draw_request(Random(0))
    True
    """
    ((_, template),) = rng.choices(REQUESTS, [weight for weight, _ in REQUESTS])
    return text_of(template, rng, with_numba)


def text_of(template: str, rng: Random, with_numba: bool = False) -> str:
    """Return a request of a row of REQUESTS, with random choices.

    Examples
    --------
    >>> text_of("J = chainad.jacobian(f, A, effort={effort})(*x)", Random(0))
    'J = chainad.jacobian(f, A, effort=0.05)(*x)'
    """
    chosen = {name: rng.choice(values) for name, values in CHOICES.items()}
    if rng.random() < NUMBA_SHARE and with_numba:
        chosen["backend"] = "numba"
    return re.sub(r"\{(\w+)\}", lambda field: repr(chosen[field[1]]), template)


# ------------------------------------------------------------- used in requests


class WrongJacobianError(Exception):
    """Raised for what is no Jacobian of a function at all, or a wrong second derivative."""


def each(function: Callable[[Any], Any], jacobian: Any) -> Any:
    """Apply a function to every block of a Jacobian.

    Examples
    --------
    >>> each(np.size, (np.ones(3), (np.ones(2), np.ones(4))))
    (3, (2, 4))
    """
    if isinstance(jacobian, tuple):
        return tuple(each(function, block) for block in jacobian)
    return function(jacobian)


def nan_like(block: Array) -> Array:
    """Return an array like a block, full of nan."""
    return np.full_like(block, np.nan)


def overwrite(array: Any) -> None:
    """Overwrite an array; numbers cannot be.

    Examples
    --------
    >>> x = np.ones(2)
    >>> overwrite(x)
    >>> x
    array([7., 7.])
    """
    if isinstance(array, np.ndarray):
        array.fill(7)


def nested(jacobian: Any, x: Sequence[Any]) -> Any:
    """Return the blocks of a Jacobian whose arguments and results were put into containers.

    Examples
    --------
    >>> nested({"y": ({"x": (1, 2)}, {"x": (3, 4)})}, [0.5, 0.7])
    ((1, 2), (3, 4))
    """
    blocks, _ = trees.flatten(jacobian)
    rows = [tuple(blocks[k : k + len(x)]) for k in range(0, len(blocks), len(x))]
    return _without_single(_without_single(row) for row in rows)


def _without_single(items: Iterable[Any]) -> Any:
    found = tuple(items)
    return found[0] if len(found) == 1 else found


def matrix_of(product: Callable[[Any], Any], domain: Any, codomain: Any) -> Array:
    """Return the matrix of a linear function from its products with unit vectors.

    Examples
    --------
    >>> matrix_of(lambda v: 3 * v[0] + v[1], (np.ones(2), np.ones(2)), np.ones(2))
    array([[3., 0., 1., 0.],
           [0., 3., 0., 1.]])
    """
    flat, arranged = chainad.ravel(domain)
    columns = [chainad.ravel(product(arranged(e)))[0] for e in np.eye(flat.size)]
    return np.reshape(columns, (flat.size, chainad.ravel(codomain)[0].size)).T


def blocks_of(matrix: Array, x: Sequence[Any], value: Any) -> Any:
    """Return the blocks of a Jacobian that is one matrix, of all results by all inputs.

    Examples
    --------
    >>> blocks_of(np.array([[1.0, 2.0]]), [np.float64(0.5), np.ones(1)], np.float64(0.7))
    (array(1.), array([2.]))
    """
    values = outputs_of(value)
    rows = np.split(matrix, np.cumsum([y.size for y in values])[:-1])
    ends = np.cumsum([np.size(q) for q in x])[:-1]
    blocks = [
        block.reshape(y.shape + np.shape(q)).copy(order="C")
        for y, row in zip(values, rows, strict=True)
        for q, block in zip(x, np.split(row, ends, axis=1), strict=True)
    ]
    return nested(blocks, x)


def sum_of_squares(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that sums the squares of all that a function returns."""

    def total(*x: Any) -> Any:
        value = f(*x)
        return sum(np.sum(y * y) for y in (value if isinstance(value, tuple) else (value,)))

    return total


def check_second_derivatives(J: Callable[..., Any], x: Sequence[Any]) -> None:
    """Compare the derivative of a Jacobian in one direction with differences."""
    at = _on_line(J, x)
    _compare_with_differences(outputs_of(chainad.jacobian(at)(0.0)), at)


def check_hessian(f: Callable[..., Any], hessian: Any, x: Sequence[Any]) -> None:
    """Compare a Hessian of the sum of squares with differences of its gradient."""
    direction, _ = chainad.ravel(_direction(x))
    rows = each(_as_array, nested(hessian, x) if len(x) > 1 else ((hessian,),))
    slopes = [
        np.hstack([b.reshape(np.size(q), np.size(p)) for p, b in zip(x, row, strict=True)])
        @ direction
        for q, row in zip(x, rows, strict=True)
    ]
    gradient = chainad.grad(sum_of_squares(f), tuple(range(len(x))))
    _compare_with_differences(slopes, _on_line(gradient, x))


def _as_array(block: Any) -> Array:
    return np.asarray(block.toarray() if hasattr(block, "toarray") else block)


def _direction(x: Sequence[Any]) -> list[Array]:
    return [K(k, *np.shape(q)) for k, q in enumerate(x)]


def _on_line(J: Callable[..., Any], x: Sequence[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """Return t -> the blocks of a Jacobian at x + t * direction."""

    def at(t: Any) -> tuple[Any, ...]:
        blocks: list[Any] = []
        each(blocks.append, J(*[q + t * d for q, d in zip(x, _direction(x), strict=True)]))
        return tuple(blocks)

    return at


def _compare_with_differences(found: Sequence[Array], at: Callable[[Any], tuple[Any, ...]]) -> None:
    wanted = along(outputs_of(at(0.0)), lambda t: outputs_of(at(t)))
    for k, (block, differences) in enumerate(zip(found, wanted, strict=True)):
        bad = np.abs(block.ravel() - differences.slopes) > 2e-4 * (1 + np.abs(differences.slopes))
        bad &= differences.is_smooth
        if bad.any():
            place = int(np.argmax(bad))
            raise WrongJacobianError(
                f"the second derivative of block {k} at {place} is {block.ravel()[place]:.8g} in"
                f" place of {differences.slopes[place]:.8g}"
            )


HELPERS: dict[str, Any] = {
    helper.__name__: helper
    for helper in (
        each,
        nan_like,
        overwrite,
        nested,
        matrix_of,
        blocks_of,
        sum_of_squares,
        check_second_derivatives,
        check_hessian,
    )
}
