"""The entries of sparse results: those that some path reaches, whatever a plan stores meanwhile."""

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainad
from benchmarks.workloads.entries import broyden_banded, poisson
from chainad.planning import sparsity
from chainad.planning.linear_graph import accumulate
from chainad.planning.sparsity import may_be_nonzero
from chainad.structure import arrange, forget
from chainad.structure.structure import Axis, Structure
from chainad.testing import path_sum, random_graph, random_structure

Array = np.ndarray
MODES = ["auto", "forward", "reverse"]


@given(st.randoms(use_true_random=False))
def test_the_pattern_is_where_the_sum_over_paths_of_positive_entries_is_positive(
    rng: Random,
) -> None:
    graph, numbers = random_graph(
        rng,
        rng.randint(0, 4),
        more=2.0,
        shapes=lambda rng: (rng.choice([2, 5, 6, 70]),),
        local=random_structure,
    )
    if any(edge.structure.scale is not None and edge.structure.scale < 0 for edge in graph.edges):
        return
    positive = [None if array is None else np.abs(array) + 1 for array in numbers]
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sparsity, "_MAX_BLOCK_WORDS", rng.choice([1, 1 << 20]))
        pairs = [(i, o) for o in graph.outputs for i in graph.inputs]
        for (start, end), total in zip(pairs, path_sum(graph, positive), strict=True):
            full = np.asarray(total).reshape(graph.size(end), graph.size(start))
            rows, cols = np.indices(full.shape)
            found = may_be_nonzero(graph, start, end, rows.ravel(), cols.ravel())
            np.testing.assert_array_equal(found, full.ravel() > 0)


def lorenz(x: Array) -> Array:
    """Return 16 steps of Euler's method for the Lorenz-96 equations, whose bands fill up."""
    for _ in range(16):
        x = x + 0.01 * ((np.roll(x, -1) - np.roll(x, 2)) * np.roll(x, 1) - x + 8)
    return x


def cameras(p: Array) -> Array:
    """Return residuals of points seen by cameras: each reads one camera, one point, and a scale."""
    views = [p[0] * (np.ones((4, 3)) @ p[1 + 3 * v : 4 + 3 * v]) * p[30 + v] for v in range(6)]
    return np.concatenate(views)


EXACT: dict[str, tuple[Callable[[Array], Array], int]] = {
    "neighbours": (lambda x: np.stack([x[i] * x[i - 1] for i in range(x.size)]), 40),
    "pairs": (lambda x: np.stack([x[0] * x[1], x[2] * x[3]]), 40),
    "rows": (lambda x: np.stack([x[:3] * x[3], np.sin(x[4:7])]), 12),
    "joined_sums": (lambda x: np.concatenate([2 * x[:3], np.cumsum(x[3:])]), 40),
    "sums_along_an_axis": (lambda x: np.cumsum(x.reshape(4, 10), axis=1).ravel() * x, 40),
    "sums_of_sums": (lambda x: np.cumsum(np.cumsum(x) * x), 20),
    "gradient": (lambda x: np.gradient(x * x), 40),
    "joined_blocks": (lambda x: np.concatenate([np.ones((3, 2)) @ x[:2], x[2:] ** 2]), 12),
    "banded": (broyden_banded, 30),
    "poisson": (poisson, 36),
    "lorenz": (lorenz, 60),
    "cameras": (cameras, 40),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", sorted(EXACT))
def test_sparse_results_store_what_is_there(name: str, mode: Any) -> None:
    f, n = EXACT[name]
    x = np.random.default_rng(0).uniform(0.5, 1.5, n)
    dense = chainad.jacobian(f, mode=mode)(x)
    for found in (
        chainad.jacobian(f, mode=mode, output="sparse")(x),
        chainad.jacobian(f, mode=mode, output="sparse").compile(x)(x),
    ):
        found.check_format()
        np.testing.assert_allclose(
            found.toarray().reshape(dense.shape), dense, rtol=1e-12, atol=1e-300
        )
        assert found.nnz == np.count_nonzero(dense)


def shifted(n: int, k: int) -> Structure:
    """Return the structure of n - k entries beside the diagonal."""
    rows, cols = Axis(n, (0,), range(n - k)), Axis(n, (0,), range(k, n))
    return arrange([rows], [cols], {0: n - k}, [0]).structure


def test_diagonals_become_a_dense_term_once_they_are_a_third_of_it() -> None:
    forget()
    n, found = 300, 0
    terms: list[Structure] = []
    while not terms or not terms[0].is_dense:
        accumulate(terms, shifted(n, found))
        found += 1
    entries = [n - k for k in range(found)]
    assert len(terms) == 1
    assert 3 * sum(entries[:-1]) < n * n <= 3 * sum(entries)


def test_few_long_diagonals_stay_separate_terms() -> None:
    terms: list[Structure] = []
    for k in range(8):
        accumulate(terms, shifted(1000, k))
    assert len(terms) == 8
