"""Run every notebook from top to bottom, and compare what its cells return with what is stored.

`python .ci/notebooks.py [--write] [NAME ...]` prints what differs, and ends with 1 if anything
does; `--write` stores it instead. Times, addresses, rounding errors and the memory of this machine
are not compared; in a cell tagged "measured" no number is. Of a picture, not its pixels are
compared but a description of what is drawn, which is stored beside it as text.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import resource
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterator
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from PIL import Image

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
LIMIT_SECONDS = 60  # of processor time
OPTIONAL = ("jax",)  # a notebook that imports what is not there of these is left out
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
MASKS = {
    r"\x1b\[[0-9;]*m": "",  # colors
    r"\b0x[0-9a-f]{6,}\b": "(address)",
    r"/\S*/ipykernel_\d+/\d+\.py": "(cell)",
    r"\b(has|have) [\d.,]+ [kMGT]?B\b": r"\1 (bytes)",
    r"\b\d[\d.,]*(e[+-]\d+)? ?(ns|us|µs|ms|s|min)\b": "(time)",
    r"-?\b\d(\.\d+)?e-(1[2-9]|[2-9]\d)\b": "(rounding error)",
}
MEASURED_MASKS = {
    r"[\d.,]*\d(e[+-]\d+)?": "#",
    "[▏▎▍▌▋▊▉█]+": "",
    " +": " ",
    "^(compiled|traced) is": "what is quickest is",  # it may be either
}
# Runs in the kernel, before the first cell.
DESCRIBE_FIGURES = """
import sys
import textwrap
from collections import Counter
from IPython.core.formatters import PlainTextFormatter

class DescribingFormatter(PlainTextFormatter):
    def __call__(self, value):
        figures = sys.modules.get("matplotlib.figure")
        if figures is not None and isinstance(value, figures.Figure):
            return self.description(value)
        return super().__call__(value)

    def description(self, figure):
        from matplotlib.collections import Collection
        from matplotlib.colors import to_hex
        from matplotlib.image import AxesImage
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch
        from matplotlib.spines import Spine
        from matplotlib.text import Text

        lines = ["a picture of {:.3g} x {:.3g} inches".format(*figure.get_size_inches())]
        texts = [text.get_text() for text in figure.findobj(Text) if text.get_visible()]
        shown = ", ".join(repr(text) for text in texts if text.strip())
        lines += textwrap.wrap(shown, 100)
        shapes, widths, heights = Counter(), Counter(), Counter()
        for axes in figure.axes:
            for artist in axes.get_children():
                kind, path = type(artist).__name__, None
                if not artist.get_visible() or artist is axes.patch or isinstance(artist, Spine):
                    continue
                if isinstance(artist, Patch):
                    path = artist.get_patch_transform().transform_path(artist.get_path())
                    kind += " " + to_hex(artist.get_facecolor())
                elif isinstance(artist, Line2D):
                    path = artist.get_path()
                    kind += " " + to_hex(artist.get_color())
                elif not isinstance(artist, (Collection, AxesImage)):
                    continue
                shapes[kind] += 1
                if path is not None and len(path.vertices):
                    box = path.get_extents()
                    widths[kind] += box.width
                    heights[kind] += box.height
        for kind, count in shapes.items():
            size = f", in all {widths[kind]:.3g} x {heights[kind]:.3g}" if kind in widths else ""
            lines.append(f"{count} {kind}{size}")
        return "\\n".join(lines)

formatters = get_ipython().display_formatter.formatters
formatters["text/plain"] = DescribingFormatter(parent=formatters["text/plain"].parent)
del formatters
"""


def executed(notebook: NotebookNode) -> NotebookNode:
    """Return a copy of a notebook with the outputs of this run."""
    found = nbformat.from_dict({**notebook, "metadata": METADATA})
    folder = {"metadata": {"path": NOTEBOOKS}}
    client = NotebookClient(found, timeout=300, resources=folder, record_timing=False)
    client.extra_arguments = ["--Application.log_level=ERROR"]
    with client.setup_kernel():
        client.kc.execute(DESCRIBE_FIGURES, silent=True)
        for k, cell in enumerate(found.cells):
            client.execute_cell(cell, k)
    return found


def missing(notebook: NotebookNode) -> list[str]:
    """Return which optional packages a notebook imports that are not installed."""
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    needed = [name for name in OPTIONAL if re.search(rf"(?m)^(import|from) {name}\b", code)]
    return [name for name in needed if find_spec(name) is None]


def lines_of(cell: NotebookNode) -> list[str]:
    """Return what is compared of the outputs of a cell."""
    is_measured = "measured" in cell.metadata.get("tags", [])
    lines = []
    for text in _texts(cell.get("outputs", [])):
        shown = text
        for pattern, instead in (MASKS | (MEASURED_MASKS if is_measured else {})).items():
            shown = re.sub(pattern, instead, shown, flags=re.MULTILINE)
        lines += [line.rstrip() for line in shown.splitlines()]
    return lines


def _texts(outputs: list[NotebookNode]) -> Iterator[str]:
    """Yield what was printed, shown and raised, in order; pieces of one stream are one text."""
    stream = ""
    for output in [*outputs, None]:
        if output is not None and output.output_type == "stream":
            stream += output.text
            continue
        if stream:
            yield stream
            stream = ""
        if output is None:
            return
        if output.output_type == "error":
            yield f"{output.ename}: {output.evalue}"
            continue
        data: dict[str, Any] = output.data
        for mime in sorted(data):
            if mime == "text/html":  # of a page, what a reader reads
                words = re.sub(r"(?s)<style>.*?</style>|<[^>]*>", "\n", data[mime])
                yield "\n".join(filter(None, map(str.strip, words.splitlines())))
            else:
                yield f"({mime})" if mime.startswith("image/") else data[mime]


def difference(stored: NotebookNode, found: NotebookNode) -> Iterator[str]:
    """Yield lines that say where the outputs of two runs of a notebook differ."""
    for k, (old, new) in enumerate(zip(stored.cells, found.cells, strict=True)):
        before, after = lines_of(old), lines_of(new)
        if before != after:
            yield f"    cell {k}, {new.source.strip().splitlines()[-1]}"
            for line in list(difflib.unified_diff(before, after, lineterm="", n=1))[2:]:
                yield f"      {line}"


def smaller(picture: str) -> str:
    """Return a PNG in 128 colors, which takes a third of the bytes."""
    image = Image.open(BytesIO(b64decode(picture)))
    if image.mode == "P":
        return picture
    file = BytesIO()
    image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(file, "png", optimize=True)
    return b64encode(file.getvalue()).decode()


def merged(stored: NotebookNode, found: NotebookNode) -> NotebookNode:
    """Return what is stored, with the outputs of the cells that differ; their numbers are new."""
    cells = []
    for old, new in zip(stored.cells, found.cells, strict=True):
        cell = dict(new)
        if new.cell_type == "code" and lines_of(old) == lines_of(new):
            cell["outputs"] = old.outputs
            for output in old.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = new.execution_count
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = smaller(output.data["image/png"])
        cells.append(cell)
    return nbformat.from_dict({**found, "cells": cells})


def processor_time() -> float:
    """Return the seconds of processor time that the kernels have taken that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Run the notebooks that the command line names, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("names", nargs="*", help="notebooks, without .ipynb; all if none is given")
    parser.add_argument("--write", action="store_true", help="store the outputs that differ")
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = str(NOTEBOOKS.parent)  # the kernel imports this checkout
    is_fine = True
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if options.names and path.stem not in options.names:
            continue
        stored = nbformat.read(path, as_version=4)
        if lacking := missing(stored):
            print(f"  {path.name}  not run: {', '.join(lacking)} is not installed", flush=True)
            continue
        before = processor_time()
        try:
            found = executed(stored)
        except CellExecutionError as error:
            print(f"  {path.name}\n{error}", flush=True)
            is_fine = False
            continue
        seconds = processor_time() - before
        is_quick = seconds < LIMIT_SECONDS
        slow = "" if is_quick else f", more than {LIMIT_SECONDS} s: make it smaller"
        print(f"  {path.name}  {seconds:.0f} s{slow}", flush=True)
        lines = list(difference(stored, found))
        if options.write:
            nbformat.write(merged(stored, found), path)
        print("\n".join(lines), end="\n" if lines else "")
        is_fine &= is_quick and (options.write or not lines)
    return 0 if is_fine else 1


if __name__ == "__main__":
    sys.exit(main())
