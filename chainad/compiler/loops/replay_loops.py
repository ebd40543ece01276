"""Replays recordings by loops in machine code: from arguments to value and Jacobian."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from chainad.backends.namespace import Namespace
from chainad.backends.numba import generated_modules, llvm_functions
from chainad.backends.numba import scalar as numba
from chainad.backends.numba.loops import module_source
from chainad.compiler.loops.lower_to_loops import captured_arrays, lower_to_loops, stays_in_place
from chainad.compiler.recording.recording import Recording
from chainad.compiler.recording.replay import Replay, RequestedOutput, bind_arguments
from chainad.compiler.scalar.replay_scalar import contiguous
from chainad.compiler.scalar.scalarize import data_arguments
from chainad.ir.loop_program import FAILURES
from chainad.ir.program import Program


def replay_by_loops(
    recording: Recording, program: Program, wanted: RequestedOutput, scalars: Sequence[bool]
) -> tuple[Replay, str]:
    """Return what computes one point by loops, and its source.

    Parameters
    ----------
    recording, program
        What is computed.
    wanted : RequestedOutput
        What is returned.
    scalars : sequence of bool
        Whether the value of each output is a NumPy scalar rather than an array.

    Raises
    ------
    NotScalarError
        If something has no form as a loop, or NumPy is the quicker one.
    """
    numba.check_installed()
    found, shapes = lower_to_loops(recording, program, wanted.value)
    captured = [x for _, x in captured_arrays(recording)]
    held = [x.reshape(-1) for x in captured if stays_in_place(x)]
    others = captured[: len(captured) - len(held)]
    text, size = module_source(found, len(held))
    names = Namespace(
        float64=np.float64, contiguous=contiguous, blocks=wanted.blocks, buffers=wanted.buffers,
        free=[], size=size,
        held=llvm_functions.addresses_of(held), arrays=held,  # which keeps these alive
    )  # fmt: skip
    generated_modules.load_into(names.objects, "work", text)
    lines = bind_arguments(recording, names)
    rows = [
        _flat_argument(number, flow.shape, flow.is_c_contiguous)
        for number, flow in data_arguments(recording).items()
    ]
    rows += [f"contiguous({names.constant(array)}).reshape(-1)" for array in others]
    values = scalars if wanted.value else ()
    lines += _outputs(shapes, len(values))
    results = ", ".join(f"y{k}.reshape(-1)" for k in range(len(shapes)))
    lines += [
        "try:",
        "    memory = free.pop()  # each call has its own memory",
        "except IndexError:",
        "    memory = empty(size)",
        "try:",
        f"    work({', '.join([*rows, 'held', 'memory', results])})",
        "except TypeError:  # an array that is read-only or not aligned",
        f"    work(*map(contiguous, ({''.join(f'{x}, ' for x in rows)})), held, memory, {results})",
        "free.append(memory)",
    ]
    if found.may_fail:
        names.objects |= {"FAILURES": FAILURES, "LinAlgError": np.linalg.LinAlgError}
        lines += ["if memory[-1]:", "    raise LinAlgError(FAILURES[int(memory[-1]) - 1])"]
    given = iter(range(len(values), len(shapes)))
    arrays = ["None" if k is None else f"y{next(given)}" for k in program.outputs]
    lines.append(f"jacobian = blocks(({''.join(f'{x}, ' for x in arrays)}))")
    returned = [
        f"float64(y{k}[()])" if is_scalar else f"y{k}" for k, is_scalar in enumerate(values)
    ]
    value = f"({', '.join(returned)},)" if wanted.is_tuple and returned else (*returned, "()")[0]
    lines.append(f"return {value if wanted.value else None}, jacobian")
    replay, source = names.define("replay(args, kwargs, out=None)", lines)
    return replay, f"{text}\n{source}"


def _outputs(shapes: Sequence[tuple[int, ...]], n_values: int) -> list[str]:
    """Return lines that allocate the results; a single one is `out` itself, where that fits."""
    lines = [f"y{k} = empty({shape})" for k, shape in enumerate(shapes)]
    if len(shapes) != n_values + 1:
        return lines
    own = lines.pop()
    return [
        *lines,
        "into = None if out is None else buffers(out)",
        "if into and into[0].flags.c_contiguous:",
        f"    y{n_values} = into[0]",
        "else:",
        f"    {own}",
    ]


def _flat_argument(number: int, shape: tuple[int, ...], is_c_contiguous: bool) -> str:
    if shape and is_c_contiguous:
        return f"v{number}.reshape({prod(shape)})"
    return f"contiguous(v{number}).reshape(-1)"
