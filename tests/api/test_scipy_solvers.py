"""Every SciPy function that takes a derivative, with `for_scipy`, against none."""

from __future__ import annotations

import pickle
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from functions import agree
from scipy import integrate, optimize

import chainad
from chainad import InputError
from chainad.frontends.captures import function_table

Function = Callable[..., Any]
MATRIX = np.array([[3.0, 1.0, 0.5], [1.0, 4.0, 1.0], [0.5, 1.0, 5.0]])
TIMES = np.linspace(0.0, 1.0, 40)
DATA = 2.0 * np.exp(-3.0 * TIMES)
START = np.array([1.0, 0.5, -0.5])


def objective(x: Any) -> Any:
    """Strictly convex, so that every method ends at the same place."""
    return np.log(np.sum(np.exp(MATRIX @ x))) + 0.5 * x @ x - x[0]


def system(x: Any) -> Any:
    return MATRIX @ x + np.sin(x) - np.array([1.0, 2.0, 3.0])


def model(t: Any, a: Any, b: Any) -> Any:
    return a * np.exp(-b * t)


def residuals(p: Any) -> Any:
    return model(TIMES, p[0], p[1]) - DATA


def robertson(t: Any, y: Any) -> Any:
    a, b = -0.04 * y[0] + 1e4 * y[1] * y[2], 3e7 * y[1] ** 2
    return [a, -a - b, b]


def robertson_in_odeint(y: Any, t: Any) -> Any:
    return tuple(robertson(t, y))


MINIMUM = optimize.minimize(objective, START, method="BFGS", options={"gtol": 1e-6}).x
ROOT = optimize.root(system, START).x

# Made once, as a user does.
OBJECTIVE = chainad.for_scipy(objective)
SYSTEM = chainad.for_scipy(system)
RESIDUALS = chainad.for_scipy(residuals)
ROBERTSON = chainad.for_scipy(robertson, argnums=1)


# ------------------------------------------------------------------------------ minimize


@pytest.mark.parametrize("method", ["CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP", "trust-constr"])
def test_minimize_by_gradients(method: str) -> None:
    F = OBJECTIVE
    found = optimize.minimize(F, START, method=method, jac=F.jac, tol=1e-8)
    np.testing.assert_allclose(found.x, MINIMUM, atol=1e-4)


@pytest.mark.parametrize(
    "method", ["Newton-CG", "dogleg", "trust-ncg", "trust-krylov", "trust-exact", "trust-constr"]
)
def test_minimize_by_hessians(method: str) -> None:
    F = OBJECTIVE
    found = optimize.minimize(F, START, method=method, jac=F.jac, hess=F.hess, tol=1e-8)
    np.testing.assert_allclose(found.x, MINIMUM, atol=1e-4)


@pytest.mark.parametrize("method", ["Newton-CG", "trust-ncg", "trust-krylov", "trust-constr"])
def test_minimize_by_hessian_products(method: str) -> None:
    F = OBJECTIVE
    found = optimize.minimize(F, START, method=method, jac=F.jac, hessp=F.hessp, tol=1e-8)
    np.testing.assert_allclose(found.x, MINIMUM, atol=1e-4)


@pytest.mark.parametrize("output", ["sparse", "operator"])
def test_minimize_by_other_forms_of_hessians(output: str) -> None:
    F, H = OBJECTIVE, chainad.for_scipy(objective, output=output)
    found = optimize.minimize(F, START, method="trust-constr", jac=F.jac, hess=H.hess, tol=1e-8)
    np.testing.assert_allclose(found.x, MINIMUM, atol=1e-4)


@pytest.mark.parametrize("method", ["BFGS", "L-BFGS-B", "SLSQP"])
def test_minimize_takes_value_and_gradient_at_once(method: str) -> None:
    found = optimize.minimize(OBJECTIVE.value_and_jac, START, method=method, jac=True)
    np.testing.assert_allclose(found.x, MINIMUM, atol=1e-3)


@pytest.mark.parametrize("method", ["L-BFGS-B", "Newton-CG", "trust-exact"])
def test_minimize_passes_arguments(method: str) -> None:
    F = chainad.for_scipy(lambda x, a, b: np.sum((x - a) ** 2 * b) + np.sum((x - a) ** 4))
    how = {} if method == "L-BFGS-B" else {"hess": F.hess}
    args = START, 2.0
    found = optimize.minimize(F, 0 * START, args=args, method=method, jac=F.jac, **how)
    np.testing.assert_allclose(found.x, START, atol=1e-4)
    np.testing.assert_allclose(F.hessp(START, np.ones(3), *args), 4 * np.ones(3))


def circle(x: Any) -> Any:
    return np.array([np.sum(x * x), x[0] * x[1]])


@pytest.mark.parametrize("output", ["dense", "sparse", "operator"])
@pytest.mark.parametrize("method", ["SLSQP", "trust-constr"])
def test_constraints(method: str, output: str) -> None:
    F, C = OBJECTIVE, chainad.for_scipy(circle, output=output if method != "SLSQP" else "dense")

    def solve(f: Function, **how: Any) -> Any:
        constraint = optimize.NonlinearConstraint(f, [0.2, -1.0], [0.25, 1.0], **how)
        return optimize.minimize(F, START, method=method, constraints=constraint, jac=F.jac).x

    wanted = solve(circle)
    jac = chainad.for_scipy(circle).jac if output == "operator" else C.jac
    np.testing.assert_allclose(solve(C, jac=jac), wanted, atol=1e-3)
    if method == "trust-constr":
        np.testing.assert_allclose(solve(C, jac=jac, hess=C.hess), wanted, atol=1e-3)


def test_constraints_of_one_number() -> None:
    F = OBJECTIVE
    for f in (lambda x: np.sum(x * x), lambda x: np.array([np.sum(x * x)])):
        C = chainad.for_scipy(f)
        bound = optimize.NonlinearConstraint(C, 0.2, 0.25, jac=C.jac, hess=C.hess)
        found = optimize.minimize(F, START, method="trust-constr", constraints=bound, jac=F.jac)
        assert 0.199 < np.sum(found.x**2) < 0.251
        equal = {"type": "eq", "fun": C, "jac": C.jac}
        found = optimize.minimize(F, START, method="SLSQP", constraints=equal, jac=F.jac)
        np.testing.assert_allclose(found.x, 0.0, atol=1e-3)


def camel(x: Any) -> Any:
    return (
        (4 - 2.1 * x[0] ** 2 + x[0] ** 4 / 3) * x[0] ** 2
        + x[0] * x[1]
        + 4 * (x[1] ** 2 - 1) * x[1] ** 2
    )


BOUNDS = [(-2.0, 2.0), (-1.0, 1.0)]
GLOBAL: dict[str, Function] = {
    "basinhopping": lambda F: optimize.basinhopping(
        F, [1.0, 1.0], niter=20, seed=0, minimizer_kwargs={"method": "L-BFGS-B", "jac": F.jac}
    ),
    "dual_annealing": lambda F: optimize.dual_annealing(
        F, BOUNDS, maxiter=50, seed=0, minimizer_kwargs={"method": "L-BFGS-B", "jac": F.jac}
    ),
    "shgo": lambda F: optimize.shgo(
        F, BOUNDS, n=64, sampling_method="sobol", minimizer_kwargs={"jac": F.jac}
    ),
    "differential_evolution": lambda F: optimize.differential_evolution(
        F, BOUNDS, seed=0, maxiter=50, polish=True
    ),
}


@pytest.mark.parametrize("is_number", [True, False])
@pytest.mark.parametrize("name", GLOBAL)
def test_global_minimizers(name: str, is_number: bool) -> None:
    F = chainad.for_scipy(camel if is_number else lambda x: np.array([camel(x)]))
    found = GLOBAL[name](F)
    np.testing.assert_allclose(found.fun, -1.031628453489877, atol=1e-6)
    assert np.isscalar(F(np.array([1.0, 0.5])))


# ------------------------------------------------------- systems, least squares, one number


@pytest.mark.parametrize("col_deriv", [False, True])
@pytest.mark.parametrize("method", ["hybr", "lm"])
@pytest.mark.parametrize("start", [START, [1, 1, 1], (1.0, 0.5, 2.0)])
def test_root(method: str, start: Any, col_deriv: bool) -> None:
    F = chainad.for_scipy(system, col_deriv=True) if col_deriv else SYSTEM
    options = {"col_deriv": col_deriv}
    found = optimize.root(F, start, jac=F.jac, method=method, options=options)
    np.testing.assert_allclose(found.x, ROOT, atol=1e-6)


@pytest.mark.parametrize("col_deriv", [False, True])
def test_fsolve_and_leastsq(col_deriv: bool) -> None:
    F = chainad.for_scipy(lambda x, b: list(MATRIX @ x * x[0] - b), col_deriv=col_deriv)
    b = MATRIX @ START * START[0]
    found = optimize.fsolve(F, START + 0.1, args=(b,), fprime=F.jac, col_deriv=col_deriv)
    np.testing.assert_allclose(found, START, atol=1e-6)
    R = chainad.for_scipy(residuals, col_deriv=col_deriv)
    found = optimize.leastsq(R, [1.0, 1.0], Dfun=R.jac, col_deriv=col_deriv)[0]
    np.testing.assert_allclose(found, [2.0, 3.0], atol=1e-6)


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
def test_least_squares(method: str) -> None:
    F = RESIDUALS
    found = optimize.least_squares(F, [1, 1], jac=F.jac, method=method)
    np.testing.assert_allclose(found.x, [2.0, 3.0], atol=1e-6)


@pytest.mark.parametrize("output", ["sparse", "operator"])
def test_least_squares_by_lsmr(output: str) -> None:
    F = chainad.for_scipy(residuals, output=output)
    found = optimize.least_squares(F, [1.0, 1.0], jac=F.jac, tr_solver="lsmr")
    np.testing.assert_allclose(found.x, [2.0, 3.0], atol=1e-6)


def test_least_squares_by_a_sparsity() -> None:
    def broyden(x: Any) -> Any:
        return (3 - 2 * x) * x + 1 - np.concatenate([[0.0], x[:-1]]) - 2 * np.append(x[1:], 0.0)

    F = chainad.for_scipy(broyden, output="sparse")
    start = -np.ones(30)
    pattern = F.sparsity(0 * start)  # also where entries happen to be zero
    assert scipy.sparse.issparse(pattern)
    assert pattern.dtype == bool
    assert pattern.nnz == 3 * 30 - 2
    wanted = optimize.least_squares(broyden, start, jac_sparsity=pattern)
    found = optimize.least_squares(F, start, jac=F.jac)
    np.testing.assert_allclose(found.x, wanted.x, atol=1e-6)


@pytest.mark.parametrize("method", ["lm", "trf", "dogbox"])
def test_curve_fit(method: str) -> None:
    F = chainad.for_scipy(model)
    for p0 in ([1, 1], None):
        found, _ = optimize.curve_fit(F, TIMES, DATA, p0, method=method, jac=F.params_jac)
        np.testing.assert_allclose(found, [2.0, 3.0], atol=1e-6)


@pytest.mark.parametrize("method", ["newton", "halley"])
@pytest.mark.parametrize("start", [1, 1.0, np.float64(1.0)])
@pytest.mark.parametrize("is_number", [True, False])
def test_root_scalar(method: str, start: Any, is_number: bool) -> None:
    def cubic(x: Any) -> Any:
        value = x**3 - 2 * x - 5
        return value if is_number else np.reshape(value, (1,))

    F = chainad.for_scipy(cubic)
    second = {"fprime2": F.hess} if method == "halley" else {}
    found = optimize.root_scalar(F, x0=start, fprime=F.jac, method=method, **second)
    wanted = optimize.brentq(lambda x: float(np.sum(cubic(x))), 1, 4)
    np.testing.assert_allclose(found.root, wanted, atol=1e-9)
    np.testing.assert_allclose(optimize.newton(F, start, fprime=F.jac, **second), wanted)
    np.testing.assert_allclose(optimize.brentq(F, 1, 4), wanted)


def test_one_equation_of_one_unknown_is_an_array() -> None:
    F = chainad.for_scipy(lambda x: x**3 - 8)
    for solve in (optimize.root, optimize.least_squares):
        np.testing.assert_allclose(solve(F, [1.0], jac=F.jac).x, [2.0])
    found = optimize.fsolve(F, [1.0], fprime=F.jac)
    np.testing.assert_allclose(found, [2.0])
    F = chainad.for_scipy(lambda y, t: -2 * y)
    found = integrate.odeint(F, [1.0], [0.0, 1.0], Dfun=F.jac)
    np.testing.assert_allclose(found[-1], np.exp(-2.0), rtol=1e-5)
    F = chainad.for_scipy(lambda x: (x - 2) ** 2)
    for method in ("BFGS", "L-BFGS-B", "SLSQP", "trust-constr", "CG", "TNC"):
        found = optimize.minimize(F, [1.0], jac=F.jac, method=method)
        np.testing.assert_allclose(found.x, [2.0], atol=1e-4)


# -------------------------------------------------------------------- differential equations


@pytest.mark.parametrize("output", ["dense", "sparse"])
@pytest.mark.parametrize("method", ["Radau", "BDF", "LSODA"])
def test_solve_ivp(method: str, output: str) -> None:
    solve = partial(integrate.solve_ivp, t_span=(0, 0.3), y0=[1, 0, 0], rtol=1e-7, atol=1e-10)
    if output == "sparse" and method != "LSODA":
        F = chainad.for_scipy(robertson, argnums=1, output="sparse")
    else:
        F = ROBERTSON
    found = solve(F, method=method, jac=F.jac)
    wanted = solve(robertson, method="Radau")
    np.testing.assert_allclose(found.y[:, -1], wanted.y[:, -1], rtol=1e-4, atol=1e-8)


def test_solve_ivp_passes_arguments_and_events() -> None:
    F = chainad.for_scipy(lambda t, y, k: -k * y, argnums=1)
    found = integrate.solve_ivp(F, (0, 1), [1.0], method="BDF", jac=F.jac, args=(2.0,), rtol=1e-8)
    np.testing.assert_allclose(found.y[0, -1], np.exp(-2.0), rtol=1e-5)


@pytest.mark.parametrize("tfirst", [True, False])
@pytest.mark.parametrize("col_deriv", [True, False])
def test_odeint(tfirst: bool, col_deriv: bool) -> None:
    f, k = (robertson, 1) if tfirst else (robertson_in_odeint, 0)
    F = chainad.for_scipy(f, k, col_deriv=col_deriv)
    how = {"tfirst": tfirst, "rtol": 1e-8, "atol": 1e-11}
    solve = partial(integrate.odeint, y0=[1, 0, 0], t=[0.0, 0.3], **how)
    found = solve(F, Dfun=F.jac, col_deriv=col_deriv)
    np.testing.assert_allclose(found[-1], solve(f)[-1], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", ["vode", "lsoda"])
def test_ode(name: str) -> None:
    def solve(f: Function, slopes: Function | None) -> Any:
        how = {"method": "bdf", "nsteps": 20000} if name == "vode" else {}
        solver = integrate.ode(f, slopes).set_integrator(name, rtol=1e-8, atol=1e-11, **how)
        return solver.set_initial_value([1.0, 0.0, 0.0], 0.0).integrate(0.3)

    F = ROBERTSON
    np.testing.assert_allclose(solve(F, F.jac), solve(robertson, None), rtol=1e-5, atol=1e-9)


def test_solve_bvp() -> None:
    def bratu(x: Any, y: Any) -> Any:
        return np.vstack([y[1], -np.exp(y[0]) + 0 * x])

    def ends(a: Any, b: Any) -> Any:
        return np.array([a[0], b[0] * b[0] - 0.01])

    F, B = chainad.for_scipy(bratu, argnums=1), chainad.for_scipy(ends)
    x, y = np.linspace(0, 1, 9), np.ones((2, 9))
    found = integrate.solve_bvp(F, B, x, y, tol=1e-8, fun_jac=F.fun_jac, bc_jac=B.bc_jac)
    assert found.success
    wanted = integrate.solve_bvp(bratu, ends, x, y, tol=1e-8)
    np.testing.assert_allclose(found.sol(0.5), wanted.sol(0.5), atol=1e-6)


def test_solve_bvp_with_unknown_parameters() -> None:
    def sturm(x: Any, y: Any, p: Any) -> Any:
        return np.stack([y[1], -(p[0] ** 2) * y[0]])

    def ends(a: Any, b: Any, p: Any) -> Any:
        return np.array([a[0], b[0], a[1] - p[0]])

    F, B = chainad.for_scipy(sturm, argnums=1), chainad.for_scipy(ends)
    x, y = np.linspace(0, 1, 5), np.zeros((2, 5))
    y[0, 1], y[0, 3] = 1, -1
    found = integrate.solve_bvp(F, B, x, y, p=[6.0], fun_jac=F.fun_jac, bc_jac=B.bc_jac)
    assert found.success
    np.testing.assert_allclose(found.p, [2 * np.pi], atol=1e-3)
    by_y, by_p = F.fun_jac(x, y, np.array([6.0]))
    assert by_y.shape == (2, 2, 5)
    np.testing.assert_allclose(by_p, np.stack([0 * x, -12 * y[0]])[:, None, :])


# ----------------------------------------------------------------------- shared evaluations


def counting(counts: Counter[str]) -> Function:
    """Return the sine of each entry as a primitive that counts values and slopes."""

    @chainad.primitive
    def sine(x: Any) -> Any:
        counts["value"] += 1
        return np.sin(x)

    @sine.jacobian(structure="diagonal")
    def cosine(y: Any, x: Any) -> Any:
        counts["slope"] += 1
        return np.cos(x)

    return sine


def test_a_point_costs_one_value_and_its_jacobian_if_that_is_requested() -> None:
    counts: Counter[str] = Counter()
    sine = counting(counts)
    F = chainad.for_scipy(lambda x: sine(x) * x)
    F(START)
    assert counts == {"value": 1}  # nothing is traced before a derivative is requested
    F.jac(START)
    counts.clear()
    x = START.copy()
    for _ in range(5):  # rejected points
        x += 0.1
        F(x)
    assert counts == {"value": 5}
    jacobian = F.jac(x)
    assert counts == {"value": 5, "slope": 1}
    agree(jacobian, chainad.jacobian(lambda x: np.sin(x) * x)(x))
    x += 0.1  # in place, as SciPy does
    counts.clear()
    agree(F.jac(x), chainad.jacobian(lambda x: np.sin(x) * x)(x))
    assert counts == {"value": 1, "slope": 1}


def test_jacobians_have_no_named_arguments_that_f2py_would_count() -> None:
    # With which SciPy before 1.17 calls vode and lsoda.
    assert not hasattr(chainad.for_scipy(np.sin).jac, "__code__")


@pytest.mark.parametrize("method", ["trf", "lm"])
def test_solvers_evaluate_each_point_once(method: str) -> None:
    counts: Counter[str] = Counter()
    sine = counting(counts)

    def f(x: Any) -> Any:
        return np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]]) + sine(1e-9 * x)

    F = chainad.for_scipy(f)
    F.jac(np.ones(2))
    counts.clear()
    found = optimize.least_squares(F, [-1.2, 1.0], jac=F.jac, method=method)
    assert counts["slope"] <= found.njev + 2 < counts["value"]  # some are not in njev
    assert counts["value"] <= found.nfev + 2


def test_what_the_function_reads_is_what_it_is_now() -> None:
    scale, table = 2.0, np.array([1.0, 2.0, 3.0])
    F = chainad.for_scipy(lambda x: np.sin(x) * table * scale)
    for _ in range(2):
        F.jac(START)
        F(START)
        table *= 2.0
        np.testing.assert_allclose(np.diag(F.jac(START)), np.cos(START) * table * scale)
        F(START)
        scale += 1.0
        np.testing.assert_allclose(np.diag(F.jac(START)), np.cos(START) * table * scale)
        np.testing.assert_allclose(F(START), np.sin(START) * table * scale)


def test_functions_that_read_more_than_they_compute_are_evaluated_apart() -> None:
    calls = 0
    data = np.random.default_rng(0).normal(size=(400, 100))

    def f(x: Any) -> Any:
        nonlocal calls
        calls += 1
        return np.sum(np.tanh(data @ x))

    F = chainad.for_scipy(f, constant="calls")
    x = np.linspace(-1.0, 1.0, 100)
    for _ in range(3):
        np.testing.assert_allclose(F.jac(x), chainad.jacobian(f)(x))
        before = calls
        np.testing.assert_allclose(F(x), np.sum(np.tanh(data @ x)))
        assert calls == before + 1  # no copy of the data is compared with them
        np.testing.assert_allclose(F.value_and_jac(x)[1], chainad.jacobian(f)(x))
        data *= 0.5


def test_results_may_be_overwritten() -> None:
    F = chainad.for_scipy(np.exp)
    F.jac(START)
    for _ in range(3):
        value = F(START)
        agree(value, np.exp(START))
        value.fill(7)
        jacobian = F.jac(START)
        agree(jacobian, np.diag(np.exp(START)))
        jacobian.fill(7)
        both = F.value_and_jac(START)
        agree(both, (np.exp(START), np.diag(np.exp(START))))
        both[0].fill(7)


def test_signed_zeros_and_nan_are_points_of_their_own() -> None:
    F = chainad.for_scipy(lambda x: np.arctan2(1e-300, x) * np.array([1.0, 2.0]))
    F.jac(np.float64(1.0))
    with np.errstate(all="ignore"):
        for x in (0.0, -0.0, np.nan):
            F(np.float64(x))
            wanted = chainad.jacobian(F.__wrapped__)(np.float64(x))
            np.testing.assert_array_equal(F.jac(np.float64(-x)), F.jac(np.float64(-x)))
            np.testing.assert_array_equal(F.jac(np.float64(x)), wanted)


def test_threads_have_their_own_last_points() -> None:
    F = chainad.for_scipy(system)
    wanted = {k: chainad.jacobian(system)(k * START) for k in range(6)}
    failures = []

    def work(k: int) -> None:
        for _ in range(50):
            F(k * START)
            if not np.allclose(F.jac(k * START), wanted[k]):
                failures.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_functions_that_draw_are_evaluated_as_they_are() -> None:
    rng = np.random.default_rng(0)
    F = chainad.for_scipy(lambda x: rng.normal() * x)
    with pytest.warns(chainad.errors.FallbackWarning, match="draws by"):
        assert F.jac(START).shape == (3, 3)
    assert not np.array_equal(F(START), F(START))


def test_derivatives_at_many_shapes_and_branches() -> None:
    F = chainad.for_scipy(lambda x: x**2 if x[0] > 0 else x**3)
    for x in (START, -START, START[:2], -START[:2], START):
        F(x)
        agree(F.jac(x), np.diag(2 * x if x[0] > 0 else 3 * x**2))


# --------------------------------------------------------------------------- what it is


def test_it_is_the_function_itself() -> None:
    F = chainad.for_scipy(objective)
    assert F.__name__ == "objective"
    assert F.__doc__ == objective.__doc__
    assert repr(F) == "chainad.for_scipy(objective, argnums=0, output='dense')"
    assert F(START) == objective(START)
    copy = pickle.loads(pickle.dumps(F))
    agree(copy.jac(START), F.jac(START))
    jac = pickle.loads(pickle.dumps(F.jac))
    agree(jac(START), F.jac(START))
    agree(chainad.jacobian(F)(START), F.jac(START))
    agree(chainad.jacobian(F.jac)(START), F.hess(START))


def test_hessians_take_weights_of_vectors() -> None:
    F = chainad.for_scipy(circle)
    wanted = np.zeros((3, 3))
    wanted[[0, 1], [1, 0]] = 3.0
    wanted[[0, 1, 2], [0, 1, 2]] = 4.0
    agree(F.hess(START, np.array([2.0, 3.0])), wanted)
    with pytest.raises(InputError, match=r"give the weights of its entries, hess\(x, v\)"):
        F.hess(START)


def test_weights_are_told_from_optional_arguments() -> None:
    def f(x: Any, scale: Any = 1.0) -> Any:
        return np.sum(x**2) * scale

    F = chainad.for_scipy(f)
    with pytest.raises(InputError, match=r"call hess\(\.\.\., v=v\)"):
        F.hess(START, 2.0)
    F(START, 2.0)
    agree(F.hess(START, 2.0), 4 * np.eye(3))
    F(START)
    agree(F.hess(START, np.array([3.0])), 6 * np.eye(3))
    agree(F.hess(START, 2.0, v=3.0), 12 * np.eye(3))


def test_operators_are_those_of_the_point_they_were_made_at() -> None:
    F = chainad.for_scipy(objective, output="operator")
    x = START.copy()
    hessian, gradient = F.hess(x), F.jac(x)
    x.fill(0.0)
    wanted = chainad.for_scipy(objective)
    np.testing.assert_allclose(hessian @ np.eye(3), wanted.hess(START))
    np.testing.assert_allclose(gradient @ np.eye(3), wanted.jac(START)[None])


@pytest.mark.parametrize("how", [{"argnums": (0, 1)}, {"output": "structured"}, {"argnums": "x"}])
def test_bad_requests_are_refused(how: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="must be"):
        chainad.for_scipy(system, **how)


def test_times_of_either_type_are_compiled_once() -> None:
    runs = []

    def slope(t: Any, y: Any) -> Any:
        runs.append(type(t))
        return y * np.sin(t)

    F, y = chainad.for_scipy(slope, argnums=1), np.ones(3)
    np.testing.assert_allclose(F.jac(0.0, y), np.zeros((3, 3)))
    np.testing.assert_allclose(F(np.float64(0.5), y), np.full(3, np.sin(0.5)))
    np.testing.assert_allclose(F.jac(0.5, y), np.sin(0.5) * np.eye(3))
    assert len(runs) == 1


def test_functions_are_found_without_a_look_at_all_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(function_table, "gc", None)
    scale = np.array([1.0, 2.0])
    F = chainad.for_scipy(lambda x: np.sum(scale * x**3))
    for _ in range(2):
        np.testing.assert_allclose(F.hess(np.ones(2)), np.diag(6 * scale))
        scale = 3 * scale  # noted, though a wrapper of chainad's calls the function
