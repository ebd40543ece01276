"""How loops spell elementwise functions: as the scalar backends do, and those that these fold."""

from __future__ import annotations

import numpy as np

from chainad.backends.spellings import MACHINE
from chainad.ir.loop_program import Function
from chainad.ir.scalar_graph import TRUTHS, same

_FOLDED: dict[Function, str] = {
    same: "{0}",
    np.positive: "{0}",
    np.conjugate: "{0}",
    np.real: "{0}",
    np.square: "({0} * {0})",
    np.reciprocal: "(1.0 / {0})",
    np.greater: "({0} > {1})",
    np.greater_equal: "({0} >= {1})",
    np.fabs: "abs({0})",
    np.float_power: "pow({0}, {1})",
}


def spelled(function: Function) -> str | None:
    """Return the spelling of an elementwise function, None if it has none.

    Truths are 1.0 and 0.0.
    """
    text = MACHINE.get(function, _FOLDED.get(function))
    return f"(1.0 if {text} else 0.0)" if text is not None and function in TRUTHS else text
