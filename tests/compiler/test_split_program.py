"""Splitting: a program cut into sections that do the same one after the other."""

from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import chainad
from chainad.compiler.lower import lower
from chainad.compiler.split_program import split
from chainad.planning.auto import make_plan
from chainad.testing import random_graph, run_program


@given(st.randoms(use_true_random=False))
def test_sections_do_what_the_program_does(rng: Random) -> None:
    graph, numbers = random_graph(rng, rng.randint(0, 4), n_outputs=rng.randint(1, 2))
    plan = make_plan(graph)
    lowered = lower(plan, [()] * len(graph.edges))
    sections = split(lowered.program, lowered.ends)
    assert len(sections) == len(plan.steps) + 2
    assert sum(len(s.program.instructions) for s in sections) == lowered.program.array_calls
    registers = {k: numbers[k] for k in lowered.program.used_slots}
    for section in sections:
        section.program.check()
        found = run_program(section.program, [registers[k] for k in section.reads])
        registers |= zip(section.writes, found, strict=True)
        for k in section.over:
            del registers[k]
    wanted = run_program(lowered.program, numbers)
    for register, want in zip(lowered.program.outputs, wanted, strict=True):
        if register is not None:
            np.testing.assert_array_equal(registers[register], want)


def test_sections_that_do_the_same_are_equal_programs() -> None:
    plan = chainad.plan_chain([4, 4, 4, 4, 4], mode="forward")
    lowered = lower(plan, [()] * 4)
    first, second, third = [s.program for s in split(lowered.program, lowered.ends)[1:-1]]
    assert first == second == third
