"""scipy.integrate: the functions that are differentiated, under SciPy's names and signatures."""

from chainad.api.solvers.odeint import odeint
from chainad.api.solvers.quad import quad
from chainad.api.solvers.solve_ivp import solve_ivp
from chainad.rules.scipy_integrate import (
    cumulative_simpson,
    cumulative_trapezoid,
    fixed_quad,
    romb,
    simpson,
    trapezoid,
)

__all__ = [
    "cumulative_simpson",
    "cumulative_trapezoid",
    "fixed_quad",
    "odeint",
    "quad",
    "romb",
    "simpson",
    "solve_ivp",
    "trapezoid",
]
