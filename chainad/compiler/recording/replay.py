"""Replay: a recording as the source of one straight-line Python function.

What is executed is what `source` prints. Calls that neither a result nor a guard depends on are
dropped. The function returns MISS where the arguments, or what was read off values, are not as
recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainad.backends.namespace import Namespace
from chainad.backends.numpy.emit import emit_new
from chainad.compiler.recording.accumulation import Accumulation, preallocated
from chainad.compiler.recording.arguments import argument_checks
from chainad.compiler.recording.capture_checks import bits_differ, capture_checks
from chainad.compiler.recording.link import LinkedProgram, link
from chainad.compiler.recording.quiet_calls import is_quiet
from chainad.compiler.recording.recording import Recording
from chainad.ir.calls import SILENT, Call, Guard
from chainad.ir.program import Program, Runner

MISS: Any = object()

Replay = Callable[..., Any]  # of args, kwargs and out

# Smaller results are not freed before the replay returns.
_MIN_FREED_BYTES = 1 << 12


@dataclass(frozen=True)
class RequestedOutput:
    """What a replay returns: what the function returns, the Jacobian, or both.

    `blocks` makes the Jacobians of the results of the accumulation. `buffers` tells which arrays
    these are to be written into: of `out=`, and of what is read meanwhile.
    """

    value: bool
    jacobian: bool
    is_tuple: bool
    blocks: Callable[[Any], Any]
    buffers: Callable[..., Any]


def build_replay(
    recording: Recording,
    jacobian: Program | Runner,
    slots: Sequence[Any],
    requested: RequestedOutput,
) -> tuple[Replay, str]:
    """Return a function from arguments to value (or None) and Jacobian, or MISS; and its source.

    `jacobian` accumulates the Jacobian of the local ones, which were `slots` in the recorded run.
    """
    if not requested.jacobian:
        jacobian = Program(0, (), ())
    linked = link(recording, jacobian, requested.value)
    has_products = bool(linked.accumulation.outputs) and isinstance(jacobian, Program)
    names = Namespace(blocks=requested.blocks, buffers=requested.buffers)
    products = None
    if has_products:
        linked, products = preallocated(linked, slots, names)
    else:
        linked = linked.stacked({})
    return names.define(
        "replay(args, kwargs, out=None)", _lines(recording, linked, products, requested, names)
    )


def bind_arguments(
    recording: Recording, names: Namespace, holds_constants: bool = False, is_brief: bool = False
) -> list[str]:
    """Return lines that bind the data arguments, or return MISS for a call that was not recorded.

    Captured arrays must have the shapes that they had; the same entries, too, where these are
    constants of what is replayed (`holds_constants`). With `is_brief`, dtypes and layouts of
    arguments are left to machine code to check.
    """
    names.objects |= {"ndarray": np.ndarray, "MISS": MISS}
    lines = argument_checks(*recording.arguments, names.constant, is_brief)
    lines += capture_checks(recording.captures, names.constant)
    fixed = [(each.array, each.entries) for each in recording.statics]
    referenced = {id(x): x for x in recording.references.values()}.values()
    tests = (
        [] if holds_constants else [f"{names.constant(x)}.shape != {x.shape}" for x in referenced]
    )
    for array, entries in [*fixed, *((x, x) for x in referenced if holds_constants)]:
        name = names.constant(array)
        tests.append(bits_differ(name, entries.shape, entries.tobytes(), names.constant))
    return lines + [line for test in tests for line in (f"if {test}:", "    return MISS")]


def _lines(
    recording: Recording,
    linked: LinkedProgram,
    products: Accumulation | None,
    requested: RequestedOutput,
    names: Namespace,
) -> list[str]:
    """Return a linked program as lines of Python.

    Without `products`, the last call makes all results.
    """
    constants = linked.program.constants
    names.objects |= {f"v{k}": array for k, array in constants.items()}
    lines = bind_arguments(recording, names)
    accumulation = []
    results = "[]"
    if products is None and linked.accumulation.outputs:
        results = f"v{linked.accumulation.outputs[0]}"
    if products is not None:
        read = "".join(f", v{k}" for k in products.read)
        accumulation = ["# products", "if out is not None:", f"    out = buffers(out{read})"]
        accumulation += products.lines
        results = f"[{', '.join(products.source.results)}]"
    lines += _calls(linked, names, accumulation)
    values = _unaliased(linked)
    value = f"({', '.join(values)},)" if requested.is_tuple and values else (*values, "()")[0]
    jacobian = f"blocks({results})" if requested.jacobian else "None"
    return [*lines, f"return {value if requested.value else None}, {jacobian}"]


def _calls(linked: LinkedProgram, names: Namespace, accumulation: list[str]) -> list[str]:
    """Return the lines of all calls, of the guards between them, and of the accumulation."""
    ndims = {k: len(array.shape) for k, array in linked.types.items()}
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

    sizes = {
        i.output: linked.types[i.output].nbytes for i in linked.calls if i.output in linked.types
    }
    for n, (i, last) in enumerate(zip(linked.calls, linked.program.last_reads, strict=False)):
        op = i.op
        is_silent = isinstance(op, Guard) or is_quiet(i, bounds)
        if isinstance(op, Call) and not is_silent and op.errstate != state:
            end_block()
            state = op.errstate
        if n == linked.n_function:
            block.append("# local Jacobians")
        if isinstance(op, Call) and all(ndims.get(k) in (1, 2) for k in i.inputs):
            # A dot product is dispatched faster.
            op = replace(op, function=np.dot) if op.function is np.matmul else op
        operands = [f"v{k}" for k in i.inputs]
        if isinstance(op, Guard):
            block += _guard(op, operands[0], names)
        else:
            block.append(f"v{i.output} = {emit_new(op, operands, names)}")
        large = [k for k in last if sizes.get(k, 0) >= _MIN_FREED_BYTES]
        if large:
            block.append("del " + ", ".join(f"v{k}" for k in large))
    # What the function itself does not warn of, its derivatives do not. (Where no formula may warn,
    # local Jacobians are bounded, or values of the function: it costs time to enter another state.)
    if state != SILENT:
        end_block()
        state = None
    block += accumulation
    end_block()
    return lines


def _errstate_keywords(state: tuple[str, ...]) -> str:
    keys = ("divide", "over", "under", "invalid")
    assert tuple(np.geterr()) == keys
    return ", ".join(f"{key}={value!r}" for key, value in zip(keys, state, strict=True))


def _guard(guard: Guard, own: str, names: Namespace) -> list[str]:
    if guard.kind == "truth":
        test = f"not {own}" if guard.found else own
    elif guard.kind == "equal":  # nan is nan, and 0.0 is not -0.0
        test = f"repr({own}) != {repr(guard.found)!r}"
    elif guard.kind == "shape":
        dtype = names.constant(guard.found.dtype)
        test = f"{own}.shape != {guard.found.shape} or {own}.dtype != {dtype}"
    else:
        test = bits_differ(own, guard.found.shape, guard.found.tobytes(), names.constant)
    return [f"if {test}:", "    return MISS"]


def _unaliased(linked: LinkedProgram) -> list[str]:
    """Return expressions for the values, contiguous and in memory that nothing else shares."""
    ops = {i.output: i.op for i in linked.program.instructions}
    found = []
    for n, k in enumerate(linked.values):
        op, name = ops.get(k), f"v{k}"
        if not isinstance(op, Call):
            found.append(f"np.array({name}, order='C')")
        elif op.is_scalar:
            found.append(name)
        elif not isinstance(op.function, np.ufunc) or k in linked.values[:n]:
            found.append(f"np.array({name}, order='C')")
        else:  # a ufunc makes an array, in the order of its operands
            found.append(name if len(op.shape) < 2 else f"np.asarray({name}, order='C')")
    return found
