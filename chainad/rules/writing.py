"""Functions that write into their first argument, each as an assignment to its entries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainad.ir.array_functions import segment_sum
from chainad.ir.positions import Integers, coordinates, positions
from chainad.rules.base import REFUSED, WRITERS
from chainad.rules.movement import set_items


def writer(
    function: Callable[..., Any], instead: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register the decorated assignment; `instead`: what to do where an array cannot be written."""

    def register(assignment: Callable[..., None]) -> Callable[..., None]:
        WRITERS[function] = assignment
        REFUSED[function] = f"np.{function.__name__} writes into an array; {instead}"
        return assignment

    return register


@writer(np.copyto, "use the value itself, or np.where")
def _copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    dst[...] = src if where is True else np.where(where, src, dst)


@writer(np.put, "build the result with np.where or np.concatenate")
def _put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    places = np.arange(a.size).take(np.ravel(ind), mode=mode)  # type: ignore[call-overload]
    a[coordinates(places, a.shape)] = np.resize(v, places.shape)


@writer(np.putmask, "use np.where")
def _putmask(a: Any, mask: Any, values: Any) -> None:
    a[...] = np.where(mask, np.resize(values, a.shape), a)


@writer(np.place, "use np.where")
def _place(arr: Any, mask: Any, vals: Any) -> None:
    mask = np.asarray(mask, bool).reshape(arr.shape)
    arr[mask] = np.resize(vals, (int(mask.sum()),))


@writer(np.put_along_axis, "use np.where")
def _put_along_axis(arr: Any, indices: Any, values: Any, axis: Any = -1) -> None:
    numbers = np.arange(arr.size).reshape(arr.shape)
    if axis is None:
        numbers, axis = numbers.ravel(), 0
    places = np.take_along_axis(numbers, np.asarray(indices), axis)
    arr[coordinates(places, arr.shape)] = values


@writer(np.fill_diagonal, "add np.diag(...) instead")
def _fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    numbers = np.arange(a.size).reshape(a.shape)
    marked = np.zeros(a.shape, bool)
    np.fill_diagonal(marked, True, wrap)
    places = numbers[marked]
    a[coordinates(places, a.shape)] = np.resize(val, places.shape)


def write_at(ufunc: np.ufunc, target: Any, key: Any, *values: Any) -> None:
    """Do what `ufunc.at(target, key, *values)` does: entries named twice change twice."""
    places = np.arange(target.size).reshape(target.shape)[key]
    flat = np.ravel(places)
    if np.unique(flat).size == flat.size:
        target[key] = ufunc(target[key], *values)
        return
    spread = [np.reshape(np.broadcast_to(x, places.shape), -1) for x in values]
    if ufunc in (np.add, np.subtract):
        total = segment_sum(spread[0], 0, positions(flat), target.size)
        target[...] = ufunc(target, np.reshape(total, target.shape))
        return
    for turn in _turns(flat):
        at = coordinates(flat[turn], target.shape)
        target[at] = ufunc(target[at], *(x[turn] for x in spread))


def _turns(places: Integers) -> list[Integers]:
    """Return where places are named for the first time, for the second, and so on."""
    order = np.argsort(places, kind="stable")
    starts = np.searchsorted(places[order], places[order])
    turns = np.arange(places.size) - starts
    return [np.sort(order[turns == turn]) for turn in range(turns.max(initial=-1) + 1)]


def written_where(ufunc: np.ufunc, args: Sequence[Any], where: Any, out: Any = None) -> Any:
    """Return what `ufunc(*args, out=out, where=where)` leaves in `out`.

    Without `out`, what is not computed is nan: in NumPy it is whatever memory held.
    """
    arrays = (where, *args) if out is None else (where, *args, out)
    shape = np.broadcast_shapes(*map(np.shape, arrays))
    selected = np.broadcast_to(where, shape)
    y = ufunc(*(np.broadcast_to(x, shape)[selected] for x in args))
    return set_items(np.full(shape, np.nan, y.dtype) if out is None else out, (selected,), [y])
