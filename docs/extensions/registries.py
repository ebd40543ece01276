"""Directives that print what the registries of chainad hold, so that no list is kept twice."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Sequence

from docutils import nodes
from numpydoc.docscrape import FunctionDoc
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import chainad
from chainad import errors
from chainad.errors import ChainadError
from chainad.planning.cost_models import COSTS
from chainad.planning.planners import PLANNERS
from chainad.planning.registry import modes


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table; the first column is code."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: auto", ""]
    for first, *others in [head, *((f"``{first}``", *others) for first, *others in rows)]:
        lines += [f"   * - {first}", *(f"     - {cell}" for cell in others)]
    return [*lines, ""]


def section(title: str, text: str) -> list[str]:
    """Return a section."""
    return [title, "-" * len(title), "", *text.splitlines(), ""]


def planners() -> list[str]:
    """Return the modes, and below them the modules of the planners with what these say."""
    lines = table(["mode", "what it does"], ((f'"{m}"', text) for m, text in modes().items()))
    modules = {known.planner.__module__: [] for known in PLANNERS.values()}
    for name, known in PLANNERS.items():
        modules[known.planner.__module__].append(name)
    for module, names in modules.items():
        lines += section(", ".join(f'``"{name}"``' for name in names), documentation(module))
        for name in names:
            for refused in FunctionDoc(PLANNERS[name].planner)["Raises"]:
                lines += [f'*Refused by* ``"{name}"``: {" ".join(refused.desc)}', ""]
    return lines


def documentation(module: str) -> str:
    """Return the docstring of a module."""
    return str(inspect.getdoc(sys.modules[module]))


def costs() -> list[str]:
    """Return the costs and what they count."""
    models = {name: make(8) for name, make in COSTS.items()}
    return table(["cost", "unit"], ((f'"{name}"', m.unit) for name, m in models.items()))


def options() -> list[str]:
    """Return the options of `chainad.jacobian`, a section each."""
    lines = []
    for each in FunctionDoc(chainad.jacobian)["Parameters"][1:]:
        lines += section(f"``{each.name}``", f"*{each.type}*\n\n" + "\n".join(each.desc))
        if each.name == "cost":
            lines += costs()
    return lines


def exceptions() -> list[str]:
    """Return the errors and warnings, with what they say of themselves."""
    lines = []
    for name, each in vars(errors).items():
        if inspect.isclass(each) and issubclass(each, (ChainadError, Warning)):
            lines += section(f"``{name}``", str(inspect.getdoc(each)))
    return lines


CONTENTS: dict[str, Callable[[], list[str]]] = {
    "planners": planners,
    "options": options,
    "exceptions": exceptions,
}


class Registry(SphinxDirective):
    """Print what one of `CONTENTS` returns."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the nodes."""
        text = "\n".join(CONTENTS[self.arguments[0]]())
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive `registry`."""
    app.add_directive("registry", Registry)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
