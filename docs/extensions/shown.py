"""The directive `shown`: code that is run when the site is built, and what a notebook shows."""

import ast
import linecache
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Shown(SphinxDirective):
    """Run code, of the file name that is the argument; show it and the value of its last line."""

    has_content = True
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the code, and what it made."""
        code, name = "\n".join(self.content), self.arguments[0]
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
        *before, last = ast.parse(code).body
        assert isinstance(last, ast.Expr)
        names: dict[str, object] = {}
        exec(compile(ast.Module(before, []), name, "exec"), names)
        value: Any = eval(compile(ast.Expression(last.value), name, "eval"), names)
        page = f'<div class="shown">{value._repr_html_()}</div>'
        return [
            nodes.literal_block(code, code, language="python"),
            nodes.raw("", page, format="html"),
        ]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive `shown`."""
    app.add_directive("shown", Shown)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
