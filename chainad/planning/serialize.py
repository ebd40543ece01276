"""Plans as text: the linear graph, the order and what is known of both, as JSON and back.

The text is data and nothing else: reading it runs no code, and whatever does not fit is refused
with a PlanError that names the field. What a text says of costs is not believed: `Plan.from_json`
follows the order anew and compares.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from chainad.errors import PlanError
from chainad.ir.graph import Origin
from chainad.ir.sites import FunctionSource, Site
from chainad.planning.linear_graph import Edge, LinearGraph
from chainad.planning.orders import EdgeElimination, Item, Vertex
from chainad.structure import Sweep
from chainad.structure.structure import Structure
from chainad.structure.to_json import (
    a_flag,
    a_list,
    a_text,
    a_tuple,
    an_integer,
    an_object,
    read_structure,
    refuse,
    short,
    write_structure,
)

if TYPE_CHECKING:
    from chainad.planning.plan import Plan

# The number goes up whenever a field is renamed, added or taken away.
_FORMAT = "chainad plan 4"


@dataclass(frozen=True)
class PlanRecord:
    """What a text says of a plan: the graph is checked, the rest is as it stands there."""

    graph: LinearGraph
    order: tuple[Item, ...]
    requested: str
    planner: str
    optimality: str
    title: str
    itemsize: int
    multiplications: int
    additions: int
    model: str
    cost: int
    sweep: Sweep
    materialized: tuple[int, ...]
    alternatives: tuple[tuple[str, int, int, int], ...]


# -------------------------------------------------------------------- writing


def write(plan: Plan) -> str:
    """Return a plan as JSON, one line per vertex, structure, origin and edge.

    Equal structures, functions and origins are written once and named by their numbers.
    """
    graph = plan.graph
    structures = _Numbered(edge.structure for edge in graph.edges)
    origins = _Numbered(graph.origins)
    every = (each for origin in origins.each for each in origin.of_each_line)
    sources = _Numbered(each.site.function for each in every if each.site)
    names = graph.names or ("",) * len(graph.shapes)
    edges = [[e.tail, e.head, structures.number[e.structure]] for e in graph.edges]
    if graph.origins:
        edges = [[*e, origins.number[o]] for e, o in zip(edges, graph.origins, strict=True)]
    fields: dict[str, Any] = {
        "format": _FORMAT,
        "title": plan.title,
        "requested": plan.requested,
        "planner": plan.planner,
        "optimality": plan.optimality,
        "itemsize": plan.itemsize,
        "multiplications": plan.multiplications,
        "additions": plan.additions,
        "model": plan.model,
        "cost": plan.cost,
        "sweep": plan.sweep,
        "materialized": [*map(int, plan.materialized)],
        "order": [*map(_write_item, plan.order)],
        "inputs": [*graph.inputs],
        "outputs": [*graph.outputs],
        "named": bool(graph.names),
        "symmetric": graph.is_symmetric,
        "alternatives": [
            [a.name, a.multiplications, a.additions, a.cost] for a in plan.alternatives
        ],
        "vertices": [[n, *map(int, shape)] for n, shape in zip(names, graph.shapes, strict=True)],
        "structures": [*map(write_structure, structures.each)],
        "sources": [[s.path, s.file, s.name, s.first, s.last, s.digest] for s in sources.each],
        "origins": [_write_origin(origin, sources.number) for origin in origins.each],
        "edges": edges,
    }
    return text_of(fields)


def text_of(fields: dict[str, Any]) -> str:
    """Return JSON with a line for every field, and for every item of a list of lists or objects."""
    return "{\n" + ",\n".join(f"{_json(k)}: {_lines(v)}" for k, v in fields.items()) + "\n}\n"


class _Numbered:
    """The distinct values of a sequence, and their numbers, by first appearance."""

    def __init__(self, values: Iterable[Any]) -> None:
        self.each = [*dict.fromkeys(values)]
        self.number = {value: k for k, value in enumerate(self.each)}


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


def _lines(value: Any) -> str:
    if not isinstance(value, list) or not value or not isinstance(value[0], (list, dict)):
        return _json(value)
    return "[\n  " + ",\n  ".join(map(_json, value)) + "\n]"


def _write_origin(origin: Origin, number: dict[FunctionSource, int]) -> list[Any]:
    """Return name and calls, function, line, instruction and text if known, then other lines."""
    made, site = [origin.name, origin.calls], origin.site
    if site is not None:
        instruction = -1 if site.instruction is None else site.instruction
        made += [number[site.function], site.line, instruction, site.text]
    return [*made, [_write_origin(each, number) for each in origin.also]] if origin.also else made


def _write_item(item: Item) -> int | list[Any]:
    if isinstance(item, EdgeElimination):
        return [int(item.tail), int(item.head), item.side]
    return int(item)


# -------------------------------------------------------------------- reading

_FIELDS = [
    *(
        "format",
        "title",
        "requested",
        "planner",
        "optimality",
        "itemsize",
        "multiplications",
        "additions",
    ),
    *("model", "cost", "sweep", "materialized"),
    *("order", "inputs", "outputs", "named", "symmetric", "alternatives"),
    *("vertices", "structures", "sources", "origins", "edges"),
]

_Item = TypeVar("_Item")


def read(text: str) -> PlanRecord:
    """Return what a text made by `write` says.

    Raises
    ------
    PlanError
        If the text is not JSON, of another format, or describes no linear graph.
    """
    fields = fields_of(text, _FORMAT, _FIELDS)
    vertices = _each(fields, "vertices", _read_vertex)
    structures = _each(fields, "structures", read_structure)
    sources = _each(fields, "sources", _read_source)
    origins = _each(fields, "origins", lambda value, at: _read_origin(value, at, sources))
    edges = _each(fields, "edges", lambda e, at: _read_edge(e, at, vertices, structures, origins))
    if len({origin is None for _, origin in edges}) > 1:
        refuse("edges", "all with an origin or all without", "some of both")
    graph = LinearGraph(
        shapes=tuple(shape for _, shape in vertices),
        inputs=_ends(fields, "inputs", len(vertices)),
        outputs=_ends(fields, "outputs", len(vertices)),
        edges=tuple(edge for edge, _ in edges),
        origins=tuple(origin for _, origin in edges if origin is not None),
        names=tuple(name for name, _ in vertices) if a_flag(fields["named"], "named") else (),
        is_symmetric=a_flag(fields["symmetric"], "symmetric"),
    )
    _check_ends(graph)
    return PlanRecord(
        graph=graph,
        order=tuple(_each(fields, "order", _read_item)),
        requested=a_text(fields["requested"], "requested"),
        planner=a_text(fields["planner"], "planner"),
        optimality=a_text(fields["optimality"], "optimality"),
        title=a_text(fields["title"], "title"),
        itemsize=an_integer(fields["itemsize"], "itemsize", 1),
        multiplications=an_integer(fields["multiplications"], "multiplications"),
        additions=an_integer(fields["additions"], "additions"),
        model=a_text(fields["model"], "model"),
        cost=an_integer(fields["cost"], "cost"),
        sweep=_sweep(fields["sweep"], "sweep"),
        materialized=tuple(_each(fields, "materialized", an_integer)),
        alternatives=tuple(_each(fields, "alternatives", _read_alternative)),
    )


def fields_of(text: str, wanted: str, keys: Sequence[str]) -> dict[str, Any]:
    """Return the fields of a text of the format `wanted`, which are exactly `keys`."""
    if not isinstance(text, str):
        raise PlanError(
            "Plan.from_json takes the text that plan.to_json() returned, but got"
            f" {type(text).__name__}"
        )
    try:
        found = json.loads(text, object_pairs_hook=_pairs, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise PlanError(
            f"this is not the text of a plan: {error}; write one with plan.to_json()"
        ) from error
    if not isinstance(found, dict) or "format" not in found:
        raise PlanError(
            "this is not the text of a plan: no format is named in it; plan the function anew and"
            " write that plan with plan.to_json()"
        )
    _check_format(found["format"], wanted)
    return an_object(found, "the text", keys)


def _check_format(found: object, wanted: str) -> None:
    """Refuse a text of another kind, or of another version; say what to do."""
    if found == wanted:
        return
    kind, _, version = wanted.rpartition(" ")
    given_kind, _, given = str(found).rpartition(" ")
    if given_kind == kind and given.isdecimal():
        other = "an older" if len(given) <= len(version) and given < version else "a newer"
        raise PlanError(
            f"the plan was saved by {other} version of chainad, in the format {short(found)}, but"
            f" this version reads {wanted!r}; plan the function anew and save it again, or use the"
            " version of chainad that wrote it"
        )
    raise PlanError(
        f"the text is of the format {short(found)}, but {wanted!r} is wanted; plans are read by"
        " Plan.from_json, plans in blocks by ChunkedPlan.from_json"
    )


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _read_vertex(value: Any, at: str) -> tuple[str, tuple[int, ...]]:
    if not isinstance(value, list) or not value:
        refuse(at, "a name and the sizes of its axes", value)
    return a_text(value[0], at), tuple(an_integer(size, at) for size in value[1:])


def _read_item(value: Any, at: str) -> Item:
    if not isinstance(value, list):
        return an_integer(value, at)
    tail, head, side = a_tuple(value, at, 3)
    if side not in ("front", "back"):
        refuse(at, "'front' or 'back'", side)
    return EdgeElimination(an_integer(tail, at), an_integer(head, at), side)


def _read_source(value: Any, at: str) -> FunctionSource:
    *names, first, last, digest = a_tuple(value, at, 6)
    path, file, name = (a_text(text, at) for text in names)
    first = an_integer(first, at)
    last = an_integer(last, at, first)
    return FunctionSource(path, file, name, first, last, a_text(digest, at))


def _read_origin(value: Any, at: str, sources: Sequence[FunctionSource]) -> Origin:
    if not isinstance(value, list) or len(value) not in (2, 3, 6, 7):
        refuse(at, "a name and a number of calls, or these, a function, a line, its text", value)
    name, calls = a_text(value[0], at), an_integer(value[1], at, 0)
    also = a_list(value[-1], at) if len(value) in (3, 7) else []
    others = tuple(_read_origin(each, at, sources) for each in also)
    if len(value) < 6:
        return Origin(name, None, calls, others)
    function = sources[an_integer(value[2], at, 0, len(sources) - 1)]
    line = an_integer(value[3], at, function.first, function.last)
    place = an_integer(value[4], at, -1)
    site = Site(function, line, a_text(value[5], at), None if place < 0 else place)
    return Origin(name, site, calls, others)


def _read_alternative(value: Any, at: str) -> tuple[str, int, int, int]:
    name, multiplications, additions, cost = a_tuple(value, at, 4)
    return (
        a_text(name, at),
        an_integer(multiplications, at),
        an_integer(additions, at),
        an_integer(cost, at),
    )


def _read_edge(
    value: Any,
    at: str,
    vertices: Sequence[tuple[str, tuple[int, ...]]],
    structures: Sequence[Structure],
    origins: Sequence[Origin],
) -> tuple[Edge, Origin | None]:
    tail, head, number, *origin = a_tuple(value, at, 4 if origins else 3)
    head = an_integer(head, at, 1, len(vertices) - 1)
    tail = an_integer(tail, at, 0, head - 1)  # vertices are in topological order
    structure = structures[an_integer(number, at, 0, len(structures) - 1)]
    wanted = vertices[head][1], vertices[tail][1]
    if (structure.row_shape, structure.col_shape) != wanted:
        have = f"one from {structure.col_shape} to {structure.row_shape}"
        refuse(at, f"a Jacobian from {wanted[1]} to {wanted[0]}", have)
    named = [origins[an_integer(k, at, 0, len(origins) - 1)] for k in origin]
    return Edge(tail, head, structure), named[0] if named else None


def _ends(fields: dict[str, Any], name: str, count: int) -> tuple[Vertex, ...]:
    ends = tuple(_each(fields, name, lambda v, at: an_integer(v, at, 0, count - 1)))
    if len(set(ends)) < len(ends):
        refuse(name, "distinct vertices", list(ends))
    return ends


def _check_ends(graph: LinearGraph) -> None:
    """Refuse a graph with an edge into an input or out of an output."""
    inputs, outputs = set(graph.inputs), set(graph.outputs)
    if inputs & outputs:
        refuse("outputs", "vertices that are no inputs", sorted(inputs & outputs))
    for k, edge in enumerate(graph.edges):
        if edge.head in inputs:
            refuse(f"edges[{k}]", "an edge that ends in no input", f"one into {edge.head}")
        if edge.tail in outputs:
            refuse(f"edges[{k}]", "an edge that starts in no output", f"one from {edge.tail}")


def _each(fields: dict[str, Any], name: str, one: Callable[[Any, str], _Item]) -> list[_Item]:
    return [one(item, f"{name}[{k}]") for k, item in enumerate(a_list(fields[name], name))]


def _sweep(value: Any, at: str) -> Sweep:
    if value not in ("", "tangent", "adjoint"):
        refuse(at, '"", "tangent" or "adjoint"', value)
    found: Sweep = value
    return found
