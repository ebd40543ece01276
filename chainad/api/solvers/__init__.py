"""Solvers inside of functions: what they find is known, and its derivative is an operator.

known_values            values that a solver has found, as calls with a row
user_functions          functions made anew at each call, and what was made of them before
right_hand_side         of differential equations, with its derivatives
initial_value_problem   states as functions of initial values, parameters and times: sensitivities
adjoint_equation        their adjoints, integrated against time, from checkpoints
integrators             SciPy's solvers, for blocks of equations
solve_ivp, odeint       initial value problems under the names of SciPy
quad                    integrals under the name of SciPy
implicit                solutions of equations, by the implicit-function theorem
iterative               the same by a linear solver of the user's
residual_jacobian       the Jacobians of these, dense or sparse
stationarity            the equations that minima are solutions of
scipy_optimize          the solvers of scipy.optimize
"""
