"""Programs on arrays of other libraries: the results of NumPy, by standard calls alone."""

from collections.abc import Callable
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ir.test_ops import EXAMPLES, operands

from chainad.backends.array_api import (
    ArrayLibrary,
    build_for,
    index_add_at,
    index_add_by_method,
    index_add_in_place,
)
from chainad.backends.numpy.build import build
from chainad.compiler.lower import lower
from chainad.ir.op import Op
from chainad.ir.program import Instruction, Program
from chainad.ir.shapes import Shape
from chainad.planning.plan import follow
from chainad.testing import random_graph

# What of the array API standard (2023.12) programs call: no other name is there.
NAMES = """add asarray broadcast_to concat expand_dims float64 matmul multiply negative ones
permute_dims reshape subtract sum take vecdot where zeros"""
STANDARD = SimpleNamespace(**{name: getattr(np, name) for name in NAMES.split()})


def on_numpy() -> ArrayLibrary:
    return ArrayLibrary(STANDARD, index_add_in_place)


def on_jax() -> ArrayLibrary:
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    return ArrayLibrary(jax.numpy, index_add_at)


def on_torch() -> ArrayLibrary:
    return ArrayLibrary(pytest.importorskip("array_api_compat.torch"), index_add_by_method)


libraries = pytest.mark.parametrize("library", [on_numpy, on_jax, on_torch])


def assert_equal(program: Program, slots: list[Any], library: ArrayLibrary) -> None:
    given = [None if a is None else library.xp.asarray(a) for a in slots]
    found = build_for(program, library)(given)
    for one, two in zip(found, build(program)(slots), strict=True):
        if two is None:
            assert one is None
        else:
            np.testing.assert_allclose(np.asarray(one), two, rtol=1e-13, atol=1e-13)


@libraries
@pytest.mark.parametrize(("op", "shapes"), EXAMPLES, ids=str)
def test_every_op_gives_what_the_numpy_backend_gives(
    op: Op, shapes: tuple[Shape, ...], library: Callable[[], ArrayLibrary]
) -> None:
    n = len(shapes)
    program = Program(n, (Instruction(op, tuple(range(n)), n),), (n,))
    assert_equal(program, list(operands(shapes, op)), library())


@libraries
@given(rng=st.randoms(use_true_random=False))
def test_random_programs_give_what_the_numpy_backend_gives(
    rng: Random, library: Callable[[], ArrayLibrary]
) -> None:
    graph, slots = random_graph(rng, rng.randint(0, 4), n_inputs=2, n_outputs=2)
    order = rng.sample(graph.inner, len(graph.inner))
    form = rng.choice(["dense", "sparse", "structured"])
    lowered = lower(follow(graph, order), [() for _ in graph.edges], form)
    assert_equal(lowered.program, list(slots), library())
