"""Recordings: what one run of a function did on plain arrays, as a program, without the arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainad.compiler.recording.arguments import ContainerSpec
from chainad.frontends.captures.find_captures import Capture
from chainad.frontends.numpy.recorder import Recorder, Static, is_shared
from chainad.ir.array_functions import is_ndarray
from chainad.ir.calls import Call, Guard
from chainad.ir.program import Instruction, Program


@dataclass(frozen=True)
class Recording:
    """What a run did, in order: the function itself, then the local Jacobians that are needed.

    `arguments` tells where the inputs of `program` are found; of its constants, `references` are
    arrays that the function took from elsewhere, by reference; its guards, `statics` and `captures`
    are checked at each call. It returns the `n_values` values of the function, then the stored
    arrays of the local Jacobians, by edge: None where one is not needed. Registers from
    `first_formula` on are those of the local Jacobians.
    """

    arguments: tuple[ContainerSpec, ContainerSpec]
    program: Program
    references: Mapping[int, Any]
    statics: tuple[Static, ...]
    n_values: int
    first_formula: int
    captures: tuple[Capture, ...] = ()

    @property
    def values(self) -> tuple[int, ...]:
        """The registers of what the function returns."""
        return tuple(k for k in self.program.outputs[: self.n_values] if k is not None)

    @property
    def slots(self) -> tuple[int | None, ...]:
        """The registers of the local Jacobians."""
        return self.program.outputs[self.n_values :]

    @property
    def calls(self) -> tuple[Call, ...]:
        """What is called."""
        return tuple(i.op for i in self.program.instructions if isinstance(i.op, Call))

    @property
    def guards(self) -> tuple[Guard, ...]:
        """What is checked of the values."""
        return tuple(i.op for i in self.program.instructions if isinstance(i.op, Guard))


def finish_recording(
    recorder: Recorder,
    arguments: tuple[ContainerSpec, ContainerSpec],
    values: tuple[int, ...],
    slots: Sequence[Any],
    ambient: tuple[str, ...],
    first_formula: int,
    captures: tuple[Capture, ...],
) -> Recording:
    """Return what a recorder recorded.

    `slots` has, for every local Jacobian, its register, an array, or None; `ambient` is the state
    of np.errstate that the recorder began in.
    """
    references: dict[int, Any] = {}
    instructions: list[Instruction] = []
    for number, entry in enumerate(recorder.entries[recorder.n_inputs :], recorder.n_inputs):
        op: Call | Guard
        if number in recorder.references:
            array = recorder.references[number]
            # What the function overwrote was its own scratch memory.
            references[number] = entry.value if recorder.changed(number) else array
            continue
        if isinstance(entry.value, Guard):
            op = entry.value
        elif entry.template is not None:
            value, errstate = entry.value, entry.key
            op = Call(
                entry.function,
                *entry.template,
                getattr(value, "shape", ()),
                getattr(value, "dtype", None),
                isinstance(value, np.generic),
                None if errstate in (None, ambient) else errstate,  # type: ignore[arg-type]
            )
        else:
            continue
        inputs = tuple(k for k in entry.sources if k is not None)
        instructions.append(Instruction(op, inputs, number))
    outputs: list[int | None] = [*values]
    constants = {**references}
    register_of: dict[Any, int] = {}
    for slot in slots:
        if slot is None or type(slot) is int:
            outputs.append(slot)
            continue
        # Equal numbers from the source are one constant; an array of one entry is a number.
        is_number = (isinstance(slot, np.generic) or is_ndarray(slot)) and slot.shape == ()
        key = (slot.dtype, slot.tobytes()) if is_number else id(slot)
        number = register_of.setdefault(key, len(recorder.entries) + len(register_of))
        constants[number] = slot[()] if is_number else slot
        outputs.append(number)
    statics = tuple(each for each in recorder.statics if is_shared(each))
    program = Program(recorder.n_inputs, tuple(instructions), tuple(outputs), constants)
    return Recording(arguments, program, references, statics, len(values), first_formula, captures)
