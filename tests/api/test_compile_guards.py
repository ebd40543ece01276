"""Guards: whatever a function reads off values, a replay never goes on where it would differ."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainad
from chainad import stop_gradient as sg

Function = Callable[..., Any]
table = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0])


def branches(x):
    return x**2 if x[0] > 0 else -x


def nested_branches(x):
    y = x
    if np.sum(x) > 0:
        y = y * 2
        if x[1] > x[2]:
            y = np.sin(y)
    elif x.any() and (x > -1).all():
        y = y + 1
    return y * x


def loops(x):
    y = x * x + 0.1
    while np.sum(y) < 10:
        y = y * 2
    return y


def int_of_argmax(x):
    return x * x[int(np.argmax(x))]


def argmax_as_index(x):
    return x * x[np.argmax(x)]


def argsort_into_a_table(x):
    return table[np.argsort(x)] * x


def argsort_of_itself(x):
    return x[np.argsort(x)] * np.arange(x.size)


def selection(x):
    return np.sum(x[x > 0] ** 2) * x


def where_and_nonzero(x):
    return x[np.where(x > 0)].sum() * x + x[np.nonzero(x < 0)[0]].sum()


def times_masks(x):
    return x * (x > 0) + x * (x < -0.5) * 2


def masks_combined(x):
    return x * ((x > 0) & (x < 1)) + np.where(~(x > 0) | (x > 1.2), x**2, 3.0)


def zeroed_by_mask(x):
    y = x * 2
    y[y < 0] = 0
    return y * x


def written_by_mask(x):
    y = x * 2
    y[x > 0] = x[x > 0] ** 2
    return y


def counted(x):
    return x * np.count_nonzero(x > 0)


def summed_masks(x):
    return x * (x > 0).sum() + (x > 0.5).mean() * x**2


def length_of_a_selection(x):
    return x * len(x[x > 0])


def shape_of_nonzero(x):
    return x * np.nonzero(x > 0)[0].shape[0]


def size_of_flatnonzero(x):
    return x * np.size(np.flatnonzero(x > 0))


def list_of_booleans(x):
    return sum((v * b for v, b in zip(x, (x > 0).tolist(), strict=True))) * x


def float_of_stopped(x):
    return x * float(sg(x[0]))


def sine_of_python(x):
    return x * math.sin(sg(x[1]))


def stopped_flows(x):
    return x * sg(x) + sg(x[0]) * x


def stopped_into_plain(x):
    y = sg(x)
    z = np.zeros(3)
    z[:] = y[:3]
    return x[:3] * z


def items_of_stopped(x):
    return x * sg(x).item(2) + x * sg(x).tolist()[0]


def branch_on_item(x):
    return x * 2 if sg(x[0]).item() > 0 else x * 3


def iterated(x):
    out = []
    for v in x:
        out.append(v * v if v > 0 else -v)
    return np.array(out)


def iterated_mask(x):
    s = 0.0
    for v, m in zip(x, x > 0, strict=True):
        if m:
            s = s + v * v
    return s * x


def max_of_python(x):
    return max(x) * x + min(x)


def sorted_of_python(x):
    return np.stack(sorted(x)) * x


def sorts(x):
    return np.sort(x) ** 2 + np.median(x) + np.partition(x, 2)[2]


def percentile(x):
    return np.percentile(x, 30) * x


def unique_count(x):
    u = np.unique(np.round(x))
    return x * u.size + u.sum()


def floors(x):
    return x * np.floor(x) + np.round(x) * x**2 + x // 0.7 + x % 0.7


def signs(x):
    return x * np.sign(x)


def interpolated(x):
    return np.interp(x, np.linspace(-3, 3, 7), np.sin(np.arange(7.0))) * x


def digitized(x):
    return x * np.digitize(x, [-1.0, 0.0, 1.0])


def counted_in_bins(x):
    return np.bincount(np.digitize(x, [-1.0, 0.0, 1.0]), weights=x, minlength=4)


def searched(x):
    return x * table[np.searchsorted(np.array([-1.0, 0.0, 1.0]), x)]


def selected(x):
    return np.select([x > 1, x > 0], [x, x**2], -x)


def piecewise(x):
    return np.piecewise(x, [x < 0, x >= 0], [lambda t: -t, lambda t: t**2])


def chosen(x):
    return np.choose((x > 0).astype(int), [x, x**2])


def taken_by_rounding(x):
    return np.take(table, np.clip(np.round(np.abs(x)), 0, 5).astype(int)) * x


def key_of_a_dictionary(x):
    return x * {True: 2.0, False: 3.0}[bool(x[0] > 0)]


def float_key_of_a_dictionary(x):
    return x * {-1.0: 2.0, 0.0: 1.0, 1.0: 3.0}[np.sign(x[0])]


def contained(x):
    return x * 2 if 1.0 in np.sign(x) else x


def close(x):
    return x if np.allclose(x, np.round(x), atol=0.3) else x**2


def is_close(x):
    return x if np.allclose(x, np.round(x), atol=0.3) is True else x**2


def nans(x):
    y = np.where(x > 0, np.sqrt(np.abs(x)), np.nan)
    return np.where(np.isnan(y), x, y) * x


def maxima(x):
    return np.max(x) * x + np.linalg.norm(x, np.inf) + np.ptp(x)


def kinks(x):
    return np.abs(x) + np.maximum(x, 0.3) + np.clip(x, -0.5, 0.5)


def range_of_a_count(x):
    y = x
    for _ in range(int(np.count_nonzero(x > 0))):
        y = y * x
    return y


def slices_by_a_count(x):
    k = np.count_nonzero(x > 0)
    return np.concatenate([x[:k] ** 2, x[k:]])


def writes_by_a_count(x):
    k = np.argmax(x)
    y = x * 1.0
    y[k:] = 0.0
    y[:k] *= 2
    return y


def trimmed(x):
    return np.sum(np.trim_zeros(x * (x > 0)) ** 2) * x


def repeated(x):
    return np.repeat(x, (x > 0).astype(int) + 1).sum() * x


def divmod_of_it(x):
    return x * divmod(x[0], 0.4)[0]


def power_of_a_mask(x):
    return x ** ((x > 0) + 1.0)


def array_of_booleans(x):
    return x[:2] * np.array([x[0] > 0, x[1] > 0])


def determinant_of_stopped(x):
    return x * np.linalg.det(np.outer(sg(x[:3]), sg(x[:3])) + np.eye(3))


def masks_written_into(x):
    m = x > 0
    m[0] = True
    n = m.copy()
    n &= x < 1
    v = m[1:]
    v[0] = False
    return x * m + x**2 * n


def stopped_written_into(x):
    y = sg(x)
    y[0] = 7.0
    y += 1
    v = y[1:]
    v *= 2
    return x * y


def filled_with_all_kinds(x):
    z = np.zeros_like(x)
    z[0] = x[0]
    z[1] = sg(x[1])
    z[2:] = np.floor(x[2:])
    return z * x


def filled_with_constants(x):
    z = np.zeros_like(x)
    z[0] = sg(x[1])
    return x * float(z[0]) + x * 2 ** z[0]


def lexsorted(x):
    i = np.lexsort((x,))
    return x[i[::-1]] * x


def argpartitioned(x):
    return x[np.argpartition(x, 2)[:2]].sum() * x


def outer_of_masks(x):
    return np.outer(x > 0, x).sum(0) + np.add.outer(x, (x > 0) * 1.0).sum(0)


def reductions_of_masks(x):
    return x * np.logical_or.reduce(x > 1) + np.add.reduce(np.floor(x)) * x


def added_at(x):
    z = np.zeros(4)
    np.add.at(z, np.digitize(x, [-1.0, 0.0, 1.0]), 1.0)
    return x * z.sum() + x[:4].sum() * z[0]


def copied_to(x):
    z = np.empty(x.shape)
    np.copyto(z, np.floor(x))
    return x * z


def put_by_masks(x):
    z = np.zeros(x.shape)
    np.putmask(z, x > 0, 2.0)
    np.place(z, x < -1, [5.0])
    return x * z


def as_plain_arrays(x):
    return x * np.asarray(x > 0) * np.array(np.floor(x))


def printed(x):
    return x * len(f"{x[0]}"[:1])


def hashed(x):
    return x * len({np.sign(v) for v in sg(x)})


def rounded_by_python(x):
    return x * math.floor(x[0]) + x * math.floor(sg(x[1])) + x * round(sg(x[2]))


def applied_along(x):
    return np.apply_along_axis(lambda r: r * (r > 0), 0, x) * np.apply_along_axis(
        lambda r: r + 1.0, 0, sg(x)
    )


def vectorized(x):
    return x * np.vectorize(lambda t: t * t if t > 0 else 0.0)(sg(x))


def fourier(x):
    return np.abs(np.fft.fft(x)) ** 2


def argmax_by_rows(x):
    M = np.outer(x, x[::-1])
    return M[np.arange(x.size), np.argmax(M, axis=1)]


def taken_along(x):
    M = np.outer(x, x[::-1])
    i = np.argsort(M, axis=1)
    return np.take_along_axis(M, i, 1)[:, 0]


def solves(x):
    A = np.outer(x, x) + np.eye(x.size) * 3
    return np.linalg.solve(A, x) + np.linalg.inv(A) @ x + np.linalg.det(A) * x


def singular_determinants(x):
    A = np.outer(x > 0, x) + 0 * np.outer(x, x)
    return np.linalg.det(A) * x + np.linalg.det(np.outer(x, x))


def products_with_zeros(x):
    return np.prod(x * (x > 0)) * x + np.prod(np.where(x > 0.2, x, 0.0)) + np.prod(x)


def cumulated_with_zeros(x):
    return np.cumprod(x * (x > -0.5)) + np.cumsum(x) ** 2


def eigenvalues(x):
    A = np.outer(x, x) + np.diag(np.arange(x.size) * 1.0)
    return np.linalg.eigvalsh(A) + np.linalg.svd(A, compute_uv=False)


def hessian(x):
    return chainad.jacobian(chainad.jacobian(lambda y: np.sum(y**3 * (y > 0)) * np.prod(y[:2])))(x)


def inner_jacobian(x):
    return chainad.jacobian(lambda y: np.where(y > 0, y * x, y**2))(x) @ x


def inner_branch(x):
    return chainad.jacobian(lambda y: y * x if y[0] > 0 else y**2 * x[1])(x)


def complex_inside(x):
    z = x + 1j * x[::-1]
    return np.real(z * z) + np.abs(z) * (np.angle(z) > 0)


def branch_by_sign_of_a_root(x):
    d = x[0] ** 2 - 4 * x[1]
    return np.array([np.sqrt(d), x[1]]) if d >= 0 else np.array([x[0], x[2]])


def equalities(x):
    return x * np.equal(np.sign(x), 1) + x * (np.sign(x) != 1) * 3


def returns_what_it_observed(x):
    return ((x > 0).astype(float), x * 2, np.floor(x), sg(x), 3)


def returns_a_list(x):
    return [x[0], 2.0, sg(x[1]), np.floor(x[2])]


def where_of_integers(x):
    return np.where(x > 0, 1, 2) * x + np.where(x > 0, x, 1)


def extreme_places(x):
    i = np.nanargmax(x)
    j = x.argmin()
    return x * i + x[j]


def errstate_of_its_own(x):
    with np.errstate(divide="ignore", invalid="ignore"):
        y = np.log(x)
    return np.where(x > 0, y, 0.0) * x


def numpy_integers(x):
    return x * np.int64(3) * np.argmax(x)


def float32(x):
    y = x.astype(np.float32)
    return y * float(sg(y[0])) * np.floor(y) * sg(y).item(1)


FUNCTIONS = [
    f
    for f in list(globals().values())
    if callable(f)
    and getattr(f, "__module__", "") == __name__
    and f.__code__.co_varnames[:1] == ("x",)
]
POINTS = [np.random.default_rng(k).normal(size=6) * 1.3 for k in range(6)]
# Masks and comparisons flow as data here, so that one program serves all points.
FLOW = {
    "times_masks", "masks_combined", "zeroed_by_mask", "counted", "summed_masks", "stopped_flows",
    "floors", "signs", "digitized", "selected", "nans", "kinks", "power_of_a_mask",
    "determinant_of_stopped", "masks_written_into", "stopped_written_into", "returns_a_list",
    "filled_with_all_kinds", "reductions_of_masks", "outer_of_masks", "equalities", "solves",
    "returns_what_it_observed", "where_of_integers", "numpy_integers", "complex_inside",
    "cumulated_with_zeros", "singular_determinants", "inner_jacobian", "errstate_of_its_own",
}  # fmt: skip
if type(np.count_nonzero([1])) is int:  # before NumPy 2.3: a number of Python is no data
    FLOW.remove("counted")


def same(found: Any, wanted: Any) -> None:
    if isinstance(wanted, tuple):
        assert isinstance(found, tuple)
        for one, other in zip(found, wanted, strict=True):
            same(one, other)
        return
    assert type(found) is type(wanted)
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("backend", ["numpy", "auto"])
def test_a_replay_goes_the_way_that_the_function_goes(f: Function, backend: str) -> None:
    traced = chainad.value_and_jacobian(f, backend=backend)
    compiled = traced.compile()
    for k in (0, 1, 2, 3, 0, 4, 2, 5, 1, 0):
        same(compiled(POINTS[k]), traced(POINTS[k]))
    assert 1 <= compiled.programs <= 6
    if f.__name__ in FLOW and backend == "numpy":
        assert compiled.programs == 1


def test_the_lists_are_long_and_true() -> None:
    assert len(FUNCTIONS) > 90
    assert {f.__name__ for f in FUNCTIONS} >= FLOW


# What reads no numbers leaves no guard, though it makes arrays of single numbers, or the reverse.
QUIET = {
    "largest": lambda x: np.exp(x - np.max(x)) / np.sum(np.exp(x - np.max(x))),
    "norm": lambda x: x / np.linalg.norm(x),
    "broadcast": lambda x: np.broadcast_to(np.sum(x), (3,)) * 2,
    "reshape": lambda x: np.reshape(x[0], (1,)) * x,
    "axes": lambda x: np.expand_dims(x[0], 0) + np.atleast_1d(x[1]),
    "single": lambda x: x[0].reshape(()) * np.squeeze(x[:1]) * np.ravel(x[1]),
    "repeat": lambda x: np.repeat(x[0], 3) + np.tile(x[1], 3),
    "filled": lambda x: np.full(3, x[0]) * np.transpose(x[1]),
    "table": lambda x: np.interp(x[0], [0.0, 1.0, 2.0], [0.0, 2.0, 1.0]) * x,
}


@pytest.mark.parametrize("name", QUIET)
def test_calls_that_read_no_numbers_are_recorded_once(name: str) -> None:
    f = QUIET[name]
    compiled = chainad.compile(chainad.jacobian(f), np.array([0.1, 0.2, 0.3]), backend="numpy")
    for x in (np.array([0.15, 0.25, 0.4]), np.array([0.3, 0.5, 0.9])):
        np.testing.assert_allclose(compiled(x), chainad.jacobian(f)(x), rtol=1e-12)
    assert compiled.programs == 1
