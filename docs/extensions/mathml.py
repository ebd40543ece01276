"""Formulas as MathML, which browsers draw themselves: no script, no network."""

import re
from html import escape

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.util.logging import getLogger
from sphinx.writers.html5 import HTML5Translator

logger = getLogger(__name__)


def mathml(formula: str, is_block: bool) -> str:
    """Return a formula as MathML; the bars of a size stand close, as they do in print."""
    try:
        drawn: str = latex2mathml.tex2mathml(formula, as_block=is_block)
    except MathError as error:
        logger.warning("%s In the formula %s", error, formula)
        return f"<code>{escape(formula)}</code>"
    return re.sub(r"<mo[^>]*>\|", '<mo lspace="0" rspace="0" stretchy="false">|', drawn)


def inline(translator: HTML5Translator, node: nodes.math) -> None:
    """Write a formula in a line of text."""
    translator.body.append(mathml(node.astext(), is_block=False))
    raise nodes.SkipNode


def block(translator: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula that stands alone."""
    formula = mathml(node.astext(), is_block=True)
    translator.body.append(f'<div class="formula">{formula}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Make it the renderer of the name "mathml"."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
