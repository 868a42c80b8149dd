"""README says what is so: its tables are those of the committed results, its first recipe runs as it is printed."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from transformers import AutoTokenizer
from typer.testing import CliRunner

import guesser
from fuzzing import CASES
from manyminds.cli import app
from manyminds.methods import METHODS
from pages import FENCE

ROOT = Path(__file__).parents[1]
FIRST = "## Your model, your questions, your prompts"


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
    assert tables.levels_table(results["levels"]) in readme
    parts = json.loads(tables.PARTS_RESULTS.read_text(encoding="utf-8"))["levels"]["demo"]
    assert tables.arms_table(parts, tables.PARTS) in readme
    assert tables.differences_table(parts, ("primary", "controls")) in readme


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


@pytest.fixture(scope="module")
def first() -> dict[str, str]:
    """The fenced blocks of the section about the reader's own model, by language."""
    _, _, rest = (ROOT / "README.md").read_text(encoding="utf-8").partition(f"\n{FIRST}\n")
    assert rest, f"README has no section {FIRST}"
    return dict(FENCE.findall(rest.partition("\n## ")[0]))


def absent(shown: str, said: str) -> list[str]:
    """The pieces, between "…" and line breaks, of a shortened output that the whole one does not have in this order."""
    place, missing = 0, []
    for piece in filter(None, re.split(r"…|\n", shown)):
        found = said.find(piece, place)
        missing += [piece] if found < 0 else []
        place = max(place, found + len(piece))
    return missing


def test_the_first_recipe_runs_as_printed(
    first: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe, row = first["yaml"], json.loads(first["json"])
    assert len(recipe.splitlines()) <= 10
    sums = [(a, b) for a in range(10) for b in range(10) if a + b < 10]
    rows = [json.dumps({"question": f"What is {a} plus {b}?", "answer": str(a + b)}) + "\n" for a, b in sums]
    assert json.dumps(row) + "\n" in rows
    Path("my.jsonl").write_text("".join(rows))
    Path("first.yaml").write_text(recipe)
    guesser.make(Path("my-model"), [*rows, *[expert["system"] for expert in yaml.safe_load(recipe)["experts"]]])
    said = ""
    for line in first["console"].splitlines():
        program, *words = shlex.split(line, comments=True)
        assert program == "manyminds"
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, f"{line}\n{done.output}"
        said += done.stdout
    assert absent(first["text"], said) == []
    result = json.loads(Path("runs/first/meml_grpo/result.json").read_text())
    assert {name for name in result["metrics"] if name.startswith("experts/")} == {
        "experts/equations",
        "experts/words",
        "experts/checked",
    }
    steps = [json.loads(line) for line in Path("runs/first/meml_grpo/metrics.jsonl").read_text().splitlines()]
    assert sum(step["mutual/pairs"] for step in steps) > 0
    template = AutoTokenizer.from_pretrained("my-better-model").chat_template
    assert "Answer, then check it." in template


def test_an_output_that_drifted_is_found() -> None:
    said = "Question 1\n  a: 'what is it'\n  b: 'what'\n"
    assert absent("Question 1\n  a: 'what …'\n", said) == []
    assert absent("  b: 'what'\nQuestion 1\n", said) == ["Question 1"]
    assert absent("  a: 'that …'\n", said) == ["  a: 'that "]


def test_the_promises_say_what_was_measured() -> None:
    _, _, rest = (
        (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## What it promises, and how that is tested\n")
    )
    promises = rest.partition("\n## ")[0]
    results = ROOT / "benchmarks" / "results"
    kills, judge, pairs = (
        json.loads((results / f"{n}.json").read_text()) for n in ("kill_resume", "judge", "verifier")
    )
    assert kills["identical"] is True
    assert f"{kills['kills']} kills in {kills['runs']} runs, all identical" in promises
    in_workers = judge["ways"]["a function of one answer, in workers"]["checks_per_second"]
    assert f"{in_workers:,.0f} answers a second" in promises
    clear = pairs["tier"]["clear"]
    right = round(clear["agreement"] * clear["pairs"])
    assert f"{pairs['pairs']} labelled pairs" in promises
    assert f"{right} of {clear['pairs']}; by math-verify alone" in promises
    assert f"{100 * pairs['math_verify_alone']['tier']['clear']['agreement']:.1f} %" in promises
    quick, long = (sum(its[i] for its in CASES.values()) for i in (0, 1))
    assert f"{quick:,} inputs in `make test`, {long:,} in `make test-long`" in promises


def test_every_method_is_in_the_readme() -> None:
    _, _, rest = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Methods\n")
    named = set(re.findall(r"`(\w+)`", rest.partition("\n## ")[0]))
    assert set(METHODS) <= named
