"""The verbs for functions that return a number: grad, value_and_grad; and hessian."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Unpack

from chainad.api import signatures
from chainad.api.jacobian_functions import (
    GradientFunction,
    HessianFunction,
    ValueAndGradientFunction,
)
from chainad.api.options import How, checked_how, checked_options
from chainad.api.points import Batch
from chainad.api.signatures import typed_as
from chainad.frontends.numpy.trace import Key
from chainad.structure.results import Output


@typed_as(signatures.grad)
def grad(
    f: Callable[..., Any],
    argnums: Key | Sequence[Key] = 0,
    *,
    has_aux: bool = False,
    batch: Batch | None = None,
    **how: Unpack[How],
) -> Any:
    """Return a function that computes the gradient of `f`, which returns a number.

    Parameters
    ----------
    f : callable
        As for `jacobian`; it returns a number (an array without axes).
    argnums, has_aux, batch
        As for `jacobian`.
    **how
        `mode`, `cost`, `memory_limit`, `effort`, `seed`, `progress`, `backend`, `constant`,
        `chunk_size`, `executor`, as for `jacobian`.

    Returns
    -------
    GradientFunction
        A function of the same arguments that returns the gradient: arrays arranged and shaped as
        the argument is (of several `argnums`, a tuple). It has the keyword and the methods of a
        `JacobianFunction`.

    Raises
    ------
    InputError
        If `f` returns something else than a number (when called); the message says its shape.
    PlanError, TraceError, TooLargeError
        As for `jacobian`.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> def loss(w, x):
    ...     return np.sum((w["a"] * x - w["b"]) ** 2)
    >>> chainad.grad(loss)({"a": 2.0, "b": 1.0}, np.array([1.0, 3.0]))
    {'a': array(32.), 'b': array(-12.)}
    """
    checked_how("grad", how)
    options = checked_options(argnums, has_aux=has_aux, **how)
    return GradientFunction(f, options, batch)


@typed_as(signatures.value_and_grad)
def value_and_grad(
    f: Callable[..., Any],
    argnums: Key | Sequence[Key] = 0,
    *,
    has_aux: bool = False,
    batch: Batch | None = None,
    **how: Unpack[How],
) -> Any:
    """Return a function that computes `f`, which returns a number, and its gradient.

    Parameters and errors are those of `grad`.

    Returns
    -------
    ValueAndGradientFunction
        A function of the same arguments that returns the pair `(f(x), grad(f)(x))`; with `has_aux`,
        `((result, something else), gradient)`.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> value, slope = chainad.value_and_grad(lambda x: x @ x)(np.array([1.0, 2.0]))
    >>> print(value, slope)
    5.0 [2. 4.]
    """
    checked_how("value_and_grad", how)
    options = checked_options(argnums, has_aux=has_aux, **how)
    return ValueAndGradientFunction(f, options, batch)


@typed_as(signatures.hessian)
def hessian(
    f: Callable[..., Any],
    argnums: Key | Sequence[Key] = 0,
    *,
    output: Output = "dense",
    has_aux: bool = False,
    batch: Batch | None = None,
    **how: Unpack[How],
) -> Any:
    """Return a function that computes the second derivatives of `f`.

    Parameters
    ----------
    f : callable
        As for `jacobian`; mostly it returns a number, but need not.
    argnums, has_aux, batch
        As for `jacobian`.
    output : str
        "dense", "sparse", "structured" or "operator", as for `jacobian`.
    **how
        `mode`, `cost`, `memory_limit`, `effort`, `seed`, `progress`, `backend`, `constant`,
        `chunk_size`, `executor`, as for `jacobian`: they are those of the Jacobian of the gradient.

    Returns
    -------
    HessianFunction
        A function of the same arguments that returns the Jacobian of the Jacobian: nested as the
        result of `f` is, in each of these as the argument, and in each of these as the argument
        again. Of an array x and a number it is an array of shape `x.shape + x.shape`, which has no
        asymmetry but that of rounding.

    Raises
    ------
    InputError, PlanError, TraceError, TooLargeError
        As for `jacobian`.

    Notes
    -----
    It is the Jacobian of the program that computes the gradient: that is differentiated in the
    cheapest order, too, forward over reverse being one of many. Where `f` returns a number, large
    products are multiplied up to the diagonal only, and one of two blocks that are each other's
    transposes is made; not where `f` has primitives, whose Jacobians need not be those of anything.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> def f(x):
    ...     return x[0] ** 2 * x[1]
    >>> chainad.hessian(f)(np.array([1.0, 3.0]))
    array([[6., 2.],
           [2., 0.]])
    """
    checked_how("hessian", how)
    options = checked_options(argnums, output=output, has_aux=has_aux, **how)
    return HessianFunction(f, options, batch)
