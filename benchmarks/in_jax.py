"""`chainad.jax.jacobian` beside `jacfwd`, `jacrev` and an expert: `python -m benchmarks.in_jax`.

Everything is jitted, checked, and takes turns on one core; a function of many points is under
`vmap`. `[--check] [--save] [--seconds S] [--huge-pages] [name ...]`, the names being those of
`benchmarks`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import numpy as np

from benchmarks.check import MismatchError, agree
from benchmarks.machine import heading
from benchmarks.peers import LOADERS
from benchmarks.pin import pin
from benchmarks.table import ms, table, times
from benchmarks.timing import Clock, Rounds, Runner, race, ratio
from benchmarks.workload import Array, Function, Library, Workload
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.experts import NAME as EXPERT

RESULTS = Path(__file__).parent / "results" / "in_jax.md"
ROUNDS = 5
TOLERANCE = 1e-9
MODES = ("jacfwd", "jacrev")

# How many times faster than the better of jacfwd and jacrev it is to be.
GOALS = {
    "W1a": 10, "W1b": 0.95, "W1c": 0.95, "W1d": 0.95, "W1e": 9, "W2-20": 4.3, "W2-50": 9,
    "W6b": 20, "W6d": 1.5, "W7a": 4, "W7b": 25, "W7c": 1, "W7c-dense": 70, "W8-dense": 2.8,
    "W8-factors": 30,
    **{f"W5-{task}-{n}": 0.95 for n in (1, 512) for task in ("roe1d", "robot", "heart", "propane")},
}  # fmt: skip

# The Jacobian of a workload that is structured in `benchmarks`, as a dense one.
DENSE = {"W7c-dense": "W7c"}
# Blocks of samples, of which JAX takes the Jacobian under vmap.
BY_SAMPLE = {"W7c"}


@dataclass(frozen=True)
class Compiled:
    """A compiled function, and the seconds that tracing and compiling took."""

    run: Runner
    trace: float
    compile: float


@dataclass(frozen=True)
class Raced:
    """What was compiled of a workload, and the seconds of every way, round by round."""

    compiled: Mapping[str, Compiled]
    rounds: Mapping[str, Rounds]

    @property
    def gain(self) -> float:
        """How many times slower the better of `jacfwd` and `jacrev` was."""
        best = min(MODES, key=lambda mode: median(self.rounds[mode]))
        return ratio(self.rounds[best], self.rounds["chainad"])

    @property
    def cells(self) -> list[str]:
        """The milliseconds of all ways, then how many times slower JAX and the expert were."""
        took = {way: median(each) for way, each in self.rounds.items()}
        expert = ratio(self.rounds["expert"], self.rounds["chainad"]) if "expert" in took else None
        shown = (ms(took.get(way)) for way in (*MODES, "expert", "chainad"))
        return [*shown, times(self.gain), times(expert)]

    @property
    def first_call(self) -> float:
        """How many times longer tracing and compiling took than that of JAX."""
        took = {way: each.trace + each.compile for way, each in self.compiled.items()}
        return took["chainad"] / min(took[mode] for mode in MODES)

    @property
    def trace(self) -> float:
        """How many times longer tracing took than that of JAX."""
        return self.compiled["chainad"].trace / min(self.compiled[m].trace for m in MODES)


def jitted(library: Library, transform: Callable[..., Any], workload: Workload) -> Any:
    """Return the Jacobian of a workload by a transform, under vmap if it is a batch, not traced."""
    assert workload.spell is not None
    jacobian = transform(workload.spell(library))
    if workload.batch:
        jacobian = library.module.vmap(jacobian)
    return library.module.jit(jacobian)


def compiled(
    library: Library, transform: Callable[..., Any], workload: Workload, clock: Clock
) -> Compiled:
    """Return the compiled Jacobian of a workload; no way finds what another one has prepared."""
    jacobian, x = jitted(library, transform, workload), library.array(workload.point)
    library.module.clear_caches()
    start = clock()
    lowered = jacobian.lower(x)
    traced = clock()
    run = lowered.compile()
    end = clock()
    return Compiled(lambda: library.wait(run(x)), traced - start, end - traced)


def workload_of(name: str, is_quick: bool) -> Workload:
    """Return a workload by its name here."""
    if name in DENSE:
        workload = WORKLOADS[DENSE[name]](is_quick)
        return replace(workload, name=name, output="dense", title=f"{workload.title}, dense")
    return WORKLOADS[name](is_quick)


def ways(library: Library, workload: Workload) -> dict[str, Callable[[Function], Function]]:
    """Return the transforms that take turns."""
    import chainad.jax

    jax = library.module
    modes = {mode: getattr(jax, mode) for mode in MODES}
    if workload.name in BY_SAMPLE:
        modes = {mode: partial(_by_sample, jax, each) for mode, each in modes.items()}
    return {"chainad": partial(chainad.jax.jacobian, output=workload.output)} | modes


def _by_sample(jax: Any, transform: Callable[[Function], Function], f: Function) -> Function:
    """Return the Jacobian of a function of many samples for each of them."""
    by_sample: Function = jax.vmap(transform(lambda x: f(x[None])[0]))
    return by_sample


def raced(
    workload: Workload,
    library: Library,
    seconds: float,
    tolerance: float = TOLERANCE,
    clock: Clock = process_time,
) -> Raced:
    """Check all ways of one workload, then time them unless `seconds` are 0."""
    small, transforms = workload_of(workload.name, True), ways(library, workload)
    for transform in transforms.values():  # what JAX prepares once per process is no one's
        jitted(library, transform, small).lower(library.array(small.point))
    found = {way: compiled(library, t, workload, clock) for way, t in transforms.items()}
    runners = {way: each.run for way, each in found.items()}
    wanted = np.asarray(runners["jacfwd"]())
    if EXPERT in workload.own:
        expert = workload.own[EXPERT](library, workload)
        runners["expert"] = partial(expert, library.array(workload.point))
    for way, run in runners.items():
        _check(f"{workload.name}, {way}", _array(run(), wanted.shape), wanted, tolerance)
    return Raced(found, race(runners, seconds, ROUNDS, clock) if seconds else {})


def _array(found: Any, shape: tuple[int, ...]) -> Array:
    """Return a Jacobian as an array: its blocks, if these have the shape, else the dense one."""
    if hasattr(found, "todense"):
        is_blocks = len(found.terms[0]) == 1 and found.array.shape == shape
        found = found.array if is_blocks else found.todense()
    return np.asarray(found)


def _check(name: str, found: Array, wanted: Array, tolerance: float) -> None:
    if found.dtype != wanted.dtype:
        raise MismatchError(f"{name}: got {found.dtype}, wanted {wanted.dtype}")
    agree(name, found.reshape(wanted.shape).astype(float), wanted.astype(float), tolerance)


def row(name: str, workload: Workload, library: Library, seconds: float) -> list[str]:
    """Check and time all ways of one workload; return a row of the table."""
    found = raced(workload, library, seconds)
    if not seconds:
        return [name, "correct"]
    return [
        workload.title,
        *found.cells,
        name,
        f">= {GOALS[name]}x",
        "met" if found.gain >= GOALS[name] else "missed",
        times(found.trace),
        times(found.first_call),
    ]


CELLS = ("jacfwd ms", "jacrev ms", "expert ms", "chainad ms", "JAX / ours", "expert / ours")
HEAD = ("function", *CELLS)  # of the README's table
GOALS_HEAD = ("", "goal", "", "trace: ours / JAX", "first call: ours / JAX")


def main(arguments: Sequence[str]) -> int:
    """Check, time and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.in_jax", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(GOALS)} (default: all)")
    parser.add_argument("--check", action="store_true", help="check on small sizes, time nothing")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS}")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each way")
    parser.add_argument("--huge-pages", action="store_true", help="as NumPy has them by itself")
    options = parser.parse_args(arguments)
    library = LOADERS["jax"]()
    rows = []
    for name in options.names or GOALS:
        seconds = 0.0 if options.check else options.seconds
        rows.append(row(name, workload_of(name, options.check), library, seconds))
        print(*rows[-1], sep="  ", flush=True)
        library.module.clear_caches()
    if not options.check:
        shown, judged = ([each[part] for each in rows] for part in (slice(7), slice(7, None)))
        text = heading("Jacobians in JAX", ["jax"]) + "\n" + table(HEAD, shown)
        text += "\n\n" + table(GOALS_HEAD, judged)
        print(text)
        if options.save:
            RESULTS.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    if "--check" not in sys.argv:
        pin("--huge-pages" in sys.argv)
    sys.exit(main(sys.argv[1:]))
