"""scipy.special: the functions that are no ufuncs, under SciPy's names and signatures.

All others are SciPy's own, of which the ufuncs take traced values as they are.
"""

from typing import Any

import scipy.special

from chainad.rules.scipy_special import (
    comb,
    factorial,
    log_softmax,
    logsumexp,
    multigammaln,
    softmax,
    spherical_in,
    spherical_jn,
    spherical_kn,
    spherical_yn,
)
from chainad.rules.special_functions import polygamma

__all__ = [
    "comb",
    "factorial",
    "log_softmax",
    "logsumexp",
    "multigammaln",
    "polygamma",
    "softmax",
    "spherical_in",
    "spherical_jn",
    "spherical_kn",
    "spherical_yn",
]


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(scipy.special, name)
