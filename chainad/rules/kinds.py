"""Kinds of functions: what holds for every function of a kind is not said of each one.

A row of the registry names the kind of its function. Whoever runs calls on something other than
plain arrays (scalars, loops, batches, complex pairs) asks for the kind, not for the function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from chainad.ir.graph import Argument

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

Label = int | None  # None: an axis of size 1 that is broadcast


@dataclass(frozen=True)
class Einsum:
    """A contraction: the operands with the labels of their axes, and the labels of the result."""

    operands: tuple[tuple[Argument, tuple[Label, ...]], ...]
    result: tuple[Label, ...]

    @property
    def sizes(self) -> dict[int, int]:
        """The size of every label."""
        return {
            label: size
            for x, labels in self.operands
            for label, size in zip(labels, x.shape, strict=True)
            if label is not None
        }

    def evaluate(self, arrays: Sequence[Any]) -> Any:
        """Return the contraction of some arrays, by np.einsum."""
        letter = dict(zip(self.sizes, _LETTERS, strict=False))
        terms = [[a for a in labels if a is not None] for _, labels in self.operands]
        shapes = [tuple(self.sizes[a] for a in term) for term in terms]
        result = [a for a in self.result if a is not None]
        text = ["".join(letter[a] for a in term) for term in (*terms, result)]
        reshaped = [np.reshape(x, shape) for x, shape in zip(arrays, shapes, strict=True)]
        return np.einsum(f"{','.join(text[:-1])}->{text[-1]}", *reshaped)


class Kind:
    """What kind a function is.

    `is_holomorphic` says that the derivative by complex numbers is the formula of the real one.
    `is_selection` says that a zero in a local Jacobian means a value that is not used: an exact
    zero, which remains one when it is multiplied by nan or infinity. (A movement of entries is a
    selection by its structure.)
    """

    is_holomorphic: bool = False
    is_selection: bool = False


@dataclass(frozen=True)
class Elementwise(Kind):
    """One result per entry of the operands, which are broadcast.

    `is_exact`: it selects or negates entries, so that it causes no floating-point warnings.
    `is_odd`: a change of sign of the operand changes that of the result.
    `bound` is one of the magnitude of the result, whatever the operands. `arity` is the number of
    operands, where the signature does not tell.
    """

    arity: int | None = None
    is_holomorphic: bool = False
    is_selection: bool = False
    is_exact: bool = False
    is_odd: bool = False
    bound: float = inf


@dataclass(frozen=True)
class Movement(Kind):
    """The result holds entries of the operands, and constants."""

    is_holomorphic = True


@dataclass(frozen=True)
class Conversion(Kind):
    """The entries of the operand in another dtype."""

    is_holomorphic = True


@dataclass(frozen=True)
class Reduction(Kind):
    """Whole axes, those of `axis`, become one number each: by a ufunc, where there is one."""

    ufunc: np.ufunc | None = None
    is_holomorphic: bool = False
    is_selection: bool = False


@dataclass(frozen=True)
class Accumulation(Kind):
    """Running results of a ufunc along one axis."""

    ufunc: np.ufunc


@dataclass(frozen=True)
class Contraction(Kind):
    """A multilinear function: `einsum` takes the arguments of a call and writes it with labels."""

    einsum: Callable[..., Einsum]
    is_holomorphic = True


@dataclass(frozen=True)
class Holomorphic(Kind):
    """A function of arrays of which nothing is known but that it is holomorphic."""

    is_holomorphic = True


@dataclass(frozen=True)
class ShapeQuery(Kind):
    """The result follows from shapes and dtypes alone, or is text of the entries (`is_text`)."""

    is_text: bool = False


@dataclass(frozen=True)
class PiecewiseConstant(Kind):
    """Indices, counts and roundings, of a shape that follows from those of the operands."""
