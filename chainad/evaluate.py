"""Evaluating: the numbers of the local Jacobians, from the tape and the rules' formulas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainad.linearize import Recipe
from chainad.tracing.tape import Tape


def evaluate(tape: Tape, recipes: Sequence[Recipe]) -> list[Any]:
    """Return one slot per recipe: an array, or None for an edge without numbers.

    NaN and infinity propagate silently here: the function itself has warned already.
    """
    with np.errstate(all="ignore"):
        return [
            None
            if recipe.formula is None
            else recipe.formula(tape.values[recipe.node], *tape.operands[recipe.node])
            for recipe in recipes
        ]
