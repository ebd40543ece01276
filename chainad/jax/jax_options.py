"""The options of Jacobians of JAX functions, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index

from chainad.errors import InputError
from chainad.planning.auto import Mode
from chainad.planning.cost_models import CostModel, CostName
from chainad.planning.search.budget import Effort, SearchOptions, search_options


@dataclass(frozen=True)
class JaxOptions:
    """The options of a Jacobian; see `chainad.jax.jacobian`."""

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


def checked_jax_options(
    argnums: int | Sequence[int],
    has_aux: bool,
    holomorphic: bool,
    allow_int: bool,
    mode: Mode,
    cost: CostName | CostModel | None,
    effort: Effort,
) -> JaxOptions:
    """Return the options, checked in the line of the user where they are given."""
    if holomorphic or allow_int:
        name, other = ("holomorphic", "jacfwd") if holomorphic else ("allow_int", "jacrev")
        raise InputError(f"chainad.jax.jacobian takes no {name}=True; use jax.{other}")
    numbers = index(argnums) if hasattr(argnums, "__index__") else tuple(map(index, argnums))
    return JaxOptions(numbers, has_aux, mode, cost, search_options(effort))
