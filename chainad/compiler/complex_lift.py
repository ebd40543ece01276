"""Lifting: from a local Jacobian between complex values to one between pairs (re, im).

An entry p becomes the block [[Re p, -Im p], [Im p, Re p]]; if a structure stores no entries, it is
the same for real and imaginary parts. An operator is applied to complex numbers made of the pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainad.backends.numpy.build import build
from chainad.ir.array_functions import join_pairs, split_pairs
from chainad.ir.op import Op
from chainad.ir.program import Instruction, Program
from chainad.rules.base import Formula, Local
from chainad.structure import arrange, operator
from chainad.structure.linear_operators import Operator
from chainad.structure.structure import Action, Axis


def lift(local: Local, x_is_complex: bool) -> Local:
    """Return the local Jacobian of pairs (re, im) by pairs, or by a real x."""
    plain = local.arrangement.structure
    re = len(plain.sizes)
    if plain.action is not None:
        return _lift_operator(local, plain.action, x_is_complex)
    sizes = {**dict(enumerate(plain.sizes)), re: 2, re + 1: 2}
    if plain.scale is not None:
        # The same for real and imaginary parts; a real x affects the real part only.
        last = Axis(2, (re,)) if x_is_complex else Axis(2, (), range(1))
        cols = (*plain.cols, last) if x_is_complex else plain.cols
        used = {k: n for k, n in sizes.items() if k < re + x_is_complex}
        return Local(arrange((*plain.rows, last), cols, used, scale=plain.scale), None)
    rows, cols = (*plain.rows, Axis(2, (re,))), plain.cols
    stored: tuple[int, ...] = (*plain.stored, re)
    if x_is_complex:
        cols, stored = (*plain.cols, Axis(2, (re + 1,))), (*stored, re + 1)
    else:
        del sizes[re + 1]
    arrangement = arrange(rows, cols, sizes, stored)
    mask = None if local.mask is None else _pairs(local, local.mask, x_is_complex)
    return Local(arrangement, _pairs(local, local.formula, x_is_complex), mask)


def _lift_operator(local: Local, action: Action, x_is_complex: bool) -> Local:
    plain, rule_formula = local.arrangement.structure, local.formula
    assert rule_formula is not None
    batch, out, inner = plain.sides
    re = len(plain.sizes)
    sizes = {**dict(enumerate(plain.sizes)), re: 2}
    rows, cols = (*plain.rows, Axis(2, (re,))), plain.cols
    stored: tuple[int, ...] = (*sorted((*batch, *out)), re, *inner)
    if x_is_complex:
        cols, stored, sizes[re + 1] = (*plain.cols, Axis(2, (re + 1,))), (*stored, re + 1), 2
    tangent, adjoint = (c and 4 * c for c in (action.tangent, action.adjoint))
    found = operator(arrange(rows, cols, sizes, stored), tangent, adjoint, 2 * plain.count)

    def formula(*values: Any) -> Any:
        return OperatorOnPairs(rule_formula(*values), x_is_complex)

    return Local(found, formula)


class OperatorOnPairs(Operator):
    """An operator on complex numbers, applied to their pairs (re, im), or to real numbers."""

    def __init__(self, plain: Operator, x_is_complex: bool) -> None:
        self.plain, self.x_is_complex = plain, x_is_complex
        self.aliases, self.is_pure, self.batch = plain.aliases, plain.is_pure, plain.batch
        self.n_out, self.n_in = 2 * plain.n_out, plain.n_in * (1 + x_is_complex)
        self.dtype = np.finfo(plain.dtype).dtype
        self._joined = np.result_type(plain.dtype, np.complex64)

    @property
    def is_traced(self) -> bool:
        return self.plain.is_traced

    def jvp(self, tangents: Any) -> Any:
        count = np.shape(tangents)[-1]
        if self.x_is_complex:
            pairs = np.reshape(tangents, (*self.batch, self.plain.n_in, 2, count))
            tangents = pairs[..., 0, :] + 1j * pairs[..., 1, :]
        found = self.plain.jvp(tangents.astype(self._joined))
        pairs = np.stack([np.real(found), np.imag(found)], -2)
        return np.reshape(pairs, (*self.batch, self.n_out, count))

    def vjp(self, adjoints: Any) -> Any:
        # (u, v) times the block of p is (Re, -Im) of (u - iv) p.
        count = np.shape(adjoints)[-2]
        pairs = np.reshape(adjoints, (*self.batch, count, self.plain.n_out, 2))
        found = self.plain.vjp(np.conjugate(join_pairs(pairs)).astype(self._joined))
        if not self.x_is_complex:
            return np.real(found)
        pairs = split_pairs(np.conjugate(found))
        return np.reshape(pairs, (*self.batch, count, self.n_in))

    def copy(self) -> Operator:
        return OperatorOnPairs(self.plain.copy(), self.x_is_complex)


def _pairs(local: Local, rule_formula: Formula | None, x_is_complex: bool) -> Formula:
    """Return a formula of a local Jacobian lifted."""
    assert rule_formula is not None
    to_stored_form = _runner(local.arrangement.ops)
    shape = local.arrangement.structure.stored_shape

    def formula(*values: Any) -> Any:
        p = np.reshape(to_stored_form(rule_formula(*values)), shape)
        re, im = np.real(p), np.imag(p)
        column = np.stack([re, im], -1)
        return np.stack([column, np.stack([-im, re], -1)], -1) if x_is_complex else column

    return formula


def _runner(ops: tuple[Op, ...]) -> Callable[[Any], Any]:
    """Return a function that applies ops to one array."""
    if not ops:
        return lambda x: x
    steps = tuple(Instruction(op, (k,), k + 1) for k, op in enumerate(ops))
    run = build(Program(1, steps, (len(ops),)))
    return lambda x: run([x])[0]
