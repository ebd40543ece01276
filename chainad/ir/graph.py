"""The computational graph: what was called on what, without numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chainad.ir.sites import Site


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a local Jacobian is from: the operation, the user's line, and how many calls it is of.

    Functions written entry by entry make one local Jacobian of many calls; `also` are those that
    are on other lines. There are 0 calls where another local Jacobian stands for the call.
    """

    name: str
    site: Site | None = None
    calls: int = 1
    also: tuple[Origin, ...] = ()

    @property
    def of_each_line(self) -> tuple[Origin, ...]:
        """The origins of the calls, together where they are on one line."""
        return (self, *self.also)

    @property
    def all_calls(self) -> int:
        """How many calls there are, on all lines."""
        return sum(origin.calls for origin in self.of_each_line)


def merged_origin(origins: Iterable[Origin]) -> Origin:
    """Return the origin of a local Jacobian of several calls, that of most calls first."""
    # Origins are made here, not in a function of the standard library, whose line would run then.
    first, *others = Counter([*origins]).most_common()
    also = tuple(replace(origin, calls=calls) for origin, calls in others)
    return replace(first[0], calls=first[1], also=also)


@dataclass(frozen=True, slots=True)
class Argument:
    """An array operand of a call: the `number`-th one, known by shape and dtype.

    `traced` says whether it depends on the inputs.
    """

    number: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    traced: bool

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


@lru_cache(maxsize=4096)
def operands_alone(
    *signature: tuple[tuple[int, ...], np.dtype[Any], bool],
) -> tuple[Argument, ...]:
    """Return the arguments of a call that takes nothing but operands: shape, dtype and traced."""
    return tuple(Argument(k, *each) for k, each in enumerate(signature))


class Node(NamedTuple):
    """One call of `function`; `args` and `kwargs` hold an `Argument` for every array operand.

    `sources` names the node of every operand, None for a constant. Calls of `operands_alone` have
    the very same `args` where these have the same shapes and dtypes.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    sources: tuple[int | None, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_alone: bool = False


@dataclass(frozen=True)
class Graph:
    """A recorded function: input nodes first (their `function` is `identity`), then its calls.

    `outputs` holds, for every output, its node or None if it does not depend on the inputs;
    `output_shapes` its shape.
    """

    nodes: tuple[Node, ...]
    n_inputs: int
    outputs: tuple[int | None, ...]
    output_shapes: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.nodes)


def identity(x: npt.ArrayLike) -> npt.ArrayLike:
    """Stand for the call that makes an input."""
    return x


class Frozen:
    """A hashable stand-in for a static array: equal if dtype, shape and all elements are."""

    __slots__ = ("_key",)

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._key = (array.dtype.str, array.shape, array.tobytes())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frozen) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


def freeze(value: Any) -> Hashable:
    """Return a hashable stand-in for a static argument."""
    if type(value) in _HASHABLE:  # the usual ones
        return value  # type: ignore[no-any-return]
    if isinstance(value, np.ndarray):
        return Frozen(value)
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, *map(freeze, value))
    if isinstance(value, slice):
        return ("slice", value.start, value.stop, value.step)
    if isinstance(value, dict):
        return ("dict", *((k, freeze(v)) for k, v in value.items()))
    if isinstance(value, float):  # 0.0 == -0.0 and 1.0 == True, yet they are not the same call
        return ("float", repr(value))
    if isinstance(value, (bool, np.bool_)):
        return ("bool", bool(value))
    hash(value)
    return value  # type: ignore[no-any-return]


_HASHABLE = frozenset({Argument, int, str, type(None)})
