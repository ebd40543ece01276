"""Structured Jacobians as JAX has them: a pytree of the arrays that they store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import tree_util

from chainad.backends.array_api import build_for, index_add_at
from chainad.compiler.stored_products import dense_program, product_program
from chainad.errors import InputError
from chainad.ir.cache import Cache
from chainad.ir.program import Program, Runner
from chainad.jax.xla_emission import XlaLibrary
from chainad.structure.structure import Structure
from chainad.structure.sums_of_products import StoredFactor, SumOfProducts

_runners: Cache[Runner] = Cache(256, "programs on structured Jacobians of JAX")


@partial(tree_util.register_dataclass, data_fields=["array"], meta_fields=["structure", "dtype"])
@dataclass(frozen=True, eq=False, repr=False)
class FactorPytree(StoredFactor):
    """A structure and its stored array, the only leaf; see `chainad.Factor`."""

    def as_matrix(self) -> jax.Array:
        return self.todense()

    def todense(self) -> jax.Array:
        """Return the factor as a full matrix; of stacked ones, as many."""
        program, shape = dense_program(((self.structure,),)), self.structure.matrix_shape

        def run(array: Any) -> jax.Array:
            return jnp.reshape(_run(program, [array], self.dtype), shape)

        if self.array is not None:
            for _ in range(jnp.ndim(self.array) - len(self.structure.stored)):
                run = jax.vmap(run)
        return run(self.array)


@partial(
    tree_util.register_dataclass,
    data_fields=["terms"],
    meta_fields=["point_shape", "point_rows", "dtype"],
)
@dataclass(frozen=True, eq=False, repr=False)
class JacobianPytree(SumOfProducts[FactorPytree]):
    """A Jacobian as the arrays that it stores, made by `jacobian(f, output="structured")`.

    It is a sum of `terms` (mostly one), each a product of factors: one, or two where multiplying
    them would take more room than both. Its leaves are the stored arrays; what is known of them
    without values is static, so that `jit`, `vmap`, `scan` and `grad` take and return it.

    Attributes
    ----------
    point_shape : tuple of int
        The shape of the dense Jacobian at one point, `f(x).shape + x.shape`.
    point_rows : int
        How many of these axes are rows, those of `f(x)`.
    terms : tuple of tuples of FactorPytree
        Left factor first.
    dtype : dtype
        That of `f(x)`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import chainad.jax
    >>> J = chainad.jax.jacobian(jnp.square, output="structured")(jnp.array([1.0, 3.0]))
    >>> J
    JacobianPytree((2, 2): diagonal [i | i] stored i)
    >>> J.array.tolist(), J.todense().tolist(), (J @ jnp.ones(2)).tolist()
    ([2.0, 6.0], [[2.0, 0.0], [0.0, 6.0]], [2.0, 6.0])
    """

    point_shape: tuple[int, ...]
    point_rows: int
    terms: tuple[tuple[FactorPytree, ...], ...]
    dtype: Any

    _FULL = "J.todense()"
    _TENSORDOT = "jnp.tensordot"
    _SPARSE = 'output="bcoo"'

    __array_ufunc__ = None  # arrays of NumPy leave `@` to it

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """The shape of the dense Jacobian; of stacked ones, it begins with how many there are."""
        return (*(self._stacked or ()), *self.point_shape)

    @property
    def n_rows(self) -> int:  # type: ignore[override]
        """How many axes are not those of x: what Jacobians are stacked along, and f(x)."""
        return self.ndim - len(self.point_shape) + self.point_rows

    @property
    def _stacked(self) -> tuple[int, ...] | None:
        """The axes that Jacobians are stacked along, in front of each array; None if elsewhere."""
        found = set()
        for factor in (factor for term in self.terms for factor in term):
            own = factor.structure.stored_shape
            if (shape := getattr(factor.array, "shape", None)) is not None:
                split = max(0, len(shape) - len(own))
                found.add(shape[:split] if shape[split:] == own else None)
        return (found.pop() if len(found) == 1 else None) if found else ()

    def __matmul__(self, right: Any) -> Any:
        """Return J @ right, for a Jacobian by an x of one axis, which is contracted.

        Parameters
        ----------
        right : array_like
            Of shape (x.size,) or (x.size, k).

        Raises
        ------
        InputError
            If x has another number of axes, `right` another shape, or Jacobians are stacked.
        """
        if not isinstance(right, _ARRAYS):
            return NotImplemented
        self._check_single("J @ v")
        if (self.ndim, self.n_rows) == (1, 1):
            return self.T @ right  # a vector has but one axis, which is contracted
        v = right.todense() if isinstance(right, JacobianPytree) else jnp.asarray(right)
        self.check_right(v.shape)
        dtype, columns = jnp.result_type(self.dtype, v), v.shape[1:]
        if not self.terms:
            return jnp.zeros((*self.shape[: self.n_rows], *columns), dtype)
        program = product_program(_structures(self.terms), columns)
        return _run(program, [*_arrays(self.terms), v], dtype)

    def __rmatmul__(self, left: Any) -> Any:
        """Return left @ J, for a Jacobian that is a matrix or a vector."""
        if not isinstance(left, _ARRAYS):
            return NotImplemented
        self._check_single("u @ J")
        self.check_left()
        return jnp.transpose(self.T @ jnp.transpose(jnp.asarray(left)))

    @property
    def T(self) -> JacobianPytree:
        """The Jacobian with its axes in reverse order, as that of an array; it shares what it can.

        Of a matrix it is the transpose.
        """
        self._check_single("J.T")
        return super().T

    def _check_single(self, what: str) -> None:
        if self._stacked != ():
            raise InputError(
                f"{what} is offered for one Jacobian, but these are stacked: take it under vmap,"
                " such as jax.vmap(lambda J, v: J @ v)(J, v)"
            )

    def todense(self) -> jax.Array:
        """Return the Jacobian as a full array of shape `shape`; stacked ones as one array.

        Raises
        ------
        InputError
            If Jacobians are stacked along other axes than the first ones of their arrays.
        """
        if self._stacked is None:
            raise InputError(
                f"the arrays of {self!r} have other axes than those that it is stacked along in"
                " front: stack Jacobians along the first axis, as vmap does with out_axes=0"
            )
        if not self.terms:
            return jnp.zeros(self.shape, self.dtype)
        run = partial(_run, dense_program(_structures(self.terms)), dtype=self.dtype)
        for _ in self._stacked:
            run = jax.vmap(run)
        return run(_arrays(self.terms))


_Terms = Sequence[Sequence[FactorPytree]]

# What `@` takes.
_ARRAYS = (jax.Array, np.ndarray, np.generic, list, tuple, JacobianPytree)


def _structures(terms: _Terms) -> tuple[tuple[Structure, ...], ...]:
    return tuple(tuple(factor.structure for factor in term) for term in terms)


def _arrays(terms: _Terms) -> list[Any]:
    return [factor.array for term in terms for factor in term]


def _run(program: Program, slots: Sequence[Any], dtype: Any) -> jax.Array:
    """Return the only result of a program, in a dtype."""

    def build() -> Runner:
        return build_for(program, XlaLibrary(jnp, index_add_at, dtype))

    (found,) = _runners.get((program, dtype), build)(slots)
    return jnp.asarray(found, dtype)


__all__ = ["FactorPytree", "JacobianPytree"]
