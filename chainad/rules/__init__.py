"""Rules: how every NumPy function is differentiated, one row each.

A function is known here if it is in one of four tables of `base`: RULES (differentiated), DEFINED
(written in terms of others), CONSTANT (derivative zero) or REFUSED (an error that says why).
"""

from chainad.rules import (
    complexes,
    composed,
    contraction,
    decompositions,
    elementwise,
    fourier,
    linear_algebra,
    movement,
    reduction,
    scipy_fft,
    scipy_linalg,
    scipy_special,
    special_ufuncs,
    statistics,
)
from chainad.rules.base import CONSTANT, DEFINED, REFUSED, RULES

__all__ = [
    "CONSTANT",
    "DEFINED",
    "REFUSED",
    "RULES",
    "complexes",
    "composed",
    "contraction",
    "decompositions",
    "elementwise",
    "fourier",
    "linear_algebra",
    "movement",
    "reduction",
    "scipy_fft",
    "scipy_linalg",
    "scipy_special",
    "special_ufuncs",
    "statistics",
]
