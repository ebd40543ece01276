"""The code blocks of the pages and the examples in docstrings do what they print."""

import doctest
import importlib
import linecache
import pkgutil
import re
from pathlib import Path

import numpy as np
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
    names = {"np": np, "chainad": chainad}  # imported by the first example of the README
    failed, attempted = doctest.testfile(str(ROOT / page), module_relative=False, globs=names)
    assert attempted > 5
    assert failed == 0


def test_first_example_prints_what_it_shows(capsys):
    code, shown = re.findall(
        r"```(?:python|text)\n(.*?)```", (ROOT / "README.md").read_text(), re.S
    )
    linecache.cache["model.py"] = len(code), None, code.splitlines(keepends=True), "model.py"
    exec(compile(code, "model.py", "exec"), {"__name__": "model"})
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize("name", ["comparison", "in_jax"])
def test_tables_of_times_are_the_measured_ones(name):
    measured = (ROOT / f"benchmarks/results/{name}.md").read_text()
    table = measured[measured.index("| ") :].split("\n\n")[0].strip()
    assert table in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", SITE)
def test_code_blocks_of_the_site_print_what_they_show(page):
    if ">>> import jax" in (ROOT / page).read_text():
        pytest.importorskip("jax", reason="needs the extra jax")
    assert doctest.testfile(str(ROOT / page), module_relative=False).failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_print_what_they_show(name):
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        pytest.skip(f"needs an extra: {error}")
    failed, _ = doctest.testmod(module)
    assert failed == 0
