"""scipy.optimize: solvers inside of traced functions, under SciPy's names and signatures."""

from chainad.api.solvers.scipy_optimize import (
    bisect,
    brenth,
    brentq,
    fixed_point,
    fsolve,
    least_squares,
    minimize,
    minimize_scalar,
    newton,
    ridder,
    root,
    root_scalar,
)

__all__ = [
    "bisect",
    "brenth",
    "brentq",
    "fixed_point",
    "fsolve",
    "least_squares",
    "minimize",
    "minimize_scalar",
    "newton",
    "ridder",
    "root",
    "root_scalar",
]
