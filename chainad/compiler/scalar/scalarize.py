"""Scalarizes recordings: the computational graph of their scalars, with local derivatives.

The recorded calls run again, on symbolic arrays; so do the formulas of the local Jacobians. Every
entry of an array is a vertex, and equal entries are one vertex: common subexpressions are gone
before anything is planned, and so are functions that only move entries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np

from chainad.compiler.linearize import Linearized
from chainad.compiler.recording.arguments import ArgumentSpec, ArraySpec, ContainerSpec, ScalarSpec
from chainad.compiler.recording.recording import Recording
from chainad.compiler.scalar.symbolic_array import SymbolicArray, as_objects
from chainad.frontends.numpy.recorder import gradient_stopped
from chainad.ir.calls import Call, Guard
from chainad.ir.graph import Origin
from chainad.ir.program import Build, Instruction, Program
from chainad.ir.scalar_graph import STRUCTURAL_ZERO, ExpressionDAG, NodeId, NotScalarError
from chainad.planning.linear_graph import Edge, LinearGraph, on_paths
from chainad.planning.orders import Vertex
from chainad.structure import Ops, arrange, dense
from chainad.structure.linear_operators import RunningSum
from chainad.structure.structure import Structure

# For more, operations on whole arrays are the better form.
MAX_SCALARS = 20_000


@dataclass(frozen=True)
class ScalarGraph:
    """The computational graph of a function's scalars: their values and local derivatives.

    Attributes
    ----------
    dag : ExpressionDAG
        The expressions of all values and local derivatives.
    variables : tuple of int
        The size of every data argument.
    values : tuple of tuples of int
        The nodes of every output.
    guard : int
        The node that tells whether every guard holds: all that was concretized is as it was.
    linear : LinearGraph
        A vertex for every scalar on a path from an input to an output: the inputs are the entries
        of all arguments to differentiate by, the outputs those of all outputs, in order.
    locals : tuple of int
        The node of the local derivative on every edge.
    arrays : tuple of int
        Of which vertex of the graph of arrays every vertex is an entry.
    """

    dag: ExpressionDAG
    variables: tuple[int, ...]
    values: tuple[tuple[NodeId, ...], ...]
    guard: NodeId
    linear: LinearGraph
    locals: tuple[NodeId, ...]
    arrays: tuple[Vertex, ...]

    def with_origins(self, origins: Mapping[Vertex, Origin]) -> LinearGraph:
        """Return `linear`; its scalars are from where the arrays are that they are entries of."""
        first: dict[Vertex, Vertex] = {}
        found = []
        for edge in self.linear.edges:
            array = self.arrays[edge.head]
            origin, is_first = origins[array], first.setdefault(array, edge.head) == edge.head
            if origin.site is not None and not is_first:  # one call made all entries
                origin = replace(origin, site=replace(origin.site, instruction=None))
            found.append(origin)
        return replace(self.linear, origins=tuple(found))


def scalar_graph(
    recording: Recording,
    linearized: Linearized,
    nodes: Sequence[int | None],
    build: Build,
    max_operations: float = inf,
) -> ScalarGraph:
    """Return the computational graph of the scalars of a recording.

    Parameters
    ----------
    recording : Recording
    linearized : Linearized
        The graph of the recorded function.
    nodes : sequence
        For every call of that function, the register of its value, None if it was not recorded.
    build : callable
        Makes what runs ops on symbolic arrays, which NumPy dispatches to.
    max_operations : int, optional
        Limits the values and the local Jacobians.

    Raises
    ------
    NotScalarError
        If it is too large for that, or calls a function that has no scalar form.
    """
    dag = ExpressionDAG(max_operations)
    arguments = data_arguments(recording)
    _check(recording, arguments)
    values = _symbolic_values(recording, arguments, dag)
    vertices = _Vertices(linearized, [None if k is None else values[k] for k in nodes])
    edges: list[tuple[Vertex, Vertex, NodeId]] = []
    edges_with_slots = zip(linearized.graph.edges, linearized.recipes, recording.slots, strict=True)
    for edge, recipe, slot in edges_with_slots:
        if recipe.formula is not None and slot is None:  # no output depends on it
            continue
        array = None if slot is None else values[slot]
        heads, tails = vertices.of(edge.head), vertices.of(edge.tail)
        for row, col, number in _entries(dag, edge.structure, recipe.ops, array, build):
            head, tail = heads[row], tails[col]
            is_owned = vertices.owner[head] == (edge.head, row)
            if is_owned and head != tail and number != STRUCTURAL_ZERO:
                edges.append((tail, head, number))
        dag.check()
    linear, locals_, kept = _linear_graph(dag, vertices, linearized.graph, edges)
    return ScalarGraph(
        dag,
        tuple(int(np.prod(argument.shape, dtype=int)) for argument in arguments.values()),
        tuple(_nodes(dag, values[k]) for k in recording.values),
        _guards(dag, recording, values),
        linear,
        locals_,
        tuple(vertices.owner[v][0] for v in kept),
    )


@dataclass(frozen=True)
class DataArgument:
    """An argument, or an array inside one, whose values are read at every call."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_c_contiguous: bool


def data_arguments(recording: Recording) -> dict[int, DataArgument]:
    """Return the data arguments of a recording, by number."""
    found: dict[int, DataArgument] = {}

    def visit(argument: ArgumentSpec) -> None:
        if isinstance(argument, ArraySpec):
            found[argument.number] = DataArgument(
                argument.shape, argument.dtype, argument.is_c_contiguous
            )
        elif isinstance(argument, ScalarSpec):
            found[argument.number] = DataArgument((), np.dtype(argument.kind), True)
        elif isinstance(argument, ContainerSpec):
            for _, item in argument.items:
                visit(item)

    for argument in recording.arguments:
        visit(argument)
    return dict(sorted(found.items()))


def _check(recording: Recording, arguments: Mapping[int, DataArgument]) -> None:
    """Raise NotScalarError for scalars of several dtypes, and for too many of them."""
    dtypes = {argument.dtype for argument in arguments.values()}
    dtypes |= {call.dtype for call in recording.calls if call.dtype and call.dtype.kind in "fc"}
    if len(dtypes) != 1 or next(iter(dtypes)).kind != "f":
        raise NotScalarError("the arrays are of several dtypes")
    total = sum(int(np.prod(call.shape, dtype=int)) for call in recording.calls)
    if total > MAX_SCALARS:
        raise NotScalarError(f"there are more than {MAX_SCALARS} scalars")


def _symbolic_values(
    recording: Recording,
    arguments: Mapping[int, DataArgument],
    dag: ExpressionDAG,
) -> dict[int, Any]:
    """Return the value of every call: a symbolic array, or a constant."""
    values: dict[int, Any] = dict(recording.program.constants)
    count = 0
    for number, argument in arguments.items():
        size = int(np.prod(argument.shape, dtype=int))
        data = np.empty(size, object)
        data[:] = [dag.variable(count + n) for n in range(size)]
        count += size
        values[number] = SymbolicArray(dag, data.reshape(argument.shape), argument.dtype)
    with np.errstate(all="ignore"):
        for i in recording.program.instructions:
            if not isinstance(i.op, Call):
                continue
            dag.shares_reciprocals = i.output >= recording.first_formula
            values[i.output] = found = _called(i.op, [values[k] for k in i.inputs])
            if np.shape(found) != i.op.shape:
                raise NotScalarError(f"the shape of {i.op.name} depends on values")
            dag.check()
    return values


def _called(call: Call, inputs: Sequence[Any]) -> Any:
    function = call.function
    if function is gradient_stopped and isinstance(inputs[0], SymbolicArray):
        return inputs[0].stopped()
    return call(*inputs)


def _nodes(dag: ExpressionDAG, value: Any) -> tuple[NodeId, ...]:
    data = value.data if isinstance(value, SymbolicArray) else as_objects(dag, value)
    return tuple(x.node for x in data.ravel().tolist())


def _guards(dag: ExpressionDAG, recording: Recording, values: Mapping[int, Any]) -> NodeId:
    """Return the node that tells whether all guards hold."""
    holds = dag.constant(True)
    for i in recording.program.instructions:
        if not isinstance(i.op, Guard) or i.op.kind == "shape":
            continue
        value, guard = values[i.inputs[0]], i.op
        if not isinstance(value, SymbolicArray):
            continue
        found = [guard.found] if guard.kind == "truth" else np.ravel(guard.found).tolist()
        for node, wanted in zip(value.nodes, found, strict=True):
            as_before = _is_same(dag, node, wanted, guard.kind == "truth")
            holds = dag.apply(np.logical_and, holds, as_before)
    return holds


def _is_same(dag: ExpressionDAG, node: NodeId, wanted: Any, as_truth: bool) -> NodeId:
    """Return the node that tells whether a value is the same: nan is nan, 0.0 is not -0.0."""
    if as_truth and not dag.is_boolean(node):
        node = dag.apply(np.not_equal, node, dag.constant(0.0))
    if dag.is_boolean(node):
        return node if wanted else dag.apply(np.logical_not, node)
    if wanted != wanted:  # noqa: PLR0124
        return dag.apply(np.isnan, node)
    equal = dag.apply(np.equal, node, dag.constant(wanted))
    if wanted != 0:
        return equal
    sign = dag.apply(np.signbit, node)
    if not np.signbit(wanted):
        sign = dag.apply(np.logical_not, sign)
    return dag.apply(np.logical_and, equal, sign)


class _Vertices:
    """The scalar vertices of the arrays that are the vertices of a linear graph.

    Entries with the same node are one vertex; `owner` is the array and the position where it is
    first, whose edges are taken.
    """

    def __init__(self, linearized: Linearized, values: list[Any]) -> None:
        self.owner: dict[Vertex, tuple[int, int]] = {}
        self._of: list[list[Vertex]] = []
        known: dict[NodeId, Vertex] = {}
        graph = linearized.graph
        for v, node in enumerate(linearized.nodes):
            value = None if node is None or v in graph.outputs else values[node]
            nodes: list[NodeId | None] = [None] * graph.size(v)
            if isinstance(value, SymbolicArray):
                nodes = [*value.nodes]
            self._of.append([self._vertex(known, (v, n), k) for n, k in enumerate(nodes)])

    def _vertex(
        self, known: dict[NodeId, Vertex], owner: tuple[int, int], node: NodeId | None
    ) -> Vertex:
        if node is not None and node in known:
            return known[node]
        vertex = len(self.owner)
        self.owner[vertex] = owner
        if node is not None:
            known[node] = vertex
        return vertex

    def of(self, array: int) -> list[Vertex]:
        return self._of[array]


def _linear_graph(
    dag: ExpressionDAG,
    vertices: _Vertices,
    arrays: LinearGraph,
    edges: Sequence[tuple[Vertex, Vertex, NodeId]],
) -> tuple[LinearGraph, tuple[NodeId, ...], list[Vertex]]:
    """Return the linear graph of scalars, its local derivatives, and which vertices these are."""
    inputs = [v for k in arrays.inputs for v in vertices.of(k)]
    outputs = [v for k in arrays.outputs for v in vertices.of(k)]
    edges = sorted(edges, key=lambda edge: edge[1])  # heads ascend
    live = [edges[k] for k in on_paths([edge[:2] for edge in edges], inputs, outputs)]
    kept = sorted({*inputs, *outputs, *(v for tail, head, _ in live for v in (tail, head))})
    number = {v: k for k, v in enumerate(kept)}
    names = {number[v]: f"x[{k}]" for k, v in enumerate(inputs)}
    names |= {number[v]: f"y[{k}]" for k, v in enumerate(outputs)}
    linear = LinearGraph(
        ((),) * len(kept),
        tuple(number[v] for v in inputs),
        tuple(number[v] for v in outputs),
        tuple(Edge(number[u], number[w], _structure(dag, local)) for u, w, local in live),
        names=tuple(names.get(k, f"v{k}") for k in range(len(kept))),
    )
    return linear, tuple(local for _, _, local in live), kept


def _structure(dag: ExpressionDAG, local: NodeId) -> Structure:
    """Return the structure of a local derivative: a constant, or a scalar."""
    if dag.is_constant(local):
        return arrange([], [], {}, scale=dag.values[local]).structure
    return dense((), ())


def _entries(
    dag: ExpressionDAG, structure: Structure, ops: Ops, array: Any, build: Build
) -> list[tuple[int, int, NodeId]]:
    """Return row, column and node of every entry of a local Jacobian."""
    rows, cols = structure.entries()
    if structure.scale is not None:
        nodes = [dag.constant(structure.scale)] * rows.size
        return list(zip(rows.tolist(), cols.tolist(), nodes, strict=True))
    is_running_sum = isinstance(array, RunningSum)
    if structure.action is not None:
        if not is_running_sum:
            raise NotScalarError("an operator has no entries")
        array = array.materialize()
    stored = _stored_array(ops, array, build)
    shape = tuple(n if x in structure.stored else 1 for x, n in enumerate(structure.sizes))
    data = stored.data if isinstance(stored, SymbolicArray) else as_objects(dag, stored)
    entries = np.broadcast_to(data.reshape(shape), structure.sizes).ravel().tolist()
    return [
        (row, col, x.node)
        for row, col, x in zip(rows.tolist(), cols.tolist(), entries, strict=True)
        if not (is_running_sum and dag.values[x.node] == 0)
    ]


def _stored_array(ops: Ops, array: Any, build: Build) -> Any:
    """Bring the array of a rule into the layout that is stored."""
    if not ops:
        return array
    steps = tuple(Instruction(op, (k,), k + 1) for k, op in enumerate(ops))
    return build(Program(1, steps, (len(ops),)))([array])[0]
