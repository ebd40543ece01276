"""Scalar programs: folding, templates, and every backend at single points."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from functions import FUNCTIONS, complex_step, reference
from scipy.special import erf

import chainad
from benchmarks.workloads.points import TASKS, Task
from chainad.backends import python
from chainad.backends.numba import generated_modules
from chainad.backends.numba import scalar as numba
from chainad.backends.numpy import vector
from chainad.backends.scalar_expressions import NUMBA_TEMPLATES, PYTHON_TEMPLATES
from chainad.errors import FallbackWarning, MissingExtraError
from chainad.ir.scalar_graph import PREDICATES, STRUCTURAL_ZERO, ExpressionDAG
from chainad.ir.scalar_program import ScalarProgram, to_scalar_program

Function = Callable[..., Any]


SPECIAL = [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 2.5, -2.5, 3.0, 1e-300, 1e300, -1e300]
# Of 0.0 and -0.0, NumPy's loops take either, as the processor has it.
EXTREMES = {np.maximum, np.minimum, np.fmax, np.fmin}
# What functions call that has no Python template.
LEFT_TO_NUMPY = {"sorting": "argsort", "dirichlet": "psi", "special_functions": "j0"}
SPECIAL += [np.inf, -np.inf, np.nan]


# -------------------------------------------------------------- expression DAG


def test_equal_operations_are_one_node() -> None:
    dag = ExpressionDAG()
    x, y = dag.variable(0).node, dag.variable(1).node
    assert dag.apply(np.add, x, y) == dag.apply(np.add, y, x)
    assert dag.apply(np.subtract, x, y) != dag.apply(np.subtract, y, x)
    assert dag.apply(np.greater, x, y) == dag.apply(np.less, y, x)


def test_structural_zeros_are_never_multiplied_but_zeros_of_the_users_are() -> None:
    dag = ExpressionDAG()
    x = dag.variable(0).node
    assert dag.apply(np.multiply, STRUCTURAL_ZERO, x) == STRUCTURAL_ZERO
    assert dag.apply(np.add, STRUCTURAL_ZERO, x) == x
    zero = dag.constant(0.0)
    assert dag.apply(np.multiply, zero, x) not in (STRUCTURAL_ZERO, zero, x)
    assert dag.apply(np.add, zero, x) != x
    assert dag.apply(np.subtract, x, zero) == x


def test_zeros_of_either_sign_are_different_constants() -> None:
    dag = ExpressionDAG()
    assert dag.constant(0.0) != dag.constant(-0.0)
    assert dag.constant(np.nan) == dag.constant(np.nan)


def test_signs_move_to_where_they_cost_nothing() -> None:
    dag = ExpressionDAG()
    x, y = dag.variable(0).node, dag.variable(1).node
    minus = dag.apply(np.negative, x)
    assert dag.apply(np.add, y, minus) == dag.apply(np.subtract, y, x)
    assert dag.apply(np.multiply, minus, dag.apply(np.negative, y)) == dag.apply(np.multiply, x, y)
    assert dag.apply(np.negative, minus) == x
    doubled = dag.apply(np.multiply, dag.constant(-2.0), x)
    assert len(to_scalar_program(dag, [2], [[doubled]]).instructions) == 1


@pytest.mark.parametrize(
    "function", sorted(PYTHON_TEMPLATES.keys() | NUMBA_TEMPLATES.keys(), key=lambda f: f.__name__)
)
def test_folding_changes_no_value(function: Any) -> None:
    """What the DAG folds of special numbers is what NumPy computes of them."""
    n = function.nin if isinstance(function, np.ufunc) else 3
    is_logic = function in (np.logical_and, np.logical_or, np.logical_not)
    for values in _grid(n, [True, False] if is_logic else SPECIAL):
        given = (bool(values[0] > 0), *values[1:]) if function is np.where else values
        dag = ExpressionDAG()
        ssa = to_scalar_program(dag, [0], [[dag.apply(function, *map(dag.constant, given))]])
        with np.errstate(all="ignore"):
            wanted = function(*given)
        _same(_run(ssa, [])[0], wanted, function not in EXTREMES)


def _grid(n: int, values: list[Any]) -> list[tuple[Any, ...]]:
    return [
        tuple(np.array(group).tolist())
        for group in np.stack(np.meshgrid(*[values] * n), axis=-1).reshape(-1, n)
    ]


def _same(found: Any, wanted: Any, is_signed: bool = True) -> None:
    if np.isnan(wanted):
        assert np.isnan(found)
    else:
        np.testing.assert_allclose(found, wanted, rtol=2e-14)
        if wanted == 0 and is_signed:
            assert np.signbit(found) == np.signbit(wanted)


def _run(ssa: ScalarProgram, inputs: list[float]) -> Any:
    out = [np.empty((1, len(o))) for o in ssa.outputs]
    vector.build(ssa, np.dtype(float))([np.array([inputs])] if inputs else [np.empty((1, 0))], out)
    return out[0][0]


def _single(function: Any) -> tuple[ScalarProgram, int]:
    """Return the program of one function of variables, and how many these are."""
    dag = ExpressionDAG()
    n = function.nin if isinstance(function, np.ufunc) else 3
    if function in (np.logical_and, np.logical_or, np.logical_not, np.where):
        truths = [dag.apply(np.less, dag.constant(0.0), dag.variable(k).node) for k in range(n)]
        numbers = [dag.variable(k).node for k in range(n)]
        operands = [truths[0], *numbers[1:]] if function is np.where else truths
    else:
        operands = [dag.variable(k).node for k in range(n)]
    return to_scalar_program(dag, [n], [[dag.apply(function, *operands)]]), n


@pytest.mark.parametrize("function", sorted(PYTHON_TEMPLATES, key=lambda f: f.__name__))
def test_python_computes_what_numpy_does_or_raises(function: Any) -> None:
    ssa, n = _single(function)
    work, _ = python.build(ssa)
    computed = 0
    for values in _grid(n, SPECIAL):
        try:
            (found,) = work(values)
        except (ArithmeticError, ValueError):
            continue
        computed += 1
        _same(float(found[0]), _run(ssa, list(values))[0], function not in EXTREMES)
    assert computed > n


@pytest.mark.numba
def test_machine_code_computes_what_numpy_does(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("CHAINAD_CACHE", str(tmp_path))
    for function in sorted(NUMBA_TEMPLATES, key=lambda f: f.__name__):
        ssa, n = _single(function)
        points = np.array(_grid(n, SPECIAL))
        found = np.empty((len(points), 1))
        generated_modules.load(numba.source(ssa).replace("cache=True, ", ""))(points, found)
        for row, number in zip(points, found[:, 0], strict=True):
            _same(number, _run(ssa, row.tolist())[0], function not in EXTREMES)


# ------------------------------------------------------------------- at a point


@pytest.mark.parametrize("name", FUNCTIONS)
def test_python_code_agrees_with_numpy_at_every_point(name: str) -> None:
    f, x = FUNCTIONS[name]
    if name in LEFT_TO_NUMPY:
        with pytest.warns(FallbackWarning, match=LEFT_TO_NUMPY[name]):
            chainad.compile(chainad.jacobian(f), x, backend="python")
        return
    compiled = chainad.value_and_jacobian(f, backend="python").compile(x)
    for point, wanted, wanted_J in reference(name):
        value, J = compiled(point)
        assert type(value) is type(wanted)
        assert (J.shape, J.dtype) == (wanted_J.shape, wanted_J.dtype)
        size = max(1.0, np.abs(wanted_J).max(initial=0))
        np.testing.assert_allclose(value, wanted, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(J, wanted_J, rtol=1e-10, atol=1e-11 * size)


@pytest.mark.numba
@pytest.mark.parametrize("name", ["heart", "black_scholes", "masks", "a_branch_by_value"])
def test_machine_code_agrees_with_numpy(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("CHAINAD_CACHE", str(tmp_path))
    f, x = FUNCTIONS[name]
    rng = np.random.default_rng(5)
    X = x * (1 + 0.1 * rng.uniform(-1, 1, (40, *x.shape)))
    compiled = chainad.value_and_jacobian(f, backend="numba").compile(x)
    value, J = chainad.value_and_jacobian(f, backend="numba", batch=0)(X)
    for k, point in enumerate(X):
        wanted, wanted_J = chainad.value_and_jacobian(f)(point)
        one, one_J = compiled(point)
        for found in (one, value[k]):
            np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-13)
        for found in (one_J, J[k]):
            np.testing.assert_allclose(found, wanted_J, rtol=1e-10, atol=1e-12)
    x.flags.writeable = False
    np.testing.assert_array_equal(compiled(x)[1], compiled(x.copy())[1])
    x.flags.writeable = True


def much_arithmetic(x):
    a, b = x[0], x[1]
    for k in range(8):
        a, b = a * b + x[2] / (k + 2.5), np.sqrt(abs(a - b)) * b - a / x[1]
    return np.stack([a * b, a - b])


@pytest.mark.numba
def test_chunks_of_points_are_transposed_for_vectorized_arithmetic(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("CHAINAD_CACHE", str(tmp_path))
    by_machine = chainad.value_and_jacobian(much_arithmetic, backend="numba", batch=0)
    by_numpy = chainad.value_and_jacobian(much_arithmetic, backend="numpy", batch=0)
    X = np.random.default_rng(0).uniform(0.5, 2, (3 * numba.CHUNK_POINTS + 1, 3))
    X[5], X[7, 1], X[numba.CHUNK_POINTS, 0], X[-1, 2] = np.nan, 0, np.inf, -np.inf
    for count in (1, numba.CHUNK_POINTS - 1, numba.CHUNK_POINTS, len(X)):
        with np.errstate(all="ignore"):
            pairs = zip(by_machine(X[-count:]), by_numpy(X[-count:]), strict=True)
        for found, wanted in pairs:
            np.testing.assert_allclose(found, wanted, rtol=1e-13)
    assert by_machine._batched is not None
    (program,) = by_machine._batched.programs
    assert "for j in range" in numba.source(program.ssa)
    # Copying numbers there and back would take longer than these operations.
    few = chainad.jacobian(lambda x: x * x[0], batch=0)
    few(X)
    assert few._batched is not None
    assert "for j in range" not in numba.source(few._batched.programs[0].ssa)


@pytest.mark.numba
def test_functions_in_parts_hand_on_what_later_ones_read(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("CHAINAD_CACHE", str(tmp_path))
    monkeypatch.setattr("chainad.backends.numba.straight_line.MAX_STATEMENTS_PER_FUNCTION", 4)
    x = np.array([0.7, 1.3, 0.9])
    guarded = lambda x: much_arithmetic(x) if x[0] > 0 else -x[:2]
    at_point = chainad.value_and_jacobian(guarded, backend="numba").compile(x)
    assert at_point.source.count("def part") > 5
    for found, wanted in zip(at_point(x), chainad.value_and_jacobian(guarded)(x), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
    X = np.linspace(0.5, 2, 3 * (numba.CHUNK_POINTS + 1)).reshape(-1, 3)
    for f in (much_arithmetic, lambda x: np.tanh(much_arithmetic(x)) * x[0]):
        pairs = (
            chainad.value_and_jacobian(f, backend=backend, batch=0)(X)
            for backend in ("numba", "numpy")
        )
        for found, wanted in zip(*pairs, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_zeros_of_a_result_take_one_statement() -> None:
    program = ScalarProgram((1,), (0.0,), (), ((1,) * 2500,))
    text = numba.source_at_point(program, [(1,)], [(50, 50)])
    assert text.count("0.0") == 1


@pytest.mark.numba
def test_machine_code_at_a_point_takes_any_array(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("CHAINAD_CACHE", str(tmp_path))

    def f(x, y):
        return x * y if x[0, 0] > 0 else -x

    J = chainad.compile(chainad.jacobian(f), np.ones((2, 3)), np.float64(2), backend="numba")
    x = np.random.default_rng(0).uniform(1, 2, (2, 3))
    wanted = chainad.jacobian(f)(x, 2.0)
    shifted = np.frombuffer(b"." + x.tobytes(), np.uint8)[1:].view(float).reshape(x.shape)
    assert not shifted.flags.aligned
    turned = np.asfortranarray(x)
    kept = x.copy()
    kept.flags.writeable = False
    for given in (x, kept, shifted, turned, np.repeat(x, 2, 1)[:, ::2]):
        np.testing.assert_array_equal(J(given, np.float64(2)), wanted)
    np.testing.assert_array_equal(J(-x, np.float64(2)), chainad.jacobian(f)(-x, 2.0))
    K = chainad.compile(chainad.jacobian(f), x, np.float64(2), backend="numba")
    other = x.astype(np.float32)
    with pytest.warns(FallbackWarning, match="NumPy runs it instead"):
        found = K(other, np.float64(2))
    np.testing.assert_array_equal(found, chainad.jacobian(f)(other, np.float64(2)))


@pytest.mark.numba
@pytest.mark.filterwarnings("ignore::chainad.errors.FallbackWarning")  # before numba 0.62 it runs
def test_machine_code_takes_another_byte_order() -> None:
    x = np.random.default_rng(0).uniform(1, 2, (2, 3))
    found = chainad.compile(chainad.jacobian(lambda x: x * x[0]), x, backend="numba")(
        x.astype(">f8")
    )
    np.testing.assert_array_equal(found, chainad.jacobian(lambda x: x * x[0])(x))


@pytest.mark.numba
def test_a_second_process_finds_machine_code_on_disk(tmp_path: Path) -> None:
    code = (
        "import numpy as np, chainad\n"
        "J = chainad.jacobian(lambda x: np.sin(x[0]) * x, backend='numba').compile(np.ones(2))\n"
        "print(J(np.array([1.0, 2.0])).tolist())"
    )
    env = {**os.environ, "CHAINAD_CACHE": str(tmp_path)}
    runs = []
    for _ in range(2):
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env,
            timeout=120,
        )  # fmt: skip
        runs.append((run.stdout, sorted(p.name for p in tmp_path.rglob("*") if p.is_file())))
    assert runs[0] == runs[1]
    assert any(name.endswith(".nbc") for name in runs[0][1])


def test_numba_that_is_missing_is_named_with_the_way_to_get_it(monkeypatch: Any) -> None:
    monkeypatch.setattr(numba, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "chainad\[numba\]"'):
        chainad.jacobian(np.sin, backend="numba")


def test_infinity_and_nan_are_those_of_numpy_where_python_raises() -> None:
    def f(x):
        return np.stack([1 / x[0], np.log(x[1]), np.sqrt(x[2]), np.exp(x[3])])

    compiled = chainad.value_and_jacobian(f, backend="python").compile(np.ones(4))
    x = np.array([0.0, 0.0, -1.0, 1000.0])
    with np.errstate(all="ignore"):
        value, J = compiled(x)
        wanted, wanted_J = chainad.value_and_jacobian(f)(x)
    np.testing.assert_array_equal(value, wanted)
    np.testing.assert_array_equal(J, wanted_J)


def test_captured_arrays_are_compared_at_every_call() -> None:
    c = np.array([1.0, 2.0])
    compiled = chainad.compile(chainad.jacobian(lambda x: c * x), np.ones(2), backend="python")
    for k in range(8):
        c[1] = k
        np.testing.assert_array_equal(compiled(np.ones(2)), np.diag([1.0, k]))


def test_another_branch_is_recorded_anew() -> None:
    def f(x):
        return x**2 if x[0] > 0 else np.sin(x) * x[1]

    compiled = chainad.compile(chainad.jacobian(f), backend="python")
    for x in np.random.default_rng(0).normal(size=(20, 2)):
        np.testing.assert_allclose(compiled(x), chainad.jacobian(f)(x), rtol=1e-14)
    assert compiled.programs == 2


@pytest.mark.parametrize("order", ["forward", "reverse", "auto"])
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_tasks_are_right_along_complex_steps(task: Task, order: str) -> None:
    f, x = _numpy(task), task.points(1)[0]
    J = chainad.compile(chainad.jacobian(f, mode=order), x, backend="python")(x)
    wanted = chainad.jacobian(f)(x)
    if task.name not in ("roe1d", "robot", "black_scholes"):  # abs, arctan2 and erf take no complex
        wanted = complex_step(f, x)
    np.testing.assert_allclose(J, wanted, rtol=1e-10, atol=1e-12 * np.abs(wanted).max())


def _numpy(task: Task) -> Function:
    return task.make(np, erf)


def test_every_backend_has_templates_of_predicates() -> None:
    assert {
        np.less,
        np.equal,
        np.logical_and,
    } <= PREDICATES & PYTHON_TEMPLATES.keys() & NUMBA_TEMPLATES.keys()


# Multiplications of the elimination, by factors other than constants, once shared ones are one.
COUNTS = {"roe1d": 166, "roe3d": 365, "robot": 70, "heart": 38, "propane": 22, "black_scholes": 24}


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_no_more_multiplications_than_were_reached_before(task: Task) -> None:
    jacobian = chainad.jacobian(_numpy(task), batch=0)
    jacobian(task.points(2))
    assert jacobian._batched is not None
    (program,) = jacobian._batched.programs
    assert program.products <= COUNTS[task.name]
