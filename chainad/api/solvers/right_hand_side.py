"""Right-hand sides of differential equations, and their derivatives, recorded once and replayed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from chainad.api.solvers.known_values import is_differentiated, of_plain_arrays
from chainad.api.solvers.user_functions import EFFORT, Recorded
from chainad.api.sparsity import sparsity
from chainad.api.verbs import jacobian, value_and_jacobian
from chainad.errors import TraceError
from chainad.frontends.numpy.closure_conversion import untraced
from chainad.ir.cache import cached_property

# Of as many states or more, Jacobians that are this sparse are factorized sparsely.
MIN_SPARSE_STATES = 32
MAX_SPARSE_DENSITY = 0.25


class RightHandSide(ABC):
    """A function of a time, states and parameters; `n` is the number of states.

    Parameters are a tuple of arrays: a list of numbers would be one array.
    """

    n: int

    def __init__(self) -> None:
        self._entries: tuple[int, ...] = ()

    @property
    @abstractmethod
    def user(self) -> Any:
        """The functions of the user that run, whose names are looked up when they are traced."""

    @abstractmethod
    def at(self, parameters: Sequence[Any]) -> Callable[[Any, Any], Any]:
        """Return the right-hand side, (n,), as a function of t and y."""

    # ------------------------------------------------------------------- values

    def rhs(self, t: Any, y: Any, parameters: Sequence[Any]) -> Any:
        """Return the right-hand side."""
        return self.at(parameters)(t, y)

    def slope(self, t: Any, y: Any, parameters: Sequence[Any]) -> Any:
        """Return the right-hand side of values that may be traced."""
        return self.slopes(np.reshape(t, (1,)), np.reshape(y, (-1, 1)), parameters)[:, 0]

    def slopes(self, t: Any, y: Any, parameters: Sequence[Any]) -> Any:
        """Return the right-hand sides at several times, (n, number of times)."""
        values = (t, y, *parameters)
        return (_by_columns if is_differentiated(values) else _slopes)(self, *values)

    # --------------------------------------------------------------- derivatives

    @cached_property
    def directional(self) -> Callable[..., Any]:
        """The right-hand side, and its derivative along k directions."""
        return Recorded(value_and_jacobian(partial(_along, self.user, self), effort=EFFORT))

    @cached_property
    def weighted(self) -> Callable[..., Any]:
        """The derivatives of k weighted sums of the right-hand side, by states and parameters."""
        return Recorded(
            jacobian(partial(_weighted, self.user, self), argnums=(0, 1), effort=EFFORT)
        )

    def jacobian(self, t: Any, y: Any, parameters: Sequence[Any]) -> Any:
        """Return the Jacobian by the states, an array or sparse."""
        by_states = self._sparse if self._is_sparse(t, y, parameters) else self._dense
        return by_states(y, tuple(parameters), np.float64(t))

    @property
    def _function(self) -> Callable[..., Any]:
        return partial(_rhs, self.user, self)

    @cached_property
    def _dense(self) -> Callable[..., Any]:
        return Recorded(jacobian(self._function, effort=EFFORT))

    @cached_property
    def _sparse(self) -> Callable[..., Any]:
        return Recorded(jacobian(self._function, output="sparse", effort=EFFORT))

    def _is_sparse(self, t: Any, y: Any, parameters: Sequence[Any]) -> bool:
        most = MAX_SPARSE_DENSITY * self.n**2
        return self.n >= MIN_SPARSE_STATES and self.entries(t, y, parameters)[0] <= most

    def entries(self, t: Any, y: Any, parameters: Sequence[Any]) -> tuple[int, ...]:
        """Return how many entries the Jacobians have, of plain values.

        First of that by the states, then of those by the parameters.
        """
        if not self._entries:
            self._entries = self.count_entries(t, y, tuple(parameters))
        return self._entries

    def count_entries(self, t: Any, y: Any, parameters: tuple[Any, ...]) -> tuple[int, ...]:
        """Do what `entries` does, for the first time."""
        try:
            with untraced():
                found = sparsity(self._function, y, parameters, np.float64(t), argnums=(0, 1))
        except TraceError:  # which is to be raised where the derivative is wanted, if it is
            return self.n**2, *(self.n * np.size(p) for p in parameters)
        return found[0].nnz, *(pattern.nnz for pattern in found[1])


@of_plain_arrays
def _slopes(of: RightHandSide, t: Any, y: Any, *parameters: Any) -> Any:
    return _by_columns(of, t, y, *parameters)


def _by_columns(of: RightHandSide, t: Any, y: Any, *parameters: Any) -> Any:
    rhs = of.at(parameters)
    columns = [rhs(t[k], y[:, k]) for k in range(len(t))]
    return np.stack(columns, axis=1)


def _rhs(user: Any, of: RightHandSide, y: Any, parameters: Sequence[Any], t: Any) -> Any:
    return of.rhs(t, y, parameters)


def _along(
    user: Any,
    of: RightHandSide,
    steps: Any,  # (k,)
    t: Any,
    y: Any,
    tangents: Any,  # (n, k)
    parameters: Sequence[Any],
    directions: Sequence[Any],  # each None, or of the shape of the parameter, and k
) -> Any:
    """Return the right-hand side some steps away."""
    moved = [
        p if d is None else p + np.reshape(d @ steps, np.shape(p))
        for p, d in zip(parameters, directions, strict=True)
    ]
    return of.rhs(t, y + tangents @ steps, moved)


def _weighted(
    user: Any,
    of: RightHandSide,
    y: Any,
    moving: Sequence[Any],
    t: Any,
    weights: Any,  # (k, n)
    others: Sequence[Any],
) -> Any:
    """Return weighted sums of the right-hand side."""
    left = iter(moving)
    parameters = [next(left) if x is None else x for x in others]
    return weights @ of.rhs(t, y, parameters)
