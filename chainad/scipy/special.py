"""scipy.special: the functions that are no ufuncs, under SciPy's names and signatures."""

from chainad.rules.elementwise import polygamma
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
