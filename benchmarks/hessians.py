"""Hessians beside those of JAX: `python -m benchmarks.hessians [--check] [--save] [name ...]`.

All ways to a Hessian take turns on one core: traced and compiled here, `jit(jax.hessian)` there. A
Hessian is checked first, by differences of gradients along random directions.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import chainad
from benchmarks.check import agree, applied, directions
from benchmarks.machine import heading
from benchmarks.peers import LOADERS
from benchmarks.pin import pin
from benchmarks.table import ms, table, times
from benchmarks.timing import Runner, race, ratio
from benchmarks.workload import Array, Function, Library, Spelling, spelled

RESULTS = Path(__file__).parent / "results"
ROUNDS = 5
STEP = 1e-5
TOLERANCE = 1e-6  # of the largest entry, for central differences


@dataclass(frozen=True)
class Problem:
    """A function that returns a number, a point, the form of the Hessian, and the goal.

    `gain` is how many times faster than JAX a compiled call is to be, or `milliseconds` how long
    it may take, where JAX has no such form.
    """

    title: str
    function: Function
    point: Array
    spell: Spelling
    output: str = "dense"
    gain: float | None = None
    milliseconds: float | None = None


def logistic(X: Any, y: Any, xp: Any) -> Function:
    """Return the negative log-likelihood of a logistic regression."""

    def loss(w: Any) -> Any:
        z = X @ w
        return xp.sum(xp.log1p(xp.exp(z)) - y * z)

    return loss


def factorization(A: Any, V: Any, xp: Any) -> Function:
    """Return the squared error of a matrix factorization, by the left factor."""
    return lambda U: xp.sum((A - U @ V) ** 2)


def network(x: Any, weights: Any, xp: Any) -> Function:
    """Return the loss of layers of tanh, by the weights of the first."""

    def loss(first: Any) -> Any:
        h = xp.tanh(first @ x)
        for k in range(len(weights)):
            h = xp.tanh(weights[k] @ h)
        return xp.sum(h**2)

    return loss


def rosenbrock(xp: Any) -> Function:
    """Return Rosenbrock's function of any number of variables."""
    return lambda x: xp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def problems(is_quick: bool) -> dict[str, Problem]:
    """Return the problems, at sizes that are quickly checked or worth timing."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Array:
        return rng.normal(size=shape)

    def made(
        title: str, make: Callable[..., Function], arrays: Sequence[Array], x: Array, **goal: Any
    ) -> Problem:
        function, spell = spelled(make, *arrays)
        return Problem(title, function, x, spell, **goal)

    m, n = (20, 6) if is_quick else (500, 100)
    layers = (normal(20), 0.25 * normal(9, 20, 20))
    dense, sparse = (20, 30) if is_quick else (200, 10_000)
    labels = (normal(m) > 0).astype(float)
    return {
        "logistic": made(
            f"logistic regression, {m} x {n}", logistic, (normal(m, n), labels), normal(n), gain=4
        ),
        "factorization": made(
            "matrix factorization, 30 x 5 of 30 x 40",
            factorization, (normal(30, 40), normal(5, 40)), normal(30, 5), gain=80,
        ),
        "network": made(
            "ten tanh layers of 20, by the first weights",
            network, layers, 0.25 * normal(20, 20), gain=2,
        ),
        "rosenbrock": made(
            f"Rosenbrock {dense}, dense", rosenbrock, (), normal(dense), gain=1
        ),
        "rosenbrock-sparse": made(
            f"Rosenbrock {sparse:,}, sparse", rosenbrock, (), normal(sparse),
            output="sparse", milliseconds=1,
        ),
    }  # fmt: skip


def runners(problem: Problem, jax: Library | None) -> dict[str, Runner]:
    """Return the ways to the Hessian, all of which agree.

    Raises
    ------
    MismatchError
        If one of them does not.
    """
    f, x = problem.function, problem.point
    hessian = chainad.hessian(f, output=problem.output)
    compiled = hessian.compile(0.9 * x)  # recorded elsewhere: it must be right here, too
    found: dict[str, Runner] = {"traced": partial(hessian, x), "compiled": partial(compiled, x)}
    wanted = hessian(x)
    check(problem, wanted)
    if jax is not None and problem.output == "dense":
        theirs, at = jax.module.jit(jax.module.hessian(problem.spell(jax))), jax.array(x)
        found["jax"] = lambda: jax.wait(theirs(at))
    for name, run in found.items():
        for v in directions(x):
            agree(f"{problem.title}, {name}", applied(run(), v), applied(wanted, v))
    return found


def check(problem: Problem, hessian: Any) -> None:
    """Raise MismatchError unless a Hessian is what differences of gradients say."""
    x, gradient = problem.point, chainad.grad(problem.function)
    for v in directions(x):
        slope = (gradient(x + STEP * v) - gradient(x - STEP * v)) / (2 * STEP)
        agree(problem.title, applied(hessian, v), slope.ravel(), TOLERANCE)


def row(problem: Problem, found: dict[str, Runner], seconds: float) -> list[str]:
    """Time all ways in turn; return a row of the table."""
    rounds = race(found, seconds, ROUNDS)
    took = {name: median(each) for name, each in rounds.items()}
    gain = ratio(rounds["jax"], rounds["compiled"]) if "jax" in rounds else None
    goal, is_met = "-", True
    if problem.gain is not None:
        goal, is_met = f">= {problem.gain:g}x", gain is None or gain >= problem.gain
    elif problem.milliseconds is not None:
        goal = f"<= {problem.milliseconds:g} ms"
        is_met = took["compiled"] * 1e3 <= problem.milliseconds
    plan = chainad.hessian(problem.function, output=problem.output).plan(problem.point)
    return [
        problem.title,
        f"{plan.multiplications:,}",
        *(ms(took.get(name)) for name in ("traced", "compiled", "jax")),
        times(gain),
        goal,
        "met" if is_met else "missed",
    ]


HEAD = ("Hessian", "multiplications", "traced ms", "compiled ms", "JAX ms", "JAX / compiled")


def main(arguments: Sequence[str]) -> int:
    """Check, time and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hessians", description=__doc__)
    parser.add_argument("names", nargs="*", help="problems (default: all)")
    parser.add_argument("--check", action="store_true", help="check on small sizes, time nothing")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/hessians.md")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each runner")
    options = parser.parse_args(arguments)
    try:
        jax = LOADERS["jax"]()
    except ImportError:
        jax = None
    chosen = problems(options.check)
    rows = []
    for name in options.names or chosen:
        found = runners(chosen[name], jax)
        if options.check:
            print(f"{name}: correct: {', '.join(found)}")
        else:
            rows.append(row(chosen[name], found, options.seconds))
    if rows:
        text = heading("Hessians", ["jax"]) + "\n" + table([*HEAD, "goal", ""], rows)
        print(text)
        if options.save:
            (RESULTS / "hessians.md").write_text(text + "\n")
    return 0


if __name__ == "__main__":
    if "--check" not in sys.argv:
        pin()
    sys.exit(main(sys.argv[1:]))
