"""Regions of a linear jaxpr with complex tangents: one equation each, of real operands and results.

Local Jacobians are real, so a region is one operator, from the real tangents that enter it to those
that leave it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from graphlib import TopologicalSorter
from typing import Any

import jax.numpy as jnp
from jax.extend import core

from chainad.frontends.jax.axis_flow import depending_results
from chainad.frontends.jax.jaxprs import Equation, Jaxpr

_REGION = core.Primitive("complex_region")
_REGION.multiple_results = True


def is_real(aval: Any) -> bool:
    """Return whether an array has a real floating dtype."""
    return bool(jnp.issubdtype(aval.dtype, jnp.floating))


def with_regions(jaxpr: Jaxpr, given: Sequence[bool]) -> Jaxpr:
    """Return a jaxpr whose equations of complex tangents are in regions.

    `given` tells which arguments are tangents.
    """
    tangents = {var for var, is_tangent in zip(jaxpr.invars, given, strict=True) if is_tangent}
    for eqn in jaxpr.eqns:
        at = [k for k, var in enumerate(eqn.invars) if _is_variable(var) and var in tangents]
        tangents.update(eqn.outvars[k] for k in depending_results(eqn, at))
    if all(is_real(var.aval) for var in tangents):
        return jaxpr
    regions = _Regions(jaxpr, tangents)
    while regions.close():
        pass
    return jaxpr.replace(eqns=regions.equations())


class _Regions:
    """For every equation the region it is in; regions are numbered by one of their equations."""

    def __init__(self, jaxpr: Jaxpr, tangents: set[Any]) -> None:
        self.jaxpr, self.eqns = jaxpr, jaxpr.eqns
        self.maker = {var: k for k, eqn in enumerate(self.eqns) for var in eqn.outvars}
        self.before = [
            {self.maker[var] for var in _variables(eqn.invars) if var in self.maker}
            for eqn in self.eqns
        ]
        self.region = dict[int, int]()
        for k, eqn in enumerate(self.eqns):
            for var in _variables([*eqn.invars, *eqn.outvars]):
                if var in tangents and not is_real(var.aval):
                    self.merge(k, self.maker.get(var, k))

    def merge(self, *eqns: int) -> None:
        """Put equations, with the regions they are in, into one."""
        merged = {self.region.get(k, k) for k in eqns}
        first = min(merged)
        self.region |= {k: first for k, region in self.region.items() if region in merged}
        self.region |= dict.fromkeys(eqns, first)

    def close(self) -> bool:
        """Add to a region what is on paths between its equations; return whether anything is."""
        n = len(self.eqns)
        after: list[set[int]] = [set() for _ in range(n)]
        for k, eqns in enumerate(self.before):
            for j in eqns:
                after[j].add(k)
        above = self._reached(range(n), self.before)
        below = self._reached(reversed(range(n)), after)
        between = {
            k: found for k in range(n) if (found := (above[k] & below[k]) - {self.region.get(k)})
        }
        for k, regions in between.items():
            self.merge(k, *regions)
        return bool(between)

    def _reached(self, order: Iterable[int], steps: Sequence[set[int]]) -> dict[int, set[int]]:
        """Return for every equation the regions that are some steps away from it."""
        found = dict[int, set[int]]()
        for k in order:
            found[k] = set()
            for j in steps[k]:
                found[k] |= found[j]
                if j in self.region:
                    found[k].add(self.region[j])
        return found

    def equations(self) -> list[Equation]:
        """Return the equations in an order of evaluation, those of a region as one."""
        members: dict[int, list[int]] = {}
        for k in range(len(self.eqns)):
            members.setdefault(self.region.get(k, k), []).append(k)
        sorter: TopologicalSorter[int] = TopologicalSorter()
        for number, eqns in members.items():
            needed = {self.region.get(j, j) for k in eqns for j in sorted(self.before[k])}
            sorter.add(number, *sorted(needed - {number}))
        return [
            self._equation(members[number]) if number in self.region else self.eqns[number]
            for number in sorter.static_order()
        ]

    def _equation(self, members: Sequence[int]) -> Equation:
        """Return the equation that calls those of a region."""
        eqns = [self.eqns[k] for k in members]
        own, others = {*members}, [k for k in range(len(self.eqns)) if k not in {*members}]
        used = {
            *_variables(self.jaxpr.outvars),
            *(var for k in others for var in _variables(self.eqns[k].invars)),
        }
        operands = dict.fromkeys(
            var
            for eqn in eqns
            for var in _variables(eqn.invars)
            if self.maker.get(var, -1) not in own
        )
        results = [var for eqn in eqns for var in eqn.outvars if var in used]
        ends = {"invars": [*operands], "outvars": results}
        region = self.jaxpr.replace(constvars=[], eqns=eqns, **ends)
        return eqns[0].replace(**ends, primitive=_REGION, params={"jaxpr": region})


def _variables(values: Sequence[Any]) -> Iterator[Any]:
    return filter(_is_variable, values)


def _is_variable(value: Any) -> bool:
    return not isinstance(value, core.Literal)
