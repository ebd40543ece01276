"""The role of `text` in docstrings: a link if it is a public name of chainad, else code."""

from operator import attrgetter

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.domains.python import PyXRefRole
from sphinx.util.docutils import SphinxRole

import chainad.testing


class Public(SphinxRole):
    """A cross reference to what a name means in `chainad`, if it means something there."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return the nodes for the text."""
        name = self.text.removeprefix("chainad.")
        inside = self.env.ref_context.get("py:class")
        is_attribute = inside is not None and is_public(f"{inside}.{name}")
        if self.text.startswith("scipy") or is_attribute or not is_public(name):
            return [nodes.literal(self.text, self.text)], []
        link = f"{self.text} <chainad.{name}>"
        return PyXRefRole()("py:obj", link, link, self.lineno, self.inliner)


def is_public(name: str) -> bool:
    """Return whether `chainad.name` exists and may be used.

    >>> is_public("Plan.to_json"), is_public("ir"), is_public("f(x)")
    (True, False, False)
    """
    if name.split(".", maxsplit=1)[0] not in {*chainad.__all__, "testing"}:
        return False
    try:
        attrgetter(name)(chainad)
    except AttributeError:
        return False
    return True


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the role `public`."""
    app.add_role("public", Public())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
