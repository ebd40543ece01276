"""The arguments of a batch: which of them have an axis of points, and what they are at a point."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from chainad.api.options import Options, key_of
from chainad.errors import InputError, TraceError
from chainad.frontends.numpy.trace import Key, argument_leaves, argument_name, holder_of
from chainad.ir import trees
from chainad.ir.source_lines import here
from chainad.ir.trees import Tree

Stack: TypeAlias = npt.NDArray[Any]
# The axis of points of all differentiated arguments, or of each argument; None: points share it.
Batch: TypeAlias = int | Mapping[Key, int | None]
# An array of an argument: which argument, and the number of the array in it.
Place: TypeAlias = tuple[Key, int]

# What to write for lazy arrays.
BY_DASK = "D.map_blocks(J, chunks=(D.chunks[0], m, n), new_axis=2, dtype=float)"
BY_XARRAY = (
    "xarray.apply_ufunc(J, D, input_core_dims=[['x']], output_core_dims=[['y', 'x']],"
    " dask='parallelized', output_dtypes=[float], dask_gufunc_kwargs={'output_sizes': {'y': m}})"
)


@dataclass(frozen=True)
class PointArguments:
    """The arguments of a call for many points.

    Attributes
    ----------
    args, kwargs
        All of them, as they were given.
    stacks : mapping of (argument, number) to array
        What varies, with the axis of points in front.
    trees : mapping of argument to Tree
        How these are arranged in the arguments.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    stacks: Mapping[Place, Stack]
    trees: Mapping[Key, Tree]

    @property
    def count(self) -> int:
        """How many points there are."""
        return len(next(iter(self.stacks.values())))

    def at(self, k: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of one point."""
        return self._with(lambda place: self.stacks[place][k])

    def chosen(self, which: npt.NDArray[np.intp]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of some points, the axis of points in front."""
        return self._with(lambda place: self.stacks[place][which])

    def part(self, which: slice) -> PointArguments:
        """Return the arguments for some points alone."""
        stacks = {place: stack[which] for place, stack in self.stacks.items()}
        return replace(self._blank(), stacks=stacks)

    def first(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of the first point, or ones if there is none."""
        if self.count:
            return self.at(0)
        stacks = self.stacks
        return self._with(lambda at: np.ones(stacks[at].shape[1:], stacks[at].dtype)[()])

    def places(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with the place of each array that varies instead of it."""
        blank = replace(self, args=(None,) * len(self.args), kwargs=dict.fromkeys(self.kwargs))
        return blank._with(lambda place: place)

    def _blank(self) -> PointArguments:
        """Return the same, without the containers of what varies."""
        args, kwargs = list(self.args), dict(self.kwargs)
        for key in self.trees:
            holder_of(key, args, kwargs)[key] = None
        return replace(self, args=tuple(args), kwargs=kwargs)

    def _with(self, function: Callable[[Place], Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with something else for each array that varies, by its place."""
        args, kwargs = list(self.args), dict(self.kwargs)
        for key, tree in self.trees.items():
            leaves = [function((key, n)) for n in range(tree.num_leaves)]
            holder_of(key, args, kwargs)[key] = tree.unflatten(leaves)
        return tuple(args), kwargs


def point_arguments(
    f: Callable[..., Any],
    options: Options,
    batch: Batch,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> PointArguments:
    """Return the arguments of a call for many points, checked.

    Raises
    ------
    InputError
        If there is no such argument or axis, or the arguments have different numbers of points.
    TraceError
        If the points are traced values.
    """
    differentiated = options.selected(f, args, kwargs)
    stacks: dict[Place, Stack] = {}
    found: dict[Key, Tree] = {}
    axes = _axes(f, options, batch, args, kwargs, differentiated)
    for key, axis in axes.items():
        argument = holder_of(key, args, kwargs)[key]
        _check_not_lazy(argument, argument_name(key))
        if key in differentiated:
            leaves, tree = argument_leaves(f, key, argument)
        else:
            leaves, tree = trees.flatten_arrays(argument)
        found[key] = tree
        for n, leaf in enumerate(leaves):
            name = tree.place(n, argument_name(key))
            stacks[key, n] = _stack(_plain(leaf), axis, name)
    counts = {place: len(stack) for place, stack in stacks.items() if axes[place[0]] is not None}
    if not counts:
        raise InputError(f"batch={batch!r} leaves no array with an axis of points")
    if len(set(counts.values())) > 1:
        of_each = {key: count for (key, _), count in counts.items()}
        text = ", ".join(f"{count} in {argument_name(key)}" for key, count in of_each.items())
        raise InputError(f"the arguments of a batch must have one number of points, but got {text}")
    (count,) = set(counts.values())
    for place, stack in stacks.items():
        if axes[place[0]] is None:
            stacks[place] = np.repeat(stack, count, axis=0)
    return PointArguments(args, kwargs, stacks, found)


def _check_not_lazy(argument: Any, name: str) -> None:
    """Refuse arrays of dask, which would be computed as a whole, here."""
    for leaf in trees.flatten_arrays(argument)[0]:
        # What every collection of dask has; arrays of xarray return None if they hold none.
        graph = getattr(leaf, "__dask_graph__", None)
        if graph is not None and graph() is not None:
            raise InputError(
                f"{name} is lazy, an array of dask, and a batch would compute all of it here; with"
                " J for this function, D for the array of points of shape (n,), and J(x) of shape"
                f" (m, n) at each, write\n    {BY_DASK}\nor, of an xarray.DataArray,\n"
                f"    {BY_XARRAY}"
            )


def _plain(points: Any) -> npt.NDArray[Any]:
    try:
        return np.asarray(points)
    except TraceError as error:
        raise TraceError(
            f"{here()}points that are differentiated themselves cannot be a batch yet; write the"
            " function for arrays of points, or np.stack([f(x) for x in points])"
        ) from error


def checked_batch(batch: Any) -> Batch:
    """Return what tells the axis of points, checked in the line of the user where it is given."""
    if _is_int(batch):
        return int(batch)
    is_mapping = isinstance(batch, Mapping) and batch
    if is_mapping and all(
        (isinstance(k, str) or _is_int(k)) and (axis is None or _is_int(axis))
        for k, axis in batch.items()
    ):
        return dict(batch)
    raise InputError(
        "batch must be the axis of points of the differentiated arguments (an int), or a mapping"
        " from arguments (positions or names) to axes, None for what all points share, but got"
        f" {batch!r}"
    )


def _axes(
    f: Callable[..., Any],
    options: Options,
    batch: Batch,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    differentiated: Sequence[Key],
) -> dict[Key, int | None]:
    """Return the axis of points of every argument that has one; None of what is differentiated by.

    At every point the derivative by what all points share is another.
    """
    if isinstance(batch, int):
        return dict.fromkeys(differentiated or range(len(args)), batch)
    axes: dict[Key, int | None] = dict.fromkeys(differentiated)
    for k, axis in batch.items():
        key = key_of(k, f, len(args), kwargs, "batch", batch)
        if axis is not None:
            axes[key] = axis
    return axes


def _stack(array: Stack, axis: int | None, name: str) -> Stack:
    """Return an array with the axis of points in front, row-major; one point if it has none."""
    if axis is None:
        return array[None]
    if not -array.ndim <= axis < array.ndim:
        raise InputError(
            f"batch={axis} asks for axis {axis} of {name}, but its shape is {array.shape}"
        )
    if axis % array.ndim:
        array = np.moveaxis(array, axis, 0)
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def _is_int(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def stacked(results: Sequence[Any]) -> Any:
    """Stack the results of all points, which may hold arrays in containers.

    What is no array or number must be equal at all points.
    """
    flat = [trees.flatten(result) for result in results]
    if any(tree != flat[0][1] for _, tree in flat):
        raise InputError("the results of the points are arranged in different ways")
    leaves = [_stacked_leaf(each) for each in zip(*[leaves for leaves, _ in flat], strict=True)]
    return flat[0][1].unflatten(leaves)


def _stacked_leaf(leaves: Sequence[Any]) -> Any:
    if not isinstance(leaves[0], (np.ndarray, np.generic, float, int, complex)):
        if all(leaf == leaves[0] for leaf in leaves):
            return leaves[0]
        raise InputError(
            f"the results of the points differ: {leaves[0]!r} at the first, not at all"
        )
    shapes = {np.shape(x) for x in leaves}
    if len(shapes) > 1:
        raise InputError(
            "the results of the points have different shapes:"
            f" {', '.join(map(str, sorted(shapes)))}"
        )
    return np.stack(leaves)


def emptied(result: Any) -> Any:
    """Return stacked results without any points."""
    return trees.map_leaves(lambda x: x[:0] if isinstance(x, np.ndarray) else x, result)
