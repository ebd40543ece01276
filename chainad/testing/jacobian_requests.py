"""Requests: all the ways of asking for one Jacobian, as lines of source text, and what they use.

A request is made where `f` is the function, `x` a point, `away` another one, and `A` the argnums;
it leaves the Jacobian at `x` in `J`, and perhaps what the function returns there in `value`.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np

import chainad
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
        "check_second_derivatives(lambda *x: chainad.jacobian(f, A, mode={mode})(*x), x)\n"
        "J = chainad.jacobian(f, A)(*x)",
    ),
)
CHOICES: dict[str, tuple[Any, ...]] = {
    "mode": ("auto", *modes()),
    "effort": ("fast", 0.05),
    "cost": tuple(COSTS),
    "limit": (300, 3_000, "1 MB"),
    "output": ("dense", "dense", "sparse", "structured"),
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


def check_second_derivatives(J: Callable[..., Any], x: Sequence[Any]) -> None:
    """Compare the derivative of a Jacobian in one direction with differences."""
    direction = [K(k, *np.shape(q)) for k, q in enumerate(x)]

    def moved(t: Any) -> tuple[Any, ...]:
        blocks: list[Any] = []
        each(blocks.append, J(*[q + t * d for q, d in zip(x, direction, strict=True)]))
        return tuple(blocks)

    found = outputs_of(chainad.jacobian(moved)(0.0))
    wanted = along(outputs_of(moved(0.0)), lambda t: outputs_of(moved(t)))
    for k, (block, differences) in enumerate(zip(found, wanted, strict=True)):
        bad = np.abs(block.ravel() - differences.slopes) > 2e-4 * (1 + np.abs(differences.slopes))
        bad &= differences.is_smooth
        if bad.any():
            at = int(np.argmax(bad))
            raise WrongJacobianError(
                f"the second derivative of block {k} at {at} is {block.ravel()[at]:.8g} in place"
                f" of {differences.slopes[at]:.8g}"
            )


HELPERS: dict[str, Any] = {
    helper.__name__: helper for helper in (each, nan_like, overwrite, check_second_derivatives)
}
