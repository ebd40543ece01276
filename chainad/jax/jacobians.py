"""`jacobian`, with the arguments of `jax.jacfwd` and `jax.jacrev`, in a planned order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any

import jax
from jax import tree_util

from chainad.api.function_of import name_of
from chainad.errors import InputError
from chainad.jax.accumulate import accumulate, jaxpr_of, mode_of_jax, plan_of, traced_at
from chainad.jax.flat_function import FlatFunction
from chainad.jax.jacobian_forms import JaxOutput
from chainad.jax.jax_options import checked_jax_options
from chainad.planning.auto import Mode
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.cost_models import CostModel, CostName
from chainad.planning.plan import Plan
from chainad.planning.search.budget import Effort
from chainad.planning.views.quantities import listed


def jacobian(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    *,
    mode: Mode | ChunkedPlan = "auto",
    output: JaxOutput = "dense",
    cost: CostName | CostModel | None = None,
    effort: Effort = "fast",
    memory_limit: int | str | None = None,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """Return the Jacobian of a JAX function, in the order of products that is cheapest.

    It takes the place of `jax.jacfwd` and `jax.jacrev`: same arguments, same results, and it
    composes with `jit`, `vmap`, `grad` and itself. Under `jit` it is planned once, while the
    function is traced.

    Parameters
    ----------
    fun : callable
        A function of arrays or containers of arrays, of floating dtypes.
    argnums : int or sequence of int
        The positional arguments to differentiate by.
    has_aux : bool
        Whether `fun` returns a pair of the result and something else, which is passed on.
    holomorphic, allow_int : bool
        Not supported: use `jax.jacfwd(fun, holomorphic=True)`.
    mode : str, sequence of int, Plan or ChunkedPlan
        As for `chainad.jacobian`; "auto" also compares `jax.jacfwd` and `jax.jacrev` themselves,
        which it leaves where another order is 1.2 times quicker at least, as predicted.
    output : str
        What a Jacobian of one result by one argument is:

        - "dense": an array, as by `jax.jacfwd`;
        - "structured": a `JacobianPytree`, the entries it really has (a diagonal as a vector, one
          block per sample, thin factors that are not multiplied), with `@` and `todense`;
        - "bcoo": a `jax.experimental.sparse.BCOO` of the entries that some path leads to, sorted,
          its indices constants.
    cost : str or CostModel, optional
        What is to be small, as for `chainad.jacobian`; by default the time that XLA takes. With
        another cost, `jax.jacfwd` and `jax.jacrev` take no part.
    effort : str or float
        How long to search, as for `chainad.jacobian`; little by default, since what more would
        find is hardly seen beside what XLA makes of it.
    memory_limit : int or str, optional
        Bytes, or text such as "2 GB", that local Jacobians, products and result keep within: by
        another order or, of dense ones, in blocks of columns or of rows, one after the other in a
        `lax.scan`. What XLA takes inside of loops and solves is not known: give `chunk_size` there.
        `jax.jacfwd` and `jax.jacrev` take no part.
    chunk_size : int, optional
        How many indices of the longest axis of each argument, or of each result, whichever costs
        less, make up a block; each is made at once.

    Returns
    -------
    callable
        A function of the same arguments, which returns the Jacobian nested as `jax.jacfwd` does;
        with `has_aux` a pair of that and the other result.

    Raises
    ------
    InputError
        If an argument or a result is not real and floating, or an option is none.
    PlanError
        If the mode or the cost is none, or does not fit the function.
    TooLargeError
        If nothing keeps within the limit.

    Notes
    -----
    Source: `jax.linearize` gives a program that is linear in the tangents; every equation of it has
    a structure, or is an operator known by its action, and the planners are those of NumPy
    functions. Collectives of `jax.shard_map` and `vmap(axis_name=...)`, and arrays whose types say
    how they lie on an explicit mesh, are left to `jax.jacfwd`, or `jax.jacrev` for "reverse", which
    have dense Jacobians only.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> f = lambda x, y: {"product": x * y, "sum": jnp.sum(x)}
    >>> found = jacobian(f, argnums=(0, 1))(jnp.ones(2), 3.0)
    >>> jax.tree.map(jnp.shape, found)
    {'product': ((2, 2), (2,)), 'sum': ((2,), ())}
    """
    both = value_and_jacobian(
        fun,
        argnums,
        has_aux,
        holomorphic,
        allow_int,
        mode=mode,
        output=output,
        cost=cost,
        effort=effort,
        memory_limit=memory_limit,
        chunk_size=chunk_size,
    )

    @wraps(fun)
    def jacobian_of(*args: Any, **kwargs: Any) -> Any:
        value, found = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return jacobian_of


def value_and_jacobian(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    *,
    mode: Mode | ChunkedPlan = "auto",
    output: JaxOutput = "dense",
    cost: CostName | CostModel | None = None,
    effort: Effort = "fast",
    memory_limit: int | str | None = None,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """Return a function of the value and the Jacobian, a pair; see `chainad.jax.jacobian`.

    With `has_aux`, the value is a pair itself, as that of `jax.value_and_grad`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> value, J = value_and_jacobian(lambda x: x**2)(jnp.array([1.0, 2.0]))
    >>> value.tolist(), J.tolist()
    ([1.0, 4.0], [[2.0, 0.0], [0.0, 4.0]])
    """
    _check_callable(fun)
    options = checked_jax_options(
        argnums,
        has_aux,
        holomorphic,
        allow_int,
        mode=mode,
        output=output,
        cost=cost,
        effort=effort,
        memory_limit=memory_limit,
        chunk_size=chunk_size,
    )

    @wraps(fun)
    def value_and_jacobian_of(*args: Any, **kwargs: Any) -> Any:
        flat = FlatFunction(fun, args, kwargs, options)
        values, aux, blocks = accumulate(flat, options)
        value = tree_util.tree_unflatten(flat.outputs, values)
        if has_aux:
            value = value, flat.nested_aux(aux)
        return value, flat.nested(blocks)

    return value_and_jacobian_of


def hessian(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    **options: Any,
) -> Callable[..., Any]:
    """Return the Hessian of a JAX function that returns a number: the Jacobian of its gradient.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> hessian(lambda x: x[0] ** 2 * x[1])(jnp.array([1.0, 2.0])).tolist()
    [[4.0, 2.0], [2.0, 0.0]]
    """
    return jacobian(
        jax.jacrev(fun, argnums, has_aux, holomorphic), argnums, has_aux, holomorphic, **options
    )


def plan(
    fun: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    mode: Mode | ChunkedPlan = "auto",
    output: JaxOutput = "dense",
    cost: CostName | CostModel | None = None,
    effort: Effort = "fast",
    memory_limit: int | str | None = None,
    chunk_size: int | None = None,
) -> Plan | ChunkedPlan:
    """Return the plan of a Jacobian, from shapes alone: nothing is run.

    Where `jacobian` answers by `jax.jacfwd` or `jax.jacrev`, its title says so; it is then the best
    that was found besides.

    Parameters
    ----------
    fun : callable
        A JAX function.
    *args
        Its arguments: arrays, or `jax.ShapeDtypeStruct`, or containers of these.
    argnums, has_aux, mode, output, cost, effort, memory_limit, chunk_size
        As for `chainad.jax.jacobian`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> plan(jnp.cumsum, jax.ShapeDtypeStruct((3,), jnp.float32)).graph.shapes[0]
    (3,)
    """
    options = checked_jax_options(
        argnums,
        has_aux,
        mode=mode,
        output=output,
        cost=cost,
        effort=effort,
        memory_limit=memory_limit,
        chunk_size=chunk_size,
    )
    found: list[tuple[FlatFunction, Plan | ChunkedPlan]] = []

    def trace(*leaves: Any) -> list[Any]:
        given = tree_util.tree_unflatten(nest, leaves)
        flat = FlatFunction(fun, given, {}, options)
        traced = traced_at(flat, jaxpr_of(flat))
        found.append((flat, plan_of(traced, options)))
        return traced.values

    leaves, nest = tree_util.tree_flatten(args)
    jax.eval_shape(trace, *leaves)
    ((flat, made),) = found
    title = f"{name_of(fun)}({listed(flat.argument_names)})"
    if options.compares_jax and (by := mode_of_jax(made)):
        runs = "jax.jacfwd" if by == "forward" else "jax.jacrev"
        title += f" (runs {runs}; this is the best besides)"
    return replace(made, title=title)


def _check_callable(fun: Any) -> None:
    if not callable(fun):
        raise InputError(f"Expected a callable value, got {fun!r}")


__all__ = ["hessian", "jacobian", "plan", "value_and_jacobian"]
