"""What analyzing a plan has found: estimates beside measurements."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from chainad.api.analysis_page import element
from chainad.api.analysis_text import DEFAULT_ROWS, explain
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.plan import Plan
from chainad.planning.steps import Direction, Step
from chainad.planning.views.directions import shown_directions
from chainad.planning.views.line_costs import paid_vertices
from chainad.planning.views.markup import document, saved
from chainad.planning.views.overview import StepGroup, place, step_groups
from chainad.planning.views.quantities import seconds_text
from chainad.planning.views.terminal import Explained


class Phase(NamedTuple):
    """A part of a call, and how long it takes, in seconds."""

    name: str
    seconds: float


class MeasuredStep(NamedTuple):
    """A step of a plan (of a block of the Jacobian, where that is accumulated in blocks).

    Attributes
    ----------
    plan, step
        The plan, and its step.
    estimate, seconds : float
        How long it takes by the model of time, and as measured alone; 0 where nothing is computed.
    """

    plan: Plan
    step: Step
    estimate: float
    seconds: float

    @property
    def is_sum(self) -> bool:
        """Whether it adds two Jacobians."""
        return self.step.direction == "sum"


class MeasuredMode(NamedTuple):
    """An order of the same products and sums, run as one program.

    Attributes
    ----------
    name, mode : str
        What it is called, and "forward", "reverse" or "hybrid".
    multiplications : int
    estimate, seconds : float
        How long it takes by the model of time, and as measured.
    is_expected : bool
        Whether it would have taken too long, or too much memory, to be measured: `seconds` are then
        multiplied up from this plan by the estimates.
    """

    name: str
    mode: str
    multiplications: int
    estimate: float
    seconds: float
    is_expected: bool


class MeasuredGroup(NamedTuple):
    """Steps that do the same on one line, and how long all of them take together."""

    group: StepGroup
    estimate: float
    seconds: float


@dataclass(frozen=True, repr=False)
class Analysis(Explained):
    """How long a Jacobian takes, and where; made by `J.explain(..., analyze=True)`; print it.

    All times are in seconds, the least of several runs.

    Attributes
    ----------
    plan : Plan or ChunkedPlan
        What was run.
    rows : tuple of MeasuredStep
        Every step, in order.
    modes : tuple of MeasuredMode
        This plan, then the pure modes, as one program each.
    phases : tuple of Phase
        The parts of a call that is traced; products, sums and the result are measured one by one.
    preparation : tuple of Phase
        What a first call does besides.
    f, traced, compiled : float
        A call of the function; of its Jacobian, traced; and of that, compiled.
    form : str
        What the compiled function is made of; empty if it is traced at each call.
    program : float
        All products, sums and the result as one program, without tracing and local Jacobians.
    source : str
        Where the costs are from that times are estimated by.
    """

    plan: Plan | ChunkedPlan
    rows: tuple[MeasuredStep, ...]
    modes: tuple[MeasuredMode, ...]
    phases: tuple[Phase, ...]
    preparation: tuple[Phase, ...]
    f: float
    traced: float
    compiled: float
    form: str
    program: float
    source: str

    def __repr__(self) -> str:
        return (
            f"<Analysis {self.plan.title}: f {seconds_text(self.f)}, traced"
            f" {seconds_text(self.traced)}, compiled {seconds_text(self.compiled)}>"
        )

    @property
    def seconds(self) -> float:
        """The time of all steps, run one by one."""
        return sum(row.seconds for row in self.rows)

    @property
    def estimate(self) -> float:
        """The time of all steps by the model of time."""
        return sum(row.estimate for row in self.rows)

    @property
    def groups(self) -> list[MeasuredGroup]:
        """Equal steps of one line together, the slowest first."""
        plans: dict[int, Plan] = {id(row.plan): row.plan for row in self.rows}
        measured = {(id(row.plan), row.step.number): row for row in self.rows}
        same: dict[tuple[Direction, str, str, str], list[MeasuredStep]] = {}
        first: dict[tuple[Direction, str, str, str], StepGroup] = {}
        for key, plan in plans.items():
            for group in step_groups(plan):
                what = group.direction, group.factors, group.line, group.text
                first.setdefault(what, group)
                rows = [measured[key, step.number] for step in group.steps]
                same.setdefault(what, []).extend(rows)
        found = [
            MeasuredGroup(
                replace(first[what], steps=tuple(row.step for row in rows)),
                sum(row.estimate for row in rows),
                sum(row.seconds for row in rows),
            )
            for what, rows in same.items()
        ]
        return sorted(found, key=lambda group: -group.seconds)

    def explain(self, rows: int = DEFAULT_ROWS, width: int | None = None) -> str:
        """Return what was found, on one screen: what `print` shows.

        Parameters
        ----------
        rows : int
            How many steps are shown, the slowest; equal ones of one line are together.
        width : int, optional
            Characters per line; by default those of the terminal, and at most 100.
        """
        return explain(self, rows, width)

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return what was found as a web page, in light and dark; notebooks show it, too.

        Parameters
        ----------
        path : str or path, optional
            Where to save the page.

        Returns
        -------
        str
            HTML without any script.
        """
        return saved(document(self.plan.title, element(self)), path)

    def _repr_html_(self) -> str:
        return element(self)

    def to_json(self) -> str:
        """Return what was found as JSON, a row for every step; times are in seconds.

        The plan itself is in `self.plan.to_json()`.
        """
        plans = {id(row.plan): row.plan for row in self.rows}
        paid = {key: paid_vertices(plan) for key, plan in plans.items()}
        directions = {key: shown_directions(plan) for key, plan in plans.items()}
        steps = [
            {
                "direction": directions[id(row.plan)][row.step.number],
                "line": place(row.plan, paid[id(row.plan)][row.step.number])[0],
                "multiplications": row.step.multiplications,
                "estimate": row.estimate,
                "seconds": row.seconds,
            }
            for row in self.rows
        ]
        found: dict[str, Any] = {
            "title": self.plan.title,
            "multiplications": self.plan.multiplications,
            "f": self.f,
            "traced": self.traced,
            "compiled": self.compiled,
            "form": self.form,
            "program": self.program,
            "estimated by": self.source,
            "preparation": dict(self.preparation),
            "phases": dict(self.phases),
            "modes": [mode._asdict() for mode in self.modes],
            "steps": steps,
        }
        return json.dumps(found, indent=1)
