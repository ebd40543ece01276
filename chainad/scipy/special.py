"""scipy.special: the functions that are no ufuncs, under SciPy's names and signatures."""

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
