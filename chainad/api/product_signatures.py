"""What type checkers know of the verbs that compute at once: products, patterns and plans."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, Literal, TypeAlias, TypeVar, Unpack, overload

from chainad.api.function_of import Array, ArrayOrNumber
from chainad.api.options import How
from chainad.api.signatures import Argnums, First, Lenient, Tuple
from chainad.frontends.numpy.trace import Key
from chainad.ir.progress import ProgressOption
from chainad.planning.auto import Mode
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.cost_models import CostModel, CostName
from chainad.planning.plan import Plan
from chainad.planning.search.budget import Effort

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from chainad.api.products import LinearMap

A = TypeVar("A")
V = TypeVar("V")

AllOr: TypeAlias = Key | Sequence[Key] | None
Pullback: TypeAlias = Callable[[Any], Tuple]


class Product(How, total=False):
    """The options of products with vectors."""

    argnums: AllOr


class Alone(Product, total=False):
    """The same, of a function that returns its result alone."""

    has_aux: Literal[False]


@overload
def jvp(
    f: Lenient,
    primals: Sequence[Any],
    tangents: Sequence[Any],
    *,
    has_aux: bool = False,
    **how: Unpack[Product],
) -> Tuple: ...


@overload
def jvp(
    f: Callable[..., V], primals: Sequence[Any], tangents: Sequence[Any], **how: Unpack[Alone]
) -> tuple[V, Any]: ...


@overload
def jvp(
    f: Callable[..., tuple[V, A]],
    primals: Sequence[Any],
    tangents: Sequence[Any],
    *,
    has_aux: Literal[True],
    **how: Unpack[Product],
) -> tuple[V, Any, A]: ...


@overload
def jvp(
    f: Callable[..., V],
    primals: Sequence[Any],
    tangents: Sequence[Any],
    *,
    has_aux: bool,
    **how: Unpack[Product],
) -> Tuple: ...


def jvp(*args: Any, **how: Any) -> Any: ...


@overload
def vjp(f: Lenient, *primals: Any, has_aux: bool = False, **how: Unpack[Product]) -> Tuple: ...


@overload
def vjp(f: Callable[..., V], *primals: Any, **how: Unpack[Alone]) -> tuple[V, Pullback]: ...


@overload
def vjp(
    f: Callable[..., tuple[V, A]], *primals: Any, has_aux: Literal[True], **how: Unpack[Product]
) -> tuple[V, Pullback, A]: ...


@overload
def vjp(f: Callable[..., V], *primals: Any, has_aux: bool, **how: Unpack[Product]) -> Tuple: ...


def vjp(*args: Any, **how: Any) -> Any: ...


@overload
def linearize(
    f: Lenient, *primals: Any, has_aux: Literal[False] = False, **how: Unpack[Product]
) -> tuple[Any, LinearMap]: ...


@overload
def linearize(f: Lenient, *primals: Any, has_aux: bool, **how: Unpack[Product]) -> Tuple: ...


@overload
def linearize(f: Callable[..., V], *primals: Any, **how: Unpack[Alone]) -> tuple[V, LinearMap]: ...


@overload
def linearize(
    f: Callable[..., tuple[V, A]], *primals: Any, has_aux: Literal[True], **how: Unpack[Product]
) -> tuple[V, LinearMap, A]: ...


@overload
def linearize(
    f: Callable[..., V], *primals: Any, has_aux: bool, **how: Unpack[Product]
) -> Tuple: ...


def linearize(*args: Any, **how: Any) -> Any: ...


@overload
def sparsity(f: Lenient, *args: Any, argnums: Argnums = 0, **kwargs: Any) -> Any: ...


@overload
def sparsity(
    f: Callable[Concatenate[Array, ...], ArrayOrNumber],
    *args: Any,
    argnums: First = 0,
    **kwargs: Any,
) -> csr_array: ...


@overload
def sparsity(f: Callable[..., Any], *args: Any, argnums: Argnums = 0, **kwargs: Any) -> Any: ...


def sparsity(*args: Any, **kwargs: Any) -> Any: ...


@overload
def plan(
    f: Callable[..., Any],
    *args: Any,
    argnums: Argnums = 0,
    mode: Mode = "auto",
    cost: CostName | CostModel = "multiplications",
    memory_limit: None = None,
    effort: Effort = "balanced",
    seed: int = 0,
    progress: ProgressOption = False,
    **kwargs: Any,
) -> Plan: ...


@overload
def plan(
    f: Callable[..., Any],
    *args: Any,
    argnums: Argnums = 0,
    mode: Mode | ChunkedPlan = "auto",
    cost: CostName | CostModel = "multiplications",
    memory_limit: int | str | None = None,
    effort: Effort = "balanced",
    seed: int = 0,
    progress: ProgressOption = False,
    **kwargs: Any,
) -> Plan | ChunkedPlan: ...


def plan(*args: Any, **kwargs: Any) -> Any: ...
