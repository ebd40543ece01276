"""`jacobian`, with the arguments of `jax.jacfwd` and `jax.jacrev`, in a planned order."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from operator import index
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax, tree_util

from chainad.backends.array_api import build_for, index_add_at
from chainad.compiler.linear_jaxprs import LinearizedJaxpr, linear_graph_of
from chainad.compiler.lower import Lowered, lower
from chainad.errors import InputError
from chainad.frontends.jax import jaxprs
from chainad.frontends.jax.linear_jaxpr import read
from chainad.ir.cache import Cache, cached_property
from chainad.ir.program import Runner
from chainad.jax import xla_model
from chainad.jax.xla_emission import XlaLibrary
from chainad.planning.auto import Mode, plan_cached
from chainad.planning.cost_models import CostModel, CostName
from chainad.planning.plan import Plan
from chainad.planning.search.budget import Effort, SearchOptions, search_options

# Auto leaves JAX's own modes where that saves at least this factor.
MIN_GAIN = 1.2

# Under `vmap`, where calls cost nothing and many small arrays are read and written.
MIN_GAIN_MAPPED = 5

# Longer chains are bracketed by multiplications: of these, no product has to be looked at.
MAX_MODELED_FACTORS = 32

_programs: Cache[tuple[Lowered, Runner]] = Cache(256, "programs of JAX functions")


@dataclass(frozen=True)
class Options:
    """The options of a Jacobian; see `jacobian`."""

    argnums: int | tuple[int, ...]
    has_aux: bool
    mode: Mode
    cost: CostName | CostModel | None
    search: SearchOptions

    def positions(self, count: int) -> tuple[int, ...]:
        """Return which of so many positional arguments are differentiated by."""
        argnums = (self.argnums,) if isinstance(self.argnums, int) else self.argnums
        for number in argnums:
            if not -count <= number < count:
                raise ValueError(
                    "Positional argument indices, e.g. for `argnums`, must have value greater than"
                    " or equal to -len(args) and less than len(args), but got value"
                    f" {number} for len(args) == {count}. Pass what to differentiate by by position"
                )
        found = tuple(number % count for number in argnums)
        if len({*found}) < len(found):
            raise InputError(f"argnums={self.argnums} has an argument twice; name each once")
        return found

    @property
    def compares_jax(self) -> bool:
        """Whether JAX's own modes may answer."""
        return self.mode == "auto" and self.cost is None


@dataclass
class _Flat:
    """A function of the leaves of the arguments that are differentiated by, as lists of leaves.

    What its results are nested as is known after a call.
    """

    fun: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: Options

    def __post_init__(self) -> None:
        self.positions = self.options.positions(len(self.args))
        leaves, self.inputs = tree_util.tree_flatten(tuple(self.args[k] for k in self.positions))
        for leaf in leaves:
            _check_argument(leaf)
        self.leaves = [jnp.asarray(leaf) if not _is_spec(leaf) else leaf for leaf in leaves]
        self.outputs: Any = None
        self.aux: Any = None

    def __call__(self, *leaves: Any) -> list[Any]:
        args = list(self.args)
        chosen = tree_util.tree_unflatten(self.inputs, leaves)
        for k, value in zip(self.positions, chosen, strict=True):
            args[k] = value
        result, aux = self.fun(*args, **self.kwargs), None
        if self.options.has_aux:
            if not isinstance(result, (tuple, list)) or len(result) != 2:
                raise InputError(
                    "expected function with aux output to return a two-element tuple, but got type"
                    f" {type(result)}; return (result, aux), or leave has_aux=True out"
                )
            result, aux = result
        flat, self.outputs = tree_util.tree_flatten(result)
        extra, self.aux = tree_util.tree_flatten(aux)
        self.n_outputs = len(flat)
        # What is not traced is passed on as it is, of whatever type.
        self.extra = [None if isinstance(x, jax.core.Tracer) else x for x in extra]
        return [*flat, *(x for x in extra if isinstance(x, jax.core.Tracer))]

    def nested_aux(self, traced: Sequence[Any]) -> Any:
        """Return what a function returns besides its result; `traced` is what of it was traced."""
        given = iter(traced)
        return tree_util.tree_unflatten(
            self.aux, [next(given) if x is None else x for x in self.extra]
        )

    @property
    def is_mapped(self) -> bool:
        """Whether this is under `vmap`: one point of many."""
        return any(type(leaf).__name__ == "BatchTracer" for leaf in self.leaves)

    def nested(self, rows: Sequence[Sequence[Any]]) -> Any:
        """Return blocks, by result and argument, nested as `jax.jacfwd` returns them."""
        is_single = isinstance(self.options.argnums, int)
        found = []
        for row in rows:
            blocks = tree_util.tree_unflatten(self.inputs, row)
            found.append(blocks[0] if is_single else blocks)
        return tree_util.tree_unflatten(self.outputs, found)


def jacobian(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    *,
    mode: Mode = "auto",
    cost: CostName | CostModel | None = None,
    effort: Effort = "fast",
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
    mode : str, sequence of int or Plan
        As for `chainad.jacobian`; "auto" also compares `jax.jacfwd` and `jax.jacrev` themselves,
        which it leaves where another order is 1.2 times quicker at least, as predicted.
    cost : str or CostModel, optional
        What is to be small, as for `chainad.jacobian`; by default the time that XLA takes. With
        another cost, `jax.jacfwd` and `jax.jacrev` take no part.
    effort : str or float
        How long to search, as for `chainad.jacobian`; little by default, since what more would
        find is hardly seen beside what XLA makes of it.

    Returns
    -------
    callable
        A function of the same arguments, which returns the Jacobian nested as `jax.jacfwd` does;
        with `has_aux` a pair of that and the other result.

    Raises
    ------
    TypeError
        If an argument or a result is not real and floating.

    Notes
    -----
    Source: `jax.linearize` gives a program that is linear in the tangents; every equation of it has
    a structure, or is an operator known by its action, and the planners are those of NumPy
    functions. Collectives of `jax.shard_map` and `vmap(axis_name=...)`, and arrays whose types say
    how they lie on an explicit mesh, are left to `jax.jacfwd`, or `jax.jacrev` for "reverse".

    Examples
    --------
    >>> f = lambda x, y: {"product": x * y, "sum": jnp.sum(x)}
    >>> found = jacobian(f, argnums=(0, 1))(jnp.ones(2), 3.0)
    >>> jax.tree.map(jnp.shape, found)
    {'product': ((2, 2), (2,)), 'sum': ((2,), ())}
    """
    both = value_and_jacobian(
        fun, argnums, has_aux, holomorphic, allow_int, mode=mode, cost=cost, effort=effort
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
    mode: Mode = "auto",
    cost: CostName | CostModel | None = None,
    effort: Effort = "fast",
) -> Callable[..., Any]:
    """Return a function of the value and the Jacobian, a pair; see `chainad.jax.jacobian`.

    With `has_aux`, the value is a pair itself, as that of `jax.value_and_grad`.

    Examples
    --------
    >>> value, J = value_and_jacobian(lambda x: x**2)(jnp.array([1.0, 2.0]))
    >>> value.tolist(), J.tolist()
    ([1.0, 4.0], [[2.0, 0.0], [0.0, 4.0]])
    """
    _check_callable(fun)
    options = _options(argnums, has_aux, holomorphic, allow_int, mode, cost, effort)

    @wraps(fun)
    def value_and_jacobian_of(*args: Any, **kwargs: Any) -> Any:
        flat = _Flat(fun, args, kwargs, options)
        values, aux, blocks = _run(flat, options)
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
    mode: Mode = "auto",
    cost: CostName | CostModel | None = None,
    effort: Effort = "fast",
) -> Plan:
    """Return the plan of a Jacobian, from shapes alone: nothing is run.

    Where `jacobian` answers by `jax.jacfwd` or `jax.jacrev`, its title says so; it is then the best
    that was found besides.

    Parameters
    ----------
    fun : callable
        A JAX function.
    *args
        Its arguments: arrays, or `jax.ShapeDtypeStruct`, or containers of these.
    argnums, has_aux, mode, cost, effort
        As for `chainad.jax.jacobian`.

    Examples
    --------
    >>> plan(jnp.cumsum, jax.ShapeDtypeStruct((3,), jnp.float32)).graph.shapes[0]
    (3,)
    """
    options = _options(argnums, has_aux, False, False, mode, cost, effort)
    found: list[Plan] = []

    def trace(*leaves: Any) -> list[Any]:
        given = tree_util.tree_unflatten(nest, leaves)
        flat = _Flat(fun, given, {}, options)
        traced = _traced(flat, _jaxpr_of(flat))
        found.append(_plan(traced, options))
        return traced.values

    leaves, nest = tree_util.tree_flatten(args)
    jax.eval_shape(trace, *leaves)
    made = found[0]
    title = getattr(fun, "__name__", "f")
    if options.compares_jax and (by := _mode_of_jax(made)):
        title += ", by jax.jacfwd" if by == "forward" else ", by jax.jacrev"
    return replace(made, title=title)


# ------------------------------------------------------------------------------ one run


@dataclass(frozen=True)
class _Traced:
    """A function traced at one point: its values, their types, and what is linear in tangents."""

    flat: _Flat
    values: list[Any]
    types: Sequence[Any]
    aux: list[Any]
    pushed: Any

    @cached_property
    def linearized(self) -> LinearizedJaxpr:
        leaves = self.flat.leaves
        specs = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in leaves]
        run = read(self.pushed.jaxpr, self.pushed.consts, specs)
        names = [f"x{k}" for k in range(len(leaves))] if len(leaves) > 1 else ["x"]
        return linear_graph_of(run, names)


def _run(flat: _Flat, options: Options) -> tuple[list[Any], list[Any], list[list[Any]]]:
    """Return the values of a function, what it returns beside, and the blocks of its Jacobian."""
    closed = _jaxpr_of(flat)
    types = closed.out_avals[: flat.n_outputs]
    if jaxprs.is_on_mesh(closed):
        return _by_jax(flat, types, "reverse" if options.mode == "reverse" else "forward")
    if options.compares_jax and flat.leaves:
        few = xla_model.mode_for_few(closed.jaxpr, flat.n_outputs, flat.is_mapped)
        if few is not None:
            return _by_jax(flat, types, few)
    traced = _traced(flat, closed)
    if not (flat.leaves and traced.values):
        return traced.values, traced.aux, [[] for _ in traced.values]
    made = _plan(traced, options)
    if options.compares_jax and (mode := _mode_of_jax(made, flat.is_mapped)):
        return _by_jax(flat, types, mode)
    return traced.values, traced.aux, _blocks(traced, made)


def _jaxpr_of(flat: _Flat) -> Any:
    closed = jax.make_jaxpr(flat)(*flat.leaves)
    for aval in closed.out_avals[: flat.n_outputs]:
        _check_result(aval)
    return closed


def _traced(flat: _Flat, closed: Any) -> _Traced:
    """Linearize what a function does, of which this is the jaxpr."""
    n = flat.n_outputs

    def evaluate(*leaves: Any) -> tuple[list[Any], list[Any]]:
        found = jaxprs.evaluate(closed.jaxpr, closed.consts, *leaves)
        return found[:n], found[n:]

    results = closed.out_avals[:n]
    values, linear, aux = jax.linearize(evaluate, *flat.leaves, has_aux=True)
    values = [_of_type(value, result) for value, result in zip(values, results, strict=True)]
    pushed = jax.make_jaxpr(linear)(*flat.leaves)
    return _Traced(flat, values, results, aux, pushed)


def _of_type(value: Any, wanted: Any) -> Any:
    """Return an array that has the shape, the dtype, and the weak type of another one."""
    found, weak = jnp.asarray(value, wanted.dtype), jnp.asarray(0.0)
    is_weak = getattr(wanted, "weak_type", False) and weak.dtype == wanted.dtype
    if is_weak and not jax.typeof(found).weak_type:
        return lax.full_like(weak, 0, shape=found.shape).at[...].set(found)
    return found


def _plan(traced: _Traced, options: Options) -> Plan:
    """Return the plan; `jacfwd` and `jacrev` are among its alternatives where these compete."""
    itemsize = jnp.result_type(*traced.flat.leaves).itemsize
    graph = traced.linearized.graph
    model = xla_model.model() if options.cost is None else options.cost
    mode = options.mode
    if options.compares_jax and graph.chain and len(graph.edges) > MAX_MODELED_FACTORS:
        mode = plan_cached(graph, mode, itemsize, "multiplications", options.search)
    made = plan_cached(graph, mode, itemsize, model, options.search)
    if not options.compares_jax:
        return made
    offers = [
        *made.alternatives,
        *xla_model.offers(traced.pushed.jaxpr, traced.linearized.run, traced.flat.is_mapped),
    ]
    return replace(made, alternatives=tuple(sorted(offers, key=lambda offer: offer.cost)))


def _blocks(traced: _Traced, made: Plan) -> list[list[Any]]:
    """Return the Jacobian of every result by every argument, in the order of a plan."""
    flat, linearized = traced.flat, traced.linearized
    dtype = jnp.result_type(*flat.leaves)
    key: tuple[Hashable, ...] = made, linearized.arrangements, dtype

    def program() -> tuple[Lowered, Runner]:
        lowered = lower(made, linearized.arrangements)
        return lowered, build_for(lowered.program, XlaLibrary(jnp, index_add_at, dtype))

    lowered, run = _programs.get(key, program)
    found, forms = iter(run(linearized.slots)), iter(lowered.forms)
    return [
        [
            _of_type(jnp.zeros((*y.shape, *x.shape), y.dtype), y)
            if next(forms) is None
            else _of_type(next(found), y)
            for x in flat.leaves
        ]
        for y in traced.types
    ]


def _mode_of_jax(made: Plan, is_mapped: bool = False) -> xla_model.Direction | None:
    """Return which of JAX's modes takes as long as a plan, or hardly longer; None if none does."""
    offers = [offer for offer in made.alternatives if offer.name in xla_model.TRANSFORMS]
    best = min(offers, key=lambda offer: offer.cost, default=None)
    gain = MIN_GAIN_MAPPED if is_mapped else MIN_GAIN
    if best is None or best.cost > gain * made.cost:
        return None
    return xla_model.TRANSFORMS[best.name]


def _by_jax(
    flat: _Flat, types: Sequence[Any], mode: xla_model.Direction
) -> tuple[list[Any], list[Any], list[list[Any]]]:
    """Return what `_run` does by `jax.jacfwd` or `jax.jacrev` of the function as it is."""

    def results(*leaves: Any) -> tuple[list[Any], tuple[list[Any], list[Any]]]:
        found = flat(*leaves)
        values = found[: flat.n_outputs]
        return values, (values, found[flat.n_outputs :])

    transform = jax.jacfwd if mode == "forward" else jax.jacrev
    differentiated = transform(results, tuple(range(len(flat.leaves))), has_aux=True)
    found, (values, aux) = differentiated(*flat.leaves)
    values = [_of_type(value, wanted) for value, wanted in zip(values, types, strict=True)]
    rows = zip(found, types, strict=True)
    return values, aux, [[_of_type(block, wanted) for block in row] for row, wanted in rows]


# ------------------------------------------------------------------------------ checks


def _options(
    argnums: int | Sequence[int],
    has_aux: bool,
    holomorphic: bool,
    allow_int: bool,
    mode: Mode,
    cost: CostName | CostModel | None,
    effort: Effort,
) -> Options:
    if holomorphic or allow_int:
        name, other = ("holomorphic", "jacfwd") if holomorphic else ("allow_int", "jacrev")
        raise InputError(f"chainad.jax.jacobian takes no {name}=True; use jax.{other}")
    numbers = index(argnums) if hasattr(argnums, "__index__") else tuple(map(index, argnums))
    return Options(numbers, has_aux, mode, cost, search_options(effort))


def _check_callable(fun: Any) -> None:
    if not callable(fun):
        raise InputError(f"Expected a callable value, got {fun!r}")


def _check_argument(leaf: Any) -> None:
    try:
        dtype = jax.typeof(leaf).dtype if not _is_spec(leaf) else leaf.dtype
    except TypeError as error:
        raise InputError(
            f"Argument {leaf!r} of type {type(leaf)} is not a valid JAX type; differentiate by"
            " others with argnums="
        ) from error
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(
            "jacobian requires real-valued inputs (input dtype that is a sub-dtype of np.floating),"
            f" but got {dtype.name}. {_instead(dtype, 'inputs')}"
        )


def _check_result(result: Any) -> None:
    if not jnp.issubdtype(result.dtype, jnp.floating):
        raise InputError(
            "jacobian requires real-valued outputs (output dtype that is a sub-dtype of"
            f" np.floating), but got {result.dtype.name}. {_instead(result.dtype, 'outputs')}"
        )


def _instead(dtype: Any, ends: str) -> str:
    """Return what to do about inputs, or outputs, of a dtype."""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return (
            "For holomorphic differentiation, use jax.jacfwd(fun, holomorphic=True). For"
            f" differentiation of non-holomorphic functions involving complex {ends}, use jax.jvp"
            " directly."
        )
    if ends == "outputs":
        return "Return it as auxiliary data with has_aux=True."
    return "Convert it with astype(float), or differentiate by other arguments with argnums=."


def _is_spec(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct)


__all__ = ["hessian", "jacobian", "plan", "value_and_jacobian"]
