"""Multilinear functions: matmul, dot, inner, outer, tensordot, einsum, each as an einsum.

A row says how a call is written with index labels; every local Jacobian is then read off: rows
are the labels of the result, cols those of the operand, and what is stored are the other operands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainad.graph import Argument
from chainad.rules.base import (
    ALL,
    CONSTANT,
    Formula,
    Local,
    Locals,
    defined,
    normalize_axes,
    rule,
    spelled,
)

Label = int | None  # None: an axis of size 1 that is broadcast


@dataclass(frozen=True)
class Spec:
    """A contraction: the operands with the labels of their axes, and the labels of the result."""

    operands: tuple[tuple[Argument, tuple[Label, ...]], ...]
    result: tuple[Label, ...]


def contraction(
    *functions: Callable[..., Any], operands: slice = slice(0, 2)
) -> Callable[[Callable[..., Spec]], None]:
    """Register functions whose calls the decorated function writes as a `Spec`."""

    def register(spec: Callable[..., Spec]) -> None:
        def locals_(y: Argument, *args: Any, **kwargs: Any) -> Locals:
            return locals_of(spec(*args, **kwargs), y)

        rule(*functions, operands=operands)(locals_)

    return register


def locals_of(spec: Spec, y: Argument) -> Locals:
    """Return the local Jacobians of a contraction with respect to every operand."""
    sizes: dict[int, int] = {}
    for x, labels in spec.operands:
        sizes |= {a: n for a, n in zip(labels, x.shape, strict=True) if a is not None}
    rows = [(n, _known(a)) for a, n in zip(spec.result, y.shape, strict=True)]
    result: dict[Argument, Local] = {}
    for k, (x, labels) in enumerate(spec.operands):
        if not x.traced:
            continue
        others = [operand for j, operand in enumerate(spec.operands) if j != k]
        fresh = dict(sizes)
        cols = [(n, _known(a)) for a, n in zip(labels, x.shape, strict=True)]
        ours = {a for a in (*spec.result, *labels) if a is not None}
        stored = tuple(
            dict.fromkeys(a for _, other in others for a in other if a is not None and a in ours)
        )
        arrangement = spelled(rows, cols, {a: fresh[a] for a in sizes if a in ours}, stored)
        result[x] = Local(arrangement, _product_of(others, stored, sizes))
    return result


def _known(label: Label) -> tuple[int, ...]:
    return () if label is None else (label,)


def _product_of(
    others: Sequence[tuple[Argument, tuple[Label, ...]]],
    stored: tuple[int, ...],
    sizes: dict[int, int],
) -> Formula:
    """Return a formula for the contraction of the other operands down to the labels `stored`."""
    numbers = [x.number for x, _ in others]
    shape = tuple(sizes[a] for a in stored)
    if len(others) == 1 and others[0][1] == stored:
        return lambda y, *values: values[numbers[0]]
    if len(others) == 1 and tuple(a for a in others[0][1] if a is not None) == stored:
        return lambda y, *values: np.reshape(values[numbers[0]], shape)
    # Labels of size 1 that are broadcast do not count: np.squeeze them away.
    axes = [tuple(k for k, a in enumerate(labels) if a is None) for _, labels in others]
    compact = {a: k for k, a in enumerate(sizes)}
    subscripts = [[compact[a] for a in labels if a is not None] for _, labels in others]
    target = [compact[a] for a in stored]

    def formula(y: Any, *values: Any) -> Any:
        arrays = [np.squeeze(values[n], axis) for n, axis in zip(numbers, axes, strict=True)]
        pairs = [x for pair in zip(arrays, subscripts, strict=True) for x in pair]
        return np.einsum(*pairs, target)

    if not others:
        return lambda y, *values: np.ones(())
    return formula


@contraction(np.matmul, operands=ALL)
def _matmul(a: Argument, b: Argument) -> Spec:
    i, j, k = 0, 1, 2
    left = ((i,) if a.ndim > 1 else ()) + (j,)
    right = (j,) + ((k,) if b.ndim > 1 else ())
    batches = (a.shape[:-2], b.shape[:-2])
    n = max(map(len, batches))
    shape = np.broadcast_shapes(*batches)
    spelled_batches = [
        tuple(
            3 + n - len(batch) + at if size == shape[n - len(batch) + at] else None
            for at, size in enumerate(batch)
        )
        for batch in batches
    ]
    out = (*range(3, 3 + n), *left[:-1], *right[1:])
    return Spec(((a, (*spelled_batches[0], *left)), (b, (*spelled_batches[1], *right))), out)


@contraction(np.vecdot, operands=ALL)
def _vecdot(a: Argument, b: Argument) -> Spec:
    n = max(a.ndim, b.ndim) - 1
    shape = np.broadcast_shapes(a.shape[:-1], b.shape[:-1])
    batches = [
        tuple(
            1 + n - (x.ndim - 1) + at if size == shape[n - (x.ndim - 1) + at] else None
            for at, size in enumerate(x.shape[:-1])
        )
        for x in (a, b)
    ]
    return Spec(((a, (*batches[0], 0)), (b, (*batches[1], 0))), tuple(range(1, 1 + n)))


@contraction(np.dot)
def _dot(a: Argument, b: Argument) -> Spec:
    if a.ndim == 0 or b.ndim == 0:
        left, right = tuple(range(a.ndim)), tuple(range(a.ndim, a.ndim + b.ndim))
        return Spec(((a, left), (b, right)), left + right)
    return tensordot_spec(a, b, (a.ndim - 1,), (max(b.ndim - 2, 0),))


@contraction(np.inner)
def _inner(a: Argument, b: Argument) -> Spec:
    if a.ndim == 0 or b.ndim == 0:
        return tensordot_spec(a, b, (), ())
    return tensordot_spec(a, b, (a.ndim - 1,), (b.ndim - 1,))


@contraction(np.tensordot)
def _tensordot(a: Argument, b: Argument, axes: Any = 2) -> Spec:
    if isinstance(axes, (list, tuple)):
        return tensordot_spec(
            a, b, normalize_axes(axes[0], a.ndim), normalize_axes(axes[1], b.ndim)
        )
    n = int(axes)
    return tensordot_spec(a, b, tuple(range(a.ndim - n, a.ndim)), tuple(range(n)))


def tensordot_spec(
    a: Argument, b: Argument, axes_a: tuple[int, ...], axes_b: tuple[int, ...]
) -> Spec:
    """Return the contraction of the axes `axes_a` of a with `axes_b` of b."""
    left = tuple(range(a.ndim))
    tied = dict(zip(axes_b, axes_a, strict=True))
    right = tuple(tied.get(k, a.ndim + k) for k in range(b.ndim))
    out = (*(x for x in left if x not in axes_a), *(x for x in right if x >= a.ndim))
    return Spec(((a, left), (b, right)), out)


@defined(np.outer)
def _outer(a: Any, b: Any) -> Any:
    return np.multiply(np.reshape(a, (-1, 1)), np.reshape(b, (1, -1)))


@defined(np.vdot)
def _vdot(a: Any, b: Any) -> Any:
    return np.dot(np.reshape(a, -1), np.reshape(b, -1))


@contraction(np.einsum, operands=slice(1, None))
def _einsum(subscripts: Any, *operands: Argument, optimize: Any = None) -> Spec:
    if not isinstance(subscripts, str):
        raise NotImplementedError("np.einsum needs its subscripts as a string, such as 'ij,jk->ik'")
    letters = subscripts.replace(" ", "")
    inputs, arrow, output = letters.partition("->")
    terms = _spell_ellipsis(inputs.split(","), operands)
    numbers: dict[str, int] = {}
    for term in terms:
        for letter in term:
            numbers.setdefault(letter, len(numbers))
    named = [letter for letter in numbers if not letter.startswith("...")]
    dots = sorted((x for x in numbers if x.startswith("...")), key=lambda x: -int(x[3:]))
    if not arrow:
        everything = [letter for term in terms for letter in term]
        result = dots + sorted(letter for letter in named if everything.count(letter) == 1)
    else:
        before, has_dots, after = output.partition("...")
        result = [*before, *(dots if has_dots else []), *after]
    sizes: dict[str, int] = {}
    for term, x in zip(terms, operands, strict=True):
        for letter, size in zip(term, x.shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1)) if size else 0
    spelled_terms = tuple(
        (
            x,
            tuple(
                None if size == 1 and sizes[letter] != 1 else numbers[letter]
                for letter, size in zip(term, x.shape, strict=True)
            ),
        )
        for term, x in zip(terms, operands, strict=True)
    )
    return Spec(spelled_terms, tuple(numbers[letter] for letter in result))


def _spell_ellipsis(terms: list[str], operands: Sequence[Argument]) -> list[list[str]]:
    """Write the axes behind `...` as `...k`, counted from the right."""
    spelled_terms = []
    for term, x in zip(terms, operands, strict=True):
        before, has_dots, after = term.partition("...")
        n = x.ndim - len(before) - len(after) if has_dots else 0
        spelled_terms.append([*before, *(f"...{n - k}" for k in range(n)), *after])
    return spelled_terms


CONSTANT.add(np.einsum_path)
