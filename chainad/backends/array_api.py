"""Programs on the arrays of any library that follows the array API standard.

The standard has all that ops need but one function: adding to entries of an axis. A library states
that, and the rest is read from its namespace; what it makes can be traced by it (`jax.jit`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, TypeAlias

import numpy as np

from chainad.backends.bound_program import BoundProgram
from chainad.backends.namespace import Namespace
from chainad.backends.numpy.build import bound_op
from chainad.backends.numpy.emit import emit_standard
from chainad.ir.positions import Positions, as_array
from chainad.ir.program import Program, Runner
from chainad.ir.shapes import Shape, resized

IndexAdd: TypeAlias = Callable[[Any, int, Any, Any], Any]


@dataclass(frozen=True)
class ArrayLibrary:
    """An array library.

    Attributes
    ----------
    xp : namespace
        The functions of the array API standard: `numpy`, `jax.numpy`, `array_api_strict`, or what
        `array_api_compat` makes of others.
    index_add : callable
        From an array, an axis, positions along it that may repeat (a vector of integers), and an
        array of as many entries along this axis, to a new array with these entries added.
    dtype : dtype, optional
        Of the numbers that a program itself brings; by default the namespace's `float64`.
    """

    xp: Any
    index_add: IndexAdd
    dtype: Any = None

    def vector(self, where: Positions) -> Any:
        """Return positions as a vector of the library."""
        return self.xp.asarray(as_array(where), copy=True)  # it may be read-only

    def positions(self, where: Positions) -> Any:
        """Return positions as the functions of the library take them."""
        return self.vector(where)

    def number(self, value: float) -> Any:
        """Return a number that a program itself brings."""
        return self.xp.asarray(value, dtype=self.xp.float64 if self.dtype is None else self.dtype)

    @property
    def functions(self) -> dict[str, Callable[..., Any]]:
        """What `array_functions` are on the arrays of the library, by name; it comes first."""
        return ARRAY_FUNCTIONS

    def add_to_zeros(self, shape: Shape, axis: int, index: Any, y: Any) -> Any:
        """Return zeros with entries added along an axis."""
        return self.index_add(self.xp.zeros(shape, dtype=y.dtype), axis, index, y)


def index_add_in_place(x: Any, axis: int, index: Any, y: Any) -> Any:
    """Add to entries of a copy of a NumPy array."""
    found = np.array(x, dtype=np.result_type(x, y))
    np.add.at(found, (slice(None),) * axis + (index,), y)
    return found


def index_add_by_method(x: Any, axis: int, index: Any, y: Any) -> Any:
    """Add to entries of an array of PyTorch."""
    return x.index_add(axis, index, y)


def index_add_at(x: Any, axis: int, index: Any, y: Any) -> Any:
    """Add to entries of an array of JAX."""
    return x.at[(slice(None),) * axis + (index,)].add(y)


def build_for(program: Program, library: ArrayLibrary) -> Runner:
    """Return a function from slots to results, all of them arrays of a library.

    Examples
    --------
    >>> import numpy as np
    >>> from chainad.ir.ops import MatMul
    >>> from chainad.ir.program import Instruction
    >>> program = Program(2, (Instruction(MatMul(), (0, 1), 2),), (2,))
    >>> run = build_for(program, ArrayLibrary(np, index_add_in_place))
    >>> run([np.eye(2), np.array([3.0, 4.0])])
    (array([3., 4.]),)
    """
    program.check()
    namespace = partial(LibraryNamespace, library)
    return BoundProgram(program, partial(bound_op, emit=emit_standard, namespace=namespace))


class LibraryNamespace(Namespace):
    """The functions of an array library, by the names of NumPy's."""

    def __init__(self, library: ArrayLibrary) -> None:
        names = ("add", "subtract", "multiply", "negative", "matmul", "vecdot")
        super().__init__(**{name: getattr(library.xp, name) for name in names})
        self.objects |= {name: partial(own, library) for name, own in library.functions.items()}
        self.objects["np"] = library.xp
        self.library = library

    def full(self, value: float, dtype: np.dtype[Any] | None) -> str:
        return self.constant(self.library.number(value))

    def positions(self, where: Positions) -> str:
        return self.constant(self.library.positions(where))

    def regions(self, where: tuple[Positions, ...]) -> str:
        return self.constant([self.library.vector(each) for each in where])

    def indexer(self, where: Positions) -> str:
        if isinstance(where, range) and where.step > 0:  # which every library takes as a slice
            return self.constant(slice(where.start, where.stop, where.step))
        return self.constant(self.library.vector(where))


# --------------------------- what `array_functions` are, on the arrays of a library


def _copy(library: ArrayLibrary, x: Any) -> Any:
    return library.xp.asarray(x, copy=True)


def _take(library: ArrayLibrary, x: Any, axis: int, indexer: Any) -> Any:
    if isinstance(indexer, slice):
        return x[(slice(None),) * axis + (indexer, ...)]
    return library.xp.take(x, indexer, axis=axis)


def _place(library: ArrayLibrary, x: Any, axis: int, index: Any, size: int) -> Any:
    return library.add_to_zeros(resized(x.shape, axis, size), axis, index, x)


def _add_at(library: ArrayLibrary, x: Any, axis: int, index: Any, y: Any) -> Any:
    spread = library.xp.broadcast_to(y, resized(x.shape, axis, index.shape[0]))
    return library.index_add(x, axis, index, spread)


def _add_tied(library: ArrayLibrary, x: Any, shape: Shape, ties: tuple[int, ...], y: Any) -> Any:
    tied = np.einsum(np.arange(prod(shape)).reshape(shape), [*ties], sorted({*ties}))
    xp = library.xp
    flat = xp.reshape(xp.broadcast_to(y, tied.shape), (-1,))
    index = xp.asarray(tied.ravel())
    return xp.reshape(library.index_add(xp.reshape(x, (-1,)), 0, index, flat), x.shape)


def _scatter(
    library: ArrayLibrary, indices: Sequence[Any], size: int, covers: bool, signs: Any, *terms: Any
) -> Any:
    values = concatenated_regions(library, indices, signs, terms)
    return library.add_to_zeros((size,), 0, library.xp.concat(indices), values)


def concatenated_regions(
    library: ArrayLibrary, indices: Sequence[Any], signs: Any, terms: Sequence[Any]
) -> Any:
    """Return the sums of signed terms that a scatter puts at its regions, one after the other."""
    xp, given, values = library.xp, iter(terms), []
    for index, own in zip(indices, signs or ((1,),) * len(indices), strict=True):
        total = None
        for sign in own:
            term = xp.broadcast_to(xp.reshape(next(given), (-1,)), index.shape)
            term = term if sign > 0 else xp.negative(term)
            total = term if total is None else xp.add(total, term)
        values.append(total)
    return xp.concat(values)


def _sparse_dot(library: ArrayLibrary, values: Any, rows: Any, cols: Any, size: int, x: Any) -> Any:
    xp = library.xp
    terms = xp.multiply(xp.expand_dims(values, axis=-1), xp.take(x, cols, axis=0))
    return library.add_to_zeros((size, x.shape[1]), 0, rows, terms)


ARRAY_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add_at": _add_at,
    "add_tied": _add_tied,
    "copy": _copy,
    "place": _place,
    "scatter": _scatter,
    "segment_sum": _place,
    "sparse_dot": _sparse_dot,
    "take": _take,
}
