"""What type checkers know of the verbs: overloads for what is returned, by what is requested.

They stand apart, since they are many and say nothing that the documentation of the verbs does not.
Where the result of a function or the argument to differentiate by is a container, or is not known,
what depends on it is Any: code that is right has no errors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar, Unpack, overload

import numpy as np

from chainad.api.compiled import CompiledFunction
from chainad.api.function_of import Array, P
from chainad.api.jacobian_functions import (
    GradientFunction,
    HessianFunction,
    JacobianFunction,
    ValueAndGradientFunction,
    ValueAndJacobianFunction,
)
from chainad.api.options import How
from chainad.api.points import Batch
from chainad.compiler.scalar.replay_scalar import Backend
from chainad.frontends.numpy.trace import Key
from chainad.structure.results import Output, StructuredJacobian

if TYPE_CHECKING:
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import LinearOperator

    from chainad.api.scipy_door import SciPyFunction

A = TypeVar("A")
V = TypeVar("V")
S = TypeVar("S")

Dense: TypeAlias = Literal["dense"]
Sparse: TypeAlias = Literal["sparse"]
Structured: TypeAlias = Literal["structured"]
Operator: TypeAlias = Literal["operator"]
Argnums: TypeAlias = Key | Sequence[Key]
Points: TypeAlias = Batch | None
ForSciPy: TypeAlias = Literal["dense", "sparse", "operator"]
First: TypeAlias = Literal[0]
Several: TypeAlias = tuple[Key, ...] | list[int] | list[str]
Tuple: TypeAlias = tuple[Any, ...]


def typed_as(signatures: S) -> Callable[[Callable[..., Any]], S]:
    """Return a decorator that changes nothing: type checkers see these signatures."""

    def decorated(verb: Any) -> S:
        return verb  # type: ignore[no-any-return]

    return decorated


class TakesLists(Protocol):
    """A function that takes lists of numbers, too, or has no annotations.

    The functions of NumPy are such. They are overloaded, and of an overloaded function type
    checkers know the parameters of one signature alone, so that these are not checked.
    """

    __code__: Any  # which functions and methods have, and a `FunctionOf` has not

    @overload
    def __call__(self, x: list[int], /, *args: Any, **kwargs: Any) -> Any: ...

    @overload
    def __call__(self, x: list[float], /, *args: Any, **kwargs: Any) -> Any: ...


Lenient: TypeAlias = np.ufunc | TakesLists


class Single(How, total=False):
    """The options of a function of one point that returns its result alone."""

    batch: None
    has_aux: Literal[False]


class Real(Single, total=False):
    """The same, of a function of real numbers."""

    holomorphic: Literal[False]


class Form(How, total=False):
    """The options of a function that returns its result in several forms."""

    output: Output


class Door(How, total=False):
    """The options of `for_scipy`."""

    col_deriv: bool


class HolomorphicForm(Form, total=False):
    """The same, of a function that may be holomorphic."""

    holomorphic: bool


@overload
def jacobian(
    f: Lenient,
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    batch: Points = None,
    **how: Unpack[HolomorphicForm],
) -> JacobianFunction: ...


@overload
def jacobian(
    f: Callable[P, V], argnums: First = 0, *, output: Dense = "dense", **how: Unpack[Real]
) -> JacobianFunction[P, V, Array, Any]: ...


@overload
def jacobian(
    f: Callable[P, V], argnums: First = 0, *, output: Sparse, **how: Unpack[Real]
) -> JacobianFunction[P, V, csr_array, Any]: ...


@overload
def jacobian(
    f: Callable[P, V], argnums: First = 0, *, output: Structured, **how: Unpack[Real]
) -> JacobianFunction[P, V, StructuredJacobian, Any]: ...


@overload
def jacobian(
    f: Callable[P, V], argnums: First = 0, *, output: Operator, **how: Unpack[Real]
) -> JacobianFunction[P, V, LinearOperator, Any]: ...


@overload
def jacobian(
    f: Callable[P, V],
    argnums: Several,
    *,
    has_aux: Literal[False] = False,
    batch: None = None,
    **how: Unpack[HolomorphicForm],
) -> JacobianFunction[P, V, Tuple, Tuple]: ...


@overload
def jacobian(
    f: Callable[P, tuple[V, A]],
    argnums: Argnums = 0,
    *,
    has_aux: Literal[True],
    batch: None = None,
    **how: Unpack[HolomorphicForm],
) -> JacobianFunction[P, float, tuple[Any, A], tuple[Any, A]]: ...


@overload
def jacobian(
    f: Callable[P, V],
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    batch: None = None,
    **how: Unpack[HolomorphicForm],
) -> JacobianFunction[P, V, Any, Any]: ...


@overload
def jacobian(
    f: Callable[..., Any],
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    batch: Batch,
    **how: Unpack[HolomorphicForm],
) -> JacobianFunction: ...


def jacobian(*args: Any, **how: Any) -> Any: ...


@overload
def value_and_jacobian(
    f: Lenient,
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    batch: Points = None,
    **how: Unpack[HolomorphicForm],
) -> ValueAndJacobianFunction: ...


@overload
def value_and_jacobian(
    f: Callable[P, V], argnums: First = 0, *, output: Dense = "dense", **how: Unpack[Real]
) -> ValueAndJacobianFunction[P, V, tuple[V, Array], tuple[V, Any]]: ...


@overload
def value_and_jacobian(
    f: Callable[P, V], argnums: First = 0, *, output: Sparse, **how: Unpack[Real]
) -> ValueAndJacobianFunction[P, V, tuple[V, csr_array], tuple[V, Any]]: ...


@overload
def value_and_jacobian(
    f: Callable[P, V], argnums: First = 0, *, output: Structured, **how: Unpack[Real]
) -> ValueAndJacobianFunction[P, V, tuple[V, StructuredJacobian], tuple[V, Any]]: ...


@overload
def value_and_jacobian(
    f: Callable[P, V], argnums: First = 0, *, output: Operator, **how: Unpack[Real]
) -> ValueAndJacobianFunction[P, V, tuple[V, LinearOperator], tuple[V, Any]]: ...


@overload
def value_and_jacobian(
    f: Callable[P, V],
    argnums: Several,
    *,
    has_aux: Literal[False] = False,
    batch: None = None,
    **how: Unpack[HolomorphicForm],
) -> ValueAndJacobianFunction[P, V, tuple[V, Tuple], tuple[V, Tuple]]: ...


@overload
def value_and_jacobian(
    f: Callable[P, tuple[V, A]],
    argnums: Argnums = 0,
    *,
    has_aux: Literal[True],
    batch: None = None,
    **how: Unpack[HolomorphicForm],
) -> ValueAndJacobianFunction[P, float, tuple[tuple[V, A], Any], tuple[tuple[V, A], Any]]: ...


@overload
def value_and_jacobian(
    f: Callable[P, V],
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    batch: None = None,
    **how: Unpack[HolomorphicForm],
) -> ValueAndJacobianFunction[P, V, tuple[V, Any], tuple[V, Any]]: ...


@overload
def value_and_jacobian(
    f: Callable[..., Any],
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    batch: Batch,
    **how: Unpack[HolomorphicForm],
) -> ValueAndJacobianFunction: ...


def value_and_jacobian(*args: Any, **how: Any) -> Any: ...


@overload
def hessian(
    f: Lenient,
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    batch: Points = None,
    **how: Unpack[Form],
) -> HessianFunction: ...


@overload
def hessian(
    f: Callable[P, V], argnums: First = 0, *, output: Dense = "dense", **how: Unpack[Single]
) -> HessianFunction[P, V, Array, Any]: ...


@overload
def hessian(
    f: Callable[P, V], argnums: First = 0, *, output: Sparse, **how: Unpack[Single]
) -> HessianFunction[P, V, csr_array, Any]: ...


@overload
def hessian(
    f: Callable[P, V], argnums: First = 0, *, output: Structured, **how: Unpack[Single]
) -> HessianFunction[P, V, StructuredJacobian, Any]: ...


@overload
def hessian(
    f: Callable[P, V], argnums: First = 0, *, output: Operator, **how: Unpack[Single]
) -> HessianFunction[P, V, LinearOperator, Any]: ...


@overload
def hessian(
    f: Callable[P, V],
    argnums: Several,
    *,
    has_aux: Literal[False] = False,
    batch: None = None,
    **how: Unpack[Form],
) -> HessianFunction[P, V, Tuple, Tuple]: ...


@overload
def hessian(
    f: Callable[P, tuple[V, A]],
    argnums: Argnums = 0,
    *,
    has_aux: Literal[True],
    batch: None = None,
    **how: Unpack[Form],
) -> HessianFunction[P, float, tuple[Any, A], tuple[Any, A]]: ...


@overload
def hessian(
    f: Callable[P, V],
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    batch: None = None,
    **how: Unpack[Form],
) -> HessianFunction[P, V, Any, Any]: ...


@overload
def hessian(
    f: Callable[..., Any],
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    batch: Batch,
    **how: Unpack[Form],
) -> HessianFunction: ...


def hessian(*args: Any, **how: Any) -> Any: ...


@overload
def grad(
    f: Lenient,
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    batch: Points = None,
    **how: Unpack[How],
) -> GradientFunction: ...


@overload
def grad(
    f: Callable[P, V], argnums: First = 0, **how: Unpack[Single]
) -> GradientFunction[P, V, Array, Any]: ...


@overload
def grad(
    f: Callable[P, V],
    argnums: Several,
    *,
    has_aux: Literal[False] = False,
    batch: None = None,
    **how: Unpack[How],
) -> GradientFunction[P, V, Tuple, Tuple]: ...


@overload
def grad(
    f: Callable[P, tuple[V, A]],
    argnums: Argnums = 0,
    *,
    has_aux: Literal[True],
    batch: None = None,
    **how: Unpack[How],
) -> GradientFunction[P, float, tuple[Any, A], tuple[Any, A]]: ...


@overload
def grad(
    f: Callable[P, V],
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    batch: None = None,
    **how: Unpack[How],
) -> GradientFunction[P, V, Any, Any]: ...


@overload
def grad(
    f: Callable[..., Any],
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    batch: Batch,
    **how: Unpack[How],
) -> GradientFunction: ...


def grad(*args: Any, **how: Any) -> Any: ...


@overload
def value_and_grad(
    f: Lenient,
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    batch: Points = None,
    **how: Unpack[How],
) -> ValueAndGradientFunction: ...


@overload
def value_and_grad(
    f: Callable[P, V], argnums: First = 0, **how: Unpack[Single]
) -> ValueAndGradientFunction[P, V, tuple[V, Array], tuple[V, Any]]: ...


@overload
def value_and_grad(
    f: Callable[P, V],
    argnums: Several,
    *,
    has_aux: Literal[False] = False,
    batch: None = None,
    **how: Unpack[How],
) -> ValueAndGradientFunction[P, V, tuple[V, Tuple], tuple[V, Tuple]]: ...


@overload
def value_and_grad(
    f: Callable[P, tuple[V, A]],
    argnums: Argnums = 0,
    *,
    has_aux: Literal[True],
    batch: None = None,
    **how: Unpack[How],
) -> ValueAndGradientFunction[P, float, tuple[tuple[V, A], Any], tuple[tuple[V, A], Any]]: ...


@overload
def value_and_grad(
    f: Callable[P, V],
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    batch: None = None,
    **how: Unpack[How],
) -> ValueAndGradientFunction[P, V, tuple[V, Any], tuple[V, Any]]: ...


@overload
def value_and_grad(
    f: Callable[..., Any],
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    batch: Batch,
    **how: Unpack[How],
) -> ValueAndGradientFunction: ...


def value_and_grad(*args: Any, **how: Any) -> Any: ...


@overload
def compile(
    f: Lenient,
    /,
    *args: Any,
    backend: Backend | None = None,
    constant: str | Sequence[str] = (),
    background: bool = False,
    **kwargs: Any,
) -> CompiledFunction: ...


@overload
def compile(
    f: Callable[P, V],
    /,
    *args: Any,
    backend: Backend | None = None,
    constant: str | Sequence[str] = (),
    background: bool = False,
    **kwargs: Any,
) -> CompiledFunction[P, float, V, V]: ...


@overload
def compile(
    *,
    backend: Backend | None = None,
    constant: str | Sequence[str] = (),
    background: bool = False,
) -> Callable[[Callable[P, V]], CompiledFunction[P, float, V, V]]: ...


def compile(*args: Any, **kwargs: Any) -> Any: ...


@overload
def for_scipy(
    f: Lenient, argnums: int = 0, *, output: ForSciPy = "dense", **how: Unpack[Door]
) -> SciPyFunction: ...


@overload
def for_scipy(
    f: Callable[P, V], argnums: int = 0, *, output: Dense = "dense", **how: Unpack[Door]
) -> SciPyFunction[P, V, Array]: ...


@overload
def for_scipy(
    f: Callable[P, V], argnums: int = 0, *, output: Sparse, **how: Unpack[Door]
) -> SciPyFunction[P, V, csr_array]: ...


@overload
def for_scipy(
    f: Callable[P, V], argnums: int = 0, *, output: Operator, **how: Unpack[Door]
) -> SciPyFunction[P, V, LinearOperator]: ...


def for_scipy(*args: Any, **how: Any) -> Any: ...
