"""The problems, by name."""

from __future__ import annotations

from benchmarks.solver_problems import equations, least_squares, minima
from benchmarks.solver_problems.problem import Problem

PROBLEMS: dict[str, Problem] = {
    "rosenbrock-l-bfgs-b": minima.rosenbrock("L-BFGS-B"),
    "rosenbrock-bfgs": minima.rosenbrock("BFGS"),
    "rosenbrock-newton-cg": minima.rosenbrock("Newton-CG", is_of_second_order=True),
    "rosenbrock-trust-exact": minima.rosenbrock("trust-exact", is_of_second_order=True),
    "rosenbrock-trust-constr": minima.rosenbrock("trust-constr", is_of_second_order=True),
    "osborne-lm": least_squares.osborne("lm"),
    "osborne-trf": least_squares.osborne("trf"),
    "broyden": least_squares.broyden("trf"),
    "bundle": least_squares.bundle("trf"),
    "brusselator-bdf": equations.brusselator("BDF"),
    "brusselator-radau": equations.brusselator("Radau"),
    "bratu": equations.bratu(),
    "peaks-lm": least_squares.spectrum("lm"),
    "peaks-trf": least_squares.spectrum("trf"),
    "electrons-slsqp": minima.electrons("SLSQP"),
    "electrons-trust-constr": minima.electrons("trust-constr"),
    "gaussian-process": minima.gaussian_process(),
    "equilibrium": equations.equilibrium(),
    "neural-ode": minima.neural_ode(),
    "logistic-newton-cg": minima.logistic("Newton-CG"),
    "logistic-trust-exact": minima.logistic("trust-exact"),
}
