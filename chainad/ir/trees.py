"""Containers of arrays, taken apart and put together again: nested tuples, lists, dictionaries, ...

Which types are containers is told by optree: users register their own (dataclasses, say) there. It
is loaded when the first container is met.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from optree import PyTreeSpec

# Where users register types for chainad alone; types registered for all are found, too.
NAMESPACE = "chainad"

# What is looked into by no means: the usual values.
_PLAIN = (np.ndarray, float, int, np.float64)
_NO_CONTAINERS = (float, int, complex, str, bytes, type(None))
_BUILTIN = (tuple, list, dict)


class Tree:
    """How arrays are arranged in a container; `LEAF` is that of a value that is none.

    Attributes
    ----------
    num_leaves : int
        How many arrays there are.
    type : type or None
        That of the container.
    """

    __slots__ = ("num_leaves", "spec", "type")

    def __init__(self, spec: PyTreeSpec | None) -> None:
        self.spec = spec
        self.num_leaves = 1 if spec is None else spec.num_leaves
        self.type = None if spec is None else spec.type

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tree) and self.spec == other.spec

    def __hash__(self) -> int:
        return hash(self.spec)

    def __reduce__(self) -> tuple[Any, ...]:
        return _tree, (self.spec,)

    @property
    def is_flat_tuple(self) -> bool:
        """Whether the container is a tuple that holds no containers."""
        spec = self.spec
        return (
            spec is not None
            and spec.type is tuple
            and spec.num_children == spec.num_leaves == spec.num_nodes - 1
        )

    def unflatten(self, leaves: Sequence[Any]) -> Any:
        """Return such a container with other things in the places of the arrays."""
        if self.spec is None:
            (leaf,) = leaves
            return leaf
        return self.spec.unflatten(leaves)

    def compose(self, inner: Tree) -> Tree:
        """Return how containers are arranged that stand in the places of the arrays."""
        if self.spec is None or inner.spec is None:
            return inner if self.spec is None else self
        return _composed(self, inner)

    def place(self, number: int, root: str) -> str:
        """Return the expression by which an array is found, such as "w['decoder'][1]"."""
        return root if self.spec is None else self.spec.accessors()[number].codify(root)


LEAF = Tree(None)


def _tree(spec: PyTreeSpec | None) -> Tree:
    return LEAF if spec is None or spec.is_leaf() else Tree(spec)


@lru_cache(maxsize=256)
def _composed(outer: Tree, inner: Tree) -> Tree:
    assert outer.spec is not None
    assert inner.spec is not None
    return Tree(outer.spec.compose(inner.spec))


@lru_cache(maxsize=256)
def tuple_of(trees: tuple[Tree, ...]) -> Tree:
    """Return the arrangement of a tuple of containers."""
    import optree  # takes as long to load as a tenth of NumPy

    leaf = optree.treespec_leaf(namespace=NAMESPACE)
    specs = [leaf if tree.spec is None else tree.spec for tree in trees]
    return Tree(optree.treespec_tuple(specs, namespace=NAMESPACE))


def flatten(value: Any, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list[Any], Tree]:
    """Return what a container holds, and how it is arranged; None holds nothing."""
    if type(value) in _PLAIN or _is_array(value) or (is_leaf is not None and is_leaf(value)):
        return [value], LEAF
    import optree

    leaves, spec = optree.tree_flatten(value, is_leaf, namespace=NAMESPACE)
    return leaves, _tree(spec)


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


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def all_leaves(value: Any) -> list[Any]:
    """Return what is in containers of any kind; those of Python's own kinds need no optree."""
    if type(value) in _BUILTIN:
        items = value.values() if type(value) is dict else value
        return [leaf for item in items for leaf in all_leaves(item)]
    return flatten(value)[0] if is_container(value) else [value]


def is_container(value: Any) -> bool:
    """Return whether a value is a container of a type that optree knows."""
    if isinstance(value, _NO_CONTAINERS) or _is_array(value):
        return False
    import optree

    return not optree.tree_is_leaf(value, namespace=NAMESPACE)


def taken_apart(value: Any) -> tuple[list[Any], Any, Callable[[list[Any]], Any]]:
    """Return the parts of a container, what else it is made of, and what makes it of parts."""
    import optree

    parts, metadata, _, unflatten = optree.tree_flatten_one_level(value, namespace=NAMESPACE)
    return list(parts), metadata, lambda items: unflatten(metadata, items)


def map_leaves(function: Callable[[Any], Any], value: Any) -> Any:
    """Return a container with the results of a function for what it holds."""
    leaves, tree = flatten(value)
    return tree.unflatten([function(leaf) for leaf in leaves])
