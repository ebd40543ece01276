"""Banded solves: n equations with `low` diagonals below the main one and `up` above it.

The matrix is given by its diagonals as scipy.linalg.solve_banded takes them: row i, column j is at
row up + i - j, column j. Places outside of the matrix have derivative zero. One direction takes a
banded solve, forward and in reverse, so everything is linear in n.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import scipy  # loads scipy.linalg when it is first used

from chainad.ir.array_functions import is_ndarray
from chainad.ir.cache import cached_property
from chainad.ir.graph import Argument
from chainad.ir.positions import Integers, positions
from chainad.rules.base import Composite, Local, dispatching, rule
from chainad.rules.kinds import Holomorphic
from chainad.rules.linear_algebra import InverseFormula
from chainad.rules.matrix_operators import I, J, K, sizes_in
from chainad.structure import arrange, from_labels, operator
from chainad.structure.linear_operators import Operator
from chainad.structure.structure import Axis


@dispatching
def banded_solve(bands: Any, b: Any, low: int, up: int) -> Any:
    """Solve with the matrix of these diagonals."""
    if np.shape(bands)[1] == 1 and len(b) == 1:  # SciPy 1.13 takes another diagonal then
        return np.asarray_chkfinite(b) / np.asarray_chkfinite(bands)[up]
    return scipy.linalg.solve_banded((low, up), bands, b)


def _places(n: int, low: int, up: int) -> tuple[Integers, Integers, Integers, Any]:
    """Return band and column of every place, the row of the matrix there, and whether it has it."""
    band, column = np.indices((low + up + 1, n))
    row = column + band - up
    return band, column, row, np.logical_and(row >= 0, row < n)


def transposed_bands(bands: Any, low: int, up: int) -> Any:
    """Return the diagonals of the transpose, which has `up` below and `low` above."""
    band, _, row, is_inside = _places(np.shape(bands)[1], up, low)
    return np.where(is_inside, bands[low + up - band, np.where(is_inside, row, 0)], 0)


@rule(banded_solve, operands=(0, 1), kind=Holomorphic())
def _banded_solve(y: Argument, bands: Argument, b: Argument, low: int, up: int) -> Composite:
    # A dy = db - dA y: the right-hand side is the intermediate, A's inverse is applied to it.
    n, last = y.shape[0], tuple(Axis(k, (K,)) for k in y.shape[1:])
    rest = dict.fromkeys((K,) if last else (), y.shape[-1])
    locals_: dict[Argument, Local | None] = {}
    if b.traced:
        axes = (Axis(n, (I,)), *last)
        locals_[b] = Local(arrange(axes, axes, {I: n, **rest}, scale=1), None)
    if bands.traced:
        *places, is_inside = _places(n, low, up)
        band, column, row = (x[is_inside] for x in places)
        found = arrange(
            (Axis(n, (I,), positions(row)), *last),
            (Axis(low + up + 1, (I,), positions(band)), Axis(n, (I,), positions(column))),
            {I: len(row), **rest},
            (I, *rest),
        )
        locals_[bands] = Local(found, lambda y, bands, b: -y[column])
    return Composite(y.shape, _inverse(y, bands, low, up), locals_)


def _inverse(y: Argument, bands: Argument, low: int, up: int) -> Local:
    """Return the inverse of the matrix as a local Jacobian: an operator."""
    n, last = y.shape[0], [(k, (K,)) for k in y.shape[1:]]
    rows, cols = [(n, (I,)), *last], [(n, (J,)), *last]
    sizes = sizes_in({I: n, J: n, K: y.shape[-1]}, rows, cols)
    found = from_labels(rows, cols, sizes, (I, J))
    if n == 1:  # without labels there is nothing to apply to
        return Local(found, lambda y, bands, b: 1 / bands[up : up + 1])
    cost = n * (2 * low + up + 1)
    inverse = InverseFormula(lambda bands: BandedInverse(bands, low, up), bands.shape)
    return Local(operator(found, cost, cost, n * (2 * low + up + 1)), inverse)


@cache
def _lapack(typecode: str) -> Any:
    """Return LAPACK's LU factorization of banded matrices and the solve with it."""
    return scipy.linalg.get_lapack_funcs(("gbtrf", "gbtrs"), dtype=typecode)


class BandedInverse(Operator):
    """The inverse of a banded matrix, by one factorization for all right-hand sides."""

    batch = ()

    def __init__(self, bands: Any, low: int, up: int) -> None:
        self.bands, self.low, self.up = bands, low, up
        self.n_in = self.n_out = np.shape(bands)[1]
        self.dtype = bands.dtype

    @property
    def _held(self) -> Iterable[Any]:
        return (self.bands,)

    @cached_property
    def _factors(self) -> Any:
        # LAPACK needs room for what exchanges of rows fill in.
        padded = np.pad(self.bands, ((self.low, 0), (0, 0)))
        lu, pivots, info = _lapack(self.dtype.char)[0](padded, self.low, self.up)
        if info:
            raise np.linalg.LinAlgError("singular matrix")  # as SciPy says it
        return lu, self.low, self.up, pivots

    def _solve(self, right: Any, is_transposed: bool) -> Any:
        if (
            is_ndarray(self.bands)
            and is_ndarray(right)
            and self.dtype == right.dtype
            and self.dtype.char in "fdFD"
            and right.size
        ):
            lu, low, up, pivots = self._factors
            found, _ = _lapack(self.dtype.char)[1](lu, low, up, right, pivots, is_transposed)
            return found
        if is_transposed:
            bands = transposed_bands(self.bands, self.low, self.up)
            return banded_solve(bands, right, self.up, self.low)
        return banded_solve(self.bands, right, self.low, self.up)

    def jvp(self, tangents: Any) -> Any:
        return self._solve(tangents, False)

    def vjp(self, adjoints: Any) -> Any:
        return np.transpose(self._solve(np.transpose(adjoints), True))

    def copy(self) -> Operator:
        return BandedInverse(np.array(self.bands), self.low, self.up)
