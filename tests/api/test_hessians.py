"""Hessians: symmetric ones are multiplied once, and never where nothing says that they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.optimize

import chainad
from chainad.errors import PlanError
from chainad.structure.product import SYMMETRIC_BLOCKS

Function = Callable[..., Any]

RNG = np.random.default_rng(3)
ROWS, COLS = 250, 98  # no multiple of the blocks
A, B = RNG.normal(size=(2, ROWS, COLS)) / 10
W = RNG.normal(size=COLS)
ENTRIES = sum((COLS * k // 4 - COLS * (k - 1) // 4) * (COLS * k // 4) for k in (1, 2, 3, 4))


def sines(w: Any) -> Any:
    return np.sum(np.sin(A @ w))


def several(w: Any) -> Any:
    return np.sum(np.sin(A @ w)) - np.sum(np.exp(B @ w)) + np.sum(w**3)


def bilinear(w: Any) -> Any:
    """Have two products that are each other's transposes, neither of which is symmetric."""
    return np.sum((A @ w) ** 2 * (B @ w))


def sines_hessian(w: Any) -> Any:
    return -A.T @ (np.sin(A @ w)[:, None] * A)


def several_hessian(w: Any) -> Any:
    return sines_hessian(w) - B.T @ (np.exp(B @ w)[:, None] * B) + np.diag(6 * w)


def bilinear_hessian(w: Any) -> Any:
    a, b = A @ w, B @ w
    mixed = A.T @ (2 * a[:, None] * B)
    return A.T @ (2 * b[:, None] * A) + mixed + mixed.T


FUNCTIONS = [(sines, sines_hessian), (several, several_hessian), (bilinear, bilinear_hessian)]


@pytest.mark.parametrize(("f", "wanted"), FUNCTIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("output", ["dense", "sparse", "structured", "operator"])
def test_large_hessians_are_right_in_every_form(f: Function, wanted: Function, output: str) -> None:
    found = chainad.hessian(f, output=output)(W)
    np.testing.assert_allclose(found @ np.eye(COLS), wanted(W), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("f", "wanted"), FUNCTIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("mode", ["auto", "forward", "reverse"])
def test_symmetric_products_are_multiplied_up_to_the_diagonal(
    f: Function, wanted: Function, mode: str
) -> None:
    hessian = chainad.hessian(f, mode=mode)
    plan = hessian.plan(W)
    whole = chainad.jacobian(chainad.grad(f), mode=plan.order).plan(W)
    once = [s for s in plan.steps if s.direction != "sum" and s.operation.blocks > 1]
    assert once
    assert {s.operation.blocks for s in once} == {SYMMETRIC_BLOCKS}
    saved = len(once) * (COLS**2 - ENTRIES) * ROWS
    assert plan.details().count("dense . dense, symmetric") == len(once)
    assert plan.multiplications == whole.multiplications - saved
    assert chainad.Plan.from_json(plan.to_json()) == plan
    for found in (hessian(W), hessian.compile(W + 1)(W), hessian.compile(W)(W, out=np.eye(COLS))):
        np.testing.assert_allclose(found, wanted(W), rtol=1e-10, atol=1e-12)
        half = COLS * 2 // SYMMETRIC_BLOCKS  # what is above the blocks is a copy of what is below
        if f is not bilinear:  # where sums are rounded in their own order
            np.testing.assert_array_equal(found[:half, half:], found[half:, :half].T)
    best = chainad.hessian(f).plan(W)
    assert best.multiplications <= min(plan.multiplications, *(a.cost for a in best.alternatives))


@pytest.mark.parametrize("output", ["dense", "sparse"])
def test_diagonals_are_written_one_by_one(output: str) -> None:
    x = RNG.normal(size=200)
    hessian = chainad.hessian(rosenbrock, output=output)
    compiled = hessian.compile(x + 1)
    assert hessian.plan(x).multiplications < 5 * x.size
    assert "scatter" not in compiled.source
    for found in (hessian(x), compiled(x)):
        if output == "sparse":
            assert found.nnz == 3 * x.size - 2
        dense = found if output == "dense" else found.toarray()
        np.testing.assert_allclose(dense, scipy.optimize.rosen_hess(x), rtol=1e-12, atol=1e-12)


def rosenbrock(x: Any) -> Any:
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def test_diagonals_are_added_to_products_where_these_lie() -> None:
    weights = [RNG.normal(size=(20, 20)) / 5 for _ in range(9)]

    def loss(first: Any) -> Any:
        h = np.tanh(first @ W[:20])
        for each in weights:
            h = np.tanh(each @ h)
        return np.sum(h**2)

    x = RNG.normal(size=(20, 20)) / 5
    compiled = chainad.hessian(loss).compile(x)
    d = RNG.normal(size=x.shape)
    slope = (chainad.grad(loss)(x + 1e-5 * d) - chainad.grad(loss)(x - 1e-5 * d)) / 2e-5
    np.testing.assert_allclose(np.tensordot(compiled(x), d, 2), slope, rtol=1e-6, atol=1e-8)
    lines = compiled.source.splitlines()
    assert sum("add(at, " in line for line in lines) == 9
    assert not any("copyto" in line for line in lines)


def test_a_report_says_that_a_hessian_is_symmetric() -> None:
    lines = chainad.hessian(sines).plan(W).details().splitlines()
    assert lines[0] == (
        "Plan  Hessian of sines(w): (98,) -> (98,)     the Hessian is 98 x 98, symmetric, dense"
    )
    text = chainad.hessian(lambda x, y: np.sum(x * y), (0, 1)).plan(W, W).details()
    assert "(98,), (98,) -> (98,), (98,)     the Hessian has 2 x 2 blocks, symmetric" in text
    assert "J is 9604 x 98, dense" in str(chainad.hessian(lambda w: np.tanh(A[:98] @ w)).plan(W))


def factorization(u: Any, v: Any) -> Any:
    return np.sum((A[:30, :40] - u @ v) ** 2)


@pytest.mark.parametrize("output", ["dense", "sparse", "structured"])
@pytest.mark.parametrize("argnums", [(0, 1), (1, 0)])
def test_of_two_blocks_that_are_transposes_one_is_made(
    argnums: tuple[int, int], output: str
) -> None:
    u, v = RNG.normal(size=(30, 5)), RNG.normal(size=(5, 40))
    hessian = chainad.hessian(factorization, argnums, output=output)
    plan = hessian.plan(u, v)
    each = [
        chainad.jacobian(chainad.grad(factorization, i), j, mode="forward").plan(u, v)
        for i, j in [(0, 0), (1, 1), (0, 1)]
    ]
    assert len(plan.transposed) == 1
    assert plan.multiplications <= sum(one.multiplications for one in each)
    assert chainad.Plan.from_json(plan.to_json()) == plan
    for found in (hessian(u, v), hessian.compile(u, v + 1)(u, v)):
        for i, k in enumerate(argnums):
            for j, at in enumerate(argnums):
                d = RNG.normal(size=(u, v)[at].shape)
                slope = slope_of(chainad.grad(factorization, k), [u, v], at, d)
                block = found[i][j] if output == "dense" else found[i][j].toarray()
                product = block.reshape(slope.size, d.size) @ d.ravel()
                np.testing.assert_allclose(product, slope.ravel(), atol=1e-10)


def slope_of(f: Function, point: list[Any], at: int, d: Any) -> Any:
    """Return a derivative by differences of fourth order, which are exact for cubic functions."""

    def moved(step: int) -> Any:
        return f(*(x + step * d if k == at else x for k, x in enumerate(point)))

    return (8 * (moved(1) - moved(-1)) - (moved(2) - moved(-2))) / 12


def test_structured_hessians_store_their_factors() -> None:
    """Source: Laue, Mitterreiter & Giesen 2020, *A Simple and Efficient Tensor Calculus*."""
    u, v = RNG.normal(size=(30, 5)), RNG.normal(size=(5, 40))
    found = chainad.hessian(factorization, (0, 1), output="structured")(u, v)
    assert stored(found[0][0]) == (5 * 5)  # v v' by a unit matrix
    assert stored(found[1][1]) == (5 * 5)
    assert stored(found[0][1]) == stored(found[1][0]) <= 2 * (u.size + v.size) + 30 * 40
    samples = RNG.normal(size=(20, 3))
    blocks = chainad.hessian(lambda x: np.sum(np.sin(x @ A[:3, :4])), output="structured")(samples)
    assert stored(blocks) == 20 * 3 * 3
    thin = chainad.hessian(lambda w: np.sum(np.sin(A[:5] @ w)), output="structured")(W)
    assert stored(thin) == 2 * 5 * COLS
    dense = chainad.hessian(lambda x: np.sum(np.sin(x @ A[:3, :4])))(samples)
    np.testing.assert_allclose(blocks.toarray(), dense, atol=1e-12)


def stored(jacobian: Any) -> int:
    return sum(f.array.size for term in jacobian.terms for f in term if f.array is not None)


def two_lines(w: Any) -> Any:
    z = A @ w
    return np.sum(np.exp(z) * z)


def test_local_jacobians_of_a_hessian_are_from_the_lines_of_the_function() -> None:
    first, second = "z = A @ w", "return np.sum(np.exp(z) * z)"
    for nested in (chainad.hessian(two_lines), chainad.jacobian(chainad.grad(two_lines))):
        origins = nested.plan(W).graph.origins
        texts = [origin.site.text for origin in origins]
        assert texts[0] == texts[-1] == first
        assert {*texts[1:-1]} == {second}
        assert nested.compile(W).plan == nested.plan(W)


def test_hessians_of_float32_and_of_batches() -> None:
    points = np.stack([W, 2 * W])
    wanted = np.stack([*map(several_hessian, points)])
    np.testing.assert_allclose(chainad.hessian(several, batch=0)(points), wanted, atol=1e-12)
    found = chainad.hessian(lambda w: np.sum(np.sin(A.astype(np.float32) @ w)))(np.float32(W))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, sines_hessian(W), atol=1e-4)


def test_hessians_are_differentiated_again() -> None:
    v = RNG.normal(size=COLS)
    _, found = chainad.jvp(chainad.hessian(sines), (W,), (v,))
    wanted = -A.T @ ((np.cos(A @ W) * (A @ v))[:, None] * A)
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_exact_zeros_stay_zero_in_large_hessians() -> None:
    def f(w: Any) -> Any:
        z = A @ w
        return np.sum(np.where(z > 0, z**1.5, 0.0))

    z = A @ W
    weights = np.where(z > 0, 0.75 * np.abs(z) ** -0.5, 0.0)
    with np.errstate(all="ignore"):
        for form in (chainad.hessian(f), chainad.hessian(f).compile(W)):
            np.testing.assert_allclose(form(W), A.T @ (weights[:, None] * A), atol=1e-12)


def test_what_is_no_gradient_is_not_taken_to_be_symmetric() -> None:
    """What a user gives for the Jacobian of a primitive need not be the derivative of anything."""
    copied = chainad.primitive(lambda x: 1.0 * x)
    copied.jacobian(0)(lambda y, x: np.multiply(x[:, None], W))

    def f(w: Any) -> Any:
        return B[0] @ copied(w) + np.sum(np.sin(A @ w))

    hessian = chainad.hessian(f)
    assert not hessian.plan(W).graph.is_symmetric
    wanted = np.outer(W, B[0]) + sines_hessian(W)
    np.testing.assert_allclose(hessian(W), wanted, rtol=1e-10, atol=1e-12)


def test_plans_of_hessians_are_for_hessians() -> None:
    plan = chainad.hessian(sines).plan(W)
    np.testing.assert_allclose(chainad.hessian(sines, mode=plan)(W), sines_hessian(W), atol=1e-12)
    with pytest.raises(PlanError, match="made for a Hessian"):
        chainad.jacobian(chainad.grad(sines), mode=plan)(W)
    plain = chainad.jacobian(chainad.grad(sines)).plan(W)
    np.testing.assert_allclose(chainad.hessian(sines, mode=plain)(W), sines_hessian(W), atol=1e-12)
