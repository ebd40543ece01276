"""Tangents and adjoints: checked against the arguments and values that they belong to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainad.api.ravel import arrays_in
from chainad.errors import InputError
from chainad.frontends.numpy.traced_results import described
from chainad.ir import trees
from chainad.ir.trees import Tree


def matched(
    given: Any, name: str, tree: Tree, like: Sequence[Any], owner: Callable[[], str]
) -> list[Any]:
    """Return the arrays in a container, in the dtypes of those that it belongs to.

    Parameters
    ----------
    given : Any
        The tangent of an argument, or the adjoint of a value; messages call it `name`.
    tree, like
        How the arrays of the argument or value are arranged, and these; messages call it `owner()`.

    Raises
    ------
    InputError
        If they are arranged or shaped in another way, or are no real numbers.
    """
    arrays, own = arrays_in(given, name)
    if own != tree:
        raise InputError(
            f"{name} must be arranged as {owner()} is, {_outline(owner(), tree)}, but got"
            f" {_outline(name, own)}"
        )
    found = []
    for n, (array, of) in enumerate(zip(arrays, like, strict=True)):
        if array.dtype.kind == "c":
            raise InputError(
                f"{tree.place(n, name)} must be an array of real numbers, but got"
                f" {described(array)}; products with real and imaginary parts are two"
            )
        if np.shape(array) != np.shape(of):
            raise InputError(
                f"{tree.place(n, name)} must have the shape of {tree.place(n, owner())},"
                f" {np.shape(of)}, but has {np.shape(array)}"
            )
        found.append(array if array.dtype == of.dtype else array.astype(of.dtype))
    return found


def _outline(name: str, tree: Tree) -> str:
    """Return how the arrays of a container are written."""
    if tree is trees.LEAF:
        return "an array"
    if tree.num_leaves == 0:
        return "a container without arrays"
    return ", ".join(tree.place(n, name) for n in range(tree.num_leaves))
