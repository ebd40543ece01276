"""scipy.stats: densities that are differentiated, under SciPy's names and signatures."""

from chainad.rules.scipy_stats import (
    beta,
    cauchy,
    expon,
    gamma,
    laplace,
    multivariate_normal,
    norm,
    poisson,
    t,
)

__all__ = [
    "beta",
    "cauchy",
    "expon",
    "gamma",
    "laplace",
    "multivariate_normal",
    "norm",
    "poisson",
    "t",
]
