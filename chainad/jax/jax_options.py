"""The options of Jacobians of JAX functions, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import Any

from chainad.api.options import checked_chunk_size
from chainad.errors import InputError, unknown
from chainad.jax.jacobian_forms import FORMS, JaxOutput
from chainad.planning.auto import Mode, check_mode
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.cost_models import CostModel, CostName, model_of
from chainad.planning.memory import bytes_of
from chainad.planning.search.budget import Effort, SearchOptions, search_options


@dataclass(frozen=True)
class JaxOptions:
    """The options of a Jacobian; see `chainad.jax.jacobian`."""

    argnums: int | tuple[int, ...]
    has_aux: bool
    mode: Mode | ChunkedPlan
    output: JaxOutput
    cost: CostName | CostModel | None
    memory_limit: int | None
    chunk_size: int | None
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
        """Whether JAX's own modes may answer, which make the whole, dense Jacobian at once."""
        is_whole = self.memory_limit is None and self.chunk_size is None
        return self.is_automatic and self.output == "dense" and is_whole

    @property
    def is_automatic(self) -> bool:
        """Whether neither an order nor a cost was requested."""
        return self.mode == "auto" and self.cost is None


def checked_jax_options(
    argnums: int | Sequence[int],
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
) -> JaxOptions:
    """Return the options, checked in the line of the user where they are given.

    Raises
    ------
    InputError, PlanError
        As for `chainad.jax.jacobian`.
    """
    if holomorphic or allow_int:
        name, other = ("holomorphic", "jacfwd") if holomorphic else ("allow_int", "jacrev")
        raise InputError(f"chainad.jax.jacobian takes no {name}=True; use jax.{other}")
    if output not in FORMS:
        raise InputError(unknown("output", output, [*FORMS]))
    if cost is not None:
        model_of(cost)  # refuses an unknown one
    is_chunked = isinstance(mode, ChunkedPlan)
    if output != "dense" and (is_chunked or chunk_size is not None):
        raise InputError(
            f"{'a plan in blocks' if is_chunked else 'chunk_size='} gives a dense Jacobian, but"
            f" output={output!r} is requested, of which nothing is made in blocks; leave one out"
        )
    if is_chunked and (memory_limit is not None or chunk_size is not None):
        raise InputError("mode= is a plan in blocks already; leave out memory_limit=, chunk_size=")
    return JaxOptions(
        _positions(argnums),
        has_aux,
        mode if isinstance(mode, ChunkedPlan) else check_mode(mode),
        output,
        cost,
        None if memory_limit is None else bytes_of(memory_limit),
        checked_chunk_size(chunk_size),
        search_options(effort),
    )


def _positions(argnums: Any) -> int | tuple[int, ...]:
    try:
        return index(argnums) if hasattr(argnums, "__index__") else tuple(map(index, argnums))
    except TypeError as error:
        raise InputError(
            "argnums must be a position (int) of an argument, or a sequence of positions, but got"
            f" {argnums!r}"
        ) from error
