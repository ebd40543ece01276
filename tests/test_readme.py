"""The README's code blocks and the examples in docstrings do what they print."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import chainad

README = Path(__file__).parents[1] / "README.md"
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(chainad.__path__, "chainad.")
    if not module.name.endswith("__main__")
)


def test_readme_blocks_print_what_they_show():
    failed, attempted = doctest.testfile(str(README), module_relative=False)
    assert attempted > 10
    assert failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_print_what_they_show(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0
