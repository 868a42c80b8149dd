"""The command line with mistakes of every kind: exit code 2, one line on standard error, nothing written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import strategies as st
from typer.testing import CliRunner

from fuzzing import as_json, fuzz, is_sentence, plain_values, spoilt, torn, tree
from manyminds.cli import app
from manyminds.config import load_recipe
from manyminds.errors import UserError
from manyminds.loading import resolve
from manyminds.tasks.arithmetic_model import create

pytestmark = pytest.mark.usefixtures("quiet")

ROWS = [{"question": f"{i}+{i}", "answer": str(2 * i), "solution": f"= {2 * i}"} for i in range(10, 30)]
RECIPE: dict[str, Any] = {
    "name": "mine",
    "model": "model",
    "task": {"name": "jsonl", "questions": "q.jsonl", "experts_file": "t.jsonl"},
    "experts": [{"name": "a", "system": "You are the concise expert."}, {"name": "b", "system": "+"}],
    "warmup": {"steps": 2, "rows_per_step": 2, "evaluate_every": 1},
    "method": {"name": "meml_grpo", "questions_per_step": 1, "answers_per_prompt": 2},
    "steps": 1,
    "sampling": {"max_tokens": 40},
    "engine": {"answers_at_once": 8, "tokens_at_once": 512},
    "evaluation": {"every": 1, "questions": 2, "samples": 2, "group": 2},
}


def lay_out(place: Path) -> None:
    """A model, questions, worked answers, pairs, and files that are none of these."""
    if (place / "model").exists():
        return
    create(place / "model", 0, hidden=16, layers=1, heads=2)
    traces = [{"id": f"q:{i}", "expert": e, "solution": "#### 1", "correct": True} for i in range(1, 21) for e in "ab"]
    (place / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (place / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in traces))
    (place / "r.yaml").write_text(yaml.safe_dump(RECIPE))
    (place / "pairs.jsonl").write_text('{"gold": "1", "prediction": "2"}\n')
    (place / "broken.jsonl").write_text('{"gold": "1", "predi')
    (place / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    (place / "list.yaml").write_text("- 1\n")
    (place / "empty").mkdir()


def run(place: Path, *arguments: str) -> str:
    """What the command says on standard error; it ends well, or with 2, a sentence, and nothing written."""
    before = tree(place)
    done = CliRunner().invoke(app, list(arguments), input="", catch_exceptions=False)
    assert done.exit_code in (0, 2), (arguments, done.output)
    if done.exit_code == 2:
        assert tree(place) == before
        assert "Traceback" not in done.stderr
        said = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
        if not done.stderr.startswith("Usage:"):  # which is typer's, where an option is no number or not there
            assert len(said) == 1, done.stderr
            assert said[0].startswith("error: ")
            is_sentence(said[0])
    return str(done.stderr)


COMMANDS = (("check",), ("train", "--dry-run"), ("warmup", "--dry-run"), ("train",), ("warmup",))


@st.composite
def recipes(draw: st.DrawFn) -> tuple[bytes, tuple[str, ...]]:
    text = yaml.safe_dump(draw(spoilt(st.just(RECIPE)))[0], allow_unicode=True).encode()
    data = draw(torn(text)) if draw(st.integers(0, 3)) == 0 else text
    return data, draw(st.sampled_from(COMMANDS))


@fuzz("recipes on the command line", recipes())
def test_recipes(case: tuple[bytes, tuple[str, ...]], place: Path) -> None:
    """Recipes with mistakes, checked, planned, and (where they are refused) run."""
    data, (command, *options) = case
    lay_out(place)
    (place / "r.yaml").write_bytes(data)
    if not options and command != "check":
        try:
            resolve(load_recipe(place / "r.yaml"))
            options = ["--dry-run"]  # it may be valid, and then it would run
        except UserError:
            pass
    run(place, command, "r.yaml", *options)


places = st.sampled_from(
    [
        *("r.yaml", "q.jsonl", "t.jsonl", "pairs.jsonl", "broken.jsonl", "bytes.yaml", "list.yaml", "empty", "model"),
        *("nowhere", "nowhere/x.yaml", ".", "..", "", " ", "x" * 300, "é.yaml", "runs/demo", "-", "q.jsonl/x"),
    ]
)
numbers = st.one_of(st.sampled_from(["0", "-1", "1e9", "nan", "inf", "4", "x", "", "9" * 400, "1.5", "0x10"]))
budgets = st.one_of(numbers.map(lambda n: f"{n} steps"), numbers, st.sampled_from(["1,5 h", "2 M tokens", "200 steps"]))
assigned = st.tuples(st.sampled_from(["steps", "name", "task.questions", "model", "x", ""]), plain_values.map(as_json))
changes = st.lists(assigned.map("=".join), max_size=2)


@st.composite
def arguments(draw: st.DrawFn) -> list[str]:
    where, more = draw(places), draw(changes)
    return draw(
        st.sampled_from(
            [
                ["check", where, *more],
                ["check", where, "--questions", draw(numbers)],
                ["check", where, "--model", draw(places)],
                ["train", where, "--dry-run", *more],
                ["warmup", where, "--dry-run", *more],
                ["train", where, "--resume", draw(places)],
                ["collect", where, "--dry-run", "--out", draw(places)],
                ["eval", where] if where != "r.yaml" else ["eval"],
                ["compare", where, "--dry-run"],
                ["compare", where, "--workers", draw(numbers)],
                ["report", where],
                ["export", where, draw(places)],
                ["analyse", where, draw(places), "--samples", draw(numbers), "--questions", draw(numbers)],
                ["select", where, draw(places), "--wrong", draw(numbers)],
                ["verify", "--pairs", where, "--deadline", draw(numbers)] if where != "pairs.jsonl" else ["verify"],
                ["init", "--model", where, "--data", "q.jsonl", "--yes", "--out", "mine.yaml"],
                ["init", "--model", "model", "--data", where, "--yes", "--out", "mine.yaml"],
                ["init", "--model", "model", "--data", "q.jsonl", "--prompts", where, "--yes", "--out", "mine.yaml"],
                [
                    "init",
                    "--model",
                    "model",
                    "--data",
                    "q.jsonl",
                    "--budget",
                    draw(budgets),
                    "--yes",
                    "--out",
                    "r.yaml",
                ],
                [draw(st.text(max_size=8)), where],
                ["methods", where],
            ]
        )
    )


@fuzz("arguments on the command line", arguments())
def test_arguments(given: list[str], place: Path) -> None:
    """Files that are not there or hold something else, options that are no numbers."""
    lay_out(place)
    if "--resume" in given and given[1] == "r.yaml":
        return  # typer refuses it anyway, but a run must not begin if it did not
    run(place, *given)
    for made in ("mine.yaml", "recipe.yaml"):
        (place / made).unlink(missing_ok=True)


LONG = "x" * 300


@pytest.mark.parametrize(
    "given",
    [
        *(["check", LONG], ["eval", LONG], ["report", LONG], ["export", LONG, "out"], ["compare", LONG]),
        *(["analyse", LONG], ["select", LONG, "out"]),
        *(["verify", "--pairs", LONG], ["collect", "r.yaml", "--out", LONG, "--dry-run"]),
        *(["init", "--out", LONG], ["init", "--yes", "--model", "model", "--data", LONG]),
    ],
    ids=lambda given: " ".join(given).replace(LONG, "LONG"),
)
def test_a_name_that_no_file_can_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    lay_out(tmp_path)
    assert run(tmp_path, *given).startswith("error: ")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["verify", "--pairs", "broken.jsonl"], "error: broken.jsonl:1: not valid JSON"),
        (["check", "r.yaml", f"model={'x' * 300}"], "cannot be loaded as a causal language model"),
        pytest.param(["check", "bytes.yaml"], "error: bytes.yaml: is not text in UTF-8", marks=pytest.mark.long),
        pytest.param(["eval", "list.yaml"], "error: list.yaml: holds no keys", marks=pytest.mark.long),
        pytest.param(["report", "empty"], "error: empty: not a run folder", marks=pytest.mark.long),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_in_a_process_of_its_own(tmp_path: Path, given: list[str], said: str) -> None:
    lay_out(tmp_path)
    before = tree(tmp_path)
    command = [sys.executable, "-m", "manyminds", *given]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert tree(tmp_path) == before
