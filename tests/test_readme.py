"""README shows what the committed results say: its tables are those that benchmarks/tables.py prints."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tables", ROOT / "benchmarks" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_readme_shows_the_committed_tables(tables: ModuleType) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    results = json.loads(tables.RESULTS.read_text(encoding="utf-8"))
    level = results["levels"]["demo"]
    assert tables.arms_table(level) in readme
    assert tables.differences_table(level) in readme
    assert tables.parts_table(json.loads(tables.FIRST.read_text(encoding="utf-8"))["cells"]) in readme


def test_a_table_row_by_hand(tables: ModuleType) -> None:
    one = {"mean": 0.815, "sd": 0.034}
    level = {"arms": {"meml_tuned": {"seeds": [1, 2], "metrics": dict.fromkeys(tables.COLUMNS, one)}}}
    row = tables.arms_table(level).splitlines()[2]
    assert row == "| **MEML-GRPO, tuned** | 2 |" + " 81.5 ± 3.4 |" * len(tables.COLUMNS)


def test_a_difference_by_hand(tables: ModuleType) -> None:
    found = {"outcome": "mean", "arm": "a", "against": "b", "seeds": 5, "p": 0.01234, "p_holm": None}
    assert tables.difference({**found, "difference": 12.34, "low": -1.0, "high": 25.68}) == "+12.3 [-1.0, +25.7]"
    assert tables.difference({**found, "difference": None}) == "not measured"
    table = tables.differences_table(
        {"primary": {**found, "difference": 12.34, "low": None, "high": None}}, ["primary"]
    )
    assert table.splitlines()[2] == "| **mean: a − b (primary)** | +12.3 | 5 | 0.012 | – |"


def test_a_probability_by_hand(tables: ModuleType) -> None:
    assert [tables.probability(p) for p in (None, 0.0004, 0.0123, 1.0)] == ["–", "< 0.001", "0.012", "1.000"]
