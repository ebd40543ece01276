"""chainad.scipy.integrate.solve_ivp: states by initial values, parameters and times."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
import scipy.integrate
import scipy.linalg

import chainad
from chainad import TraceError
from chainad.api.solvers import adjoint_equation
from chainad.scipy.integrate import solve_ivp

TIGHT: dict[str, Any] = {"method": "DOP853", "rtol": 1e-11, "atol": 1e-12}
TIMES = np.array([0.4, 1.0, 2.0])
# Initial states, parameters, and both ends.
X = np.array([1.0, 0.5, 1.5, 1.0, 0.7, 0.9, 0.1, 2.1])


def lotka_volterra(t: Any, y: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    return [a * y[0] - b * y[0] * y[1] + 0.1 * np.sin(t), c * y[0] * y[1] - d * y[1]]


def states(x: Any, solve: Any = solve_ivp, **options: Any) -> Any:
    times = TIMES * x[7] / 2.1
    args = tuple(x[2:6])
    return solve(lotka_volterra, (x[6], x[7]), x[:2], t_eval=times, args=args, **options).y


def differences(f: Any, x: Any, step: float = 1e-5) -> Any:
    steps = step * np.eye(len(x))
    return np.stack([(f(x + h) - f(x - h)) / (2 * step) for h in steps], -1)


EXPECTED = differences(lambda x: states(x, scipy.integrate.solve_ivp, **TIGHT), X)


DIRECTIONS = [
    *[(method, mode) for method in ("RK45", "BDF") for mode in ("forward", "reverse")],
    ("LSODA", "forward"),
    pytest.param("LSODA", "reverse", marks=pytest.mark.slow),
    *[
        pytest.param(method, mode, marks=pytest.mark.slow)
        for method in ("RK23", "DOP853", "Radau")
        for mode in ("forward", "reverse")
    ],
]


@pytest.mark.parametrize(("method", "mode"), DIRECTIONS)
def test_both_directions_are_as_exact_as_the_solver(method: str, mode: Any) -> None:
    found = chainad.jacobian(lambda x: states(x, method=method), mode=mode)(X)
    np.testing.assert_allclose(found, EXPECTED, atol=5e-2)
    precise = {**TIGHT, "method": method, "rtol": 1e-6, "atol": 1e-8}
    if method not in ("RK23", "Radau"):  # which take many steps
        found = chainad.jacobian(lambda x: states(x, **precise), mode=mode)(X)
        np.testing.assert_allclose(found, EXPECTED, atol=1e-4)


def linear(a: Any) -> Any:
    """A linear equation, whose solution is a matrix exponential."""

    def rhs(t: Any, y: Any) -> Any:
        out = np.zeros(3)
        out[:] = a @ y
        return out

    return solve_ivp(rhs, (0, 1.5), [1.0, -1.0, 2.0], t_eval=[1.5], **TIGHT).y[:, 0]


A = np.array([[-1.0, 0.5, 0.0], [0.2, -0.7, 0.3], [0.0, 0.4, -0.5]])


def test_parameters_are_found_in_closures() -> None:
    wanted = chainad.jacobian(
        lambda a: chainad.scipy.linalg.expm(1.5 * a) @ np.array([1.0, -1.0, 2.0])
    )(A)
    for mode in ("forward", "reverse"):
        np.testing.assert_allclose(chainad.jacobian(linear, mode=mode)(A), wanted, atol=1e-8)


def loss(x: Any) -> Any:
    return np.sum(states(x, **TIGHT) ** 2)


def test_second_derivatives() -> None:
    def f(x: Any) -> Any:  # (2 x0 exp(-x1 x2))^2
        found = solve_ivp(lambda t, y: -x[1] * y, (0, x[2]), [2 * x[0]], t_eval=[x[2]], rtol=1e-7)
        return np.sum(found.y**2)

    def exact(x: Any) -> Any:
        return 4 * x[0] ** 2 * np.exp(-2 * x[1] * x[2])

    x, v = np.array([1.1, 0.4, 0.8]), np.array([1.0, -2.0, 0.5])
    expected = chainad.hessian(exact)(x)
    np.testing.assert_allclose(chainad.hessian(f)(x), expected, atol=1e-5)
    np.testing.assert_allclose(chainad.hvp(f, (x,), (v,)), expected @ v, atol=1e-5)
    np.testing.assert_allclose(chainad.hessian(f).compile()(x), expected, atol=1e-5)


def test_compiled_functions_are_solved_anew() -> None:
    compiled = chainad.compile(chainad.value_and_jacobian(lambda x: states(x, **TIGHT)))
    for x in (X, 1.1 * X):
        value, found = compiled(x)
        np.testing.assert_array_equal(value, states(x, scipy.integrate.solve_ivp, **TIGHT))
        np.testing.assert_allclose(
            found, chainad.jacobian(lambda x: states(x, **TIGHT))(x), atol=1e-9
        )
    assert compiled.programs == 1


SETTINGS = {"factor": 1.0}


def of_globals(t: Any, y: Any, k: Any) -> Any:
    return -SETTINGS["factor"] * k * y


def test_compiled_functions_notice_what_the_right_hand_side_reads() -> None:
    grad = chainad.compile(
        chainad.grad(lambda k: solve_ivp(of_globals, (0, 1), [1.0], args=(k,), **TIGHT).y[0, -1])
    )
    for factor in (1.0, 2.0):
        SETTINGS["factor"] = factor
        expected = -factor * np.exp(-factor * 0.5)
        np.testing.assert_allclose(grad(np.float64(0.5)), expected, rtol=1e-8)


def test_many_points() -> None:
    points = np.stack([X, 1.1 * X])
    found = chainad.jacobian(states, batch=0)(points)
    for x, each in zip(points, found, strict=True):
        np.testing.assert_allclose(each, chainad.jacobian(states)(x), rtol=1e-12)


def test_branches_on_values_are_followed_by_the_derivative() -> None:
    def end(k: Any) -> Any:
        def rhs(t: Any, y: Any) -> Any:
            return -k * y * (2.0 if t > 1.0 else 1.0)

        first = solve_ivp(rhs, (0, 1), [1.0], t_eval=[1.0], **TIGHT).y[:, -1]
        return solve_ivp(rhs, (1, 2), first, t_eval=[2.0], **TIGHT).y[0, 0]

    np.testing.assert_allclose(chainad.grad(end)(0.4), -3 * np.exp(-1.2), rtol=1e-8)


def test_right_hand_sides_may_count_their_calls() -> None:
    calls = 0

    def rhs(t: Any, y: Any, k: Any) -> Any:
        nonlocal calls
        calls += 1
        return -k * y

    for mode in ("forward", "reverse"):
        found = chainad.grad(
            lambda k: solve_ivp(rhs, (0, 1), [1.0], args=(k,), t_eval=[1.0], **TIGHT).y[0, 0],
            mode=mode,
        )(0.5)
        np.testing.assert_allclose(found, -np.exp(-0.5), rtol=1e-8)
    assert calls


class Model:
    def __init__(self, k: Any) -> None:
        self.k, self.table = k, {"twice": 2 * k}

    def rhs(self, t: Any, y: Any) -> Any:
        return [-self.k * y[0], self.table["twice"] * y[0] - y[1]]


OTHERS: dict[str, Any] = {
    "an object": lambda x, s: s(Model(x[0]).rhs, (0, 1), [1.0, x[1]], t_eval=[1.0], **TIGHT),
    "backwards": lambda x, s: s(
        lambda t, y: t - x[0] * y, (1, 0), [1, x[1]], t_eval=[0.7, 0.2], **TIGHT
    ),
    "vectorized": lambda x, s: s(
        lambda t, y: np.stack([-x[0] * y[0], x[1] * y[0]]),
        (0, 1), x, t_eval=[0.0, 1.0], vectorized=True, **TIGHT,
    ),
    "the start alone": lambda x, s: s(lambda t, y: -x[0] * y, (0, 1), x, t_eval=[0.0], **TIGHT),
    "a dictionary, and the Jacobian of the user": lambda x, s: s(
        lambda t, y, a, b: -a * y * b["q"], (0, 1), [1.0], method=scipy.integrate.Radau,
        args=[x[0], {"q": x[1]}], t_eval=[0.5], jac=lambda t, y, a, b: [[-a * b["q"]]],
        rtol=1e-8, atol=[1e-9],
    ),
    "no absolute tolerance": lambda x, s: s(
        lambda t, y: -x[0] * y, (0, 1), [1.0 + x[1]], t_eval=[1.0], rtol=1e-8, atol=0.0
    ),
    "one solve behind another": lambda x, s: s(
        lambda t, y: -x[1] * y,
        (0, 1), s(lambda t, y: -x[0] * y, (0, 1), x, **TIGHT).y[:, -1], t_eval=[1.0], **TIGHT,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_forms_of_arguments(case: str) -> None:
    x = np.array([0.8, 0.3])
    expected = differences(lambda x: OTHERS[case](x, scipy.integrate.solve_ivp).y, x)
    for mode in ("forward", "reverse"):
        found = chainad.jacobian(lambda x: OTHERS[case](x, solve_ivp).y, mode=mode)(x)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_states_that_are_no_vector_are_refused_as_by_scipy() -> None:
    with pytest.raises(ValueError, match=r"y0.* must be 1-dimensional"):
        scipy.integrate.solve_ivp(lambda t, y: -y, (0, 1), np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"y0.* must be 1-dimensional"):
        chainad.jacobian(lambda k: solve_ivp(lambda t, y: -y, (0, k), np.ones((2, 2))).y)(1.0)


def test_a_variable_of_a_loop_has_the_value_that_it_had() -> None:
    def product(k: Any) -> Any:
        y = np.ones(1)
        for n in (1, 2, 3):
            y = solve_ivp(lambda t, y: -n * k * y, (0, 1), y, t_eval=[1.0], **TIGHT).y[:, 0]  # noqa: B023
        return y[0]

    np.testing.assert_allclose(chainad.grad(product)(0.3), -6 * np.exp(-1.8), rtol=1e-8)


def test_without_times_the_steps_of_the_solver_are_constant() -> None:
    def last(x: Any, solve: Any = solve_ivp) -> Any:
        found = solve(lotka_volterra, (x[6], x[7]), x[:2], args=tuple(x[2:6]), **TIGHT)
        return found.y[:, -1] * found.t[-1]

    expected = differences(lambda x: last(x, scipy.integrate.solve_ivp), X)
    for mode in ("forward", "reverse"):
        np.testing.assert_allclose(chainad.jacobian(last, mode=mode)(X), expected, atol=1e-7)


def test_without_traced_values_it_is_the_function_of_scipy() -> None:
    args = lotka_volterra, (0, 2), [1.0, 0.5]
    options: dict[str, Any] = {"args": (1.5, 1.0, 0.7, 0.9), "dense_output": True}
    ours = solve_ivp(*args, **options)
    theirs = scipy.integrate.solve_ivp(*args, **options)
    assert type(ours) is type(theirs)
    assert ours.nfev == theirs.nfev
    np.testing.assert_array_equal(ours.y, theirs.y)
    np.testing.assert_array_equal(ours.sol(0.7), theirs.sol(0.7))


def test_a_result_has_what_that_of_scipy_has() -> None:
    def f(x: Any) -> Any:
        found = solve_ivp(lotka_volterra, (0, 2), x[:2], args=tuple(x[2:6]))
        assert found.success
        assert found.status == 0
        return found.y[0, -1], {**found, "y": None}

    _, ours = chainad.jacobian(f, has_aux=True)(X)
    theirs = scipy.integrate.solve_ivp(lotka_volterra, (0, 2), X[:2], args=tuple(X[2:6]))
    assert ours.keys() == theirs.keys()
    assert ours["nfev"] == theirs.nfev
    assert ours["message"] == theirs.message


def test_implicit_methods_get_the_jacobian() -> None:
    seen: list[Any] = []

    def value(k: Any, jac: Any = None) -> Any:
        options = {} if jac is None else {"jac": jac}
        found = solve_ivp(
            lotka_volterra, (0, 2), [1.0, 0.5], args=(k, 1.0, 0.7, 0.9), method="BDF", **options
        )
        seen.append(found.y)
        return 0.0 * k

    def jacobian(t: Any, y: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
        return [[a - b * y[1], -b * y[0]], [c * y[1], c * y[0] - d]]

    chainad.grad(value)(1.5)
    value(1.5, jacobian)
    np.testing.assert_array_equal(chainad.stop_gradient(seen[0]), seen[1])


def test_sparse_jacobians_stay_sparse() -> None:
    n = 40

    def heat(t: Any, u: Any, k: Any) -> Any:
        p = np.concatenate([np.ones(1), u, np.zeros(1)])
        return k * (p[2:] - 2 * u + p[:-2]) * (n + 1) ** 2

    def total(x: Any) -> Any:
        start = np.zeros(n) + x[1]
        found = solve_ivp(heat, (0, 0.01), start, method="BDF", t_eval=[0.01], args=(x[0],))
        return found.y.sum()

    def exact(x: Any) -> Any:
        matrix = (np.eye(n, k=1) + np.eye(n, k=-1) - 2 * np.eye(n)) * (n + 1) ** 2
        rest = np.linalg.solve(matrix, -np.eye(n)[0] * (n + 1) ** 2)
        return np.sum(rest + scipy.linalg.expm(x[0] * 0.01 * matrix) @ (x[1] - rest))

    x = np.array([1.0, 0.3])
    for mode in ("forward", "reverse"):
        found = chainad.jacobian(total, mode=mode)(x)
        np.testing.assert_allclose(found, differences(exact, x), rtol=5e-3)


def test_the_trajectory_of_an_adjoint_is_made_anew_from_checkpoints(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gradient = chainad.grad(loss)
    expected = gradient(X)
    monkeypatch.setattr(adjoint_equation, "MAX_SEGMENT_BYTES", 2**10)
    np.testing.assert_allclose(gradient(X), expected, atol=1e-8)


@pytest.mark.slow
def test_memory_grows_with_the_square_root_of_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    def final(k: Any) -> Any:
        found = solve_ivp(lambda t, y: -k * y, (0, 1), np.ones(100), t_eval=[1.0], max_step=1 / 300)
        return found.y.sum()

    peaks = []
    for most in (2**30, 2**16):
        monkeypatch.setattr(adjoint_equation, "MAX_SEGMENT_BYTES", most)
        gradient = chainad.grad(final)
        gradient(np.ones(100))
        tracemalloc.start()
        gradient(np.ones(100))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] / 2


def test_the_plan_pulls_back_a_number_and_pushes_few_parameters() -> None:
    for f, x in ((loss, X), (lambda k: states(k * X), np.float64(1.0))):
        plan = chainad.plan(f, x)
        costs = {each.name: each.multiplications for each in plan.alternatives}
        assert (costs["reverse"] < costs["forward"]) == (f is loss)
        assert plan.multiplications <= min(costs.values())


REFUSED: dict[str, tuple[Any, str]] = {
    "events": ({"events": lambda t, y, *args: y[0]}, "events= is not differentiated; solve up to"),
    "dense output": ({"dense_output": True}, "dense_output=True is not differentiated; give"),
    "complex states": ({"y0": [1j, 1.0]}, "complex"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_has_no_derivative_is_refused_in_the_line_of_the_user(what: str) -> None:
    options, words = REFUSED[what]

    def f(x: Any) -> Any:
        given = {"y0": x[:2], "args": tuple(x[2:6]), **options}
        return solve_ivp(lotka_volterra, (0, 1), **given).y

    with pytest.raises(TraceError, match=rf"test_solve_ivp\.py:\d+: .*{words}"):
        chainad.jacobian(f)(X)


def test_solves_that_fail_are_not_differentiated() -> None:
    def f(k: Any, is_used: bool) -> Any:
        found = solve_ivp(lambda t, y: k * y**2, (0, 10), [1.0], t_eval=[0.1, 10.0])
        assert not found.success
        return found.y[0, 0] if is_used else 3 * k

    assert chainad.grad(f)(1.0, False) == 3.0
    with pytest.raises(TraceError, match=r"test_solve_ivp\.py:\d+: .*success is False"):
        chainad.grad(f)(1.0, True)


def test_a_right_hand_side_that_loses_its_derivative_is_refused_in_its_line() -> None:
    def f(k: Any) -> Any:
        return solve_ivp(lambda t, y: [float(k * y[0])], (0, 1), [1.0]).y

    with pytest.raises(TraceError, match=r"test_solve_ivp\.py:\d+: float\(\) of a traced"):
        chainad.jacobian(f)(1.0)
