"""Containers of arrays, taken apart and put together again: nested tuples, lists, dictionaries, ...

Which types are containers is told by optree: users register their own (dataclasses, say) there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import optree

Tree: TypeAlias = optree.PyTreeSpec

# Where users register types for chainad alone; types registered for all are found, too.
NAMESPACE = "chainad"

# That of a value that is no container.
LEAF: Tree = optree.treespec_leaf(namespace=NAMESPACE)

# What is looked into by no means: the usual values.
_PLAIN = (np.ndarray, float, int, np.float64)


def flatten(value: Any, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list[Any], Tree]:
    """Return what a container holds, and how it is arranged; None holds nothing."""
    if type(value) in _PLAIN:
        return [value], LEAF
    return optree.tree_flatten(value, is_leaf, namespace=NAMESPACE)


def flatten_arrays(value: Any) -> tuple[list[Any], Tree]:
    """Return the arrays that a container holds, and how they are arranged.

    A (nested) list of numbers alone is an array.
    """
    return flatten(value, is_list_of_numbers)


def is_list_of_numbers(value: Any) -> bool:
    """Return whether a value is a list of numbers, or of such lists."""
    return isinstance(value, list) and all(map(_is_number_or_list, value))


def _is_number_or_list(value: Any) -> bool:
    if isinstance(value, list):
        return is_list_of_numbers(value)
    if isinstance(value, (int, float, complex)):
        return True
    return getattr(value, "ndim", None) == 0


def place(tree: Tree, number: int, root: str) -> str:
    """Return the expression by which a leaf is found in `root`, such as "w['decoder'][1]"."""
    return tree.accessors()[number].codify(root) if tree != LEAF else root


def tuple_of(trees: list[Tree]) -> Tree:
    """Return the arrangement of a tuple of containers."""
    return optree.treespec_tuple(trees, namespace=NAMESPACE)


def is_container(value: Any) -> bool:
    """Return whether a value is a container of a type that optree knows."""
    return not optree.tree_is_leaf(value, namespace=NAMESPACE)


def taken_apart(value: Any) -> tuple[list[Any], Any, Callable[[list[Any]], Any]]:
    """Return the parts of a container, what else it is made of, and what makes it of parts."""
    parts, metadata, _, unflatten = optree.tree_flatten_one_level(value, namespace=NAMESPACE)
    return list(parts), metadata, lambda items: unflatten(metadata, items)


def is_flat_tuple(tree: Tree) -> bool:
    """Return whether a container is a tuple that holds no containers."""
    return tree.type is tuple and tree.num_children == tree.num_leaves == tree.num_nodes - 1


def map_leaves(function: Callable[[Any], Any], value: Any) -> Any:
    """Return a container with the results of a function for what it holds."""
    return optree.tree_map(function, value, namespace=NAMESPACE)
