"""Multilinear functions: matmul, dot, inner, outer, tensordot, einsum, each as an einsum.

A row writes a call with index labels, from which every local Jacobian follows: rows are the labels
of the result, cols those of the operand, and the product of the other operands is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np

from chainad.ir.array_functions import is_traced
from chainad.ir.exact_zeros import masked_matmul
from chainad.ir.graph import Argument
from chainad.rules.base import (
    ALL,
    Formula,
    Local,
    Locals,
    available,
    constant,
    defined,
    normalize_axes,
    refuse_options,
    rule,
)
from chainad.rules.kinds import Contraction, Einsum, Label, ShapeQuery
from chainad.structure import from_labels

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def contraction(
    *functions: Callable[..., Any],
    operands: slice = slice(0, 2),
    canonical: Callable[..., tuple[Any, ...]] | None = None,
) -> Callable[[Callable[..., Einsum]], Callable[..., Einsum]]:
    """Register functions whose calls the decorated function writes as an `Einsum`."""

    def register(einsum_of: Callable[..., Einsum]) -> Callable[..., Einsum]:
        def locals_(y: Argument, *args: Any, **kwargs: Any) -> Locals:
            return _locals_of_einsum(einsum_of(*args, **kwargs), y)

        kind = Contraction(einsum_of)
        rule(*functions, operands=operands, canonical=canonical, kind=kind)(locals_)
        return einsum_of

    return register


def _locals_of_einsum(einsum: Einsum, y: Argument) -> Locals:
    """Return the local Jacobians of a contraction with respect to every operand."""
    sizes = einsum.sizes
    rows = [(n, _known(a)) for a, n in zip(einsum.result, y.shape, strict=True)]
    result: dict[Argument, Local | None] = {}
    for k, (x, labels) in enumerate(einsum.operands):
        if not x.traced:
            continue
        others = [operand for j, operand in enumerate(einsum.operands) if j != k]
        cols = [(n, _known(a)) for a, n in zip(labels, x.shape, strict=True)]
        labels_kept = {a for a in (*einsum.result, *labels) if a is not None}
        stored = tuple(
            dict.fromkeys(
                a for _, other in others for a in other if a is not None and a in labels_kept
            )
        )
        kept = {a: n for a, n in sizes.items() if a in labels_kept}
        if others:
            formula = _product_of(others, stored, sizes)
            result[x] = Local(from_labels(rows, cols, kept, stored), formula)
        else:
            result[x] = Local(from_labels(rows, cols, kept, scale=1), None)
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
    letter = dict(zip(sizes, _LETTERS, strict=False))
    inputs = ["".join(letter[a] for a in labels if a is not None) for _, labels in others]
    subscripts = f"{','.join(inputs)}->{''.join(letter[a] for a in stored)}"

    def formula(y: Any, *values: Any) -> Any:
        arrays = [np.squeeze(values[n], axis) for n, axis in zip(numbers, axes, strict=True)]
        return np.einsum(subscripts, *arrays, optimize=len(arrays) > 2)

    return formula


@contraction(np.matmul, operands=ALL)
def _matmul(a: Argument, b: Argument) -> Einsum:
    i, j, k = 0, 1, 2
    left = ((i,) if a.ndim > 1 else ()) + (j,)
    right = (j,) + ((k,) if b.ndim > 1 else ())
    batch_a, batch_b, out = _batches(a.shape[:-2], b.shape[:-2])
    return Einsum(((a, (*batch_a, *left)), (b, (*batch_b, *right))), (*out, *left[:-1], *right[1:]))


def _batches(
    a: tuple[int, ...], b: tuple[int, ...]
) -> tuple[tuple[Label, ...], tuple[Label, ...], tuple[int, ...]]:
    """Return labels, from 3 on, of two batches of axes that are broadcast, and of the result."""
    shape = np.broadcast_shapes(a, b)
    n = len(shape)
    left, right = (
        tuple(
            3 + n - len(batch) + at if size == shape[n - len(batch) + at] else None
            for at, size in enumerate(batch)
        )
        for batch in (a, b)
    )
    return left, right, tuple(range(3, 3 + n))


@rule(masked_matmul, operands=ALL)
def _masked_matmul(
    y: Argument, a: Argument, b: Argument, mask_a: Argument, mask_b: Argument
) -> Locals:
    def of_masks(formula: Formula | None) -> Formula:
        assert formula is not None
        return lambda y, a, b, mask_a, mask_b: formula(y, mask_a, mask_b)

    found = _locals_of_einsum(_matmul(a, b), y)
    return {
        x: replace(local, mask=of_masks(local.formula))
        for x, local in found.items()
        if isinstance(local, Local)
    }


@contraction(*available(np, "matvec"), operands=ALL)
def _matvec(a: Argument, b: Argument) -> Einsum:
    left, right, out = _batches(a.shape[:-2], b.shape[:-1])
    return Einsum(((a, (*left, 0, 1)), (b, (*right, 1))), (*out, 0))


@contraction(*available(np, "vecmat"), operands=ALL)
def _vecmat(a: Argument, b: Argument) -> Einsum:
    left, right, out = _batches(a.shape[:-1], b.shape[:-2])
    return Einsum(((a, (*left, 0)), (b, (*right, 0, 1))), (*out, 1))


@contraction(np.vecdot, operands=ALL)
def _vecdot(a: Argument, b: Argument) -> Einsum:
    left, right, out = _batches(a.shape[:-1], b.shape[:-1])
    return Einsum(((a, (*left, 0)), (b, (*right, 0))), out)


@contraction(np.dot)
def _dot(a: Argument, b: Argument) -> Einsum:
    if a.ndim == 0 or b.ndim == 0:
        left, right = tuple(range(a.ndim)), tuple(range(a.ndim, a.ndim + b.ndim))
        return Einsum(((a, left), (b, right)), left + right)
    return _tensordot_as_einsum(a, b, (a.ndim - 1,), (max(b.ndim - 2, 0),))


@contraction(np.inner)
def _inner(a: Argument, b: Argument) -> Einsum:
    if a.ndim == 0 or b.ndim == 0:
        return _tensordot_as_einsum(a, b, (), ())
    return _tensordot_as_einsum(a, b, (a.ndim - 1,), (b.ndim - 1,))


@contraction(np.tensordot)
def _tensordot(a: Argument, b: Argument, axes: Any = 2) -> Einsum:
    if isinstance(axes, (list, tuple)):
        return _tensordot_as_einsum(
            a, b, normalize_axes(axes[0], a.ndim), normalize_axes(axes[1], b.ndim)
        )
    n = int(axes)
    return _tensordot_as_einsum(a, b, tuple(range(a.ndim - n, a.ndim)), tuple(range(n)))


def _tensordot_as_einsum(
    a: Argument, b: Argument, axes_a: tuple[int, ...], axes_b: tuple[int, ...]
) -> Einsum:
    """Return the contraction of the axes `axes_a` of a with `axes_b` of b."""
    left = tuple(range(a.ndim))
    tied = dict(zip(axes_b, axes_a, strict=True))
    right = tuple(tied.get(k, a.ndim + k) for k in range(b.ndim))
    out = (*(x for x in left if x not in axes_a), *(x for x in right if x >= a.ndim))
    return Einsum(((a, left), (b, right)), out)


defined(np.outer)(lambda a, b: np.multiply(np.reshape(a, (-1, 1)), np.reshape(b, (1, -1))))
defined(np.vdot)(lambda a, b: np.dot(np.reshape(a, -1), np.reshape(b, -1)))


def _with_string(*args: Any, optimize: Any = None, **kwargs: Any) -> tuple[Any, ...]:
    """Return the arguments of a call of np.einsum with the subscripts as a string."""
    refuse_options(kwargs)
    if args and isinstance(args[0], str):
        return args
    operands, lists = args[::2], list(args[1::2])
    if len(args) % 2:  # the last list is that of the result
        operands, lists = operands[:-1], [*lists, args[-1]]
    names = {k: _LETTERS[n] for n, k in enumerate(sorted(_labels_in(lists)))}
    terms = ["".join("..." if k is Ellipsis else names[k] for k in each) for each in lists]
    inputs = ",".join(terms[: len(operands)])
    return (f"{inputs}->{terms[-1]}" if len(args) % 2 else inputs, *operands)


def _labels_in(lists: Sequence[Sequence[Any]]) -> set[int]:
    return {k for each in lists for k in each if k is not Ellipsis}


@contraction(np.einsum, operands=slice(1, None), canonical=_with_string)
def _einsum(subscripts: str, *operands: Argument) -> Einsum:
    letters = subscripts.replace(" ", "")
    inputs, arrow, output = letters.partition("->")
    terms = _expand_ellipsis(inputs.split(","), operands)
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
    expanded = tuple(
        (
            x,
            tuple(
                None if size == 1 and sizes[letter] != 1 else numbers[letter]
                for letter, size in zip(term, x.shape, strict=True)
            ),
        )
        for term, x in zip(terms, operands, strict=True)
    )
    return Einsum(expanded, tuple(numbers[letter] for letter in result))


def _expand_ellipsis(terms: list[str], operands: Sequence[Argument]) -> list[list[str]]:
    """Write the axes behind `...` as `...k`, counted from the right."""
    expanded = []
    for term, x in zip(terms, operands, strict=True):
        before, has_dots, after = term.partition("...")
        n = x.ndim - len(before) - len(after) if has_dots else 0
        expanded.append([*before, *(f"...{n - k}" for k in range(n)), *after])
    return expanded


@defined(np.kron)
def _kron(a: Any, b: Any) -> Any:
    n = max(np.ndim(a), np.ndim(b))
    shape_a = (*(1,) * (n - np.ndim(a)), *np.shape(a))
    shape_b = (*(1,) * (n - np.ndim(b)), *np.shape(b))
    left = np.reshape(a, [size for m in shape_a for size in (m, 1)])
    right = np.reshape(b, [size for m in shape_b for size in (1, m)])
    return np.reshape(left * right, [i * j for i, j in zip(shape_a, shape_b, strict=True)])


@defined(np.cross)
def _cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Any:
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = np.moveaxis(a, axisa, -1), np.moveaxis(b, axisb, -1)
    if np.shape(a)[-1] != 3 or np.shape(b)[-1] != 3:
        raise NotImplementedError("only vectors of three entries have a cross product here")
    product = np.take(a, [1, 2, 0], -1) * np.take(b, [2, 0, 1], -1)
    product = product - np.take(a, [2, 0, 1], -1) * np.take(b, [1, 2, 0], -1)
    return np.moveaxis(product, -1, axisc)


@defined(np.convolve)
def _convolve(a: Any, v: Any, mode: str = "full") -> Any:
    a, v = np.atleast_1d(a), np.atleast_1d(v)
    if mode not in ("full", "same", "valid"):
        raise NotImplementedError("mode must be 'full', 'same' or 'valid'")
    if np.size(v) > np.size(a):
        a, v = v, a
    n, m = np.size(a), np.size(v)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(a, m - 1), m)
    full = windows @ np.flip(v)
    start, count = {"full": (0, n + m - 1), "same": ((m - 1) // 2, n), "valid": (m - 1, n - m + 1)}[
        mode
    ]
    return full[start : start + count]


@defined(np.polyval)
def _polyval(p: Any, x: Any) -> Any:
    if isinstance(p, (list, tuple)) and not any(map(is_traced, p)):
        p = np.asarray(p)  # numbers in a list are of double precision, others of that of x
    y = np.zeros_like(x)
    for k in range(np.size(p)):
        y = y * x + p[k]
    return y


defined(np.linalg.multi_dot, nested=True)(lambda arrays: reduce(np.dot, arrays))


@defined(np.linalg.matrix_power)
def _matrix_power(a: Any, n: int) -> Any:
    if n < 0:
        return np.linalg.matrix_power(np.linalg.inv(a), -n)
    if n == 0:
        return np.zeros_like(a) + np.eye(np.shape(a)[-1], dtype=a.dtype)
    half = np.linalg.matrix_power(a, n // 2) if n > 1 else None
    if half is None:
        return np.copy(a)
    return half @ half @ a if n % 2 else half @ half


defined(np.linalg.matmul)(lambda x1, x2, /: np.matmul(x1, x2))
defined(np.linalg.outer)(lambda x1, x2, /: np.outer(x1, x2))
defined(np.linalg.tensordot)(lambda x1, x2, /, *, axes=2: np.tensordot(x1, x2, axes))


@defined(np.linalg.vecdot)
def _linalg_vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    return np.vecdot(np.moveaxis(x1, axis, -1), np.moveaxis(x2, axis, -1))


defined(np.linalg.cross)(lambda x1, x2, /, *, axis=-1: np.cross(x1, x2, axis=axis))


constant(np.einsum_path, kind=ShapeQuery())
