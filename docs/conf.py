"""How Sphinx builds the site: `python -m sphinx -W --keep-going docs build/docs`."""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "extensions")]

import chainad  # noqa: E402

project = "chainad"
author = "the developers of chainad"
release = version = chainad.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.githubpages",
    "numpydoc",
    "myst_nb",
    "mathml",
    "public_names",
    "registries",
    "shown",
]
nitpicky = True
smartquotes = False  # modes are text in plain quotes
default_role = "public"
root_doc = "index"
templates_path = ["_templates"]
# The latter two are included in pages.
exclude_patterns = ["extensions", "notebooks/coverage.md", "benchmark_results/comparison.md"]

autosummary_generate = True
autosummary_imported_members = True
autosummary_ignore_module_all = False
autodoc_typehints = "none"  # the docstrings say the types, in words
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # the template of classes has them

nb_execution_mode = "off"  # the notebooks are stored with what they print
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "pydata_sphinx_theme"
html_title = "chainad"
html_logo = html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["chainad.css"]
html_math_renderer = "mathml"
html_sidebars = {
    page: []
    for page in ("index", "start", "guide", "slow", "theory", "coverage", "search", "genindex")
}
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "chainad"},
    "navbar_align": "left",
    "header_links_before_dropdown": 10,
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}


def setup(app: Sphinx) -> None:
    """Take away the empty line that doctest wants at the end of a block of code."""

    def shorten(app: Sphinx, page: str, source: list[str]) -> None:
        source[0] = re.sub(r"\n\n```$", "\n```", source[0], flags=re.MULTILINE)

    app.connect("source-read", shorten)
