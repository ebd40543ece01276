"""From a traced run to a graph of scalars: a node for every value, a number on every edge.

The recorded calls run again, on symbols; so do the formulas of the local Jacobians. An entry of an
array is a vertex, and equal entries are one vertex, so that common subexpressions are merged before
anything is planned, and what only moves numbers disappears.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainad.algebra import Kernels
from chainad.backends.numpy import build
from chainad.graph import Argument
from chainad.linearize import Linearized
from chainad.operators import RunningSum
from chainad.program import Instruction, Program
from chainad.scalars.symbols import UFUNCS, Symbols, as_objects
from chainad.scalars.table import NotScalarError, Number, Table
from chainad.structure import Structure
from chainad.tracing.tape import Entry, Tape
from chainad.tracing.trace import Run

# Beyond so many numbers, operations on whole arrays are the better form.
MANY = 20_000

Vertex = int


@dataclass(frozen=True)
class ScalarGraph:
    """Values and local Jacobians of single numbers.

    Attributes
    ----------
    table : Table
        The operations, as far as they are written down.
    inputs, outputs : tuple of int
        Vertices: the entries of all inputs, and of all outputs, one after the other. An output is
        a vertex of its own, with no edge out of it.
    values : tuple of int
        For every output, the node of its value.
    edges : tuple of (int, int, int)
        Tail, head and node of the local derivative; parallel edges add up. Tails ascend before
        heads: the numbers of vertices are in topological order.
    """

    table: Table
    inputs: tuple[Vertex, ...]
    outputs: tuple[Vertex, ...]
    values: tuple[Number, ...]
    edges: tuple[tuple[Vertex, Vertex, Number], ...]


def scalar_graph(run: Run, linearized: Linearized) -> ScalarGraph:
    """Write a run down as operations on single numbers.

    Raises
    ------
    NotScalarError
        If it is too large for that, or calls what cannot be written so.
    """
    tape = run.tape
    _check_size(tape)
    table = Table()
    values = rerun(tape, table)
    table.shares_reciprocals = True
    vertices = _Vertices(linearized, values)
    edges = []
    with np.errstate(all="ignore"):
        for edge, recipe in zip(linearized.graph.edges, linearized.recipes, strict=True):
            heads, tails = vertices.of(edge.head), vertices.of(edge.tail)
            entry = tape.entries[recipe.node]
            array = None
            if recipe.formula is not None:
                operands = [_value(values, s, x) for s, x in _operands(entry)]
                array = recipe.formula(values[recipe.node], *operands)
            for row, col, number in _entries(table, edge.structure, recipe.kernels, array):
                head, tail = heads[row], tails[col]
                if vertices.owner[head] == (edge.head, row) and head != tail:
                    edges.append((tail, head, number))
    inputs = tuple(v for k in linearized.graph.inputs for v in vertices.of(k))
    outputs = tuple(v for k in linearized.graph.outputs for v in vertices.of(k))
    return ScalarGraph(table, inputs, outputs, _output_values(run, values, table), tuple(edges))


def _check_size(tape: Tape) -> None:
    total = 0
    for entry in tape.entries:
        if entry.value.dtype != tape.entries[0].value.dtype:
            raise NotScalarError("the values have several dtypes")
        total += int(np.size(entry.value))
    if total > MANY:
        raise NotScalarError(f"there are more than {MANY} numbers")


def rerun(tape: Tape, table: Table) -> list[Any]:
    """Return the value of every entry as symbols, or as it is where it depends on no input."""
    values: list[Any] = []
    count = 0
    for k, entry in enumerate(tape.entries):
        if k < tape.n_inputs:
            size = int(np.size(entry.value))
            items = [table.variable(count + n) for n in range(size)]
            count += size
            data = np.empty(size, object)
            data[:] = items
            symbols = Symbols(table, data.reshape(np.shape(entry.value)), entry.value.dtype)
            values.append(symbols)
        elif all(source is None for source in entry.sources):
            values.append(entry.value)
        else:
            values.append(_called(entry, values))
        assert np.shape(values[-1]) == np.shape(entry.value), entry
    return values


def _called(entry: Entry, values: list[Any]) -> Any:
    function = entry.function
    if isinstance(function, np.ufunc) and function.signature is None and function not in UFUNCS:
        raise NotScalarError(f"np.{function.__name__}")
    operands = [_value(values, s, x) for s, x in _operands(entry)]
    if not any(isinstance(x, Symbols) for x in operands):
        return entry.value
    if entry.template is None:
        return function(*operands)
    args, named = entry.template
    return function(*_filled(args, operands), **_filled(named, operands))


def _operands(entry: Entry) -> list[tuple[int | None, Any]]:
    return list(zip(entry.sources, entry.operands, strict=True))


def _value(values: list[Any], source: int | None, operand: Any) -> Any:
    return operand if source is None else values[source]


def _filled(value: Any, operands: Sequence[Any]) -> Any:
    """Put operands into the places of their Arguments."""
    if isinstance(value, Argument):
        return operands[value.number]
    if isinstance(value, (list, tuple)):
        items = [_filled(item, operands) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, dict):
        return {k: _filled(item, operands) for k, item in value.items()}
    return value


class _Vertices:
    """The scalar vertices behind the vertices of a linear graph.

    Entries with the same node are one vertex; `owner` names the array and the place that it was
    first in, and whose edges count.
    """

    def __init__(self, linearized: Linearized, values: list[Any]) -> None:
        self.owner: dict[Vertex, tuple[int, int]] = {}
        self._of: list[list[Vertex]] = []
        known: dict[Number, Vertex] = {}
        graph = linearized.graph
        for v, node in enumerate(linearized.nodes):
            value = None if node is None or v in graph.outputs else values[node]
            numbers: list[Number | None] = [None] * graph.size(v)
            if isinstance(value, Symbols):
                numbers = [*value.numbers]
            self._of.append([self._vertex(known, (v, n), k) for n, k in enumerate(numbers)])

    def _vertex(
        self, known: dict[Number, Vertex], owner: tuple[int, int], number: Number | None
    ) -> Vertex:
        if number is not None and number in known:
            return known[number]
        vertex = len(self.owner)
        self.owner[vertex] = owner
        if number is not None:
            known[number] = vertex
        return vertex

    def of(self, array: int) -> list[Vertex]:
        return self._of[array]


def _entries(
    table: Table, structure: Structure, kernels: Kernels, array: Any
) -> list[tuple[int, int, Number]]:
    """Return row, column and number of every entry of a local Jacobian."""
    rows, cols = structure.entries()
    if structure.scale is not None:
        numbers = [table.constant(structure.scale)] * rows.size
        return list(zip(rows.tolist(), cols.tolist(), numbers, strict=True))
    is_triangle = isinstance(array, RunningSum)
    if structure.action is not None:
        if not is_triangle:
            raise NotScalarError("an operator has no entries")
        array = array.explicit()
    kept = _arranged(kernels, array)
    shape = tuple(n if x in structure.stored else 1 for x, n in enumerate(structure.sizes))
    data = kept.data if isinstance(kept, Symbols) else as_objects(table, kept)
    spread = np.broadcast_to(data.reshape(shape), structure.sizes).ravel().tolist()
    return [
        (row, col, x.number)
        for row, col, x in zip(rows.tolist(), cols.tolist(), spread, strict=True)
        if not (is_triangle and table.values[x.number] == 0)
    ]


def _arranged(kernels: Kernels, array: Any) -> Any:
    """Bring the array of a rule into the form that is kept."""
    if not kernels:
        return array
    steps = tuple(Instruction(kernel, (k,), k + 1) for k, kernel in enumerate(kernels))
    return build(Program(1, steps, (len(kernels),)))([array])[0]


def _output_values(run: Run, values: list[Any], table: Table) -> tuple[Number, ...]:
    found: list[Number] = []
    for (number, _), value in zip(run.outputs, run.values, strict=True):
        symbols = value if number is None else values[number]
        data = symbols.data if isinstance(symbols, Symbols) else as_objects(table, symbols)
        found += [x.number for x in np.asarray(data).ravel().tolist()]
    return tuple(found)
