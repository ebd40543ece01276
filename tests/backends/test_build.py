"""Programs as functions: interpreted at first, compiled when they have run often."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainad.backends.namespace import Namespace
from chainad.backends.numpy import build as module
from chainad.backends.numpy.build import MAX_INTERPRETED_RUNS, build, compiled
from chainad.compiler.lower import lower
from chainad.ir.program import Program, Runner
from chainad.planning.plan import follow
from chainad.testing import random_entries, random_graph


@given(st.randoms(use_true_random=False))
def test_interpreted_runs_give_what_compiled_ones_give(rng: Random) -> None:
    graph, slots = random_graph(rng, rng.randint(0, 4), n_inputs=2, n_outputs=2)
    order = rng.sample(graph.inner, len(graph.inner))
    program = lower(follow(graph, order), [() for _ in graph.edges]).program
    run, (quicker, _) = build(program), compiled(program, is_traced=False)
    for _ in range(3):
        for one, two in zip(run(slots), quicker(slots), strict=True):
            np.testing.assert_array_equal(one, two)
        slots = [None if a is None else random_entries(rng, a.shape) for a in slots]


def test_source_is_compiled_once_and_only_after_many_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, slots = random_graph(Random(1), 3, n_inputs=1, n_outputs=1)
    run = build(lower(follow(graph, graph.inner), [() for _ in graph.edges]).program)
    texts: list[str] = []

    def counted(program: Program, is_traced: bool) -> tuple[Runner, str]:
        found = compiled(program, is_traced)
        texts.append(found[1])
        return found

    monkeypatch.setattr(module, "compiled", counted)
    for _ in range(MAX_INTERPRETED_RUNS):
        run(slots)
    assert not texts
    for _ in range(3):
        run(slots)
    assert len(texts) == 1


def test_a_function_of_numpy_never_takes_a_name_that_is_taken() -> None:
    names = Namespace(size=3)
    assert names.function(np.tanh) == "tanh"
    for function in (np.size, np.take, np.place):  # sources name others like this
        before = {**names.objects}
        name = names.function(function)
        assert names.objects[name] is function
        assert before.items() <= names.objects.items()
