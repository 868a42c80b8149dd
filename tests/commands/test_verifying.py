"""`manyminds verify`: counts, agreement, and one sentence for a file that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from manyminds.cli import app

ROWS: list[dict[str, Any]] = [
    {"gold": "4", "prediction": r"\boxed{4.0}", "expected_equal": True, "kind": "integer", "tier": "clear"},
    {"gold": "4", "prediction": "The answer is 5.", "expected_equal": False, "kind": "integer", "tier": "clear"},
    {"gold": "4", "prediction": "5", "expected_equal": True, "kind": "integer", "tier": "quirk"},
    {"gold": "1/2", "prediction": "0.5", "expected_equal": False, "kind": "fraction", "tier": "quirk"},
    {"gold": r"\frac{1}{", "prediction": "0.5", "expected_equal": True, "kind": "fraction"},
    {"gold": "yes", "prediction": "Yes."},
]


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["verify", *arguments], catch_exceptions=False)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n")
    return path


def test_one_json_object(pairs: Path) -> None:
    done = run("--pairs", str(pairs), "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert {name: found[name] for name in ("pairs", "equal", "unequal", "unreadable", "labelled")} == {
        "pairs": 6,
        "equal": 3,
        "unequal": 2,
        "unreadable": 1,
        "labelled": 5,
    }
    assert (found["false_equal"], found["false_different"], found["agreement"]) == (1, 2, 0.4)
    assert set(found["kind"]) == {"integer", "fraction"}
    assert found["kind"]["integer"]["pairs"] == 3
    assert found["tier"]["clear"]["agreement"] == 1.0
    assert found["seconds"] >= 0
    assert [(one["line"], one["called"]) for one in found["wrong"]] == [(3, "unequal"), (4, "equal"), (5, "unreadable")]
    assert list(pairs.parent.iterdir()) == [pairs]


def test_a_table_and_the_first_that_are_wrong(pairs: Path) -> None:
    text = run("--pairs", str(pairs)).stdout
    assert "fraction" in text
    assert "line 3: unequal, but equal: '4' | '5'" in text
    assert run("--pairs", str(pairs), "--strict", "--json").stdout.count('"line"') == 2


def test_without_labels_it_only_counts(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"gold": "4", "prediction": "4"}')
    found = json.loads(run("--pairs", str(path), "--json").stdout)
    assert found["agreement"] is None
    assert found["equal"] == 1
    assert "–" in run("--pairs", str(path)).stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("{", ":1: not valid JSON"),
        ("[1]", ":1: a row must be a JSON object, not [1]"),
        ('{"gold": "4"}', ":1: `prediction` must be there and hold text"),
        ('\n{"gold": 4, "prediction": "4"}', ":2: `gold` must be there and hold text"),
        ('{"gold": "4", "prediction": "4", "expected_equal": 1}', "`expected_equal` must be true or false"),
        ('{"gold": "4", "prediction": "4", "kind": 1}', "`kind` must be text"),
        ("\udcff", "is not UTF-8"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    done = run("--pairs", str(path))
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    done = run("--pairs", str(tmp_path / "no.jsonl"))
    assert done.exit_code == 2
    assert "cannot be read" in done.stderr
