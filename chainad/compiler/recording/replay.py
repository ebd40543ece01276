"""Replay: a recording as the source of one straight-line Python function.

What is executed is what `source` prints. Calls that neither a result nor a guard depends on are
dropped. The function returns MISS where the arguments, or what was read off values, are not as
recorded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainad.compiler.cse import ValueNumbers, eliminate_common_instructions
from chainad.compiler.recording.arguments import argument_checks, array_specs
from chainad.compiler.recording.capture_checks import capture_checks
from chainad.compiler.recording.expressions import Names, expression, is_quiet
from chainad.compiler.recording.factorization_reuse import reuse_factorizations
from chainad.compiler.recording.multiply_reduce import fuse_multiply_reduce
from chainad.compiler.recording.recording import Recording
from chainad.compiler.stacking.stack_recording import StackedCalls, read_outside, stack_formulas
from chainad.ir.calls import Call, Guard
from chainad.ir.ops import Op
from chainad.ir.program import Instruction, Program, prune

MISS: Any = object()

Replay = Callable[..., Any]  # of args, kwargs and out

# Smaller results are not freed before the replay returns.
_MIN_FREED_BYTES = 1 << 12


@dataclass(frozen=True)
class RequestedOutput:
    """What a replay returns: what the function returns, the Jacobian, or both.

    `run` takes the stored arrays of the local Jacobians and what `buffers` returns for `out=`, and
    `blocks` makes the Jacobians of its results.
    """

    value: bool
    jacobian: bool
    is_tuple: bool
    run: Callable[[Sequence[Any], Any], Any]
    blocks: Callable[[Any], Any]
    buffers: Callable[[Any], Any]


def _replay_source(recording: Recording, requested: RequestedOutput) -> tuple[str, dict[str, Any]]:
    """Return a recording as Python source, and the names that it needs."""
    recording = _optimised(recording, requested.value)
    program = recording.program
    ndims = {k: np.ndim(array) for k, array in program.constants.items()}
    ndims |= {k: len(array.shape) for k, array in array_specs(recording.arguments).items()}
    for i in program.instructions:
        if isinstance(i.op, Call) and i.op.dtype is not None:
            ndims[i.output] = len(i.op.shape)
    names = Names(ndims)
    names.objects |= {"np": np, "ndarray": np.ndarray, "MISS": MISS}
    names.objects |= {f"v{k}": array for k, array in program.constants.items()}
    lines = argument_checks(*recording.arguments, names.constant)
    lines += capture_checks(recording.captures, names.constant)
    for static in recording.statics:
        array, entries = names.constant(static.array), static.entries
        lines += [f"if {_differs(array, entries, names)}:", "    return MISS"]
    lines += _calls(recording, names)
    if requested.jacobian:
        slots = ", ".join("None" if k is None else f"v{k}" for k in recording.slots)
        names.objects |= {
            "run": requested.run,
            "blocks": requested.blocks,
            "buffers": requested.buffers,
        }
        lines.append(f"jacobian = blocks(run([{slots}], None if out is None else buffers(out)))")
    values = _unaliased(recording)
    value = f"({', '.join(values)},)" if requested.is_tuple and values else (*values, "()")[0]
    jacobian = "jacobian" if requested.jacobian else "None"
    lines.append(f"return {value if requested.value else None}, {jacobian}")
    body = "\n    ".join(lines)
    return f"def replay(args, kwargs, out=None):\n    {body}\n", names.objects


def build_replay(recording: Recording, requested: RequestedOutput) -> tuple[Replay, str]:
    """Return a function from arguments to value (or None) and Jacobian, or MISS; and its source."""
    text, objects = _replay_source(recording, requested)
    exec(compile(text, "<chainad replay>", "exec"), objects)
    replay: Replay = objects["replay"]
    return replay, text


def _optimised(recording: Recording, has_value: bool) -> Recording:
    """Return a recording in which nothing is computed twice, or for nothing."""
    program = recording.program
    arrays = {**program.constants, **array_specs(recording.arguments)}
    dtypes = {k: array.dtype for k, array in arrays.items() if hasattr(array, "dtype")}
    instructions = reuse_factorizations(program.instructions, dtypes)
    numbers = ValueNumbers()
    # What the function returns twice is two arrays.
    function = range(recording.first_formula)
    instructions = eliminate_common_instructions(instructions, function, numbers)
    values = recording.values if has_value else ()
    outputs = (*values, *(None if k is None else numbers[k] for k in recording.slots))
    program = prune(replace(program, instructions=tuple(instructions), outputs=outputs))
    recording = replace(recording, program=program, n_values=len(values))
    if any(guard.kind != "shape" for guard in recording.guards):  # which depend on rounding
        return recording
    fused = fuse_multiply_reduce(program.instructions, outputs)
    return replace(recording, program=replace(program, instructions=tuple(fused)))


def _calls(recording: Recording, names: Names) -> list[str]:
    """Return the lines of all calls, and of the guards between them."""
    program = recording.program
    lines: list[str] = []
    block: list[str] = []
    state: tuple[str, ...] | None = None
    bounds: dict[int, float] = {}

    def end_block() -> None:
        nonlocal block
        if block and state is not None:
            lines.append(f"with np.errstate({_errstate_keywords(state)}):")
            lines.extend(f"    {line}" for line in block)
        else:
            lines.extend(block)
        block = []

    def enter_errstate(instructions: Sequence[Instruction]) -> None:
        nonlocal state
        calls = [(i, i.op) for i in instructions if isinstance(i.op, Call)]
        are_quiet = [is_quiet(i, call, bounds) for i, call in calls]
        needed = state if all(are_quiet) else calls[0][1].errstate
        if needed != state:
            end_block()
            state = needed

    stacks, rest = stack_formulas(recording)
    read = read_outside(stacks, rest, program.outputs)
    stack_names: dict[tuple[int, ...], str] = {}
    first = sum(i.output < recording.first_formula for i in rest)
    schedule: list[Instruction | StackedCalls] = [*rest[:first], *stacks, *rest[first:]]
    dead = _dead_after(program)
    for i in schedule:
        if isinstance(i, StackedCalls):
            enter_errstate(i.instructions)
            block += i.lines(len(stack_names), names, stack_names, read)
        elif isinstance(i.op, Guard):
            block += _guard(i.op, f"v{i.inputs[0]}", names)
        else:
            assert isinstance(i.op, Call)
            enter_errstate((i,))
            block.append(f"v{i.output} = {expression(i.op, i.inputs, names)}")
        if isinstance(i, Instruction) and i.output in dead:
            block.append("del " + ", ".join(f"v{k}" for k in dead[i.output]))
    end_block()
    return lines


def _dead_after(program: Program) -> dict[int, list[int]]:
    """Return the large registers that nothing reads after an instruction, by what that writes."""
    last = {k: i for i in program.instructions for k in i.inputs}
    found: dict[int, list[int]] = {}
    for i in program.instructions:
        if i.output in last and i.output not in program.outputs and _is_large(i.op):
            found.setdefault(last[i.output].output, []).append(i.output)
    return found


def _is_large(op: Op) -> bool:
    if not isinstance(op, Call) or op.dtype is None:
        return False
    return math.prod(op.shape) * op.dtype.itemsize >= _MIN_FREED_BYTES


def _errstate_keywords(state: tuple[str, ...]) -> str:
    keys = ("divide", "over", "under", "invalid")
    assert tuple(np.geterr()) == keys
    return ", ".join(f"{key}={value!r}" for key, value in zip(keys, state, strict=True))


def _guard(guard: Guard, own: str, names: Names) -> list[str]:
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
    ops = {i.output: i.op for i in recording.program.instructions}
    found = []
    for n, k in enumerate(recording.values):
        op, name = ops.get(k), f"v{k}"
        if not isinstance(op, Call):
            found.append(f"np.array({name}, order='C')")
        elif op.is_scalar:
            found.append(name)
        elif not isinstance(op.function, np.ufunc) or k in recording.values[:n]:
            found.append(f"np.array({name}, order='C')")
        else:  # a ufunc makes an array, in the order of its operands
            found.append(name if len(op.shape) < 2 else f"np.asarray({name}, order='C')")
    return found
