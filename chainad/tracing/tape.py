"""The tape: the numbers of one traced run, beside the graph of what was called on what."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from chainad.graph import Graph, Node, identity
from chainad.linear import Origin
from chainad.rules.base import name_of
from chainad.tracing.sites import RawSite, site_of

_levels = itertools.count()


class Tape:
    """Nodes, their values and their operands' values, in the order they were computed.

    Nested traces have tapes of growing `level`; a value of an outer tape is a plain constant on an
    inner one. `box` makes the traced value of a node. A tape is open while its function runs; a traced value that outlives it is refused.
    """

    def __init__(self, box: Callable[[Any, Tape, int], Any]) -> None:
        self.box = box
        self.level = next(_levels)
        self.is_open = True
        self.nodes: list[Node] = []
        self.values: list[Any] = []
        self.operands: list[tuple[Any, ...]] = []
        self.raw_sites: list[RawSite | None] = []
        self.inputs: list[int] = []
        # Nodes whose values may show the memory of another value.
        self.shared: set[int] = set()
        self._locked: list[np.ndarray[Any, Any]] = []

    def append(self, node: Node, value: Any, operands: tuple[Any, ...], raw: RawSite | None) -> int:
        """Write down one call; return the number of its node."""
        self.nodes.append(node)
        self.values.append(value)
        self.operands.append(operands)
        self.raw_sites.append(raw)
        return len(self.nodes) - 1

    def append_input(self, value: Any) -> int:
        """Write down an input."""
        shape, dtype = np.shape(value), value.dtype
        key = ("input", shape, dtype)
        number = self.append(Node(identity, (), {}, (), shape, dtype, key), value, (), None)
        self.inputs.append(number)
        return number

    def lock(self, array: np.ndarray[Any, Any]) -> None:
        """Make a constant read-only until the derivatives are evaluated.

        Local Jacobians read constants after the function has run; an array that was overwritten
        in between would give wrong numbers.
        """
        owner: Any = array
        while isinstance(owner, np.ndarray):
            if owner.flags.writeable:
                owner.flags.writeable = False
                self._locked.append(owner)
            owner = owner.base

    def unlock(self) -> None:
        """Give locked arrays back as they were."""
        while self._locked:
            self._locked.pop().flags.writeable = True

    def graph(self, n_inputs: int, outputs: list[tuple[int | None, tuple[int, ...]]]) -> Graph:
        """Return the recorded graph, for outputs given as node (or None) and shape."""
        return Graph(
            tuple(self.nodes),
            n_inputs,
            tuple(number for number, _ in outputs),
            tuple(shape for _, shape in outputs),
        )

    def where(self, number: int) -> str:
        """Return the user's file and line of a node, as the beginning of a message."""
        raw = self.raw_sites[number]
        return f"{raw[0].co_filename}:{raw[1]}: " if raw else ""

    def origin(self, number: int) -> Origin:
        """Return what a node is called, and the user's line."""
        return Origin(name_of(self.nodes[number].function), site_of(self.raw_sites[number]))
