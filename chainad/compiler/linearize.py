"""Linearization: from a call graph to a linear graph, with a structure on every edge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, NamedTuple

import numpy as np

from chainad.compiler.complex_lift import lift
from chainad.compiler.cse import eliminate_common_calls
from chainad.compiler.merge_scalars import (
    Blocks,
    blocks_of,
    locals_of_block,
    locals_of_movement,
    moves_many,
    stacked,
)
from chainad.errors import TraceError
from chainad.frontends.numpy.tape import Tape
from chainad.ir.cache import Cache
from chainad.ir.graph import Argument, Graph, Node, Origin, merged_origin
from chainad.planning.linear_graph import Edge, LinearGraph, on_paths
from chainad.rules.base import RULES, Composite, Formula, Local, Rule, arguments_in, name_of
from chainad.rules.primitives import Primitive
from chainad.structure import Ops, identity, selection


class Recipe(NamedTuple):
    """How the entries of one local Jacobian are computed: a formula on a node's values, then ops.

    Of merged calls, these are the nodes, whose values are stacked. Edges that store no entries have
    no formula. `mask` is a formula for where there are exact zeros; None if there are none.
    `is_operator` says that the formula makes no array.
    """

    node: int | tuple[int, ...]
    formula: Formula | None
    ops: Ops
    mask: Formula | None = None
    is_operator: bool = False

    @property
    def first(self) -> int:
        """The node, or the first of several."""
        return self.nodes[0]

    @property
    def nodes(self) -> tuple[int, ...]:
        """The node, or several."""
        return (self.node,) if isinstance(self.node, int) else self.node


@dataclass(frozen=True)
class Linearized:
    """A linear graph, and for every edge the recipe of its entries.

    `nodes` has the call whose value a vertex is, None for an intermediate value (`Composite`).
    """

    graph: LinearGraph
    recipes: tuple[Recipe, ...]
    nodes: tuple[int | None, ...]

    def origins(self, origin: Callable[[int], Origin]) -> tuple[Origin, ...]:
        """Return the origins of the edges, given those of the calls, for print-outs."""
        pairs = zip(self.graph.edges, self.recipes, strict=True)
        return tuple(self._origin(edge, recipe, origin) for edge, recipe in pairs)

    def _origin(self, edge: Edge, recipe: Recipe, origin: Callable[[int], Origin]) -> Origin:
        if self._is_result(edge):
            return Origin("result")
        found = merged_origin(map(origin, recipe.nodes))
        is_between = self.nodes[edge.head] is None and len(recipe.nodes) == 1
        return replace(found, calls=0) if is_between else found

    def _is_result(self, edge: Edge) -> bool:
        """Return whether an edge leads from a value to the result that it is."""
        node = self.nodes[edge.head]
        return node is not None and node == self.nodes[edge.tail]

    @property
    def selections(self) -> frozenset[int]:
        """The edges whose entries may be exact zeros."""
        return frozenset(k for k, recipe in enumerate(self.recipes) if recipe.mask is not None)

    @property
    def masks(self) -> tuple[Recipe, ...]:
        """For every edge the recipe of the mask of its exact zeros."""
        return tuple(Recipe(each.node, each.mask, each.ops) for each in self.recipes)


# A call, or (with a call's number) the intermediate value that its rule introduces.
_DraftVertex = int | tuple[str, int]


class _Draft(NamedTuple):
    """An edge between calls, before these are numbered as vertices; `node` is its call."""

    tail: _DraftVertex
    head: _DraftVertex
    local: Local
    node: int | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Call:
    """The local Jacobians of a call by its operands, given by their numbers.

    With an intermediate value, of the shape `through`, they are those of that value, and `last` is
    the one from there to the result.
    """

    pieces: tuple[tuple[int, Local], ...]
    through: tuple[int, ...] | None = None
    last: Local | None = None


def linear_graph(
    graph: Graph,
    origin: Callable[[int], Origin] | None = None,
    where: Callable[[int], str] = lambda number: "",
    merges: bool = True,
    is_hessian: bool = False,
) -> Linearized:
    """Return the linear graph of a call graph: what is reachable from inputs and reaches outputs.

    Parameters
    ----------
    graph : Graph
    origin : callable, optional
        The origin of a node, for print-outs.
    where : callable, optional
        The user's file and line of a node, for messages.
    merges : bool
        Whether isomorphic calls on scalars may become one vertex.
    is_hessian : bool
        Whether the graph is that of a first derivative: it is symmetric if that is the gradient of
        a number.

    Raises
    ------
    TraceError
        If a call has no derivative that the rules know.
    """
    graph = eliminate_common_calls(graph)
    drafts: list[_Draft] = []
    # A complex value is a vertex with a last axis for real and imaginary part.
    shapes: dict[_DraftVertex, tuple[int, ...]] = {
        k: (*n.shape, 2) if n.dtype.kind == "c" else n.shape for k, n in enumerate(graph.nodes)
    }
    needed = sorted(_needed(graph))
    blocks = blocks_of(graph, needed) if merges else Blocks({}, tuple(needed))
    single: set[int] = set()
    for k in blocks.order:
        if k in blocks.members:
            drafts += _locals_of_block(graph, k, blocks, where, shapes)
        elif blocks.members and moves_many(graph.nodes[k]):
            drafts += [
                _Draft(_block(x.source, blocks), k, x.local, k)
                for x in locals_of_movement(graph, blocks, k)
            ]
        else:
            own = _locals(graph, k, where, shapes)
            tails = dict.fromkeys(draft.tail for draft in own)
            singly = [x for x in tails if isinstance(x, int) and x in blocks.place]
            drafts += [_read_singly(blocks, x) for x in singly if x not in single]
            drafts += own
            single.update(singly)
    ends = [(draft.tail, draft.head) for draft in drafts]
    outputs = [k for k in graph.outputs if k is not None]
    kept = on_paths(ends, range(graph.n_inputs), outputs)
    found = _number(graph, [drafts[k] for k in kept], shapes, origin)
    if not is_hessian or not _is_of_gradient(graph):
        return found
    return replace(found, graph=replace(found.graph, is_symmetric=True))


def _is_of_gradient(graph: Graph) -> bool:
    """Return whether the graph of a first derivative is that of a gradient, of reals of one type.

    What a user gives for the Jacobian of a primitive need not be one: nothing is symmetric there.
    """
    inputs = graph.nodes[: graph.n_inputs]
    return (
        graph.output_shapes == tuple(node.shape for node in inputs)
        and all(node.dtype.kind == "f" and node.dtype == inputs[0].dtype for node in inputs)
        and not any(isinstance(node.function, Primitive) for node in graph.nodes)
    )


def _block(k: int, blocks: Blocks) -> _DraftVertex:
    return ("block", k) if k in blocks.members else k


def _locals_of_block(
    graph: Graph,
    first: int,
    blocks: Blocks,
    where: Callable[[int], str],
    shapes: dict[_DraftVertex, tuple[int, ...]],
) -> list[_Draft]:
    """Return the edges of merged calls."""

    def pieces(node: Node) -> Sequence[tuple[int, Local]]:
        return _call_of(node, lambda: where(first)).pieces

    head: _DraftVertex = ("block", first)
    shapes[head] = blocks.shape(first, ())
    return [
        _Draft(_block(x.source, blocks), head, x.local, x.calls)
        for x in locals_of_block(graph, blocks, first, pieces)
    ]


def _read_singly(blocks: Blocks, k: int) -> _Draft:
    """Return the edge from a block to one of its members that a call outside reads."""
    first, row = blocks.place[k]
    entry = selection(np.array(row), blocks.shape(first, ()))
    return _Draft(("block", first), k, Local(entry, None), k)


def _needed(graph: Graph) -> set[int]:
    """Return the calls that some output depends on."""
    needed: set[int] = set()
    stack = [k for k in graph.outputs if k is not None]
    while stack:
        k = stack.pop()
        if k not in needed and k >= graph.n_inputs:
            needed.add(k)
            stack.extend(s for s in graph.nodes[k].sources if s is not None)
    return needed


_MAX_CACHED_CALLS = 4096

# By rule, shape and dtype of the result, and arguments; rule and arguments by identity, so they are
# kept alive in the entry.
_calls: Cache[tuple[Rule, tuple[Any, ...], _Call]] = Cache(
    _MAX_CACHED_CALLS, "local Jacobians of calls"
)


def _locals(
    graph: Graph,
    k: int,
    where: Callable[[int], str],
    shapes: dict[_DraftVertex, tuple[int, ...]],
) -> list[_Draft]:
    """Return the edges of a call; the shape of an intermediate value is added to `shapes`."""
    node = graph.nodes[k]
    if not any(source is not None for source in node.sources):  # allocated, and never written to
        return []
    call = _call_of(node, lambda: where(k))
    head: _DraftVertex = k
    if call.through is not None:
        head = ("through", k)
        shapes[head] = call.through
    drafts = []
    for x, local in call.pieces:
        source = node.sources[x]
        assert source is not None
        drafts.append(_Draft(source, head, local, k))
    if call.last is not None and drafts:
        drafts.append(_Draft(head, k, call.last, k))
    return drafts


def _call_of(node: Node, where: Callable[[], str]) -> _Call:
    """Return the local Jacobians of a call, made now or before."""
    try:
        if node.is_alone:
            rule = RULES[node.function]
            key = (id(rule), node.shape, node.dtype, id(node.args))
            return _calls.get(key, lambda: (rule, node.args, _call(node)))[-1]
        return _call(node)
    except TraceError as error:
        raise TraceError(f"{where()}{error}") from error
    except (NotImplementedError, TypeError) as error:
        raise TraceError(f"{where()}{name_of(node.function)}: {error}") from error


def _call(node: Node) -> _Call:
    """Return the local Jacobians of a call, with formulas that return its dtype."""
    y = Argument(-1, node.shape, node.dtype, True)
    if not y.size:
        return _Call(())
    row = RULES[node.function]
    found = row.locals(y, *node.args, **node.kwargs)
    locals_ = found.inner if isinstance(found, Composite) else found
    pieces: list[tuple[int, Local]] = []
    for x in arguments_in([*node.args, *node.kwargs.values()]):
        if node.sources[x.number] is None or not x.size:
            continue
        if x not in locals_:
            raise NotImplementedError(
                "an argument depends on the inputs that the rule takes for constant; keep it"
                " constant with chainad.stop_gradient, or write the call in terms of other"
                " functions"
            )
        local = locals_[x]
        of_x = (local,) if isinstance(local, Local) else local or ()
        if row.kind is not None and row.kind.is_selection:
            of_x = tuple(map(_selecting, of_x))
        if y.dtype.kind == "c" or x.dtype.kind == "c":
            of_x = tuple(_lifted(node.function, piece, y, x) for piece in of_x)
        pieces += [
            (x.number, _typed(piece, node.dtype))
            for piece in of_x
            if piece.arrangement.structure.scale != 0
        ]
    if not isinstance(found, Composite):
        return _Call(tuple(pieces))
    through, outer = found.shape, found.outer
    if y.dtype.kind == "c":
        through, outer = (*through, 2), lift(outer, True)
    return _Call(tuple(pieces), through, _typed(outer, node.dtype))


def _typed(local: Local, dtype: np.dtype[Any]) -> Local:
    return Local(local.arrangement, _in_dtype(local.formula, dtype), _in_dtype(local.mask, dtype))


def _selecting(local: Local) -> Local:
    """Return a local Jacobian in which every zero is an exact one."""
    formula = local.formula
    if formula is None:
        return local
    return replace(local, mask=lambda *values: np.where(np.equal(formula(*values), 0), 0.0, 1.0))


def _lifted(function: Callable[..., Any], local: Local, y: Argument, x: Argument) -> Local:
    """Return a local Jacobian between complex values as one between their parts."""
    row = RULES[function]
    if row.has_pairs:
        return local
    if row.kind is None or not row.kind.is_holomorphic or y.dtype.kind != "c":
        raise TraceError(
            f"{name_of(function)} of complex numbers is not differentiated; keep real and imaginary"
            " parts separately"
        )
    return lift(local, x.dtype.kind == "c")


def _number(
    graph: Graph,
    drafts: list[_Draft],
    shape_of: dict[_DraftVertex, tuple[int, ...]],
    origin: Callable[[int], Origin] | None,
) -> Linearized:
    """Number the vertices: inputs, calls in order, and a vertex of its own for every output."""
    calls = [*dict.fromkeys(d.head for d in drafts)]
    tails = {d.tail for d in drafts}
    # A node is its own output vertex if nothing else uses it.
    final = {k for k in graph.outputs if k is not None and k not in tails and k in calls}
    final = {k for k in final if graph.outputs.count(k) == 1}
    vertex: dict[_DraftVertex, int] = {k: k for k in range(graph.n_inputs)}
    vertex |= {k: graph.n_inputs + n for n, k in enumerate(c for c in calls if c not in final)}
    shapes = [shape_of[k] for k in vertex]
    nodes: list[int | None] = [k if isinstance(k, int) else None for k in vertex]
    names = _names("x", graph.n_inputs) + [f"v{v}" for v in list(vertex.values())[graph.n_inputs :]]
    outputs = []
    extra: list[tuple[int, int]] = []
    for k, shape in zip(graph.outputs, graph.output_shapes, strict=True):
        outputs.append(len(shapes))
        nodes.append(k)
        shapes.append(shape)
        if k is not None and k in final:
            vertex[k] = outputs[-1]
        elif k is not None and k in vertex:
            extra.append((k, outputs[-1]))
    names += _names("y", len(outputs))
    edges = [Edge(vertex[d.tail], vertex[d.head], d.local.arrangement.structure) for d in drafts]
    recipes = [_recipe(draft.local, draft.node) for draft in drafts]
    for k, output in extra:
        edges.append(Edge(vertex[k], output, identity(graph.nodes[k].shape)))
        recipes.append(Recipe(k, None, ()))
    linear = LinearGraph(
        tuple(shapes),
        tuple(range(graph.n_inputs)),
        tuple(outputs),
        tuple(edges),
        names=tuple(names),
    )
    found = Linearized(linear, tuple(recipes), tuple(nodes))
    if origin is None:
        return found
    return replace(found, graph=replace(linear, origins=found.origins(origin)))


def _recipe(local: Local, node: int | tuple[int, ...]) -> Recipe:
    arrangement = local.arrangement
    is_operator = arrangement.structure.action is not None
    return Recipe(node, local.formula, arrangement.ops, local.mask, is_operator)


def _in_dtype(formula: Formula | None, dtype: np.dtype[Any]) -> Formula | None:
    """Make a formula return the dtype of its node, so that float32 stays float32."""
    if formula is None:
        return None
    given = formula
    real = np.finfo(dtype).dtype  # the parts of complex values are real

    @wraps(given)
    def typed(*values: Any) -> Any:
        found = given(*values)
        have = getattr(found, "dtype", None)
        if have is None:
            return np.asarray(found, real)
        return found if have is real or have == real else found.astype(real)

    return typed


def _names(letter: str, count: int) -> list[str]:
    return [letter] if count == 1 else [f"{letter}{k}" for k in range(count)]


def evaluate(tape: Tape, recipes: Sequence[Recipe]) -> list[Any]:
    """Return one slot per recipe: an array or NumPy scalar, or None for an edge without entries.

    What NumPy warns of is the caller's affair.
    """
    slots: list[Any] = []
    entries = tape.entries
    for recipe in recipes:
        if recipe.formula is None:
            slots.append(None)
            continue
        if type(recipe.node) is int:  # the usual one
            entry = entries[recipe.node]
            slot = recipe.formula(entry.value, *entry.operands)
        else:
            slot = recipe.formula(*values_of(tape, recipe))
        if not hasattr(slot, "shape"):
            # A constant of the user's, such as the 2.0 in 2.0 * x, may be a Python number.
            slot = tape.entries[recipe.first].value.dtype.type(slot)
        slots.append(slot)
    return slots


def values_of(tape: Tape, recipe: Recipe) -> tuple[Any, ...]:
    """Return what the formula of a recipe takes: the value of its call, then those of operands."""
    node = recipe.node
    if isinstance(node, int):
        entry = tape.entries[node]
        return (entry.value, *entry.operands)
    entries = [tape.entries[k] for k in node]
    columns = zip(*((entry.value, *entry.operands) for entry in entries), strict=True)
    return tuple(stacked(column) for column in columns)
