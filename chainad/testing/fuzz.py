"""Fuzzing: `python -m chainad.testing.fuzz` checks the Jacobians of random programs in every way.

A check is a random program and a request: some lines that ask for its Jacobian in one way. Its
entries are compared with differences where these can be trusted, and everywhere with the Jacobian
of the simplest request. What fails is shortened and printed, to be run as it is.
"""

from __future__ import annotations

import argparse
import faulthandler
import re
import secrets
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from itertools import count
from random import Random
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

import chainad
from chainad.errors import ChainadError, FallbackWarning
from chainad.testing.differences import Truth, outputs_of, truth_of
from chainad.testing.jacobian_requests import (
    HAS_NUMBA,
    HELPERS,
    SIMPLEST,
    WrongJacobianError,
    draw_request,
    each,
)
from chainad.testing.oracles import Array
from chainad.testing.random_programs import RandomProgram, random_program

# A check that takes longer hangs.
MAX_CHECK_SECONDS = 120
REQUESTS_PER_PROGRAM = 4
MEAN_INTERRUPT_SECONDS = 0.004
# What the shortening of one failing program may cost.
MAX_SHORTENING_CHECKS = 300
# A kind is a verdict in one place; further failing programs of a kind are only counted.
MAX_PRINTED_PER_KIND = 3
PRINTED_REFUSALS = 8

FAULTS = ("wrong", "crash", "hang")
VERDICTS = ("right", "refused", *FAULTS)

# Faults that are known and not mended yet: a pattern of what is reported, and what it is. A row
# that is counted 0 times in a long run can go.
BESIDE = "but right beside this point"
KNOWN: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What became of a check: one of VERDICTS, what was seen, and where (the same for a kind)."""

    name: str
    detail: str = ""
    place: str = ""

    @property
    def is_fault(self) -> bool:
        return self.name in FAULTS

    def is_like(self, other: Verdict) -> bool:
        """Whether these are verdicts of one kind."""
        return (self.name, self.place) == (other.name, other.place)


@dataclass(frozen=True)
class Fault:
    """A check that failed; printed, a script."""

    program: RandomProgram
    request: str
    verdict: Verdict

    def __str__(self) -> str:
        source, request = self.program.source, self.request
        helpers = [name for name in HELPERS if f"{name}(" in request or f"({name}," in request]
        lines = [
            f"# {self.verdict.name}, seed {self.program.seed}: {self.verdict.detail}",
            "import numpy as np",
            "from scipy import special" if re.search(r"(?<!\.)\bspecial\.", source) else "",
            "import chainad",
            f"from chainad.testing.jacobian_requests import {', '.join(helpers)}"
            if helpers
            else "",
            "from chainad.testing.random_programs import K" if "K(" in source else "",
            f"\n{source}",
            f"x = [{', '.join(_text(x) for x in self.program.inputs)}]",
            f"away = [{', '.join(_text(x) for x in away_from(self.program))}]"
            if "away" in request
            else "",
            f"A = {_argnums(self.program)}",
            request,
            "print(J)",
        ]
        return "\n".join(line for line in lines if line)


# ------------------------------------------------------------------ one check


class _OutOfTimeError(BaseException):
    """Raised in a check that takes too long; nothing that is checked catches it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise in the main thread if the block takes longer."""

    def stop(*_: object) -> None:
        raise _OutOfTimeError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def interrupted(program: RandomProgram, request: str, seconds: float) -> Verdict:
    """Make a request, interrupt it after some seconds, and look at the inputs.

    Whether what else it left behind is sound, later checks tell.
    """
    point = program.point()
    with suppress(_OutOfTimeError, Exception), time_limit(seconds):
        exec(request, _space_for(program, point))
    broken = next(_broken_inputs(program, point), None)
    return Verdict("right") if broken is None else Verdict("wrong", broken, "interrupt")


def verdicts_of(program: RandomProgram, requests: Sequence[str]) -> list[Verdict]:
    """Return what becomes of the requests, the simplest one before them; nothing without a truth.

    Where the simplest request is refused, or fails, the others are not made.
    """
    truth = truth_of(program)
    if truth is None:
        return []
    simplest = _answer(program, SIMPLEST, truth)
    if simplest.verdict.is_fault and simplest.blocks:
        if _is_noise(program, truth, simplest.blocks):
            return []
        if _is_right_beside(program, truth):
            detail = f"{simplest.verdict.detail}, {BESIDE}"
            return [replace(simplest.verdict, detail=detail)]
    verdicts = [simplest.verdict]
    if simplest.blocks is not None:
        for request in requests:
            answer = _answer(program, request, truth)
            verdict = answer.verdict
            if answer.blocks is not None and verdict.name == "right":
                found = next(_disagreements(truth, simplest.blocks, answer.blocks), None)
                if found and _is_noise(program, truth, simplest.blocks):
                    found = None
                verdict = Verdict("wrong", found, _kind(request)) if found else verdict
            verdicts.append(verdict)
    return verdicts


def _is_noise(program: RandomProgram, truth: Truth, blocks: Sequence[Sequence[Array]]) -> bool:
    """Return whether the Jacobian is another one where the inputs are rounded otherwise."""
    there = _jacobian_at(
        [x * (1 + 4 * np.finfo(float).eps) for x in program.point()], program, truth
    )
    return there is not None and any(True for _ in _disagreements(truth, blocks, there))


def _is_right_beside(program: RandomProgram, truth: Truth) -> bool:
    """Return whether the Jacobian is right at a point close by: this one lies on a kink."""
    rng = np.random.default_rng(0)  # what is equal becomes different
    beside = [x + 1e-9 * rng.uniform(0.5, 1.5, np.shape(x)) for x in program.point()]
    there = _jacobian_at(beside, program, truth)
    return there is not None and not any(True for _ in _wrong_entries(truth, there))


def _jacobian_at(
    point: Sequence[Any], program: RandomProgram, truth: Truth
) -> list[list[Array]] | None:
    space = _space_for(program, point)
    with suppress(Exception), time_limit(MAX_CHECK_SECONDS):
        exec(SIMPLEST, space)
        return _matrices(program, truth, space["J"])
    return None


class _Answer(NamedTuple):
    verdict: Verdict
    blocks: list[list[Array]] | None = None


def _answer(program: RandomProgram, request: str, truth: Truth) -> _Answer:
    """Make one request, and compare what it gives with differences."""
    point = program.point()
    space = _space_for(program, point)
    try:
        with time_limit(MAX_CHECK_SECONDS):
            exec(request, space)
            blocks = _matrices(program, truth, space["J"])
    except ChainadError as error:
        return _Answer(Verdict("refused", f"{type(error).__name__}: {error}"))
    except _OutOfTimeError:
        return _Answer(Verdict("hang", f"more than {MAX_CHECK_SECONDS} s", _kind(request)))
    except WrongJacobianError as error:
        return _Answer(Verdict("wrong", str(error), _kind(request)))
    except Exception as error:  # whatever else a check raises is what fuzzing looks for
        return _Answer(_crash(error))
    wrong = [*_wrong_values(truth, space.get("value")), *_wrong_entries(truth, blocks)]
    if wrong:
        return _Answer(Verdict("wrong", wrong[0], _kind(request)), blocks)
    broken = [*_broken_laws(program, point, space["J"])]
    return _Answer(Verdict("wrong", broken[0], broken[0]) if broken else Verdict("right"), blocks)


def _space_for(program: RandomProgram, point: Sequence[Any]) -> dict[str, Any]:
    """Return the names that a request uses."""
    space = {"f": program.function(), "x": point, "away": away_from(program)}
    return {"np": np, "chainad": chainad, "A": _argnums(program), **HELPERS, **space}


def _kind(request: str) -> str:
    """Return a request without the choices made in it."""
    return re.sub(r"(mode|cost|effort|memory_limit)=[^,)]+", r"\1=...", request)


def _matrices(program: RandomProgram, truth: Truth, jacobian: Any) -> list[list[Array]]:
    """Return every block of a Jacobian as a matrix."""
    rows = jacobian if len(program.results) > 1 else (jacobian,)
    found = []
    for y, row in zip(truth.values, rows, strict=True):
        blocks = row if len(program.inputs) > 1 else (row,)
        found.append(
            [_matrix(b, y.shape, x.shape) for x, b in zip(program.inputs, blocks, strict=True)]
        )
    return found


def _matrix(block: Any, row_shape: tuple[int, ...], col_shape: tuple[int, ...]) -> Array:
    size = int(np.prod(row_shape)), int(np.prod(col_shape))
    wanted = (*row_shape, *col_shape)
    if scipy.sparse.issparse(block):
        block, wanted = block.toarray(), size
    elif hasattr(block, "rmatmat"):
        columns, rows = block @ np.eye(size[1]), block.T @ np.eye(size[0])
        if not np.allclose(columns, rows.T, rtol=1e-8, atol=1e-10, equal_nan=True):
            raise WrongJacobianError("tangents and adjoints of an operator disagree")
        block, wanted = columns, size
    elif hasattr(block, "toarray"):
        block = block.toarray()
    array = np.asarray(block, float)
    if array.shape != wanted:
        raise WrongJacobianError(f"a block has shape {array.shape} in place of {wanted}")
    return array.reshape(size)


def _wrong_entries(truth: Truth, blocks: Sequence[Sequence[Array]]) -> Iterator[str]:
    for o, row in enumerate(blocks):
        for i, matrix in enumerate(row):
            wanted, is_smooth, _ = truth.blocks[o][i]
            bad = is_smooth & ~(np.abs(matrix - wanted) < 2e-4 * (1 + np.abs(wanted)))
            if bad.any():
                at = tuple(np.argwhere(bad)[0].tolist())
                yield (
                    f"d(output {o})/d(x{i}){list(at)} is {matrix[at]:.8g} in place of"
                    f" {wanted[at]:.8g} ({np.count_nonzero(bad)} of {bad.size} entries)"
                )


def _disagreements(
    truth: Truth, simplest: Sequence[Sequence[Array]], blocks: Sequence[Sequence[Array]]
) -> Iterator[str]:
    """Compare with the simplest request, at kinks too; what is infinite there may differ."""
    for o, row in enumerate(blocks):
        for i, matrix in enumerate(row):
            wanted = simplest[o][i]
            both = np.isfinite(wanted) & np.isfinite(matrix)
            bad = (
                both
                & truth.blocks[o][i].is_sided
                & ~np.isclose(matrix, wanted, rtol=1e-6, atol=1e-8)
            )
            if bad.any():
                at = tuple(np.argwhere(bad)[0].tolist())
                yield (
                    f"d(output {o})/d(x{i}){list(at)} is {matrix[at]:.8g}, but {wanted[at]:.8g} by"
                    " the simplest request"
                )


def _wrong_values(truth: Truth, value: Any) -> Iterator[str]:
    if value is None:
        return
    for o, (y, wanted) in enumerate(zip(outputs_of(value), truth.values, strict=True)):
        if y.shape != wanted.shape:
            yield f"output {o} has shape {y.shape} in place of {wanted.shape}"
        elif not np.allclose(y, wanted, rtol=1e-10, atol=1e-12):
            yield f"output {o} is {y.tolist()} in place of {wanted.tolist()}"


def _broken_inputs(program: RandomProgram, point: Sequence[Any]) -> Iterator[str]:
    for k, (x, before) in enumerate(zip(point, program.inputs, strict=True)):
        if isinstance(x, np.ndarray) and not x.flags.writeable:
            yield f"the caller's x{k} was made read-only"
        if not np.array_equal(x, before):
            yield f"the caller's x{k} was changed"


def _broken_laws(program: RandomProgram, point: Sequence[Any], jacobian: Any) -> Iterator[str]:
    """Results are fresh, writable, contiguous and of float64; inputs stay what they were."""
    yield from _broken_inputs(program, point)
    blocks: list[Any] = []
    each(blocks.append, jacobian)
    arrays = [block for block in blocks if isinstance(block, np.ndarray)]
    for k, block in enumerate(arrays):
        if block.dtype != np.float64:
            yield f"a block is of {block.dtype}"
        if not block.flags.writeable:
            yield "a block is read-only"
        if not block.flags.c_contiguous:
            yield "a block is not contiguous"
        others = [*arrays[:k], *(x for x in point if isinstance(x, np.ndarray))]
        if any(np.shares_memory(block, other) for other in others):
            yield "a block shares memory with another one, or with an input"


def _crash(error: Exception) -> Verdict:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [k for k in frames if "/chainad/" in k.filename and "/testing/" not in k.filename]
    last = (ours or frames)[-1]
    place = f"{last.filename.rpartition('/chainad/')[2]}, {last.name}"
    message = str(error).strip().partition("\n")[0][:200]
    return Verdict("crash", f"{type(error).__name__} in {place}: {message}", place)


def away_from(program: RandomProgram) -> list[Any]:
    """Return another point where the program may be called, to record a compiled function at."""
    f, away = program.function(), [np.round(0.9 * x + 0.05, 4)[()] for x in program.inputs]
    try:
        found, here = outputs_of(f(*[x.copy() for x in away])), outputs_of(f(*program.point()))
    except Exception:  # as in `truth_of`
        return program.point()
    alike = all(y.shape == z.shape for y, z in zip(found, here, strict=True))
    return away if alike else program.point()


def _argnums(program: RandomProgram) -> int | tuple[int, ...]:
    return 0 if len(program.inputs) == 1 else tuple(range(len(program.inputs)))


def _text(x: Array) -> str:
    if np.ndim(x) == 0:
        return f"np.float64({x.item()!r})"
    shaped = f".reshape({x.shape})" if x.size == 0 else ""
    return f"np.array({x.tolist()!r}){shaped}"


# ------------------------------------------------------------------ shortening


def shortened(fault: Fault) -> Fault:
    """Return the shortest program found that fails in the same way, by dropping thing by thing."""
    checks = 0
    while True:
        for program in fault.program.shorter():
            checks += 1
            if checks > MAX_SHORTENING_CHECKS:
                return fault
            verdict = _verdict_again(program, fault.request)
            if verdict is not None and verdict.is_like(fault.verdict):
                fault = Fault(program, fault.request, verdict)
                break
        else:
            return fault


def _verdict_again(program: RandomProgram, request: str) -> Verdict | None:
    try:
        program.function()(*program.point())
    except Exception:  # what was dropped is needed
        return None
    requests = [] if request == SIMPLEST else [request]
    verdicts = verdicts_of(program, requests)
    return verdicts[-1] if len(verdicts) == 1 + len(requests) else None


# ------------------------------------------------------------------ the command


class FuzzReport:
    """What came of the programs tried so far."""

    def __init__(self, say: Callable[[str], None] = print, interrupts: bool = False) -> None:
        self.say = say
        self.interrupts = interrupts
        self.programs = 0
        self.verdicts: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.known: Counter[str] = Counter({why: 0 for _, why in KNOWN})
        self.kinds: Counter[tuple[str, str]] = Counter()
        self.faults: list[Fault] = []
        self._printed: set[str] = set()

    def try_program(self, seed: int) -> None:
        """Check the program of a seed; print what fails and is new."""
        program, rng = random_program(seed), Random(f"requests of {seed}")
        requests = [
            draw_request(rng, HAS_NUMBA and not self.interrupts)
            for _ in range(REQUESTS_PER_PROGRAM)
        ]
        if self.interrupts:
            for request in [SIMPLEST, *requests]:
                seconds = rng.expovariate(1 / MEAN_INTERRUPT_SECONDS)
                self._count(program, request, interrupted(program, request, seconds))
        self.programs += 1
        verdicts = verdicts_of(program, requests)
        for request, verdict in zip([SIMPLEST, *requests], verdicts, strict=False):
            self._count(program, request, verdict)

    def _count(self, program: RandomProgram, request: str, verdict: Verdict) -> None:
        self.verdicts[verdict.name] += 1
        if verdict.name == "refused":
            self.refusals[re.sub(r"^\w+: (<.*?>:\d+: )?|\d+", "", verdict.detail)[:90]] += 1
        elif verdict.is_fault:
            self._add(Fault(program, request, verdict))

    def _add(self, fault: Fault) -> None:
        for pattern, reason in KNOWN:
            if re.search(pattern, fault.verdict.detail):
                self.known[reason] += 1
                return
        kind = (fault.verdict.name, fault.verdict.place)
        self.kinds[kind] += 1
        if self.kinds[kind] > MAX_PRINTED_PER_KIND:
            return
        short = fault if fault.verdict.name == "hang" else shortened(fault)
        shape = re.sub(r"\d+", "", "".join(short.program.statements))
        if shape not in self._printed:
            self._printed.add(shape)
            self.faults.append(short)
            self.say(f"{short}\n")

    def __str__(self) -> str:
        checks = sum(self.verdicts.values())
        counts = ", ".join(f"{self.verdicts[name]:,} {name}" for name in VERDICTS)
        lines = [f"{self.programs:,} programs, {checks:,} checks: {counts}"]
        lines += [
            f"  refused {number} times: {message}"
            for message, number in self.refusals.most_common(PRINTED_REFUSALS)
        ]
        lines += [f"  known, {number} times: {why}" for why, number in self.known.items()]
        lines += [
            f"  {name} {number} times: {place.replace(chr(10), '; ')}"
            for (name, place), number in self.kinds.most_common()
        ]
        return "\n".join(lines)


@contextmanager
def _silent_callbacks() -> Iterator[None]:
    """Do not print what is raised where nothing can catch it, as by an interrupted finalizer."""
    before, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        yield
    finally:
        sys.unraisablehook = before


def fuzz(
    seed: int,
    seconds: float,
    programs: int | None = None,
    say: Callable[[str], None] = print,
    interrupts: bool = False,
) -> FuzzReport:
    """Try the programs of `seed`, `seed + 1`, ..., until time is up or enough were tried."""
    report, end = FuzzReport(say, interrupts), time.monotonic() + seconds
    callbacks = _silent_callbacks() if interrupts else nullcontext()
    with warnings.catch_warnings(), np.errstate(all="ignore"), callbacks:
        warnings.simplefilter("ignore")
        # What is run in a simpler way for a fault of chainad is a crash.
        warnings.filterwarnings("error", ".* a fault of chainad", FallbackWarning)
        for k in count():
            if k == programs or time.monotonic() > end:
                return report
            report.try_program(seed + k)
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 1 if something is wrong, crashes or hangs."""
    parser = argparse.ArgumentParser(prog="python -m chainad.testing.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to try (60)")
    parser.add_argument("--programs", type=int, help="how many programs to try at most")
    parser.add_argument("--seed", type=int, help="the first program's seed (a fresh one)")
    parser.add_argument(
        "--interrupts",
        action="store_true",
        help="make every request once before, and interrupt that anywhere, as Ctrl-C would",
    )
    options = parser.parse_args(arguments)
    seed = secrets.randbelow(10**9) if options.seed is None else options.seed
    print(f"fuzz: seed {seed}, numba {'too' if HAS_NUMBA else 'is not installed'}", flush=True)
    report = fuzz(seed, options.seconds, options.programs, interrupts=options.interrupts)
    print(report)
    return 1 if report.kinds else 0


if __name__ == "__main__":
    faulthandler.enable()
    raise SystemExit(main())
