"""Loop nests: array operations as loops over scalars, with every size and address known.

An operation fills one register, a vector, by one or more nests. A nest runs over all
counters of its sizes; at each it reads an element of every operand, at an address that is a formula
of the counters (or a table), and writes or adds what its function makes of them. So views cost
nothing: a transpose or a slice is another formula.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Function = Callable[..., Any]
Addresses = npt.NDArray[np.int64]
Register = int  # the index of an operation; inputs are -1, -2, ...


@dataclass(frozen=True, slots=True)
class Access:
    """Where a nest finds the elements of a register.

    That is at `offset` plus the sum of every stride times its counter; or, if there is a `table`,
    at its entry for the counters in row-major order.
    """

    offset: int
    strides: tuple[int, ...]
    table: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """An operand: the elements of input `place` of the operation."""

    place: int
    access: Access


@dataclass(frozen=True, slots=True)
class Literal:
    """An operand: a constant, in hexadecimal, so that 0.0 is not -0.0 and nan is nan."""

    exact: str

    @property
    def value(self) -> float:
        return float.fromhex(self.exact)


Operand: TypeAlias = Read | Literal


@dataclass(frozen=True, slots=True)
class Nest:
    """`function` of the operands for all counters, written where `out` says.

    Where counters share an address of `out`, what they make is added up. With `adds` it is added
    to what is there already.
    """

    function: Function
    sizes: tuple[int, ...]
    out: Access
    operands: tuple[Operand, ...]
    adds: bool = False

    @property
    def reduced(self) -> tuple[int, ...]:
        """The counters that share an address of the result."""
        if self.out.table is not None:
            return ()
        return tuple(k for k, stride in enumerate(self.out.strides) if not stride)


# What kernels may fail of, as NumPy says it.
FAILURES = ("Singular matrix", "Matrix is not positive definite")


@dataclass(frozen=True, slots=True)
class MatrixKernel:
    """A factorization, or a solve by one, of small matrices: in place, of what is there already.

    Attributes
    ----------
    name : str
        "lu" (which is followed by the pivots, and by signs of permutations), "cholesky" (its lower
        half), "lu_solve", "lu_solve_transposed", "solve_lower" or "solve_upper".
    sizes : tuple of int
        The number of matrices, their order, and that of right-hand sides where there are some.
    place : int, optional
        The input that has the factors, from its start on.
    """

    name: str
    sizes: tuple[int, ...]
    place: int | None = None

    @property
    def failure(self) -> str | None:
        """What it may fail of."""
        if self.name == "lu":
            return None
        return FAILURES[self.name == "cholesky"]


@dataclass(frozen=True, slots=True)
class LoopOperation:
    """Fills a register of `size` elements; with `clears` it starts from zeros."""

    nests: tuple[Nest | MatrixKernel, ...]
    inputs: tuple[Register, ...]
    size: int
    clears: bool = False

    @property
    def static(self) -> tuple[Any, ...]:
        """What two operations have in common that do the same, on other inputs."""
        return self.nests, self.size, self.clears


@dataclass(frozen=True)
class LoopProgram:
    """Operations in order; the sizes of the inputs -1, -2, ...; and what goes out.

    Every result is an operation that fills an array of its own.
    """

    inputs: tuple[int, ...]
    operations: tuple[LoopOperation, ...]
    results: tuple[LoopOperation, ...]

    @property
    def may_fail(self) -> bool:
        """Whether some kernel tells in the last element of memory of what it failed."""
        kernels = (x for each in self.operations for x in each.nests if isinstance(x, MatrixKernel))
        return any(x.failure for x in kernels)


def nest(
    function: Function,
    sizes: Sequence[int],
    out: Addresses,
    operands: Sequence[tuple[int, Addresses] | float | bool],
    adds: bool = False,
) -> Nest:
    """Return the nest with these addresses, all of which broadcast to `sizes`."""
    shape = tuple(sizes)
    target = _access(np.broadcast_to(out, shape))
    found: list[Operand] = []
    for each in operands:
        if isinstance(each, tuple):
            found.append(Read(each[0], _access(np.broadcast_to(each[1], shape))))
        else:
            found.append(Literal(float(each).hex()))
    return _merged(Nest(function, shape, target, tuple(found), adds))


def _access(where: Addresses) -> Access:
    """Return the formula of some addresses, or their table."""
    first = int(where[(0,) * where.ndim])
    strides = []
    for k, n in enumerate(where.shape):
        second = tuple(int(axis == k) for axis in range(where.ndim))
        strides.append(int(where[second]) - first if n > 1 else 0)
    formula = np.full((1,) * where.ndim, first)
    for k, (n, stride) in enumerate(zip(where.shape, strides, strict=True)):
        formula = formula + stride * np.arange(n).reshape(-1, *(1,) * (where.ndim - k - 1))
    if np.array_equal(formula, where):
        return Access(first, tuple(strides))
    return Access(0, (), tuple(where.ravel().tolist()))


def _merged(found: Nest) -> Nest:
    """Return a nest with fewer counters: those of size 1 left out, neighbours run as one."""
    accesses = [found.out, *(x.access for x in found.operands if isinstance(x, Read))]
    formulas = [each for each in accesses if each.table is None]
    kept: list[int] = []  # the last of the axes that are one counter
    sizes: list[int] = []
    for k, n in enumerate(found.sizes):
        if n == 1:
            continue
        if kept and all(f.strides[kept[-1]] == n * f.strides[k] for f in formulas):
            sizes[-1] *= n
            kept[-1] = k
        else:
            sizes.append(n)
            kept.append(k)

    def less(access: Access) -> Access:
        if access.table is not None:
            return access
        return Access(access.offset, tuple(access.strides[k] for k in kept))

    operands = (Read(x.place, less(x.access)) if isinstance(x, Read) else x for x in found.operands)
    return Nest(found.function, tuple(sizes), less(found.out), tuple(operands), found.adds)
