"""Evaluating: the numbers of the local Jacobians, from the tape and the rules' formulas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainad.compiler.linearize import Recipe
from chainad.frontends.numpy.tape import Tape


def evaluate(tape: Tape, recipes: Sequence[Recipe]) -> list[Any]:
    """Return one slot per recipe: an array or NumPy scalar, or None for an edge without numbers.

    NaN and infinity propagate silently here: the function itself has warned already.
    """
    slots: list[Any] = []
    with np.errstate(all="ignore"):
        for recipe in recipes:
            if recipe.formula is None:
                slots.append(None)
            else:
                entry = tape.entries[recipe.node]
                slot = recipe.formula(entry.value, *entry.operands)
                # A constant of the user's, such as the 2.0 in 2.0 * x, may be a Python number.
                slots.append(slot if hasattr(slot, "shape") else entry.value.dtype.type(slot))
    return slots
