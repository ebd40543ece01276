"""Containers of arrays as one vector, for solvers that know vectors only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np

from chainad.errors import InputError
from chainad.frontends.numpy.made_arrays import settle
from chainad.frontends.numpy.packing import packed
from chainad.frontends.numpy.traced_results import described
from chainad.ir import trees
from chainad.ir.shapes import Shape
from chainad.ir.trees import Tree


def ravel(tree: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Return the arrays in a container as one vector, and the function that puts such a one back.

    Parameters
    ----------
    tree : array or (nested) dict, list, tuple, namedtuple, ...
        The arrays, or numbers; containers are those that `jacobian` takes. Integers become floats,
        as they do when `jacobian` gets them.

    Returns
    -------
    vector : ndarray of shape (n,)
        All entries, one array after the other (a dictionary in the order of its sorted keys).
    unravel : callable
        From a vector of shape (n,) to arrays arranged, shaped and typed as those in `tree`. Both
        functions can be differentiated.

    Raises
    ------
    InputError
        If `tree` holds what is no number, or `unravel` gets another shape.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> vector, unravel = chainad.ravel({"W": np.ones((2, 2)), "b": 3.0})
    >>> vector
    array([1., 1., 1., 1., 3.])
    >>> unravel(2 * vector)["W"]
    array([[2., 2.],
           [2., 2.]])
    """
    arrays, arrangement = arrays_in(tree)
    shapes, dtypes = [np.shape(x) for x in arrays], [x.dtype for x in arrays]
    vector = joined(arrays)
    vector = np.copy(vector) if len(arrays) == 1 else vector

    def unravel(given: Any) -> Any:
        if np.shape(given) != vector.shape:
            raise InputError(
                f"unravel takes an array of shape {vector.shape}, but got one of shape"
                f" {np.shape(given)}"
            )
        return arrangement.unflatten(_cut(given, shapes, dtypes))

    return vector, unravel


def vector_of(tree: Any) -> Any:
    """Return the entries of the arrays in a container as a vector, which may share their memory."""
    return joined(arrays_in(tree)[0])


def arrays_in(tree: Any, name: str = "x") -> tuple[list[Any], Tree]:
    """Return the arrays of floats in a container, which messages call `name`, and its arrangement.

    Raises
    ------
    InputError
        If it holds what is no number.
    """
    leaves, arrangement = trees.flatten_arrays(tree)
    places = (partial(arrangement.place, n, name) for n in range(len(leaves)))
    return [_as_floats(x, place) for x, place in zip(leaves, places, strict=True)], arrangement


def _as_floats(x: Any, place: Callable[[], str]) -> Any:
    """Return an array, or a traced value, with floats (or complex numbers) in place of integers."""
    x = packed(settle(x))
    array = x if hasattr(x, "dtype") else np.asarray(x)
    # An int would be cut off again whenever a solver moves it.
    array = array.astype(np.float64) if array.dtype.kind in "iu" else array
    if array.dtype.kind not in "fc":
        raise InputError(f"{place()} must be an array of numbers, but got {described(x)}")
    return array


def joined(arrays: Sequence[Any]) -> Any:
    """Return the entries of all arrays as a vector; that of one array may share its memory."""
    flat = [x if np.ndim(x) == 1 else np.reshape(x, -1) for x in arrays]
    return flat[0] if len(flat) == 1 else np.concatenate(flat) if flat else np.zeros(0)


def _cut(vector: Any, shapes: Sequence[Shape], dtypes: Sequence[np.dtype[Any]]) -> list[Any]:
    """Return the pieces of a vector, in these shapes and dtypes."""
    if not hasattr(vector, "dtype"):
        vector = np.asarray(vector)
    ends = [*accumulate((int(np.prod(shape)) for shape in shapes), initial=0)]
    pieces = []
    for start, end, shape, dtype in zip(ends, ends[1:], shapes, dtypes, strict=False):
        if not shape:
            piece = vector[start]
        else:
            piece = vector if len(shapes) == 1 else vector[start:end]
            piece = piece if len(shape) == 1 else piece.reshape(shape)
        pieces.append(piece if piece.dtype == dtype else piece.astype(dtype))
    return pieces
