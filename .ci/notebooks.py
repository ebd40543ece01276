"""Run every notebook from top to bottom; fail on the first error."""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

for path in sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb")):
    print(f"  {path.name}", flush=True)
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": path.parent}}).execute()
sys.exit(0)
