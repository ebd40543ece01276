"""Replay: a recording as the source of one straight-line Python function.

What is executed is what `source` prints. Calls that neither a result nor a guard depends on are
dropped. The function returns MISS where the arguments, or what was read off values, are not as
recorded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainad.compiler.cse import eliminate_common_formulas
from chainad.compiler.recording.arguments import argument_checks, array_specs
from chainad.compiler.recording.capture_checks import capture_checks
from chainad.compiler.recording.expressions import Names, expression, is_quiet
from chainad.compiler.recording.factorization_reuse import required_reads, reuse_factorizations
from chainad.compiler.recording.multiply_reduce import fuse_multiply_reduce
from chainad.compiler.recording.recording import RecordedCall, Recording, refs_in
from chainad.compiler.stacking.stack_recording import StackedCalls, read_outside, stack_formulas
from chainad.frontends.numpy.recorder import Guard

MISS: Any = object()

Replay = Callable[..., Any]  # of args, kwargs and out

# Smaller results are not freed before the replay returns.
_MIN_FREED_BYTES = 1 << 12


@dataclass(frozen=True)
class RequestedOutput:
    """What a replay returns: the Jacobian, and with `value` what the function returns, too.

    `run` takes the stored arrays of the local Jacobians and what `buffers` returns for `out=`, and
    `blocks` makes the Jacobians of its results.
    """

    value: bool
    is_tuple: bool
    run: Callable[[Sequence[Any], Any], Any]
    blocks: Callable[[Any], Any]
    buffers: Callable[[Any], Any]


def _replay_source(recording: Recording, requested: RequestedOutput) -> tuple[str, dict[str, Any]]:
    """Return a recording as Python source, and the names that it needs."""
    recording = eliminate_common_formulas(recording)
    ndims = {number: np.ndim(array) for number, array in recording.constants.items()}
    ndims |= {call.number: len(call.shape) for call in recording.calls if call.dtype is not None}
    arrays = array_specs(recording.arguments)
    names = Names(ndims | {number: len(array.shape) for number, array in arrays.items()})
    names.objects |= {"np": np, "ndarray": np.ndarray, "MISS": MISS}
    lines = argument_checks(*recording.arguments, names.constant)
    lines += capture_checks(recording.captures, names.constant)
    for static in recording.statics:
        array, entries = names.constant(static.array), static.entries
        lines += [f"if {_differs(array, entries, names)}:", "    return MISS"]
    for number, array in recording.constants.items():
        names.objects[f"v{number}"] = array
    lines += _calls(recording, requested, names)
    slots = ", ".join(names.argument(slot) for slot in recording.slots)
    names.objects |= {
        "run": requested.run,
        "blocks": requested.blocks,
        "buffers": requested.buffers,
    }
    lines.append(f"jacobian = blocks(run([{slots}], None if out is None else buffers(out)))")
    values = _unaliased(recording) if requested.value else []
    value = f"({', '.join(values)},)" if requested.is_tuple and values else (*values, "()")[0]
    lines.append(f"return {value if requested.value else None}, jacobian")
    body = "\n    ".join(lines)
    return f"def replay(args, kwargs, out=None):\n    {body}\n", names.objects


def build_replay(recording: Recording, requested: RequestedOutput) -> tuple[Replay, str]:
    """Return a function from arguments to value (or None) and Jacobian, or MISS; and its source."""
    text, objects = _replay_source(recording, requested)
    exec(compile(text, "<chainad replay>", "exec"), objects)
    replay: Replay = objects["replay"]
    return replay, text


def _calls(recording: Recording, requested: RequestedOutput, names: Names) -> list[str]:
    """Return the lines of all calls that are needed, and of the guards between them."""
    results = [*recording.slots, *(recording.values if requested.value else ())]
    always = {*refs_in(results), *(guard.number for guard in recording.guards)}
    kept = reuse_factorizations(_needed(recording, results), _dtypes(recording))
    if all(guard.kind == "shape" for guard in recording.guards):  # none depends on rounding
        kept = fuse_multiply_reduce(kept, always)
    last = _last_uses(kept, always)
    lines: list[str] = []
    state: tuple[str, ...] | None = None
    guards = iter([*recording.guards, None])
    guard = next(guards)
    block: list[str] = []
    known = {call.number: call for call in kept}
    bounds: dict[int, float] = {}

    def end_block() -> None:
        nonlocal block
        if block and state is not None:
            lines.append(f"with np.errstate({_errstate_keywords(state)}):")
            lines.extend(f"    {line}" for line in block)
        else:
            lines.extend(block)
        block = []

    def enter_errstate(calls: Sequence[RecordedCall]) -> None:
        nonlocal state
        are_quiet = [is_quiet(call, bounds) for call in calls]
        needed = state if all(are_quiet) else calls[0].errstate
        if needed != state:
            end_block()
            state = needed

    stacks, rest = stack_formulas(recording, kept)
    read = read_outside(stacks, rest, results)
    stack_names: dict[tuple[int, ...], str] = {}
    first = sum(call.number < recording.first_formula for call in rest)
    schedule: list[RecordedCall | StackedCalls] = [*rest[:first], *stacks, *rest[first:]]
    for call in schedule:
        if isinstance(call, StackedCalls):
            enter_errstate(call.calls)
            block += call.lines(len(stack_names), names, stack_names, read)
            continue
        while guard is not None and guard.position <= call.number:
            block += _guard(guard, names)
            guard = next(guards)
        enter_errstate((call,))
        block.append(f"v{call.number} = {expression(call, names)}")
        dead = [k for k in call.reads if last.get(k) == call.number and _is_large(known.get(k))]
        if dead:
            block.append("del " + ", ".join(f"v{k}" for k in sorted(set(dead))))
    end_block()
    while guard is not None:
        lines += _guard(guard, names)
        guard = next(guards)
    return lines


def _dtypes(recording: Recording) -> dict[int, Any]:
    """Return the dtypes of the values that are not results of calls."""
    arrays = {**recording.constants, **array_specs(recording.arguments)}
    return {number: array.dtype for number, array in arrays.items()}


def _needed(recording: Recording, results: Iterable[Any]) -> list[RecordedCall]:
    needed = {*refs_in(list(results)), *(guard.number for guard in recording.guards)}
    kept = []
    for call in reversed(recording.calls):
        if call.number in needed:
            needed.update(required_reads(call))
            kept.append(call)
    return kept[::-1]


def _last_uses(calls: Sequence[RecordedCall], always: set[int]) -> dict[int, int]:
    found = {k: call.number for call in calls for k in call.reads}
    return {k: n for k, n in found.items() if k not in always}


def _is_large(call: RecordedCall | None) -> bool:
    if call is None or call.dtype is None:
        return False
    return math.prod(call.shape) * call.dtype.itemsize >= _MIN_FREED_BYTES


def _errstate_keywords(state: tuple[str, ...]) -> str:
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


def _differs(name: str, entries: Any, names: Names) -> str:
    """Return a test that is true unless an array has these very entries, bit by bit."""
    have = names.constant(entries.tobytes())
    return f"{name}.shape != {entries.shape} or {name}.tobytes() != {have}"


def _unaliased(recording: Recording) -> list[str]:
    """Return expressions for the values, contiguous and in memory that nothing else shares."""
    calls = {call.number: call for call in recording.calls}
    found = []
    for k, ref in enumerate(recording.values):
        call, name = calls.get(ref.number), f"v{ref.number}"
        if call is not None and call.is_scalar:
            found.append(name)
        elif call is None or not isinstance(call.function, np.ufunc) or ref in recording.values[:k]:
            found.append(f"np.array({name}, order='C')")
        else:  # a ufunc makes an array, in the order of its operands
            found.append(name if len(call.shape) < 2 else f"np.asarray({name}, order='C')")
    return found
