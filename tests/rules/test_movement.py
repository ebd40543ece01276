"""Where the entries of a movement come from, read off its results on the numbers of entries."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainad.rules.movement import set_items, sources_of

A, B = np.arange(1.5, 7.5).reshape(2, 3), np.array([8.25, 9.5])
CALLS: dict[str, tuple[Callable[..., Any], list[np.ndarray]]] = {
    "transpose": (lambda x: x[0].T, [A]),
    "pad": (lambda x: np.pad(x[0], 1, constant_values=0.5), [A]),
    "pad with nan": (lambda x: np.pad(x[0], 1, constant_values=np.nan), [A]),
    "pad with infinity": (lambda x: np.pad(x[0], 1, constant_values=np.inf), [B]),
    "append": (lambda x: np.append(x[1], np.append(x[0], [1.0, 4.0])), [A, B]),
    "lower triangle": (lambda x: np.tril(x[0]), [A]),
    "writes": (lambda x: set_items(x[0], ((0,), (1, 1)), [2.5, x[1][1]]), [A, B]),
    "append to nothing": (lambda x: np.append(x[0], [1.0, 2.0]), [np.zeros(0)]),
    "nothing": (lambda x: x[0][:0], [A]),
    "a number": (lambda x: x[0][1, 2], [A]),
}


@pytest.mark.parametrize("name", CALLS)
def test_sources_and_constants_make_up_the_result(name: str) -> None:
    call, arrays = CALLS[name]
    sources, constants = sources_of(call, [x.shape for x in arrays])
    entries = np.concatenate([x.ravel() for x in arrays])
    found = np.where(sources < 0, constants, np.append(entries, np.nan)[sources])
    np.testing.assert_array_equal(found, call(arrays))
