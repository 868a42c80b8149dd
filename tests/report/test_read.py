"""Run folders are read as they are: whole, unfinished, or broken with a sentence that says where."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from manyminds.errors import UserError
from manyminds.report.read import load, measures
from manyminds.report.runs import Measure
from report.synthetic import EXPERTS, write_demo


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    return write_demo(tmp_path / "demo", questions=12, updates=6)


def test_demo_folder(demo: Path) -> None:
    runs = load(demo)
    assert [arm.name for arm in runs.arms] == ["warmup", "grpo_all_experts", "meml_grpo"]
    assert runs.name == "demo"
    assert runs.experts == EXPERTS
    assert runs.main is not None
    assert runs.main.name == "meml_grpo"
    assert runs.baseline is not None
    assert runs.baseline.name == "grpo_all_experts"
    assert runs.warmup is not None
    assert runs.warmup.is_warmup
    assert len(runs.main.steps) == 6
    assert runs.main.series("hard_buffer/size")[0] == [1, 2, 3, 4, 5, 6]
    assert runs.main.after is not None
    assert len(runs.main.after.answers) == 12
    assert runs.main.after.prompts == ("plain", *EXPERTS)


def test_one_run_folder(demo: Path) -> None:
    runs = load(demo / "meml_grpo")
    assert [arm.name for arm in runs.arms] == ["meml_grpo"]
    assert runs.baseline is None
    assert [arm.label for arm in runs.columns] == ["Before RL", "MEML-GRPO"]


def test_start_is_the_warmups_end_where_it_was_not_measured_again(demo: Path) -> None:
    (demo / "meml_grpo" / "evaluation" / "before.json").unlink()
    runs = load(demo)
    assert runs.main is not None
    assert runs.warmup is not None
    assert runs.main.before is not None
    assert runs.main.before == runs.warmup.after


def test_running_run(demo: Path) -> None:
    run = demo / "meml_grpo"
    (run / "result.json").unlink()
    (run / "evaluation" / "after.json").unlink()
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "kind": "tr')  # being written at this moment
    arm = load(run).arms[0]
    assert [step.step for step in arm.steps] == [1, 2, 3, 4, 5, 6]
    assert arm.result is None
    assert arm.metrics == {}


def test_only_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: just-started\n")
    arm = load(tmp_path).arms[0]
    assert arm.steps == ()
    assert arm.experts == ()


def test_not_a_run(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    with pytest.raises(UserError, match="not a run folder, and it holds none"):
        load(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        load(tmp_path / "missing")


def test_broken_line_in_the_middle(demo: Path) -> None:
    path = demo / "meml_grpo" / "metrics.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "{oops", *lines[2:]]) + "\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2: not valid JSON"):
        load(demo)


def test_a_broken_last_line_that_was_ended_is_an_error(demo: Path) -> None:
    path = demo / "meml_grpo" / "metrics.jsonl"
    path.write_text(path.read_text() + "{oops\n")
    with pytest.raises(UserError, match="line 7"):
        load(demo)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answers": 3}, "answers should be a list"),
        ({"metrics": {"plain": {"value": "high"}}}, "plain: value should be a number"),
        ({"answers": [{"greedy": {"plain": {"text": "x"}}}]}, r"answers\[0\]: greedy: plain: expected"),
        ({"answers": [{"right": {"concise": [1]}}]}, r"answers\[0\]: right: concise: expected \[right, sampled\]"),
    ],
)
def test_broken_evaluation(demo: Path, change: dict[str, object], said: str) -> None:
    path = demo / "meml_grpo" / "evaluation" / "after.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=said):
        load(demo)


def test_measures() -> None:
    found = measures(
        {"plain": {"value": 0.5, "low": 0.4, "high": 0.6}, "bare": 1, "gone": None, "styles/a/b": {"value": 0}}
    )
    assert found == {"plain": Measure(0.5, 0.4, 0.6), "bare": Measure(1.0), "styles/a/b": Measure(0.0)}


def test_arms_without_a_warmup(demo: Path) -> None:
    shutil.rmtree(demo / "warmup")
    runs = load(demo)
    assert runs.warmup is None
    assert [arm.label for arm in runs.columns] == ["Before RL", "GRPO on all experts", "MEML-GRPO"]
