"""Lifting: from a local Jacobian between complex values to one between pairs (re, im).

An entry p becomes the block [[Re p, -Im p], [Im p, Re p]]; if a structure stores no entries, it is
the same for real and imaginary parts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainad.backends.numpy.build import build
from chainad.ir.op import Op
from chainad.ir.program import Instruction, Program
from chainad.rules.base import Formula, Local
from chainad.structure import arrange
from chainad.structure.structure import Axis


def lift(local: Local, x_is_complex: bool) -> Local:
    """Return the local Jacobian of pairs (re, im) by pairs, or by a real x."""
    plain = local.arrangement.structure
    re = len(plain.sizes)
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
