"""Recordings: the calls that one run of a function made on plain arrays, without the arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainad.compiler.recording.arguments import ContainerSpec
from chainad.frontends.captures.find_captures import Capture
from chainad.frontends.numpy.recorder import Guard, Recorder, Ref, Static, is_shared


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A call of `function`, with a `Ref` for every recorded value among its arguments.

    Its result is the value `number`, of this shape and dtype (`is_scalar`: a NumPy scalar, not an
    array; dtype None: several arrays, or an operator). `errstate` is that of NumPy, None where the
    function had not changed it.
    """

    number: int
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    is_scalar: bool
    errstate: tuple[str, ...] | None

    @property
    def reads(self) -> tuple[int, ...]:
        """The values that the call reads."""
        return tuple(refs_in((self.args, self.kwargs)))


@dataclass(frozen=True)
class Recording:
    """What a run did, in order: the function itself, then the local Jacobians that are needed.

    Values are numbered. `arguments` tells where the first ones are found; `constants` are arrays
    that the function took from elsewhere, by reference; `guards`, `statics` and `captures` are
    checked at each call. The calls from number `first_formula` on are those of the local Jacobians.
    `values` are what the function returns, `slots` the stored arrays of the local Jacobians, by
    edge: a `Ref`, an object, or None where it is not needed.
    """

    arguments: tuple[ContainerSpec, ContainerSpec]
    constants: Mapping[int, Any]
    calls: tuple[RecordedCall, ...]
    guards: tuple[Guard, ...]
    statics: tuple[Static, ...]
    values: tuple[Ref, ...]
    slots: tuple[Any, ...]
    first_formula: int
    captures: tuple[Capture, ...] = ()


def finish_recording(
    recorder: Recorder,
    arguments: tuple[ContainerSpec, ContainerSpec],
    values: tuple[Ref, ...],
    slots: tuple[Any, ...],
    ambient: tuple[str, ...],
    first_formula: int,
    captures: tuple[Capture, ...],
) -> Recording:
    """Return what a recorder recorded; `ambient` is the state of np.errstate it began in."""
    constants: dict[int, Any] = {}
    calls: list[RecordedCall] = []
    for number, entry in enumerate(recorder.entries[recorder.n_inputs :], recorder.n_inputs):
        if number in recorder.references:
            array = recorder.references[number]
            # What the function overwrote was its own scratch memory.
            constants[number] = entry.value if recorder.changed(number) else array
        elif entry.template is not None:
            value, errstate = entry.value, entry.key
            calls.append(
                RecordedCall(
                    number,
                    entry.function,
                    *entry.template,
                    getattr(value, "shape", ()),
                    getattr(value, "dtype", None),
                    isinstance(value, np.generic),
                    None if errstate in (None, ambient) else errstate,  # type: ignore[arg-type]
                )
            )
    statics = tuple(each for each in recorder.statics if is_shared(each))
    return Recording(
        arguments,
        constants,
        tuple(calls),
        tuple(recorder.guards),
        statics,
        values,
        slots,
        first_formula,
        captures,
    )


def refs_in(value: Any) -> list[int]:
    """Return the numbers of the values inside (nested) arguments."""
    if isinstance(value, Ref):
        return [value.number]
    if isinstance(value, (list, tuple)):
        return [number for item in value for number in refs_in(item)]
    if isinstance(value, Mapping):
        return [number for item in value.values() for number in refs_in(item)]
    return []
