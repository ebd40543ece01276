"""Merging: calls that compute the same value from the same values become one, before planning.

What is merged has one vertex instead of several, so that its local Jacobians are made once and its
elimination is paid for once. Only calls whose operands all depend on the inputs are compared, since
a graph knows no numbers; and only functions of NumPy, SciPy and chainad, which give the same result
twice.
Source: common subexpressions, Aho, Sethi & Ullman 1986, ch. 9.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

import numpy as np

from chainad.ir.graph import Argument, Graph, Node, freeze

COMMUTING = (np.add, np.multiply)
PURE = ("numpy", "scipy", "chainad")


def merged(graph: Graph) -> Graph:
    """Return a graph in which the later of two equal calls is not used any more.

    Calls keep their numbers, so that the tape still has the values of those that are used.
    """
    first: dict[Hashable, int] = {}
    same = list(range(len(graph.nodes)))
    nodes = list(graph.nodes)
    for k in range(graph.n_inputs, len(nodes)):
        node = nodes[k]
        sources = tuple(None if s is None else same[s] for s in node.sources)
        if sources != node.sources:
            nodes[k] = node = node._replace(sources=sources)
        key = _key(node)
        if key is not None:
            same[k] = first.setdefault(key, k)
    outputs = tuple(None if k is None else same[k] for k in graph.outputs)
    return replace(graph, nodes=tuple(nodes), outputs=outputs)


def _key(node: Node) -> Hashable | None:
    """Return what equal calls have in common; None for a call that is never merged."""
    if not node.sources or None in node.sources or not _is_pure(node):
        return None
    sources: tuple[int | None, ...] = node.sources
    if node.function in COMMUTING and not node.kwargs and len(node.args) == 2:
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
    return module.partition(".")[0] in PURE
