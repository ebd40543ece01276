"""Structures as JSON and back, and the checks of what a text says; each names its place."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, prod
from typing import Any, NoReturn

import numpy as np

from chainad.errors import PlanError
from chainad.ir.positions import Lattice, Positions, lattice, positions
from chainad.structure.structure import Action, Axis, Structure

# No axis has more places than NumPy can count.
_MAX_PLACES = 2**62


def write_structure(structure: Structure) -> dict[str, Any]:
    """Return a structure as what JSON can hold."""
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
        action = structure.action
        written["action"] = [action.tangent, action.adjoint, action.stored, action.is_triangular]
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


def read_structure(value: Any, at: str) -> Structure:
    """Return the structure that `write_structure` wrote; refuse what describes none."""
    kept = "scale" if isinstance(value, dict) and "scale" in value else "stored"
    optional = ["action"] if isinstance(value, dict) and "action" in value else []
    found = an_object(value, at, ["rows", "cols", "sizes", kept, *optional])
    sizes = tuple(an_integer(size, f"{at}.sizes") for size in a_list(found["sizes"], at))
    rows, cols = (
        tuple(_read_axis(axis, f"{at}.{side}", sizes) for axis in a_list(found[side], at))
        for side in ("rows", "cols")
    )
    used = {label for axis in (*rows, *cols) for label in axis.labels}
    if used != set(range(len(sizes))):
        refuse(at, f"{len(sizes)} labels, each of them on some axis", sorted(used))
    scale = None
    stored: tuple[int, ...] = ()
    if kept == "scale":
        scale = _number(found["scale"], f"{at}.scale")
    else:
        stored = tuple(_label(x, f"{at}.stored", sizes) for x in a_list(found["stored"], at))
    if list(stored) != sorted(set(stored)):
        refuse(f"{at}.stored", "ascending labels", list(stored))
    if not optional:
        return Structure(rows, cols, stored, sizes, scale)
    tangent, adjoint, held, is_triangular = a_tuple(found["action"], f"{at}.action", 4)
    if tangent is None and adjoint is None:
        refuse(f"{at}.action", "a cost of one direction at least", [None, None])
    if not isinstance(is_triangular, bool):
        refuse(f"{at}.action", "whether it is triangular", is_triangular)
    counts = [_count_or_none(x, f"{at}.action") for x in (tangent, adjoint, held)]
    action = Action(counts[0], counts[1], counts[2], is_triangular)
    if scale is not None:
        refuse(at, "an operator that stores labels", f"the scale {scale}")
    return Structure(rows, cols, stored, sizes, None, action)


def _read_axis(value: Any, at: str, sizes: Sequence[int]) -> Axis:
    if not isinstance(value, list) or len(value) not in (2, 3):
        refuse(at, "a size, labels and maybe positions", value)
    size = an_integer(value[0], at)
    labels = tuple(_label(x, at, sizes) for x in a_list(value[1], at))
    if len(set(labels)) < len(labels):
        refuse(at, "an axis of distinct labels", list(labels))
    where = _read_positions(value[2], at, size) if len(value) == 3 else None
    places = size if where is None else len(where)
    if prod(sizes[label] for label in labels) != places:
        refuse(at, f"labels for {places} places", [sizes[label] for label in labels])
    return Axis(size, labels, where)


def _read_positions(value: Any, at: str, size: int) -> Positions:
    """Return positions that all lie below `size`."""
    if not isinstance(value, dict) or len(value) != 1:
        refuse(at, "positions: a range, a lattice or an index", value)
    ((kind, written),) = value.items()
    where: Positions
    if kind == "range":
        start, step, count = (_place(k, at) for k in a_tuple(written, at, 3))
        if step == 0 or count < 0:
            refuse(at, "start, step other than 0 and count of a range", written)
        where = range(start, start + step * count, step)
        ends = [where[0], where[-1]] if count else []
    elif kind == "lattice":
        first, steps_given, sizes_given = a_tuple(written, at, 3)
        start = _place(first, at)
        steps = tuple(_place(k, at) for k in a_list(steps_given, at))
        sizes = tuple(an_integer(k, at, 1) for k in a_list(sizes_given, at))
        if len(steps) != len(sizes) or 0 in steps or prod(sizes) > _MAX_PLACES:
            refuse(at, "as many steps other than 0 as sizes of a lattice", written)
        where = lattice(start, steps, sizes)
        reach = [step * (n - 1) for step, n in zip(steps, sizes, strict=True)]
        ends = [start + sum(min(0, r) for r in reach), start + sum(max(0, r) for r in reach)]
    elif kind == "index":
        values = [_place(k, at) for k in a_list(written, at)]
        where = positions(np.array(values, np.int64))
        ends = [min(values), max(values)] if values else []
    else:
        refuse(at, "positions: a range, a lattice or an index", kind)
    if any(not 0 <= end < size for end in ends):
        refuse(at, f"places of an axis of size {size}", ends)
    return where


def _count_or_none(value: Any, at: str) -> int | None:
    return None if value is None else an_integer(value, at)


def refuse(at: str, wanted: str, got: Any) -> NoReturn:
    """Raise PlanError: what the text has at this place is not what is wanted."""
    raise PlanError(f"the text of a plan is damaged: {at} must be {wanted}, but got {short(got)}")


def short(value: Any) -> str:
    """Return a value as text that fits into a message."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def an_object(value: Any, at: str, keys: Sequence[str]) -> dict[str, Any]:
    """Return an object that has exactly these keys."""
    if not isinstance(value, dict) or set(value) != set(keys):
        got = f"one with {', '.join(value)}" if isinstance(value, dict) else value
        refuse(at, f"an object with {', '.join(keys)}", got)
    return value


def a_list(value: Any, at: str) -> list[Any]:
    """Return a list."""
    if not isinstance(value, list):
        refuse(at, "a list", value)
    return value


def a_tuple(value: Any, at: str, count: int) -> list[Any]:
    """Return a list of so many items."""
    if not isinstance(value, list) or len(value) != count:
        refuse(at, f"a list of {count}", value)
    return value


def a_text(value: Any, at: str) -> str:
    """Return a text."""
    if not isinstance(value, str):
        refuse(at, "text", value)
    return value


def a_flag(value: Any, at: str) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        refuse(at, "true or false", value)
    return value


def an_integer(value: Any, at: str, least: int = 0, most: int | None = None) -> int:
    """Return an integer in these bounds; true and false are none."""
    if not isinstance(value, int) or isinstance(value, bool):
        refuse(at, "an integer", value)
    if value < least or (most is not None and value > most):
        refuse(at, f"an integer from {least}" + ("" if most is None else f" to {most}"), value)
    return value


def _place(value: Any, at: str) -> int:
    return an_integer(value, at, -_MAX_PLACES, _MAX_PLACES)


def _number(value: Any, at: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not isfinite(value):
        refuse(at, "a finite number", value)
    return value


def _label(value: Any, at: str, sizes: Sequence[int]) -> int:
    return an_integer(value, at, 0, len(sizes) - 1)
