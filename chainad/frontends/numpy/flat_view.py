"""x.flat: the entries of a traced array, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from chainad.frontends.numpy.packing import as_one
from chainad.ir.positions import coordinates


class FlatView:
    """The entries of a traced array, one after the other: x.flat."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __len__(self) -> int:
        return int(self.array.size)

    def __iter__(self) -> Iterator[Any]:
        return iter(np.reshape(self.array, -1))

    def __getitem__(self, key: Any) -> Any:
        return np.reshape(self.array, -1)[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        numbers = np.arange(self.array.size)[key]
        value = as_one(value)
        if np.ndim(value) and np.size(value) != np.size(numbers):
            raise ValueError("x.flat[key] = values needs one value for every entry")
        value = np.reshape(value, np.shape(numbers)) if np.ndim(value) else value
        self.array[coordinates(numbers, self.array.shape)] = value
