"""Runs examples/first_steps.ipynb in an empty folder, and stores in it what it put out.

    python examples/run_notebook.py

What a library complains of on standard error is about the machine at hand and is not stored.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent / "first_steps.ipynb"


def executed(folder: str | Path) -> nbformat.NotebookNode:
    """The notebook after every cell ran in `folder`; nbclient.exceptions.CellExecutionError for a cell that fails."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    place = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=place, record_timing=False).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
    return notebook


def main() -> None:
    """Run it and write it."""
    with tempfile.TemporaryDirectory() as folder:
        notebook = executed(folder)
    notebook.metadata.language_info = {"name": "python"}
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    main()
