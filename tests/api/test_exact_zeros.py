"""Exact zeros: what a selection does not use has no part in a derivative, be it nan or infinite."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import scipy.special as sp

import chainad
from chainad.api.batches import BatchedDifferentiator
from chainad.backends.numba.scalar import is_installed
from chainad.compiler.passes.carry_masks import carry_masks
from chainad.errors import FallbackWarning
from chainad.ir.exact_zeros import masked_matmul
from chainad.rules.base import RULES, kind_of, name_of
from chainad.scipy.special import logsumexp

Function = Callable[[Any], Any]


def write(x: Any, function: Callable[..., None], *args: Any) -> Any:
    function(x, *args)
    return x


def assign(y: Any, key: Any, value: Any) -> None:
    y[key] = value


# The square root has slope infinity at x[0] = 0, and is not used there: rows that are selections.
SELECTIONS: dict[Any, Function] = {
    np.where: lambda x: np.where(x < 1, x, np.sqrt(x)),
    np.maximum: lambda x: np.maximum(np.sqrt(x), x / 4 + 0.5),
    np.minimum: lambda x: np.minimum(-np.sqrt(x), x / 4 - 0.5),
    np.fmax: lambda x: np.fmax(x / 4 + 0.5, np.sqrt(x)),
    np.fmin: lambda x: np.fmin(-np.sqrt(x), x / 4 - 0.5),
    np.clip: lambda x: np.clip(np.sqrt(x), 0.5, 7.0),
    np.heaviside: lambda x: np.heaviside(np.array([1.0, 0.0]), np.sqrt(x)),
    np.max: lambda x: np.max(np.stack([np.sqrt(x), x / 4 + 0.5]), axis=0),
    np.amax: lambda x: np.amax(np.stack([np.sqrt(x), x / 4 + 0.5]), axis=0),
    np.min: lambda x: np.min(np.stack([-np.sqrt(x), x / 4 - 0.5]), axis=0),
    np.amin: lambda x: np.amin(np.stack([-np.sqrt(x), x / 4 - 0.5]), axis=0),
}
# Functions that are made of these, and movements, which are selections by their structure.
OTHERS: dict[str, Function] = {
    "select": lambda x: np.select([x < 1, x < 9], [x, np.sqrt(x)], 0.0),
    "choose": lambda x: np.choose(np.array([0, 1]), [x, np.sqrt(x)]),
    "piecewise": lambda x: np.piecewise(x, [np.array([True, False])], [lambda v: v * v, np.sqrt]),
    "norm, ord=inf": lambda x: (
        np.linalg.norm(np.stack([np.sqrt(x), x / 4 + 0.5]), np.inf, axis=0) + x
    ),
    "ptp": lambda x: np.ptp(np.stack([np.sqrt(x), x / 4 + 0.5, -x - 1]), axis=0),
    "nanmax": lambda x: np.nanmax(np.stack([np.sqrt(x), x / 4 + 0.5]), axis=0),
    "nanmin": lambda x: np.nanmin(np.stack([-np.sqrt(x), x / 4 - 0.5]), axis=0),
    "median": lambda x: np.median(np.stack([np.sqrt(x), x + 0.5, x + 7.0]), axis=0),
    "sort": lambda x: np.sort(np.stack([np.sqrt(x), x + 0.5, x + 7.0]), axis=0)[1],
    "percentile": lambda x: np.nanpercentile(np.stack([x + 7.0, np.sqrt(x), x + 0.5]), 50, axis=0),
    "interp": lambda x: np.interp(x, [1.0, 2.0], np.sqrt(np.stack([x[0] + 1.0, x[1], x[0]])[:2])),
    "xlogy": lambda x: sp.xlogy(ZERO_ONE, np.sqrt(x)),
    "xlog1py": lambda x: sp.xlog1py(ZERO_ONE, np.sqrt(x)),
    "rel_entr": lambda x: sp.rel_entr(ZERO_ONE, np.sqrt(x)),
    "huber": lambda x: sp.huber(np.sqrt(x) + 0.5, x * 2),
    "fmod": lambda x: np.fmod(x + 0.25, np.sqrt(x) + 0.75),
    "remainder": lambda x: np.remainder(x + 0.25, np.sqrt(x) + 0.75),
    "getitem": lambda x: np.sqrt(x)[1:] * x[:1],
    "take": lambda x: np.take(np.concatenate([np.sqrt(x), x + 1.0]), [1, 2, 3]),
    "pad": lambda x: np.pad(np.sqrt(x), 1, mode="edge")[2:],
    "diag": lambda x: np.diag(np.diag(np.sqrt(x) + np.zeros((2, 2)))[::-1])[0],
    "insert": lambda x: np.delete(np.insert(np.sqrt(x), 0, x[0]), 1),
    "write": lambda x: write(np.sqrt(x), assign, 0, x[1]),
    "masked write": lambda x: write(np.sqrt(x), assign, x < 1, 3.0),
    "copyto": lambda x: write(np.sqrt(x), np.copyto, x * 2, "same_kind", np.array([True, False])),
    "put": lambda x: write(np.sqrt(x), np.put, [0], x[1]),
    "putmask": lambda x: write(np.sqrt(x), np.putmask, np.array([True, False]), x * x),
    "fill_diagonal": lambda x: write(np.sqrt(np.stack([x, x[::-1]])), np.fill_diagonal, 1.0)[:1, 1],
}
ZERO_ONE = np.array([0.0, 1.0])
CALLS = {name_of(function): call for function, call in SELECTIONS.items()} | OTHERS
AT = np.array([0.0, 2.0])
BEFORE, AFTER = np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[1.0, 2.0, 3.0], [4.0, 5.0, -6.0]])


def between(call: Function) -> Function:
    """Return a function with matrix products in front and behind."""

    def f(x: Any) -> Any:
        y = call(BEFORE @ x)
        return AFTER[:, : len(y)] @ y

    return f


def by_differences(f: Function, x: Any, step: float = 1e-7) -> Any:
    """Return the Jacobian on the side where the square root is defined."""
    with np.errstate(all="ignore"):
        columns = [(f(x + step * e) - f(x)) / step for e in np.eye(x.size)]
    return np.stack(columns, axis=-1)


def assert_equal(found: Any, wanted: Any, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(np.asarray(found, float), wanted, rtol=tolerance, atol=tolerance)


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_every_selection_is_tested() -> None:
    rows = {f for f in RULES if (kind := kind_of(f)) is not None and kind.is_selection}
    assert {name_of(f) for f in rows} == {name_of(f) for f in SELECTIONS}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("mode", ["auto", "forward", "reverse", "greedy"])
def test_unused_values_have_no_part_in_any_mode(name: str, mode: Any) -> None:
    f = between(CALLS[name])
    with np.errstate(all="raise"):
        assert_equal(chainad.jacobian(f, mode=mode)(AT), by_differences(f, AT))


@pytest.mark.parametrize("name", CALLS)
def test_unused_values_have_no_part_in_any_output(name: str) -> None:
    f = between(CALLS[name])
    wanted = by_differences(f, AT)
    with np.errstate(all="raise"):
        assert_equal(chainad.jacobian(f, output="sparse")(AT).toarray(), wanted)
        assert_equal(chainad.jacobian(f, output="structured")(AT).toarray(), wanted)
        operator = chainad.jacobian(f, output="operator")(AT)
        assert_equal(operator @ np.eye(2), wanted)
        assert_equal(operator.T @ np.eye(len(wanted)), wanted.T)
        assert_equal(chainad.jacobian(f, memory_limit="1 MB")(AT), wanted)


BACKENDS = ["numpy", "python", "auto", *(["numba"] if is_installed() else [])]


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_unused_values_have_no_part_in_compiled_functions(name: str, backend: str) -> None:
    f = between(CALLS[name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FallbackWarning)
        compiled = chainad.jacobian(f, backend=backend).compile(AT + 1)
        with np.errstate(all="raise"):
            for x in (AT, AT + 0.25, AT):
                assert_equal(compiled(x), by_differences(f, x))


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_unused_values_have_no_part_in_batches(name: str, backend: str) -> None:
    f = between(CALLS[name])
    points = np.stack([AT + 0.25, AT, AT + 0.125])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FallbackWarning)
        with np.errstate(all="raise"):
            found = chainad.jacobian(f, batch=0, backend=backend)(points)
    assert_equal(found, np.stack([by_differences(f, x) for x in points]))


# ------------------------------------------------------------------ what is nan or infinite


NAN, INF = np.nan, np.inf
UNDEFINED: dict[str, tuple[Function, list[float], Any]] = {
    "nansum": (lambda x: np.nansum(x * x), [NAN, 3.0, 1.0], [0, 6, 2]),
    "nanmean": (lambda x: np.nanmean(x * x), [NAN, 3.0, 1.0], [0, 3, 1]),
    "nanprod": (lambda x: np.nanprod(x * x), [NAN, 3.0, 1.0], [0, 6, 18]),
    "nanstd": (lambda x: np.nanstd(x * x), [NAN, 3.0, 1.0], [0, 3, -1]),
    "nancumsum": (lambda x: np.nancumsum(x * x)[1:], [NAN, 3.0], [[0, 6]]),
    "nanmax": (lambda x: np.nanmax(x * x), [NAN, 3.0, 1.0], [0, 6, 0]),
    "nanmedian": (lambda x: np.nanmedian(x * x), [NAN, 3.0, 1.0], [0, 3, 1]),
    "nan_to_num": (lambda x: np.nan_to_num(x * x), [NAN, 3.0], [[0, 0], [0, 6]]),
    "inf": (lambda x: np.nan_to_num(x * x, posinf=0.0), [INF, 3.0], [[0, 0], [0, 6]]),
    "where": (lambda x: np.where(np.isnan(x), 0.0, x * x), [NAN, 3.0], [[0, 0], [0, 6]]),
    "fmax": (lambda x: np.fmax(x * x, 1.0), [NAN, 3.0], [[0, 0], [0, 6]]),
    "indexed": (lambda x: (x * x)[~np.isnan(x)] * 2, [NAN, 3.0], [[0, 12]]),
}


@pytest.mark.parametrize("name", UNDEFINED)
@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_undefined_values_that_are_replaced_have_no_part(name: str, mode: Any) -> None:
    f, at, wanted = UNDEFINED[name]
    jacobian = chainad.jacobian(f, mode=mode)
    x = np.array(at)
    with np.errstate(all="raise"):
        assert_equal(jacobian(x), wanted)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FallbackWarning)
            assert_equal(jacobian.compile(np.ones(len(at)))(x), wanted)
            assert_equal(chainad.jacobian(f, batch=0)(x[None])[0], wanted)


def test_a_weight_of_zero_leaves_out_what_is_infinite() -> None:
    b = np.array([0.0, 1.0])

    def f(x: Any) -> Any:
        return logsumexp(np.where(b > 0, x, np.log(x)), b=b)

    with np.errstate(divide="ignore"):
        assert_equal(chainad.jacobian(f)(AT), [0, 1])


def test_a_zero_that_is_no_selection_stays_undefined() -> None:
    for f in (lambda x: np.sqrt(x) ** 2, lambda x: 0 * np.sqrt(x), lambda x: np.abs(np.sqrt(x))):
        for mode in ("forward", "reverse"):
            g = chainad.jacobian(lambda x, f=f: np.where(x < 9, f(x), 0.0), mode=mode)
            assert np.isnan(g(AT)[0, 0])
            assert np.isnan(g.compile(AT)(AT)[0, 0])


def test_a_value_that_is_used_keeps_its_infinity() -> None:
    jacobian = chainad.jacobian(lambda x: AFTER[:, :2] @ np.where(x < 1, np.sqrt(x), x))
    assert_equal(jacobian(AT), [[INF, 2], [INF, 5]])
    assert_equal(jacobian.compile(AT)(AT), [[INF, 2], [INF, 5]])


def test_operators_are_not_applied_to_what_is_not_used() -> None:
    matrix = np.array([[2.0, 1.0], [1.0, 3.0]])

    def f(x: Any) -> Any:
        y = np.linalg.solve(matrix, np.stack([np.where(x < 1, x, np.sqrt(x)), np.log(x + 1)]))
        return np.cumsum(np.where(x < 1, y[0], np.sqrt(x) * y[1]))

    for mode in ("forward", "reverse", "auto"):
        assert_equal(chainad.jacobian(f, mode=mode)(AT), by_differences(f, AT))
    operator = chainad.jacobian(f, output="operator")(AT)
    assert_equal(operator @ np.eye(2), by_differences(f, AT))
    assert_equal(operator.T @ np.eye(2), by_differences(f, AT).T)


# ------------------------------------------------------------------ second derivatives

TWICE: dict[str, Function] = {
    "where": lambda x: np.sum(np.where(x < 1, x * x, x**1.5)),
    "maximum": lambda x: np.sum(np.maximum(x**1.5, x * x / 8 + 0.1)),
    "matrices": lambda x: np.sum(np.sin(AFTER[:, :2] @ np.where(x < 1, x * x, np.exp(x**0.5)))),
    "written": lambda x: np.sum(np.square(write(np.sqrt(x), assign, 0, x[1] * x[0]))),
    "products": lambda x: np.sum(
        (np.where(np.outer(x, x) < 1, np.outer(x, x), np.sqrt(np.outer(x, x))) @ (x + 1)) ** 2
    ),
}


def hessian(f: Function, **options: Any) -> Any:
    return chainad.jacobian(chainad.jacobian(f, **options), **options)


@pytest.mark.parametrize("name", TWICE)
def test_unused_values_have_no_part_in_second_derivatives(name: str) -> None:
    f, step = TWICE[name], 1e-4

    def difference(x: Any, d: Any) -> Any:
        return lambda e: (f(x + d + e) - f(x + d) - f(x + e) + f(x)) / step**2

    with np.errstate(all="ignore"):
        wanted = [[difference(AT, d)(e) for e in step * np.eye(2)] for d in step * np.eye(2)]
    with np.errstate(all="raise"):
        for mode in ("auto", "forward", "reverse"):
            found = hessian(f, mode=mode)(AT)
            assert_equal(found, wanted, 2e-2)
        assert_equal(hessian(f).compile(AT + 1)(AT), found)
        assert_equal(chainad.jacobian(chainad.jacobian(f), batch=0)(AT[None])[0], found)


# ------------------------------------------------------------------ how it is done


def test_masks_are_carried_only_where_a_result_is_not_finite(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs: list[int] = []
    monkeypatch.setattr(
        "chainad.compiler.lower.carry_masks",
        lambda *args, **kwargs: runs.append(1) or carry_masks(*args, **kwargs),
    )
    f = between(lambda x: np.where(x < 1, x, np.sqrt(x)) * 1.25)
    compiled = chainad.jacobian(f).compile(AT + 1)
    for jacobian in (chainad.jacobian(f), compiled):
        jacobian(AT + 0.25)
    chainad.jacobian(f, batch=0)(np.stack([AT + 0.25, AT + 0.5]))
    assert not runs
    chainad.jacobian(f)(AT)
    compiled(AT)
    made = len(runs)
    assert made
    chainad.jacobian(f)(AT)
    compiled(AT)
    assert len(runs) == made


def test_only_the_points_concerned_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    whole = BatchedDifferentiator.value_and_jacobians

    def counted(self: Any, args: Any, *others: Any) -> Any:
        counts.append(len(args[0]))
        return whole(self, args, *others)

    monkeypatch.setattr(BatchedDifferentiator, "value_and_jacobians", counted)
    f = CALLS["np.where"]
    points = np.tile(AT + 0.25, (50, 1))
    points[[3, 7]] = AT
    found = chainad.jacobian(f, batch=0)(points)
    assert counts == [50, 2]
    assert_equal(found, np.stack([by_differences(f, x) for x in points]))


def test_a_masked_product_is_the_sum_of_what_is_not_masked() -> None:
    rng = np.random.default_rng(0)
    pairs = ["34 42", "4 42", "34 4", "4 4", "534 42", "534 542", "24 542"]
    for shape_a, shape_b in ([tuple(map(int, sizes)) for sizes in pair.split()] for pair in pairs):
        a, b = rng.normal(size=shape_a), rng.normal(size=shape_b)
        mask_a, mask_b = (rng.random(x.shape) < 0.6 for x in (a, b))
        for x in (a, b):
            x[rng.random(x.shape) < 0.2] = NAN
            x[rng.random(x.shape) < 0.1] = INF
        a, b = np.where(mask_a, a, 0.0), np.where(mask_b, b, 0.0)
        left, right = np.atleast_2d(a), b if b.ndim > 1 else b[:, None]
        of_left, of_right = np.atleast_2d(mask_a), mask_b if b.ndim > 1 else mask_b[:, None]
        with np.errstate(all="ignore"):
            terms = np.where(
                of_left[..., None] & of_right[..., None, :, :],
                left[..., None] * right[..., None, :, :],
                0.0,
            )
            wanted = np.sum(terms, axis=-2).reshape(np.matmul(a, b).shape)
        np.testing.assert_allclose(masked_matmul(a, b, mask_a, mask_b), wanted)


def test_scalars_that_are_merged_have_exact_zeros() -> None:
    x = np.array([0.0, 2.0, 0.0, 3.0, 0.0, 1.5])

    def f(x: Any) -> Any:
        return np.stack([np.where(x[k] < 1, x[k] * x[k - 1], np.sqrt(x[k])) for k in range(6)])

    with np.errstate(all="raise"):
        jacobian = chainad.jacobian(f)
        assert_equal(jacobian(x), by_differences(f, x))
        assert_equal(jacobian.compile(x + 1)(x), by_differences(f, x))
        assert_equal(chainad.jacobian(f, batch=0)(x[None])[0], by_differences(f, x))


@pytest.mark.parametrize("mode", ["forward", "reverse", "auto"])
def test_what_bands_fill_up_with_has_no_part(mode: Any) -> None:
    def widened(y: Any) -> Any:
        for _ in range(6):
            y = np.concatenate([y[:1], 2 * y[1:] + y[:-1]])
        return y

    x = np.array([0.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    for f in (lambda x: np.sqrt(widened(x)), lambda x: widened(np.sqrt(x[::-1]))):
        J = chainad.jacobian(f, mode=mode, backend="numpy")
        wanted = chainad.jacobian(f, mode=mode, output="sparse")(x).toarray()
        for found in (J(x), J.compile()(x)):
            np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
            np.testing.assert_allclose(found, wanted)
