"""Common-subexpression elimination: equal calls become one, in graphs and in programs.

A graph is cleaned before planning, so that what it has twice is one vertex, whose local Jacobians
are made once and whose elimination is paid for once. In a program, formulas of local Jacobians
reuse what the function has computed (the slope of a sine is a cosine), and inputs may turn out to
hold the very same array.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable
from dataclasses import replace

import numpy as np

from chainad.ir.graph import Argument, Graph, Node, freeze
from chainad.ir.operators import COMMUTATIVE
from chainad.ir.program import Instruction
from chainad.ir.value_numbers import ValueNumbers

_PURE_LIBRARIES = ("numpy", "scipy", "chainad")


# --------------------------------------------------------------------- graphs


def eliminate_common_calls(graph: Graph) -> Graph:
    """Return a graph in which the later of two equal calls is not used any more.

    Only calls whose operands all depend on the inputs are compared, since a graph knows no array
    elements; and only functions of NumPy, SciPy and chainad, which give the same result twice.
    Calls keep their numbers, so that the tape still has the values of those that are used.
    """
    numbers = ValueNumbers()
    nodes = list(graph.nodes)
    for k in range(graph.n_inputs, len(nodes)):
        node = nodes[k]
        sources = tuple(None if s is None else numbers[s] for s in node.sources)
        if sources != node.sources:
            nodes[k] = node = node._replace(sources=sources)
        numbers[k] = numbers.first(_key_of_node(node), k)
    outputs = tuple(None if k is None else numbers[k] for k in graph.outputs)
    return replace(graph, nodes=tuple(nodes), outputs=outputs)


def _key_of_node(node: Node) -> Hashable | None:
    """Return what equal calls have in common; None for a call that is never eliminated."""
    if not node.sources or None in node.sources or not _is_pure(node):
        return None
    sources: tuple[int | None, ...] = node.sources
    if node.function in COMMUTATIVE and not node.kwargs and len(node.args) == 2:
        one, two = node.args
        if isinstance(one, Argument) and isinstance(two, Argument):
            sources = tuple(sorted(s for s in sources if s is not None))
            if (one.shape, one.dtype) != (two.shape, two.dtype) and sources != node.sources:
                return None
    if node.is_alone:  # equal arguments are the very same
        return (node.function, id(node.args), sources, node.shape, node.dtype)
    try:
        return (
            node.function,
            freeze(node.args),
            freeze(node.kwargs),
            sources,
            node.shape,
            node.dtype,
        )
    except TypeError:  # an argument that cannot be compared
        return None


def _is_pure(node: Node) -> bool:
    if isinstance(node.function, np.ufunc):
        return True
    module = getattr(node.function, "__module__", None) or ""
    return module.partition(".")[0] in _PURE_LIBRARIES


# ------------------------------------------------------------------- programs


def eliminate_common_instructions(
    instructions: Iterable[Instruction], kept: Container[int], numbers: ValueNumbers
) -> list[Instruction]:
    """Return instructions without those whose result is known already, except what makes `kept`.

    `numbers` gets the register that stands for each one that is not written any more.
    """
    found: list[Instruction] = []
    for i in instructions:
        inputs = tuple(numbers[k] for k in i.inputs)
        first = numbers.first(i.op.value_key(inputs), i.output)
        if first != i.output and i.output not in kept:
            numbers[i.output] = first
            continue
        found.append(i if inputs == i.inputs else Instruction(i.op, inputs, i.output))
    return found
