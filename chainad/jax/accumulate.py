"""One call of a Jacobian of a JAX function: traced, planned, and accumulated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from chainad.backends.array_api import build_for, index_add_at
from chainad.compiler.linear_jaxprs import LinearizedJaxpr, linear_graph_of
from chainad.compiler.lower import lower
from chainad.errors import InputError
from chainad.frontends.jax import jaxprs
from chainad.frontends.jax.linear_jaxpr import read
from chainad.ir.cache import Cache, cached_property
from chainad.jax import xla_model
from chainad.jax.chunk_loops import ChunkLoops
from chainad.jax.flat_function import FlatFunction, check_result
from chainad.jax.jacobian_forms import FORMS, Assemble, JaxOutput, of_type
from chainad.jax.jax_options import JaxOptions
from chainad.jax.xla_emission import XlaLibrary
from chainad.planning.auto import Mode, check_fits, mode_key, plan_cached
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.cost_models import CostModel, CostName, model_of
from chainad.planning.linear_graph import LinearGraph
from chainad.planning.memory import plan_in_blocks, plan_within
from chainad.planning.plan import Plan
from chainad.structure.results import ResultForm

# Auto leaves JAX's own modes where that saves at least this factor.
MIN_GAIN = 1.2

# Longer chains are bracketed by multiplications: of these, no product has to be looked at.
MAX_MODELED_FACTORS = 32

# What runs, and for every block how many of its results make up that, and how.
_JacobianProgram: TypeAlias = tuple[
    Callable[[Sequence[Any]], Sequence[Any]], list[tuple[int, Assemble]]
]

_programs: Cache[_JacobianProgram] = Cache(256, "programs of JAX functions")
_plans: Cache[Plan | ChunkedPlan] = Cache(64, "plans of JAX functions within limits")


@dataclass(frozen=True)
class TracedFunction:
    """A function traced at one point: its values, their types, and what is linear in tangents."""

    flat: FlatFunction
    values: list[Any]
    types: Sequence[Any]
    aux: list[Any]
    pushed: Any

    @cached_property
    def linearized(self) -> LinearizedJaxpr:
        leaves = self.flat.leaves
        specs = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in leaves]
        run = read(self.pushed.jaxpr, self.pushed.consts, specs)
        return linear_graph_of(run, self.flat.leaf_names)


def accumulate(
    flat: FlatFunction, options: JaxOptions
) -> tuple[list[Any], list[Any], list[list[Any]]]:
    """Return the values of a function, what it returns beside, and the blocks of its Jacobian."""
    closed = jaxpr_of(flat)
    types = closed.out_avals[: flat.n_outputs]
    if jaxprs.is_on_mesh(closed):
        if options.output != "dense":
            raise InputError(
                "inside jax.shard_map, vmap(axis_name=...) or on an explicit mesh, Jacobians are"
                f" dense, but output={options.output!r} is requested"
            )
        return _by_jax(flat, types, "reverse" if options.mode == "reverse" else "forward")
    if options.compares_jax and flat.leaves:
        few = xla_model.mode_for_few(closed.jaxpr, flat.n_outputs, flat.is_mapped)
        if few is not None:
            return _by_jax(flat, types, few)
    traced = traced_at(flat, closed)
    if not (flat.leaves and traced.values):
        return traced.values, traced.aux, [[] for _ in traced.values]
    made = plan_of(traced, options)
    if options.compares_jax and (mode := mode_of_jax(made, flat.is_mapped)):
        return _by_jax(flat, types, mode)
    return traced.values, traced.aux, _blocks(traced, made, options.output)


def jaxpr_of(flat: FlatFunction) -> Any:
    """Return what a function does as a jaxpr, whose results can be differentiated."""
    closed = jax.make_jaxpr(flat)(*flat.leaves)
    for aval in closed.out_avals[: flat.n_outputs]:
        check_result(aval)
    return closed


def traced_at(flat: FlatFunction, closed: Any) -> TracedFunction:
    """Linearize what a function does, of which this is the jaxpr."""
    n = flat.n_outputs

    def evaluate(*leaves: Any) -> tuple[list[Any], list[Any]]:
        found = jaxprs.evaluate(closed.jaxpr, closed.consts, *leaves)
        return found[:n], found[n:]

    results = closed.out_avals[:n]
    values, linear, aux = jax.linearize(evaluate, *flat.leaves, has_aux=True)
    values = [of_type(value, result) for value, result in zip(values, results, strict=True)]
    pushed = jax.make_jaxpr(linear)(*flat.leaves)
    return TracedFunction(flat, values, results, aux, pushed)


def plan_of(traced: TracedFunction, options: JaxOptions) -> Plan | ChunkedPlan:
    """Return the plan; `jacfwd` and `jacrev` are among its alternatives where these compete."""
    itemsize = jnp.result_type(*traced.flat.leaves).itemsize
    graph = traced.linearized.graph
    if isinstance(options.mode, ChunkedPlan):
        check_fits(options.mode.graph, graph)
        return options.mode.with_origins(graph)
    model = xla_model.model(traced.flat.is_mapped) if options.cost is None else options.cost
    mode = options.mode
    is_long = options.is_automatic and graph.chain and len(graph.edges) > MAX_MODELED_FACTORS
    if options.memory_limit is not None or options.chunk_size is not None:
        cost = "multiplications" if is_long else model
        return _plan_within(graph, mode, itemsize, cost, options)
    if is_long:
        mode = plan_cached(graph, mode, itemsize, "multiplications", options.search)
    made = plan_cached(graph, mode, itemsize, model, options.search)
    if not options.compares_jax:
        return made
    offers = [
        *made.alternatives,
        *xla_model.offers(traced.pushed, traced.linearized.run, traced.flat.is_mapped),
    ]
    return replace(made, alternatives=tuple(sorted(offers, key=lambda offer: offer.cost)))


def _plan_within(
    graph: LinearGraph,
    mode: Mode,
    itemsize: int,
    cost: CostName | CostModel,
    options: JaxOptions,
) -> Plan | ChunkedPlan:
    """Return a plan within a limit of memory, or in blocks of a size, made now or before."""
    limit, size, search = options.memory_limit, options.chunk_size, options.search

    def make() -> Plan | ChunkedPlan:
        if size is None and limit is not None:
            lowered = FORMS[options.output].lowered
            others = ("structured", "bcoo") if options.output == "dense" else ()
            return plan_within(graph, mode, itemsize, cost, limit, lowered, search, others=others)
        return plan_in_blocks(graph, mode, itemsize, cost, limit, size, counts_result=True)

    if (key := mode_key(mode)) is None:
        return make()
    asked = model_of(cost, itemsize), limit, size, options.output, search.key
    return _plans.get((graph, key, itemsize, *asked), make).with_origins(graph)


def _blocks(traced: TracedFunction, made: Plan | ChunkedPlan, output: JaxOutput) -> list[list[Any]]:
    """Return the Jacobian of every result by every argument, in the order of a plan."""
    flat, linearized, form = traced.flat, traced.linearized, FORMS[output]
    dtype = jnp.result_type(*flat.leaves)
    ends = [(y, x) for y in traced.types for x in flat.leaves]

    def program() -> _JacobianProgram:
        run: Callable[[Sequence[Any]], Sequence[Any]]
        forms: Sequence[ResultForm | None]
        if isinstance(made, ChunkedPlan):
            run = loops = ChunkLoops(made, linearized.arrangements, dtype)
            forms = loops.forms
        else:
            lowered = lower(made, linearized.arrangements, form.lowered)
            run = build_for(lowered.program, XlaLibrary(jnp, index_add_at, dtype))
            forms = lowered.forms
        assemble = [
            (0 if own is None else own.width, form.assembler(own, y.shape, x.shape))
            for own, (y, x) in zip(forms, ends, strict=True)
        ]
        return run, assemble

    run, assemble = _programs.get((made, linearized.arrangements, dtype, output), program)
    found = iter(run(linearized.slots))
    given = zip(assemble, ends, strict=True)
    blocks = iter([make([next(found) for _ in range(width)], y) for (width, make), (y, _) in given])
    return [[next(blocks) for _ in flat.leaves] for _ in traced.types]


def mode_of_jax(made: Plan | ChunkedPlan, is_mapped: bool = False) -> xla_model.Direction | None:
    """Return which of JAX's modes takes as long as a plan, or hardly longer; None if none does."""
    if not isinstance(made, Plan):
        return None
    offers = [offer for offer in made.alternatives if offer.name in xla_model.TRANSFORMS]
    best = min(offers, key=lambda offer: offer.cost, default=None)
    if best is None:
        return None
    if best.cost > MIN_GAIN * (made.cost + xla_model.cost_of_results(made, is_mapped)):
        return None
    return xla_model.TRANSFORMS[best.name]


def _by_jax(
    flat: FlatFunction, types: Sequence[Any], mode: xla_model.Direction
) -> tuple[list[Any], list[Any], list[list[Any]]]:
    """Return what `accumulate` does by `jax.jacfwd` or `jax.jacrev` of the function as it is."""

    def results(*leaves: Any) -> tuple[list[Any], tuple[list[Any], list[Any]]]:
        found = flat(*leaves)
        values = found[: flat.n_outputs]
        return values, (values, found[flat.n_outputs :])

    transform = jax.jacfwd if mode == "forward" else jax.jacrev
    differentiated = transform(results, tuple(range(len(flat.leaves))), has_aux=True)
    found, (values, aux) = differentiated(*flat.leaves)
    values = [of_type(value, wanted) for value, wanted in zip(values, types, strict=True)]
    rows = zip(found, types, strict=True)
    return values, aux, [[of_type(block, wanted) for block in row] for row, wanted in rows]
