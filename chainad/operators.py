"""Operators: local Jacobians known by their action on blocks of tangents and adjoints.

A structure with an `action` keeps no array; its slot holds an `Operator`, which a program asks to
push, to pull or to become explicit. Leading axes are batches.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg

Array = npt.NDArray[Any]


class Operator:
    """A linear map from `n_in` to `n_out` numbers, of `dtype`, with leading batch axes `batch`."""

    batch: tuple[int, ...]
    n_out: int
    n_in: int
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the explicit array."""
        return (*self.batch, self.n_out, self.n_in)

    def push(self, tangents: Any) -> Any:
        """Return the map applied to tangents of shape (batch, n_in, k): (batch, n_out, k)."""
        raise NotImplementedError

    def pull(self, adjoints: Any) -> Any:
        """Return adjoints of shape (batch, k, n_out) times the map: (batch, k, n_in)."""
        raise NotImplementedError

    def explicit(self) -> Any:
        """Return the map as an array of shape (batch, n_out, n_in)."""
        unit = np.broadcast_to(
            np.eye(self.n_in, dtype=self.dtype), (*self.batch, *2 * (self.n_in,))
        )
        return self.push(unit)

    def copy(self) -> Operator:
        """Return an operator that shares no memory with the user's arrays."""
        return self

    def astype(self, dtype: Any) -> Operator:
        """Return the operator as it is: its arrays have the dtype of what they are applied to."""
        return self


class Inverse(Operator):
    """The inverse of square matrices, by one factorisation for all right-hand sides."""

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix
        self.batch = np.shape(matrix)[:-2]
        self.n_in = self.n_out = np.shape(matrix)[-1]
        self.dtype = matrix.dtype

    @cached_property
    def _factors(self) -> Any:
        """The LU factors of a plain matrix; None where NumPy's own solve is to be asked."""
        if not isinstance(self.matrix, np.ndarray) or self.batch:
            return None
        return scipy.linalg.lu_factor(self.matrix, check_finite=False)

    def push(self, tangents: Any) -> Any:
        if self._factors is None or not isinstance(tangents, np.ndarray):
            return np.linalg.solve(self.matrix, tangents)
        return scipy.linalg.lu_solve(self._factors, tangents, check_finite=False)

    def pull(self, adjoints: Any) -> Any:
        if self._factors is None or not isinstance(adjoints, np.ndarray):
            turned = np.matrix_transpose(self.matrix)
            return np.matrix_transpose(np.linalg.solve(turned, np.matrix_transpose(adjoints)))
        return scipy.linalg.lu_solve(self._factors, adjoints.T, trans=1, check_finite=False).T

    def explicit(self) -> Any:
        return np.linalg.inv(self.matrix)

    def copy(self) -> Operator:
        return Inverse(np.array(self.matrix))


class RunningSum(Operator):
    """The lower triangle of ones: cumulative sums."""

    batch = ()

    def __init__(self, n: int, dtype: np.dtype[Any]) -> None:
        self.n_in = self.n_out = n
        self.dtype = dtype

    def push(self, tangents: Any) -> Any:
        return np.cumsum(tangents, axis=0)

    def pull(self, adjoints: Any) -> Any:
        return np.flip(np.cumsum(np.flip(adjoints, axis=1), axis=1), axis=1)

    def explicit(self) -> Any:
        return np.tri(self.n_out, dtype=self.dtype)


class Given(Operator):
    """A map given by the functions of a user; where one is missing, the map is made explicit."""

    batch = ()

    def __init__(
        self,
        n_out: int,
        n_in: int,
        dtype: np.dtype[Any],
        push: Callable[[Any], Any] | None,
        pull: Callable[[Any], Any] | None,
    ) -> None:
        assert push is not None or pull is not None
        self.n_out, self.n_in, self.dtype = n_out, n_in, dtype
        self._push, self._pull = push, pull

    def push(self, tangents: Any) -> Any:
        return self.explicit() @ tangents if self._push is None else self._push(tangents)

    def pull(self, adjoints: Any) -> Any:
        return adjoints @ self.explicit() if self._pull is None else self._pull(adjoints)

    def explicit(self) -> Any:
        if self._push is not None and (self._pull is None or self.n_in <= self.n_out):
            return self._push(np.eye(self.n_in, dtype=self.dtype))
        assert self._pull is not None
        return self._pull(np.eye(self.n_out, dtype=self.dtype))
