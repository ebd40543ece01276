"""Links to public names: `text` in docstrings is a link if it is one, else code."""

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains.python import PyXRefRole
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxRole

import chainad


class Public(SphinxRole):
    """A cross reference to what a name means in `chainad`, if it means something there."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return the nodes for the text."""
        name = self.text.removeprefix("chainad.")
        around = getattr(chainad, str(self.env.ref_context.get("py:class")), None)
        if hasattr(around, self.text) or not is_public(self.text):
            return [nodes.literal(self.text, self.text)], []
        link = f"{self.text} <chainad.{name}>"
        return PyXRefRole()("py:obj", link, link, self.lineno, self.inliner)


class Links(SphinxTransform):
    """On all pages, code such as `chainad.jacobian(f)` is a cross reference, too."""

    default_priority = 400

    def apply(self, **kwargs: object) -> None:
        """Wrap such code."""
        for code in [*self.document.findall(nodes.literal)]:
            name = code.astext().partition("(")[0]
            if name.startswith("chainad.") and is_public(name) and is_text(code.parent):
                link = addnodes.pending_xref(
                    refdomain="py", reftype="obj", reftarget=name, refdoc=self.env.docname
                )
                code.replace_self(link)
                link += code


def is_text(node: nodes.Element) -> bool:
    """Return whether a link may stand there."""
    return not isinstance(node, (addnodes.pending_xref, nodes.reference, nodes.title))


def is_public(text: str) -> bool:
    """Return whether a text is meant as a public name; whether it is one, nitpicky asks.

    `jacobian`, `Plan.to_json` and `chainad.nothing` are; `f(x)`, `plan.cost` and `scipy.sparse` are
    code.
    """
    if not text.replace(".", "").isidentifier() or text.startswith("scipy"):
        return False
    head, _, rest = text.partition(".")
    return (head == "chainad" and bool(rest)) or (
        head in chainad.__all__ and (not rest or isinstance(getattr(chainad, head), type))
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the role `public` and the links."""
    app.add_role("public", Public())
    app.add_transform(Links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
