"""Views of registers as formulas: which element of which register an operand is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainad.backends.numpy.allocate import ArrayType
from chainad.ir import ops
from chainad.ir.array_functions import indexer_of
from chainad.ir.calls import Call
from chainad.ir.fused_loops import Place
from chainad.ir.op import Op
from chainad.ir.program import Instruction
from chainad.ir.shapes import Shape
from chainad.rules.base import kind_of
from chainad.rules.kinds import Movement

Array = npt.NDArray[Any]
Places = tuple[Place, ...]


class OperandViews:
    """Tells what views the registers of a program are.

    Views are made of arrays of the same shapes whose elements are never read: the strides of what
    comes out are the formula.
    """

    def __init__(self, instructions: Sequence[Instruction], types: Mapping[int, ArrayType]) -> None:
        self._types = types
        self._made = {
            i.output: i for i in instructions if len(i.inputs) == 1 and _may_be_view(i.op)
        }
        self._arrays: dict[int, Array] = {}
        self._of: dict[int, int] = {}

    def may_be_view(self, register: int) -> bool:
        """Return whether a register is made by what makes views, if only of some arrays."""
        return register in self._made

    def is_view(self, register: int) -> bool:
        """Return whether a register is a view of another one."""
        return self.base(register) != register

    def base(self, register: int) -> int:
        """Return the register whose memory a register is seen in."""
        self._array(register)
        while register in self._of:
            register = self._of[register]
        return register

    def access(self, register: int, sizes: Shape) -> tuple[int, Places] | None:
        """Return a row-major register, and where its axes are read by a nest that reads another.

        The arrays broadcast to `sizes`. None if it is no formula.
        """
        chain = [register]
        self._array(register)
        while chain[-1] in self._of:
            chain.append(self._of[chain[-1]])
        for n, k in reversed(list(enumerate(chain))):
            if not self._array(k).flags.c_contiguous:
                continue
            array = dense = np.empty(self._types[k].shape)
            for view in reversed(chain[:n]):
                array = _seen(self._made[view].op, array)
            places = _places(np.broadcast_to(array, sizes), dense)
            if places is not None:
                return k, places
        return None

    def _array(self, register: int) -> Array:
        """Return an array with the strides of a register."""
        found = self._arrays.get(register)
        if found is None:
            made = self._made.get(register)
            if made is not None and made.inputs[0] in self._types and register in self._types:
                of = self._array(made.inputs[0])
                found = _seen(made.op, of)
                if np.may_share_memory(found, of):
                    self._of[register] = made.inputs[0]
                else:
                    found = None
            if found is None:
                found = np.empty(self._types[register].shape)
            self._arrays[register] = found
        return found


def _may_be_view(op: Op) -> bool:
    if isinstance(op, Call):
        is_array = op.dtype is not None and not op.is_scalar
        return is_array and isinstance(kind_of(op.function), Movement) and not op.kwargs
    return op.is_view


def _seen(op: Op, array: Array) -> Array:
    """Return what a view makes of an array."""
    match op:
        case ops.Reshape(shape):
            return array.reshape(shape)
        case ops.Transpose(order):
            return array.transpose(order)
        case ops.Broadcast(shape):
            return np.broadcast_to(array, shape)
        case ops.Row(index):
            return array[index]  # type: ignore[no-any-return]
        case ops.Take(axis, positions):
            return array[(slice(None),) * axis + (indexer_of(positions),)]
    assert isinstance(op, Call)
    found = op(array)
    return found if isinstance(found, np.ndarray) else np.empty(())


def _places(array: Array, dense: Array) -> Places | None:
    """Return where the axes of a row-major array are read by one that is a view of it."""
    width = dense.itemsize
    offset = (_address(array) - _address(dense)) // width
    starts = [int(k) for k in np.unravel_index(offset, dense.shape)] if dense.ndim else []
    places = [Place(start) for start in starts]
    for counter, (size, nbytes) in enumerate(zip(array.shape, array.strides, strict=True)):
        if size == 1 or not nbytes:
            continue
        axis = next((k for k, own in enumerate(dense.strides) if not nbytes % own), None)
        if axis is None or places[axis].step:
            return None
        step = nbytes // dense.strides[axis]
        if not 0 <= starts[axis] + step * (size - 1) < dense.shape[axis]:
            return None
        places[axis] = Place(starts[axis], step, counter)
    return tuple(places)


def _address(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
