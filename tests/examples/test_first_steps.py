"""The notebook: it runs as it is, and what is stored in it is what its cells put out."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOK = EXAMPLES / "first_steps.ipynb"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script that runs the notebook."""
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    spec = importlib.util.spec_from_file_location("run_notebook", EXAMPLES / "run_notebook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def codes(notebook: Any) -> list[Any]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def kinds(cell: Any) -> list[tuple[str, ...]]:
    """What a cell put out, as kinds of content."""
    return [(one["output_type"], *sorted(one.get("data", {}))) for one in cell["outputs"]]


def test_the_notebook_runs_and_puts_out_what_it_holds(script: ModuleType, tmp_path: Path) -> None:
    stored = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    done = script.executed(tmp_path)
    assert [cell.source for cell in codes(done)] == ["".join(cell["source"]) for cell in codes(stored)]
    assert [kinds(cell) for cell in codes(done)] == [kinds(cell) for cell in codes(stored)]
    run = tmp_path / "runs" / "mine" / "meml_grpo"
    before = json.loads((run / "evaluation" / "before.json").read_text(encoding="utf-8"))
    after = json.loads((run / "result.json").read_text(encoding="utf-8"))
    assert after["metrics"]["mean"]["value"] > before["metrics"]["mean"]["value"]


def test_the_notebook_is_short_and_was_run_from_top_to_bottom() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    cells = codes(json.loads(text))
    assert len(text) < 120_000
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    demo = "".join(cells[0]["source"]).splitlines()
    assert sum(bool(line.strip()) for line in demo) <= 15
    assert "site-packages" not in text
    assert "Traceback" not in text
