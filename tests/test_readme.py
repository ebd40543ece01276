"""The code blocks of the pages and the examples in docstrings do what they print."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import chainad

ROOT = Path(__file__).parents[1]
SITE = sorted(
    page.relative_to(ROOT).as_posix()
    for page in (ROOT / "docs").glob("**/*")
    if page.suffix in (".md", ".rst") and ">>> " in page.read_text()
)
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(chainad.__path__, "chainad.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_code_blocks_print_what_they_show(page):
    failed, attempted = doctest.testfile(str(ROOT / page), module_relative=False)
    assert attempted > 10
    assert failed == 0


@pytest.mark.parametrize("page", SITE)
def test_code_blocks_of_the_site_print_what_they_show(page):
    assert doctest.testfile(str(ROOT / page), module_relative=False).failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_print_what_they_show(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0
