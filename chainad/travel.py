"""Plans as text: the linear graph, the order and what is known of both, as JSON and back.

The text is data and nothing else: reading it runs no code, and whatever does not fit is refused
with a PlanError that names the place. What a text says of prices is not believed: `Plan.from_json`
follows the order anew and compares.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import isfinite, prod
from typing import Any, NoReturn, Protocol, TypeVar

import numpy as np

from chainad.algebra import Sweep
from chainad.errors import PlanError
from chainad.graph import Site
from chainad.linear import Edge, LinearGraph, Origin, Vertex
from chainad.pattern import Lattice, Positions, lattice, positions
from chainad.structure import Action, Axis, Structure

FORMAT = "chainad plan 1"

# No axis has more places than NumPy can count.
LARGEST = 2**62


class Portable(Protocol):
    """What is written of a plan."""

    @property
    def graph(self) -> LinearGraph: ...
    @property
    def order(self) -> Sequence[Vertex]: ...
    @property
    def asked(self) -> str: ...
    @property
    def planner(self) -> str: ...
    @property
    def proof(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def itemsize(self) -> int: ...
    @property
    def multiplications(self) -> int: ...
    @property
    def additions(self) -> int: ...
    @property
    def model(self) -> str: ...
    @property
    def price(self) -> int: ...
    @property
    def sweep(self) -> str: ...
    @property
    def explicit(self) -> Sequence[int]: ...
    @property
    def alternatives(self) -> Sequence[PortableAlternative]: ...


class PortableAlternative(Protocol):
    """What is written of an alternative."""

    @property
    def name(self) -> str: ...
    @property
    def multiplications(self) -> int: ...
    @property
    def additions(self) -> int: ...
    @property
    def price(self) -> int: ...


@dataclass(frozen=True)
class Parcel:
    """What a text says of a plan: the graph is checked, the rest is as it stands there."""

    graph: LinearGraph
    order: tuple[Vertex, ...]
    asked: str
    planner: str
    proof: str
    title: str
    itemsize: int
    multiplications: int
    additions: int
    model: str
    price: int
    sweep: Sweep
    explicit: tuple[int, ...]
    alternatives: tuple[tuple[str, int, int, int], ...]


# -------------------------------------------------------------------- writing


def write(plan: Portable) -> str:
    """Return a plan as JSON, one line per vertex, structure, origin and edge.

    Equal structures and origins are written once and named by their numbers.
    """
    graph = plan.graph
    structures = _Numbered(edge.structure for edge in graph.edges)
    origins = _Numbered(graph.origins)
    names = graph.names or ("",) * len(graph.shapes)
    edges = [[e.tail, e.head, structures.number[e.structure]] for e in graph.edges]
    if graph.origins:
        edges = [[*e, origins.number[o]] for e, o in zip(edges, graph.origins, strict=True)]
    fields: dict[str, Any] = {
        "format": FORMAT,
        "title": plan.title,
        "asked": plan.asked,
        "planner": plan.planner,
        "proof": plan.proof,
        "itemsize": plan.itemsize,
        "multiplications": plan.multiplications,
        "additions": plan.additions,
        "model": plan.model,
        "price": plan.price,
        "sweep": plan.sweep,
        "explicit": [*map(int, plan.explicit)],
        "order": [*map(int, plan.order)],
        "inputs": [*graph.inputs],
        "outputs": [*graph.outputs],
        "named": bool(graph.names),
        "alternatives": [
            [a.name, a.multiplications, a.additions, a.price] for a in plan.alternatives
        ],
        "vertices": [[n, *map(int, shape)] for n, shape in zip(names, graph.shapes, strict=True)],
        "structures": [*map(_write_structure, structures.each)],
        "origins": [*map(_write_origin, origins.each)],
        "edges": edges,
    }
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


def _write_structure(structure: Structure) -> dict[str, Any]:
    written: dict[str, Any] = {
        "rows": [*map(_write_axis, structure.rows)],
        "cols": [*map(_write_axis, structure.cols)],
        "sizes": [*map(int, structure.sizes)],
    }
    if structure.scale is None:
        written["stored"] = [*map(int, structure.stored)]
    elif isfinite(structure.scale):
        written["scale"] = structure.scale
    else:
        raise PlanError(f"a plan with the constant {structure.scale} in it cannot be written")
    if structure.action is not None:
        written["action"] = [structure.action.tangent, structure.action.adjoint]
    return written


def _write_axis(axis: Axis) -> list[Any]:
    plain = [int(axis.size), [*map(int, axis.labels)]]
    return plain if axis.positions is None else [*plain, _write_positions(axis.positions)]


def _write_positions(where: Positions) -> dict[str, Any]:
    if isinstance(where, range):
        return {"range": [where.start, where.step, len(where)]}
    if isinstance(where, Lattice):
        return {"lattice": [where.start, [*where.steps], [*where.sizes]]}
    return {"index": where.values.tolist()}


def _write_origin(origin: Origin) -> list[Any]:
    site = origin.site
    return [origin.name] if site is None else [origin.name, site.file, site.line, site.text]


# -------------------------------------------------------------------- reading

FIELDS = [
    *("format", "title", "asked", "planner", "proof", "itemsize", "multiplications", "additions"),
    *("model", "price", "sweep", "explicit"),
    *("order", "inputs", "outputs", "named", "alternatives"),
    *("vertices", "structures", "origins", "edges"),
]

Item = TypeVar("Item")


def read(text: str) -> Parcel:
    """Return what a text made by `write` says.

    Raises
    ------
    PlanError
        If the text is not JSON, of another format, or describes no linear graph.
    """
    fields = _fields(text)
    vertices = _each(fields, "vertices", _read_vertex)
    structures = _each(fields, "structures", _read_structure)
    origins = _each(fields, "origins", _read_origin)
    edges = _each(fields, "edges", lambda e, at: _read_edge(e, at, vertices, structures, origins))
    if len({origin is None for _, origin in edges}) > 1:
        _refuse("edges", "all with an origin or all without", "some of both")
    graph = LinearGraph(
        shapes=tuple(shape for _, shape in vertices),
        inputs=_ends(fields, "inputs", len(vertices)),
        outputs=_ends(fields, "outputs", len(vertices)),
        edges=tuple(edge for edge, _ in edges),
        origins=tuple(origin for _, origin in edges if origin is not None),
        names=tuple(name for name, _ in vertices) if _flag(fields["named"], "named") else (),
    )
    _check_ends(graph)
    return Parcel(
        graph=graph,
        order=tuple(_each(fields, "order", _integer)),
        asked=_text(fields["asked"], "asked"),
        planner=_text(fields["planner"], "planner"),
        proof=_text(fields["proof"], "proof"),
        title=_text(fields["title"], "title"),
        itemsize=_integer(fields["itemsize"], "itemsize", 1),
        multiplications=_integer(fields["multiplications"], "multiplications"),
        additions=_integer(fields["additions"], "additions"),
        model=_text(fields["model"], "model"),
        price=_integer(fields["price"], "price"),
        sweep=_sweep(fields["sweep"], "sweep"),
        explicit=tuple(_each(fields, "explicit", _integer)),
        alternatives=tuple(_each(fields, "alternatives", _read_alternative)),
    )


def _fields(text: str) -> dict[str, Any]:
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
            "this is not the text of a plan: no format is named in it; write one with"
            " plan.to_json()"
        )
    if found["format"] != FORMAT:
        raise PlanError(
            f"the text is of the format {_short(found['format'])}, but this version of chainad"
            f" reads {FORMAT!r}; plan the function again and write that plan"
        )
    return _object(found, "the text", FIELDS)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _read_vertex(value: Any, at: str) -> tuple[str, tuple[int, ...]]:
    if not isinstance(value, list) or not value:
        _refuse(at, "a name and the sizes of its axes", value)
    return _text(value[0], at), tuple(_integer(size, at) for size in value[1:])


def _read_origin(value: Any, at: str) -> Origin:
    if not isinstance(value, list) or len(value) not in (1, 4):
        _refuse(at, "a name, or a name, a file, a line and its text", value)
    name = _text(value[0], at)
    if len(value) == 1:
        return Origin(name)
    return Origin(name, Site(_text(value[1], at), _integer(value[2], at), _text(value[3], at)))


def _read_alternative(value: Any, at: str) -> tuple[str, int, int, int]:
    name, multiplications, additions, price = _tuple(value, at, 4)
    return (
        _text(name, at),
        _integer(multiplications, at),
        _integer(additions, at),
        _integer(price, at),
    )


def _read_edge(
    value: Any,
    at: str,
    vertices: Sequence[tuple[str, tuple[int, ...]]],
    structures: Sequence[Structure],
    origins: Sequence[Origin],
) -> tuple[Edge, Origin | None]:
    tail, head, number, *origin = _tuple(value, at, 4 if origins else 3)
    head = _integer(head, at, 1, len(vertices) - 1)
    tail = _integer(tail, at, 0, head - 1)  # vertices are in topological order
    structure = structures[_integer(number, at, 0, len(structures) - 1)]
    wanted = vertices[head][1], vertices[tail][1]
    if (structure.row_shape, structure.col_shape) != wanted:
        have = f"one from {structure.col_shape} to {structure.row_shape}"
        _refuse(at, f"a Jacobian from {wanted[1]} to {wanted[0]}", have)
    named = [origins[_integer(k, at, 0, len(origins) - 1)] for k in origin]
    return Edge(tail, head, structure), named[0] if named else None


def _ends(fields: dict[str, Any], name: str, count: int) -> tuple[Vertex, ...]:
    ends = tuple(_each(fields, name, lambda v, at: _integer(v, at, 0, count - 1)))
    if len(set(ends)) < len(ends):
        _refuse(name, "distinct vertices", list(ends))
    return ends


def _check_ends(graph: LinearGraph) -> None:
    """Refuse a graph with an edge into an input or out of an output."""
    inputs, outputs = set(graph.inputs), set(graph.outputs)
    if inputs & outputs:
        _refuse("outputs", "vertices that are no inputs", sorted(inputs & outputs))
    for k, edge in enumerate(graph.edges):
        if edge.head in inputs:
            _refuse(f"edges[{k}]", "an edge that ends in no input", f"one into {edge.head}")
        if edge.tail in outputs:
            _refuse(f"edges[{k}]", "an edge that starts in no output", f"one from {edge.tail}")


def _read_structure(value: Any, at: str) -> Structure:
    kept = "scale" if isinstance(value, dict) and "scale" in value else "stored"
    optional = ["action"] if isinstance(value, dict) and "action" in value else []
    found = _object(value, at, ["rows", "cols", "sizes", kept, *optional])
    sizes = tuple(_integer(size, f"{at}.sizes") for size in _list(found["sizes"], at))
    rows, cols = (
        tuple(_read_axis(axis, f"{at}.{side}", sizes) for axis in _list(found[side], at))
        for side in ("rows", "cols")
    )
    used = {label for axis in (*rows, *cols) for label in axis.labels}
    if used != set(range(len(sizes))):
        _refuse(at, f"{len(sizes)} labels that all stand on an axis", sorted(used))
    scale = None
    stored: tuple[int, ...] = ()
    if kept == "scale":
        scale = _number(found["scale"], f"{at}.scale")
    else:
        stored = tuple(_label(x, f"{at}.stored", sizes) for x in _list(found["stored"], at))
    if list(stored) != sorted(set(stored)):
        _refuse(f"{at}.stored", "ascending labels", list(stored))
    if not optional:
        return Structure(rows, cols, stored, sizes, scale)
    tangent, adjoint = _tuple(found["action"], f"{at}.action", 2)
    if tangent is None and adjoint is None:
        _refuse(f"{at}.action", "a price of one direction at least", [None, None])
    action = Action(
        _price_or_none(tangent, f"{at}.action"), _price_or_none(adjoint, f"{at}.action")
    )
    if scale is not None:
        _refuse(at, "an operator that stores labels", f"the scale {scale}")
    return Structure(rows, cols, stored, sizes, None, action)


def _read_axis(value: Any, at: str, sizes: Sequence[int]) -> Axis:
    if not isinstance(value, list) or len(value) not in (2, 3):
        _refuse(at, "a size, labels and maybe positions", value)
    size = _integer(value[0], at)
    labels = tuple(_label(x, at, sizes) for x in _list(value[1], at))
    if len(set(labels)) < len(labels):
        _refuse(at, "an axis spelled by distinct labels", list(labels))
    where = _read_positions(value[2], at, size) if len(value) == 3 else None
    places = size if where is None else len(where)
    if prod(sizes[label] for label in labels) != places:
        _refuse(at, f"labels for {places} places", [sizes[label] for label in labels])
    return Axis(size, labels, where)


def _read_positions(value: Any, at: str, size: int) -> Positions:
    """Return positions that all lie below `size`."""
    if not isinstance(value, dict) or len(value) != 1:
        _refuse(at, "positions: a range, a lattice or an index", value)
    ((kind, spelled),) = value.items()
    where: Positions
    if kind == "range":
        start, step, count = (_place(k, at) for k in _tuple(spelled, at, 3))
        if step == 0 or count < 0:
            _refuse(at, "start, step other than 0 and count of a range", spelled)
        where = range(start, start + step * count, step)
        ends = [where[0], where[-1]] if count else []
    elif kind == "lattice":
        first, steps_given, sizes_given = _tuple(spelled, at, 3)
        start = _place(first, at)
        steps = tuple(_place(k, at) for k in _list(steps_given, at))
        sizes = tuple(_integer(k, at, 1) for k in _list(sizes_given, at))
        if len(steps) != len(sizes) or 0 in steps or prod(sizes) > LARGEST:
            _refuse(at, "as many steps other than 0 as sizes of a lattice", spelled)
        where = lattice(start, steps, sizes)
        reach = [step * (n - 1) for step, n in zip(steps, sizes, strict=True)]
        ends = [start + sum(min(0, r) for r in reach), start + sum(max(0, r) for r in reach)]
    elif kind == "index":
        values = [_place(k, at) for k in _list(spelled, at)]
        where = positions(np.array(values, np.int64))
        ends = [min(values), max(values)] if values else []
    else:
        _refuse(at, "positions: a range, a lattice or an index", kind)
    if any(not 0 <= end < size for end in ends):
        _refuse(at, f"places of an axis of size {size}", ends)
    return where


# ---------------------------------------------------------------- small checks


def _refuse(at: str, wanted: str, got: Any) -> NoReturn:
    raise PlanError(f"the text of a plan is damaged: {at} must be {wanted}, but got {_short(got)}")


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _each(fields: dict[str, Any], name: str, one: Callable[[Any, str], Item]) -> list[Item]:
    return [one(item, f"{name}[{k}]") for k, item in enumerate(_list(fields[name], name))]


def _object(value: Any, at: str, keys: Sequence[str]) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != set(keys):
        got = f"one with {', '.join(value)}" if isinstance(value, dict) else value
        _refuse(at, f"an object with {', '.join(keys)}", got)
    return value


def _list(value: Any, at: str) -> list[Any]:
    if not isinstance(value, list):
        _refuse(at, "a list", value)
    return value


def _tuple(value: Any, at: str, count: int) -> list[Any]:
    if not isinstance(value, list) or len(value) != count:
        _refuse(at, f"a list of {count}", value)
    return value


def _text(value: Any, at: str) -> str:
    if not isinstance(value, str):
        _refuse(at, "text", value)
    return value


def _flag(value: Any, at: str) -> bool:
    if not isinstance(value, bool):
        _refuse(at, "true or false", value)
    return value


def _integer(value: Any, at: str, least: int = 0, most: int | None = None) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        _refuse(at, "an integer", value)
    if value < least or (most is not None and value > most):
        _refuse(at, f"an integer from {least}" + ("" if most is None else f" to {most}"), value)
    return value


def _price_or_none(value: Any, at: str) -> int | None:
    return None if value is None else _integer(value, at)


def _sweep(value: Any, at: str) -> Sweep:
    if value not in ("", "tangent", "adjoint"):
        _refuse(at, '"", "tangent" or "adjoint"', value)
    found: Sweep = value
    return found


def _place(value: Any, at: str) -> int:
    return _integer(value, at, -LARGEST, LARGEST)


def _number(value: Any, at: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not isfinite(value):
        _refuse(at, "a finite number", value)
    return value


def _label(value: Any, at: str, sizes: Sequence[int]) -> int:
    return _integer(value, at, 0, len(sizes) - 1)
