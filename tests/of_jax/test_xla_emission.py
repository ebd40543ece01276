"""Programs for XLA: what the NumPy backend gives, without scatters where positions are ranges."""

import pytest

jax = pytest.importorskip("jax", reason="needs the extra jax")

from random import Random

import jax.numpy as jnp
import numpy as np
from ir.test_ops import EXAMPLES, operands

from chainad.backends.array_api import build_for, index_add_at
from chainad.backends.numpy.build import build
from chainad.compiler.lower import lower
from chainad.ir.ops import AddTied, Place
from chainad.ir.program import Instruction, Program
from chainad.jax.xla_emission import XlaLibrary
from chainad.planning.plan import follow
from chainad.testing import random_graph

jax.config.update("jax_enable_x64", True)
LIBRARY = XlaLibrary(jnp, index_add_at)


def program_of(op, count):
    return Program(count, (Instruction(op, tuple(range(count)), count),), (count,))


def assert_equal(program, slots):
    given = [None if a is None else jnp.asarray(a) for a in slots]
    found = build_for(program, LIBRARY)(given)
    for one, two in zip(found, build(program)(slots), strict=True):
        if two is not None:
            np.testing.assert_allclose(np.asarray(one), two, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("op", "shapes"), EXAMPLES, ids=str)
def test_every_op_gives_what_the_numpy_backend_gives(op, shapes):
    assert_equal(program_of(op, len(shapes)), list(operands(shapes, op)))


@pytest.mark.parametrize("ties", [(0, 1, 0), (1, 0, 1), (1, 1, 0), (0, 0, 0), (1, 0, 0)])
def test_tied_additions_are_masks(ties):
    sizes = [3, 2, 4]
    shape = tuple(sizes[tie] for tie in ties)
    y = np.arange(1.0, 1 + np.prod(sizes[: max(ties) + 1])).reshape(sizes[: max(ties) + 1])
    assert_equal(program_of(AddTied(shape, ties), 2), [np.ones(shape), y])


def test_random_programs_give_what_the_numpy_backend_gives():
    for seed in range(20):
        rng = Random(seed)
        graph, slots = random_graph(rng, rng.randint(0, 4), n_inputs=2, n_outputs=2)
        order = rng.sample(graph.inner, len(graph.inner))
        form = rng.choice(["dense", "sparse", "structured"])
        lowered = lower(follow(graph, order), [() for _ in graph.edges], form)
        assert_equal(lowered.program, list(slots))


def test_ranges_are_pads_and_a_program_serves_every_trace():
    run = build_for(program_of(Place(0, range(1, 7, 2), 8), 1), LIBRARY)
    text = str(jax.make_jaxpr(lambda x: run([x]))(jnp.ones(3)))
    assert "pad" in text
    assert "scatter" not in text
    for _ in range(2):
        np.testing.assert_array_equal(jax.jit(lambda x: run([x])[0])(jnp.ones(3))[1::2][:3], 1.0)
