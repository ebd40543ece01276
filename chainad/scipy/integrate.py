"""scipy.integrate: the functions that are differentiated, under SciPy's names and signatures."""

from chainad.api.solvers.solve_ivp import solve_ivp

__all__ = ["solve_ivp"]
