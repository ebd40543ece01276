"""Stencils: shifted slices, rolls, pads and fields; every form and order gives the same Jacobian.

Short pieces are added up rather than kept apart. `apart` makes them stay apart, so that small
cases, which can be checked entry by entry, take the paths of large ones.
"""

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainad
from chainad.api import jacobian_program
from chainad.planning import auto
from chainad.planning import linear_graph as linear
from chainad.structure import forget
from chainad.structure import sum as total

randoms = st.randoms(use_true_random=False)
Array = np.ndarray
Function = Callable[..., Any]


@pytest.fixture(autouse=True)
def _forget() -> Any:
    """Leave no plan that was made under other thresholds."""
    yield
    _clear()


def _clear() -> None:
    jacobian_program._programs.clear()
    auto._plans.clear()
    forget()


def apart(monkeypatch: pytest.MonkeyPatch, few: int, many: int) -> None:
    _clear()
    monkeypatch.setattr(total, "MIN_SEPARATE_ENTRIES", few)
    monkeypatch.setattr(linear, "MAX_TERMS_PER_EDGE", many)


THRESHOLDS = [(256, 32), (1, 32), (1, 2), (3, 1)]
MODES = ["auto", "forward", "reverse", "greedy", "markowitz"]


def complex_step(f: Function, x: Array) -> Array:
    """Return the Jacobian as a matrix, to rounding; f must be analytic and keep complex numbers."""
    columns = []
    for k in range(x.size):
        z = x.astype(complex)
        z.reshape(-1)[k] += 1e-30j
        columns.append(np.asarray(f(z)).imag.ravel() / 1e-30)
    return np.stack(columns, 1)


def assert_forms(f: Function, x: Array, want: Array, mode: Any = "auto") -> None:
    """Assert that dense, sparse, structured and operator Jacobians are `want`, a matrix."""
    scale = max(1.0, np.abs(want).max(initial=0))

    def close(found: Array) -> None:
        np.testing.assert_allclose(found, want, rtol=1e-12, atol=1e-12 * scale)

    close(chainad.jacobian(f, mode=mode)(x).reshape(want.shape))
    sparse = chainad.jacobian(f, mode=mode, output="sparse")(x)
    sparse.check_format()
    close(sparse.toarray())
    close(chainad.jacobian(f, mode=mode, output="structured")(x).toarray().reshape(want.shape))
    if mode == "auto":
        operator = chainad.jacobian(f, output="operator")(x)
        close(operator @ np.eye(x.size))
        close((operator.T @ np.eye(want.shape[0])).T)


# ------------------------------------------------------------- random programs


def _same(y: Array, n: int) -> Array:
    """Bring a vector to length n by cutting off or padding."""
    return y[:n] if y.size >= n else np.concatenate([y, np.ones(n - y.size) * 0.5])


def _shifted(rng: Random, y: Array) -> Array:
    k = rng.randint(1, 3)
    return _same(y[k:] * 2.0 - y[:-k], y.size)


def _padded(rng: Random, y: Array) -> Array:
    p = np.concatenate([[0.3], y, [0.7]])
    return p[2:] - 2 * y + p[:-2]


def _pad(rng: Random, y: Array) -> Array:
    before, after = rng.randint(0, 2), rng.randint(0, 2)
    return _same(np.pad(y, (before, after)) * 1.5, y.size)


def _rolled(rng: Random, y: Array) -> Array:
    return y - np.roll(y, rng.choice([1, -1, 2]))


def _strided(rng: Random, y: Array) -> Array:
    step = rng.choice([2, 3])
    return np.concatenate([y[::step], y[1::step], y])[: y.size]


def _reversed(rng: Random, y: Array) -> Array:
    return y * y[::-1]


def _field(rng: Random, y: Array) -> Array:
    u = y.reshape(4, -1)
    lap = u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2] - 4 * u[1:-1, 1:-1]
    middle = np.concatenate([u[1:-1, :1], lap, u[1:-1, -1:]], axis=1)
    return np.concatenate([u[:1], middle, u[-1:]], axis=0).ravel()


def _rolled_field(rng: Random, y: Array) -> Array:
    u = y.reshape(3, -1)
    return (np.roll(u, 1, 0) + np.roll(u, -1, 1) - 2 * u).ravel()


def _transposed(rng: Random, y: Array) -> Array:
    return y.reshape(4, -1).T.ravel() + y


def _masked(rng: Random, y: Array) -> Array:
    mask = np.arange(y.size) % 3 == 0
    return np.where(mask, y * y, np.sin(y))


def _interior(rng: Random, y: Array) -> Array:
    return np.concatenate([y[:1], y[1:-1] + 0.1 * (y[2:] - y[:-2]), y[-1:]])


def _swapped(rng: Random, y: Array) -> Array:
    u, v = y[: y.size // 2], y[y.size // 2 :]
    return np.concatenate([u * v[: u.size], _same(v + u[: v.size], y.size - u.size)])


def _nonlinear(rng: Random, y: Array) -> Array:
    return np.sin(y) + 0.5 * y


def _difference(rng: Random, y: Array) -> Array:
    return _same(np.diff(y), y.size)


def _total(rng: Random, y: Array) -> Array:
    return y + 0.1 * np.sum(y[1:-1])


MOVES = [
    _shifted,
    _padded,
    _pad,
    _rolled,
    _strided,
    _reversed,
    _field,
    _rolled_field,
    _transposed,
    _masked,
    _interior,
    _swapped,
    _nonlinear,
    _difference,
    _total,
]


def random_program(seed: int, moves: int) -> Function:
    """Return a function of vectors of 24 numbers made of `moves` random moves."""

    def f(x: Array) -> Array:
        rng = Random(seed)
        values = [x]
        for _ in range(moves):
            move = rng.choice(MOVES)
            y = move(rng, rng.choice(values[-2:]))
            values.append(y * values[-1] if rng.random() < 0.2 else y)
        return values[-1]

    return f


@pytest.mark.parametrize("move", MOVES, ids=lambda move: move.__name__.strip("_"))
@pytest.mark.parametrize(("few", "many"), THRESHOLDS)
def test_every_move_is_right_in_every_form(
    move: Callable[[Random, Array], Array], few: int, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart(monkeypatch, few, many)
    x = np.random.default_rng(0).uniform(0.5, 1.5, 24)
    for seed in range(2):
        f = lambda y: move(Random(seed), np.sin(move(Random(seed + 1), y)))  # noqa: B023
        assert_forms(f, x, complex_step(f, x))


@pytest.mark.parametrize(("few", "many"), THRESHOLDS)
@settings(max_examples=max(1, settings().max_examples // 2))
@given(seed=st.integers(0, 10**6), moves=st.integers(2, 6), mode=st.sampled_from(MODES))
def test_random_programs_are_right_in_every_form(
    few: int, many: int, seed: int, moves: int, mode: str
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        apart(monkeypatch, few, many)
        f = random_program(seed, moves)
        x = np.random.default_rng(seed).uniform(0.5, 1.5, 24)
        assert_forms(f, x, complex_step(f, x), mode)


@pytest.mark.parametrize(("few", "many"), THRESHOLDS)
def test_several_inputs_and_outputs(few: int, many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    apart(monkeypatch, few, many)

    def f(u: Array, v: Array) -> tuple[Array, Array]:
        flux = u[1:] * v[:-1] - u[:-1] * v[1:]
        return np.concatenate([[0.0], flux]) - np.concatenate([flux, [0.0]]), flux[1:] - flux[:-1]

    rng = np.random.default_rng(0)
    u, v = rng.random(9), rng.random(9)
    for mode in MODES:
        dense = chainad.jacobian(f, argnums=(0, 1), mode=mode)(u, v)
        sparse = chainad.jacobian(f, argnums=(0, 1), mode=mode, output="sparse")(u, v)
        for k in (0, 1):
            wanted = (
                complex_step(lambda u: f(u, v)[k], u),  # noqa: B023
                complex_step(lambda v: f(u, v)[k], v),  # noqa: B023
            )
            for got, also, want in zip(dense[k], sparse[k], wanted, strict=True):
                np.testing.assert_allclose(got, want, atol=1e-12)
                np.testing.assert_allclose(also.toarray(), want, atol=1e-12)


@pytest.mark.parametrize(("few", "many"), THRESHOLDS)
@pytest.mark.parametrize("mode", ["auto", "forward", "reverse"])
def test_a_hessian_goes_through_pieces(
    few: int, many: int, mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart(monkeypatch, few, many)

    def energy(u: Array) -> Any:
        p = np.concatenate([[0.0], u, [1.0]])
        return np.sum(np.sin(p[1:] - p[:-1]) * p[1:])

    x = np.linspace(0.1, 1, 10)
    gradient = chainad.jacobian(energy, mode=mode)
    want = chainad.jacobian(gradient, mode=mode)(x)
    step = 1e-6 * np.eye(10)
    columns = [(gradient(x + e) - gradient(x - e)) / 2e-6 for e in step]
    np.testing.assert_allclose(want, np.stack(columns, 1), atol=1e-8)

    def twice(u: Array) -> Array:  # its inner Jacobian is scattered from several pieces
        return u[1:] * u[:-1] + u[1:] ** 2

    third = chainad.jacobian(chainad.jacobian(twice, mode=mode), mode=mode)(x)
    want = np.zeros((9, 10, 10))
    for k in range(9):
        want[k, k, k + 1] = want[k, k + 1, k] = 1
        want[k, k + 1, k + 1] = 2
    np.testing.assert_allclose(third, want, atol=1e-12)


def test_small_thresholds_do_make_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    def f(x: Array) -> Array:
        return x[2:] * x[:-2] - x[1:-1]

    assert [len(numbers) for numbers in chainad.plan(f, np.ones(12)).results] == [1]
    apart(monkeypatch, 1, 32)
    assert [len(numbers) for numbers in chainad.plan(f, np.ones(12)).results] == [3]
    apart(monkeypatch, 1, 2)
    assert [len(numbers) for numbers in chainad.plan(f, np.ones(12)).results] == [2]


# --------------------------------------------------------------- known stencils


def burgers(u: Array) -> Array:
    h, nu = 1 / (u.size + 1), 0.05
    p = np.concatenate([[0], u, [0]])
    return -u * (p[2:] - p[:-2]) / (2 * h) + nu * (p[2:] - 2 * u + p[:-2]) / h**2


def brusselator(z: Array) -> Array:
    m, diffusion = z.size // 2, 0.02
    u, v = z[:m], z[m:]

    def laplace(w: Array, boundary: float) -> Array:
        p = np.concatenate([[boundary], w, [boundary]])
        return (p[2:] - 2 * w + p[:-2]) * (m + 1) ** 2

    r = u * u * v
    fu = 1 + r - 4 * u + diffusion * laplace(u, 1.0)
    return np.concatenate([fu, 3 * u - r + diffusion * laplace(v, 3.0)])


def gray_scott(z: Array) -> Array:
    n = round((z.size // 2) ** 0.5)
    u, v = z[: n * n].reshape(n, n), z[n * n :].reshape(n, n)

    def laplace(a: Array) -> Array:
        return np.roll(a, 1, 0) + np.roll(a, -1, 0) + np.roll(a, 1, 1) + np.roll(a, -1, 1) - 4 * a

    r, feed, kill = u * v * v, 0.04, 0.06
    fu = 0.16 * laplace(u) - r + feed * (1 - u)
    fv = 0.08 * laplace(v) + r - (feed + kill) * v
    return np.concatenate([fu.ravel(), fv.ravel()])


def pattern(matrix: Array) -> list[tuple[int, int]]:
    return [(int(i), int(j)) for i, j in zip(*np.nonzero(matrix), strict=True)]


STENCILS = [
    (burgers, 40, 3 * 40 - 2),
    (burgers, 700, 3 * 700 - 2),
    (brusselator, 40, 2 * (3 * 20 - 2) + 2 * 20),
    (brusselator, 800, 2 * (3 * 400 - 2) + 2 * 400),
    (gray_scott, 2 * 64, 2 * 5 * 64 + 2 * 64),
    (gray_scott, 2 * 324, 2 * 5 * 324 + 2 * 324),
]


@pytest.mark.parametrize(("f", "n", "entries"), STENCILS)
def test_known_stencils_have_exactly_their_entries(f: Function, n: int, entries: int) -> None:
    x = np.random.default_rng(0).uniform(0.5, 1.5, n)
    want = complex_step(f, x)
    found = chainad.jacobian(f, output="sparse")(x)
    assert found.nnz == entries
    assert pattern(found.toarray()) == pattern(want)
    assert_forms(f, x, want)


@pytest.mark.parametrize("mode", ["forward", "reverse", "greedy"])
@pytest.mark.parametrize(("f", "n", "entries"), STENCILS[::2])
def test_known_stencils_in_every_order(f: Function, n: int, entries: int, mode: Any) -> None:
    x = np.random.default_rng(0).uniform(0.5, 1.5, n)
    assert_forms(f, x, complex_step(f, x), mode)
    assert chainad.jacobian(f, mode=mode, output="sparse")(x).nnz == entries


@pytest.mark.parametrize("n", [10**3, 10**5])
def test_a_plan_of_a_long_stencil_spells_nothing_out(n: int) -> None:
    made = chainad.plan(burgers, np.ones(n))
    assert made.multiplications == 2 * n + 2
    assert all(structure.weight == 0 for structure in made.structures)
    assert sum(made.structures[k].nonzeros for k in made.results[0]) == 3 * n - 2
    assert made.peak.entries <= 12 * n
    made = chainad.plan(brusselator, np.ones(n))
    assert made.multiplications <= n // 2 + 4
    assert all(structure.weight == 0 for structure in made.structures)
    assert sum(made.structures[k].nonzeros for k in made.results[0]) == 4 * n - 4


def test_the_number_of_steps_does_not_depend_on_the_length() -> None:
    for f in (burgers, brusselator):
        one, two = (chainad.plan(f, np.ones(n)) for n in (1200, 120000))
        assert [s.direction for s in one.steps] == [s.direction for s in two.steps]
