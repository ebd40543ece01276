"""Source: a recording as one straight-line Python function.

What is executed is what `source` prints. Calls whose results are read neither by a result nor by a
guard are left out. The function returns MISS where the arguments, or what was read off values, are
not as recorded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainad.compiler.cse import eliminate_common_formulas
from chainad.compiler.recording.arguments import argument_checks, array_specs
from chainad.compiler.recording.expressions import Names, expression, is_quiet
from chainad.compiler.recording.factorization_reuse import needs, reuse_factorizations
from chainad.compiler.recording.multiply_reduce import fuse_multiply_reduce
from chainad.compiler.recording.recording import Recording, Step, refs_in
from chainad.compiler.stacking.stack_recording import StackedCalls, read_outside, stack_formulas
from chainad.frontends.numpy.recorder import Guard, Ref

MISS: Any = object()

Replay = Callable[..., Any]  # of args, kwargs and out

# Results of so many bytes are let go as soon as nothing needs them.
LARGE = 1 << 12


@dataclass(frozen=True)
class RequestedOutput:
    """What a replay returns: `value` says whether the function's values, too.

    `run` takes the numbers of the local Jacobians and what `buffers` makes of `out=`, and `blocks`
    makes the Jacobians of its results.
    """

    value: bool
    is_tuple: bool
    run: Callable[[Sequence[Any], Any], Any]
    blocks: Callable[[Any], Any]
    buffers: Callable[[Any], Any]


def source(recording: Recording, wanted: RequestedOutput) -> tuple[str, dict[str, Any]]:
    """Return a recording as Python source, and the names that it needs."""
    recording = eliminate_common_formulas(recording)
    ndims = {number: np.ndim(array) for number, array in recording.constants.items()}
    ndims |= {step.number: len(step.shape) for step in recording.steps if step.dtype is not None}
    arrays = array_specs(recording.arguments)
    names = Names(ndims | {number: len(array.shape) for number, array in arrays.items()})
    names.objects |= {"np": np, "ndarray": np.ndarray, "MISS": MISS}
    lines = argument_checks(*recording.arguments, names.constant)
    for static in recording.statics:
        array, numbers = names.constant(static.array), static.entries
        lines += [f"if {_differs(array, numbers, names)}:", "    return MISS"]
    for number, array in recording.constants.items():
        names.objects[f"v{number}"] = array
    lines += _steps(recording, wanted, names)
    slots = ", ".join(names.spell(slot) for slot in recording.slots)
    names.objects |= {"run": wanted.run, "blocks": wanted.blocks, "buffers": wanted.buffers}
    lines.append(f"jacobian = blocks(run([{slots}], None if out is None else buffers(out)))")
    values = [_owned(recording, ref, names) for ref in recording.values] if wanted.value else []
    value = f"({', '.join(values)},)" if wanted.is_tuple and values else (*values, "()")[0]
    lines.append(f"return {value if wanted.value else None}, jacobian")
    body = "\n    ".join(lines)
    return f"def replay(args, kwargs, out=None):\n    {body}\n", names.objects


def build(recording: Recording, wanted: RequestedOutput) -> tuple[Replay, str]:
    """Return a function from arguments to value (or None) and Jacobian, or MISS; and its source."""
    text, objects = source(recording, wanted)
    exec(compile(text, "<chainad replay>", "exec"), objects)
    replay: Replay = objects["replay"]
    return replay, text


def _steps(recording: Recording, wanted: RequestedOutput, names: Names) -> list[str]:
    """Return the lines of all calls that are needed, and of the guards between them."""
    results = [*recording.slots, *(recording.values if wanted.value else ())]
    always = {*refs_in(results), *(guard.number for guard in recording.guards)}
    kept = reuse_factorizations(_needed(recording, results), _dtypes(recording))
    if all(guard.kind == "shape" for guard in recording.guards):  # none hangs on the last digits
        kept = fuse_multiply_reduce(kept, always)
    last = _last_uses(kept, always)
    lines: list[str] = []
    state: tuple[str, ...] | None = None
    guards = iter([*recording.guards, None])
    guard = next(guards)
    block: list[str] = []
    known = {step.number: step for step in kept}
    bounds: dict[int, float] = {}

    def close() -> None:
        nonlocal block
        if block and state is not None:
            lines.append(f"with np.errstate({_spelled(state)}):")
            lines.extend(f"    {line}" for line in block)
        else:
            lines.extend(block)
        block = []

    def enter(steps: Sequence[Step]) -> None:
        nonlocal state
        are_quiet = [is_quiet(step, bounds) for step in steps]
        wants = state if all(are_quiet) else steps[0].state
        if wants != state:
            close()
            state = wants

    stacks, rest = stack_formulas(recording, kept)
    read = read_outside(stacks, rest, results)
    stack_names: dict[tuple[int, ...], str] = {}
    first = sum(step.number < recording.formulas for step in rest)
    calls: list[Step | StackedCalls] = [*rest[:first], *stacks, *rest[first:]]
    for step in calls:
        if isinstance(step, StackedCalls):
            enter(step.steps)
            block += step.lines(len(stack_names), names, stack_names, read)
            continue
        while guard is not None and guard.position <= step.number:
            block += _guard(guard, names)
            guard = next(guards)
        enter((step,))
        block.append(f"v{step.number} = {expression(step, names)}")
        over = [k for k in step.reads if last.get(k) == step.number and _is_large(known.get(k))]
        if over:
            block.append("del " + ", ".join(f"v{k}" for k in sorted(set(over))))
    close()
    while guard is not None:
        lines += _guard(guard, names)
        guard = next(guards)
    return lines


def _dtypes(recording: Recording) -> dict[int, Any]:
    """Return the dtypes of the values that are no results of calls."""
    arrays = {**recording.constants, **array_specs(recording.arguments)}
    return {number: array.dtype for number, array in arrays.items()}


def _needed(recording: Recording, results: Iterable[Any]) -> list[Step]:
    needed = {*refs_in(list(results)), *(guard.number for guard in recording.guards)}
    kept = []
    for step in reversed(recording.steps):
        if step.number in needed:
            needed.update(needs(step))
            kept.append(step)
    return kept[::-1]


def _last_uses(steps: Sequence[Step], always: set[int]) -> dict[int, int]:
    found = {k: step.number for step in steps for k in step.reads}
    return {k: n for k, n in found.items() if k not in always}


def _is_large(step: Step | None) -> bool:
    if step is None or step.dtype is None:
        return False
    return math.prod(step.shape) * step.dtype.itemsize >= LARGE


def _spelled(state: tuple[str, ...]) -> str:
    keys = ("divide", "over", "under", "invalid")
    assert tuple(np.geterr()) == keys
    return ", ".join(f"{key}={value!r}" for key, value in zip(keys, state, strict=True))


def _guard(guard: Guard, names: Names) -> list[str]:
    own = f"v{guard.number}"
    if guard.kind == "truth":
        test = f"not {own}" if guard.found else own
    elif guard.kind == "equal":  # nan is nan, and 0.0 is not -0.0
        test = f"repr({own}) != {repr(guard.found)!r}"
    elif guard.kind == "shape":
        dtype = names.constant(guard.found.dtype)
        test = f"{own}.shape != {guard.found.shape} or {own}.dtype != {dtype}"
    else:
        test = _differs(own, guard.found, names)
    return [f"if {test}:", "    return MISS"]


def _differs(name: str, numbers: Any, names: Names) -> str:
    """Return a test that is true unless an array has these very numbers, bit by bit."""
    have = names.constant(numbers.tobytes())
    return f"{name}.shape != {numbers.shape} or {name}.tobytes() != {have}"


def _owned(recording: Recording, ref: Ref, names: Names) -> str:
    """Return an expression for a value in memory of its own."""
    step = next((s for s in recording.steps if s.number == ref.number), None)
    is_fresh = step is not None and isinstance(step.function, np.ufunc)
    is_number = step is not None and step.is_scalar
    return f"v{ref.number}" if is_fresh or is_number else f"np.array(v{ref.number})"
