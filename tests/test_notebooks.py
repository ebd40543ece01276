"""The notebooks are stored as they ran, and a run is compared with what is stored."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stored_with_the_outputs_of_one_run(path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == [k + 1 for k in range(len(code))]
    for cell in code:
        is_expected = "raises-exception" in cell["metadata"].get("tags", [])
        assert is_expected or all(o["output_type"] != "error" for o in cell["outputs"])


def cell(*texts: str, tag: str = "", picture: str = "") -> Any:
    """Return a cell that printed some texts and, if so, showed a picture."""
    nbformat = pytest.importorskip("nbformat.v4")
    outputs = [nbformat.new_output("stream", name="stdout", text=text) for text in texts]
    if picture:
        data = {"image/png": picture, "text/plain": "a picture"}
        outputs.append(nbformat.new_output("display_data", data=data))
    return nbformat.new_code_cell(outputs=outputs, metadata={"tags": [tag]} if tag else {})


@pytest.mark.parametrize(
    ("one", "two", "is_equal"),
    [
        (["1 of 2, in 3.4 ms"], ["1 of 2, in 15 s"], True),
        (["1 of 2, in 3.4 ms"], ["2 of 2, in 3.4 ms"], False),
        (["an error of 3.1e-15"], ["an error of 7e-16"], True),
        (["an error of 3.1e-15"], ["an error of 7e-6"], False),
        (["needs 8 TB, this machine has 25.2 GB"], ["needs 8 TB, this machine has 4 GB"], True),
        (["needs 8 TB, this machine has 25.2 GB"], ["needs 9 TB, this machine has 25.2 GB"], False),
        (["<f at 0x7f00aa0012>"], ["<f at 0x7f00bb0012>"], True),
        (["one\n", "two\n"], ["one\ntwo\n"], True),
        (["one\n"], ["one\n", "two\n"], False),
    ],
)
def test_times_addresses_and_rounding_errors_are_not_compared(
    one: list[str], two: list[str], is_equal: bool
) -> None:
    pytest.importorskip("nbclient")
    lines_of = runpy.run_path(str(ROOT / ".ci" / "notebooks.py"))["lines_of"]
    assert (lines_of(cell(*one)) == lines_of(cell(*two))) is is_equal


def test_pictures_are_compared_by_what_they_are_said_to_show() -> None:
    pytest.importorskip("nbclient")
    lines_of = runpy.run_path(str(ROOT / ".ci" / "notebooks.py"))["lines_of"]
    assert lines_of(cell(picture="abc")) == lines_of(cell(picture="def")) != lines_of(cell("abc"))


def test_no_number_of_a_measured_cell_is_compared() -> None:
    pytest.importorskip("nbclient")
    lines_of = runpy.run_path(str(ROOT / ".ci" / "notebooks.py"))["lines_of"]
    one, two = cell("f  12.5  ███\n", tag="measured"), cell("f   3.25  █████\n", tag="measured")
    assert lines_of(one) == lines_of(two) != lines_of(cell("g  12.5  ███\n", tag="measured"))


@pytest.mark.parametrize(
    ("source", "expected"),
    [("import jax.numpy as jnp", ["jax"]), ("import chainad.jax", []), ("import numpy as np", [])],
)
def test_what_is_not_installed_is_said_of_a_notebook_that_needs_it(
    source: str, expected: list[str]
) -> None:
    nbformat = pytest.importorskip("nbformat.v4")
    names = runpy.run_path(str(ROOT / ".ci" / "notebooks.py"))
    missing = names["missing"]
    missing.__globals__["find_spec"] = lambda name: None
    notebook = nbformat.new_notebook(cells=[nbformat.new_code_cell(f"import os\n{source}")])
    assert missing(notebook) == expected
