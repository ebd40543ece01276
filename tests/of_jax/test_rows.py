"""Movements at known indices have structures: no number is multiplied, nothing is an operator."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="needs the extra jax")

import jax.numpy as jnp
from jax_functions import CASES

import chainad.jax as cj

MOVEMENTS = [
    "at_set", "at_set_both", "at_add_again", "dynupd", "segsum", "split", "stack", "stack_columns",
    "concat", "roll", "slice", "gather",
]  # fmt: skip


@pytest.mark.parametrize("name", MOVEMENTS)
def test_a_movement_at_known_indices_is_no_operator(name):
    f, x = CASES[name]
    made = cj.plan(f, x, mode="hybrid", cost="multiplications")
    assert not any(edge.structure.action for edge in made.graph.edges)


def test_moving_entries_multiplies_nothing():
    def f(x):
        return jnp.stack(jnp.split(jnp.zeros(9).at[np.array([1, 1, 4])].add(x), 3))

    assert cj.plan(f, jnp.ones(3), mode="hybrid", cost="multiplications").multiplications == 0


@pytest.mark.parametrize(
    ("name", "batch"),
    [("cumsum_rows", 5), ("cumsum_columns", 3), ("triangular", 3), ("conv_batch", 3)],
)
def test_operators_are_tied_along_a_batch(name, batch):
    f, x = CASES[name]
    graph = cj.plan(f, x, mode="hybrid", cost="multiplications").graph
    (found,) = (edge.structure for edge in graph.edges if edge.structure.action)
    assert [found.sizes[label] for label in found.sides[0]] == [batch]
