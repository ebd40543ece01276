"""Products of Jacobians and Hessians with vectors: jvp, vjp, linearize, hvp."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from chainad.api import product_signatures
from chainad.api.function_of import check_callable, name_of
from chainad.api.gradients import grad
from chainad.api.options import How, checked_how, checked_options
from chainad.api.ravel import arrays_in, joined, ravel, vector_of
from chainad.api.signatures import typed_as
from chainad.api.tangents import matched
from chainad.api.verbs import jacobian, value_and_jacobian
from chainad.errors import InputError
from chainad.frontends.numpy.trace import Key, argument_leaves, argument_root, split_aux
from chainad.frontends.numpy.traced_results import described
from chainad.frontends.numpy.tracers import has_tracer
from chainad.rules.elementwise import displaced

Array = npt.NDArray[Any]
Argnums = Key | Sequence[Key] | None


class _OfLeaves:
    """A function of arrays alone: those in some arguments of another function."""

    def __init__(self, f: Callable[..., Any], primals: Sequence[Any], argnums: Argnums) -> None:
        check_callable(f)
        self.__wrapped__ = f
        if not isinstance(primals, (tuple, list)):
            raise InputError(
                f"primals must be a tuple, one for each argument of {name_of(f)}, but got"
                f" {described(primals)}; one alone is written (x,)"
            )
        self.primals = tuple(primals)
        every = tuple(range(len(primals)))
        options = checked_options(every if argnums is None else argnums) if primals else None
        self.positions = () if options is None else options.positions(f, len(primals))
        found = [argument_leaves(f, k, primals[k]) for k in self.positions]
        self.leaves = [x for leaves, _ in found for x in leaves]
        self.trees = [tree for _, tree in found]

    def __call__(self, *leaves: Any) -> Any:
        return self.__wrapped__(*self.arguments(leaves))

    def arguments(self, leaves: Sequence[Any]) -> list[Any]:
        """Return all arguments, with other arrays in those that are differentiated by."""
        args = list(self.primals)
        for k, x in zip(self.positions, self.arranged(leaves), strict=True):
            args[k] = x
        return args

    def arranged(self, leaves: Sequence[Any]) -> tuple[Any, ...]:
        """Return arrays, one for each of the leaves, arranged as the arguments are."""
        ends = [*accumulate((tree.num_leaves for tree in self.trees), initial=0)]
        pieces = zip(self.trees, ends, ends[1:], strict=False)
        return tuple(tree.unflatten(leaves[a:b]) for tree, a, b in pieces)

    def like(self, tangents: Sequence[Any]) -> list[Any]:
        """Return the arrays in tangents that are arranged and shaped as the arguments are."""
        f, positions = self.__wrapped__, self.positions
        if not isinstance(tangents, (tuple, list)) or len(tangents) != len(positions):
            raise InputError(
                "tangents must be a tuple, one for each differentiated argument"
                f" {', '.join(map(str, positions))} of {name_of(f)}, but got {described(tangents)};"
                " argnums tells by which arguments to differentiate"
            )
        found: list[Any] = []
        for n, (k, tree, tangent) in enumerate(zip(positions, self.trees, tangents, strict=True)):
            like = self.leaves[len(found) : len(found) + tree.num_leaves]
            owner = partial(argument_root, f, k, tree)
            found += matched(tangent, f"tangents[{n}]", tree, like, owner)
        return found


class _Along:
    """A function on the line through a point: t -> f(x + t v), at t = 0."""

    def __init__(self, f: Callable[..., Any], of: _OfLeaves, direction: Sequence[Any]) -> None:
        self.__wrapped__ = f
        self._of, self._direction = of, direction

    def __call__(self, t: Any) -> Any:
        moves = zip(self._of.leaves, self._direction, strict=True)
        return self.__wrapped__(*self._of.arguments([displaced(x, v, t) for x, v in moves]))


@typed_as(product_signatures.jvp)
def jvp(
    f: Callable[..., Any],
    primals: Sequence[Any],
    tangents: Sequence[Any],
    *,
    argnums: Argnums = None,
    has_aux: bool = False,
    **how: Unpack[How],
) -> Any:
    """Return the value of `f` and the product of its Jacobian with a vector.

    Parameters
    ----------
    f : callable
        A function of NumPy arrays.
    primals : tuple
        The arguments of `f`: arrays, or containers of arrays.
    tangents : tuple
        The vector: for every argument (of `argnums`), arrays arranged and shaped as it is.
    argnums : int, str, or sequence of these, optional
        The arguments that `tangents` are for; by default all.
    has_aux : bool
        Whether `f` returns a pair of its result and something else, which is returned as it is.
    **how
        What the plan is to be like: `mode`, `cost`, `memory_limit`, `effort`, `seed`, `progress`,
        as for `jacobian`.

    Returns
    -------
    value, tangent
        `f(*primals)`, and the directional derivative, arranged and shaped as the value is; with
        `has_aux`, the something else as a third.

    Raises
    ------
    InputError
        If `tangents` are not like the arguments.
    PlanError, TraceError
        As for `jacobian`.

    Notes
    -----
    It is the Jacobian of t -> f(x + t v) at t = 0, planned as any other: one tangent is pushed
    forward where nothing else is cheaper. The result can be differentiated again, and
    `chainad.compile(lambda x, v: chainad.jvp(f, (x,), (v,)))` replays it.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> x, v = np.array([1.0, 2.0]), np.array([1.0, 0.0])
    >>> chainad.jvp(lambda x: x * x[1], (x,), (v,))
    (array([2., 4.]), array([2., 0.]))
    """
    checked_how("jvp", how)
    of = _OfLeaves(f, primals, argnums)
    along = _Along(f, of, of.like(tangents))
    found, tangent = value_and_jacobian(along, has_aux=has_aux, **how)(0.0)
    return (found[0], tangent, found[1]) if has_aux else (found, tangent)


@typed_as(product_signatures.vjp)
def vjp(
    f: Callable[..., Any],
    *primals: Any,
    argnums: Argnums = None,
    has_aux: bool = False,
    **how: Unpack[How],
) -> Any:
    """Return the value of `f`, and a function that multiplies vectors by its Jacobian.

    Parameters
    ----------
    f : callable
        A function of NumPy arrays.
    *primals
        The arguments of `f`: arrays, or containers of arrays.
    argnums : int, str, or sequence of these, optional
        The arguments to differentiate by; by default all.
    has_aux : bool
        Whether `f` returns a pair of its result and something else, which is returned as it is.
    **how
        As for `jvp`.

    Returns
    -------
    value, pullback
        `f(*primals)`, and a function of adjoints, arranged and shaped as the value is: it returns a
        tuple, for every argument (of `argnums`) arrays arranged and shaped as that. With `has_aux`,
        the something else as a third.

    Raises
    ------
    InputError
        If the adjoints are not like the value.
    PlanError, TraceError
        As for `jacobian`.

    Notes
    -----
    `f` runs once; every pullback sweeps through its local Jacobians in reverse. Where arguments or
    adjoints are traced, a pullback is the gradient of the sum of u * f(x), and traces `f` anew.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> value, pullback = chainad.vjp(lambda x: x * x[1], np.array([1.0, 2.0]))
    >>> pullback(np.array([1.0, 1.0]))
    (array([2., 5.]),)
    """
    checked_how("vjp", how)
    J = LinearMap(_OfLeaves(f, primals, argnums), has_aux, how)
    return (J.value, J.pulled_back, J.aux) if has_aux else (J.value, J.pulled_back)


@typed_as(product_signatures.linearize)
def linearize(
    f: Callable[..., Any],
    *primals: Any,
    argnums: Argnums = None,
    has_aux: bool = False,
    **how: Unpack[How],
) -> Any:
    """Return the value of `f`, and its Jacobian as a linear map that is never accumulated.

    Parameters
    ----------
    f, *primals, argnums, has_aux, **how
        As for `vjp`.

    Returns
    -------
    value, map
        `f(*primals)` and a `LinearMap`: called with tangents, one for each argument, arranged and
        shaped as that, it returns the directional derivative, arranged and shaped as the value. As
        a matrix of shape (entries of the value, entries of the arguments), raveled as `ravel` does,
        it has `@`, `T`, `matvec`, `rmatvec`, `matmat` and `rmatmat`, and is taken by the iterative
        solvers of `scipy.sparse.linalg`. With `has_aux`, the something else as a third.

    Raises
    ------
    InputError
        If tangents or matrices are not like the arguments (when called).
    PlanError, TraceError
        As for `jacobian`.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> value, J = chainad.linearize(lambda x: x * x[1], np.array([1.0, 2.0]))
    >>> J(np.array([1.0, 0.0]))
    array([2., 0.])
    >>> J.T @ np.array([1.0, 1.0])
    array([2., 5.])
    """
    checked_how("linearize", how)
    J = LinearMap(_OfLeaves(f, primals, argnums), has_aux, how)
    return (J.value, J, J.aux) if has_aux else (J.value, J)


def hvp(
    f: Callable[..., Any],
    primals: Sequence[Any],
    tangents: Sequence[Any],
    *,
    argnums: Argnums = None,
    has_aux: bool = False,
    **how: Unpack[How],
) -> Any:
    """Return the product of the Hessian of `f`, which returns a number, with a vector.

    Parameters
    ----------
    f, primals, tangents, argnums, has_aux, **how
        As for `jvp`.

    Returns
    -------
    product
        The derivative of the gradient along the vector, arranged and shaped as the argument is; of
        several arguments, a tuple. With `has_aux`, the pair of it and the something else.

    Raises
    ------
    InputError
        If `f` returns no number, or the tangents are not like the arguments.
    PlanError, TraceError
        As for `jacobian`.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> x, v = np.array([1.0, 3.0]), np.array([1.0, 0.0])
    >>> chainad.hvp(lambda x: x[0] ** 2 * x[1], (x,), (v,))
    array([6., 2.])
    """
    checked_how("hvp", how)
    of = _OfLeaves(f, primals, argnums)
    direction = of.like(tangents)
    keys = of.positions[0] if len(of.positions) == 1 else of.positions
    effort: How = {"effort": how["effort"]} if "effort" in how else {}
    gradient = grad(f, keys, has_aux=has_aux, **effort)
    return jacobian(_Along(gradient, of, direction), has_aux=has_aux, **how)(0.0)


class Products(ABC):
    """A matrix that is known by its products with vectors.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]

    # u @ J is asked of J, not of the array u.
    __array_ufunc__ = None

    @abstractmethod
    def _matmat(self, columns: Any) -> Any:
        """Return the product with a matrix."""

    @property
    @abstractmethod
    def T(self) -> Products:
        """The transposed matrix."""

    def matmat(self, columns: Any) -> Any:
        """Return the product with an array of shape (n, k), of shape (m, k)."""
        columns = self._checked(columns, 2)
        return self._matmat(columns)

    def matvec(self, vector: Any) -> Any:
        """Return the product with an array of shape (n,), of shape (m,)."""
        return self._matmat(self._checked(vector, 1)[:, None])[:, 0]

    def rmatmat(self, columns: Any) -> Any:
        """Return the product of the transposed matrix with an array of shape (m, k)."""
        return self.T.matmat(columns)

    def rmatvec(self, vector: Any) -> Any:
        """Return the product of the transposed matrix with an array of shape (m,)."""
        return self.T.matvec(vector)

    def __matmul__(self, right: Any) -> Any:
        return self.matvec(right) if np.ndim(right) == 1 else self.matmat(right)

    def __rmatmul__(self, left: Any) -> Any:
        return self.T.matvec(left) if np.ndim(left) == 1 else self.T.matmat(np.transpose(left)).T

    def _checked(self, right: Any, ndim: int) -> Any:
        if np.ndim(right) != ndim or np.shape(right)[0] != self.shape[1]:
            raise InputError(
                f"a matrix of shape {self.shape} is multiplied by an array of shape"
                f" {(self.shape[1], 'k')[:ndim]}, but got one of shape {np.shape(right)}"
            )
        return right if hasattr(right, "dtype") else np.asarray(right)


class LinearMap(Products):
    """The Jacobian of a function at a point, known by its products; made by `linearize`.

    Attributes
    ----------
    shape : tuple of int
        Entries of the value, entries of the arguments.
    dtype : dtype
        That of the value.
    """

    def __init__(self, of: _OfLeaves, has_aux: bool, how: How) -> None:
        self.__wrapped__ = of.__wrapped__
        self._of, self._has_aux = of, has_aux
        self._vector, self._unravel = ravel(of.leaves)
        # Operators hold plain numbers: what is traced is swept through anew.
        self._operator = None
        if has_tracer(of.leaves):
            self.value, self.aux = self._split(of(*of.leaves))
        else:
            J = value_and_jacobian(self._flat, output="operator", has_aux=True, **how)
            (_, (self.value, self.aux)), self._operator = J(self._vector)
        self._value_arrays, self._value_tree = arrays_in(self.value)
        vector, self._unravel_value = ravel(self.value)
        self.shape, self.dtype = (vector.size, self._vector.size), vector.dtype

    def __repr__(self) -> str:
        return f"LinearMap({name_of(self._of.__wrapped__)}, shape={self.shape})"

    def __call__(self, *tangents: Any) -> Any:
        """Return the derivative along tangents, arranged and shaped as the value is."""
        direction = self._of.like(tangents)
        if self._is_traced_with(direction):
            return self._pushed(direction)
        return self._unravel_value(self.matvec(joined(direction)))

    def pulled_back(self, adjoints: Any) -> tuple[Any, ...]:
        """Return adjoints, arranged and shaped as the value is, times the Jacobian."""
        weights = joined(
            matched(adjoints, "adjoints", self._value_tree, self._value_arrays, lambda: "value")
        )
        if self._is_traced_with(weights):
            return self._of.arranged(self._pulled(weights))
        return self._of.arranged(self._unravel(self.T.matvec(weights)))

    @property
    def T(self) -> Products:
        """The transposed matrix."""
        return _Transposed(self)

    def _split(self, result: Any) -> tuple[Any, Any]:
        return split_aux(result) if self._has_aux else (result, None)

    def _flat(self, vector: Any) -> tuple[Any, Any]:
        """Return the value as a vector; and the value, and what else is returned, as they are."""
        value, aux = self._split(self._of(*self._unravel(vector)))
        return vector_of(value), (value, aux)

    def _is_traced_with(self, vectors: Any) -> bool:
        return self._operator is None or has_tracer(vectors)

    def _pushed(self, direction: Sequence[Any]) -> Any:
        """Return the derivative along arrays, one for each of those in the arguments."""
        of = self._of
        found = jacobian(_Along(of.__wrapped__, of, direction), has_aux=self._has_aux)(0.0)
        return found[0] if self._has_aux else found

    def _pulled(self, weights: Any) -> tuple[Any, ...]:
        """Return the gradients of a weighted sum of the value by the arrays in the arguments."""

        def weighted(*leaves: Any) -> Any:
            return weights @ vector_of(self._split(self._of(*leaves))[0])

        leaves = self._of.leaves
        return grad(weighted, range(len(leaves)))(*leaves) if leaves else ()

    def _matmat(self, columns: Any) -> Any:
        if self._operator is not None and not has_tracer(columns):
            return self._operator.matmat(columns)
        found = [vector_of(self._pushed(self._unravel(v))) for v in np.transpose(columns)]
        return np.stack(found, axis=-1) if found else np.zeros((self.shape[0], 0), self.dtype)

    def _transposed_matmat(self, columns: Any) -> Any:
        if self._operator is not None and not has_tracer(columns):
            return self._operator.rmatmat(columns)
        found = [joined(self._pulled(u)) for u in np.transpose(columns)]
        return np.stack(found, axis=-1) if found else np.zeros((self.shape[1], 0), self.dtype)


class _Transposed(Products):
    """The transpose of a linear map."""

    def __init__(self, of: LinearMap) -> None:
        self._of, self.shape, self.dtype = of, of.shape[::-1], of.dtype

    def __repr__(self) -> str:
        return f"{self._of!r}.T"

    @property
    def T(self) -> LinearMap:
        """The linear map itself."""
        return self._of

    def _matmat(self, columns: Any) -> Any:
        return self._of._transposed_matmat(columns)
