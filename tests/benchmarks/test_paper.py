"""The paper's recipes and the script that runs them: all resolve and can be planned, and a toy run ends in a result."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from families import write
from manyminds.config import load_recipe
from manyminds.preview import judged, preview, training_cost, warmup_cost

pytestmark = pytest.mark.usefixtures("quiet")

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes" / "paper").glob("*.yaml"))
FIXTURES = ROOT / "tests" / "data"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write("qwen2.5", tmp_path_factory.mktemp("model") / "small")


def task_of(recipe: Path) -> str:
    return recipe.stem.rpartition("_")[2]


def test_there_is_a_recipe_for_each_model_and_task() -> None:
    models = {
        "qwen2.5-math-1.5b": "Qwen/Qwen2.5-Math-1.5B",
        "llama-3.2-1b-instruct": "meta-llama/Llama-3.2-1B-Instruct",
    }
    assert {path.stem for path in RECIPES} == {f"{m}_{t}" for m in models for t in ("gsm8k", "mathqa", "strategyqa")}
    for path in RECIPES:
        recipe = load_recipe(path)
        assert recipe.name == path.stem
        assert recipe.model == models[path.stem.rpartition("_")[0]]
        assert recipe.task["name"] == task_of(path)
        assert f"benchmarks/paper.py recipes/paper/{path.name}" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_resolves_and_can_be_planned(path: Path, model: Path) -> None:
    overrides = [f"model={model}", f"task.data={FIXTURES / task_of(path)}"]
    seen = preview(load_recipe(path, overrides))
    method: Any = seen.recipe.method
    assert len(method.experts) == len(seen.recipe.experts or ()) == 3
    assert (method.answers_per_prompt, method.hard_wrong, method.hard_capacity) == (8, 6, 64)
    assert (method.preset, method.policy_loss, method.scale) == ("published", "positive_only", "none")
    assert seen.recipe.warmup is not None
    assert (seen.recipe.warmup.optimizer.lr, seen.recipe.optimizer.lr) == (1e-5, 1e-6)
    assert judged(seen)[1] == ()
    assert training_cost(seen)["rollouts_per_step"] == 16 * 3 * 8
    assert warmup_cost(seen)["rows_per_update"] == 64


SMALL = [
    "warmup.steps=2",
    "warmup.rows_per_step=4",
    "warmup.optimizer.schedule.decay_steps=1",
    "warmup.optimizer.schedule.warmup_steps=0",
    "method.questions_per_step=2",
    "method.answers_per_prompt=2",
    "steps=2",
    "sampling.max_tokens=6",
    "evaluation.questions=2",
    "evaluation.samples=2",
    "evaluation.group=2",
]


def test_the_kit_from_the_command_to_the_line(load: Callable[[str], ModuleType], model: Path, tmp_path: Path) -> None:
    paper = load("paper")
    app = paper.typer.Typer()
    app.command()(paper.main)
    out = tmp_path / "kit" / "result.json"
    folder = [f"model={model}", f"task.data={FIXTURES / 'gsm8k'}", f"output={tmp_path / 'runs'}", *SMALL]
    command = [str(ROOT / "recipes/paper/qwen2.5-math-1.5b_gsm8k.yaml"), *folder, "--seeds", "7", "--out", str(out)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text(encoding="utf-8"))
    assert [(one["seed"], one["arm"]) for one in found["cells"]] == [(7, arm) for arm in ("mef", "grpo", "meml_grpo")]
    assert all(
        one["test_questions"] == 4 and {"best", "mean", "plain"} <= one["metrics"].keys() for one in found["cells"]
    )
    assert all(one["best_expert"] in {"human_nl", "equations", "program"} for one in found["cells"])
    ours, theirs = found["methods"]["meml_grpo"], found["methods"]["grpo"]
    assert (theirs["name"], theirs["questions_per_step"], theirs["answers_per_prompt"]) == ("grpo", 2, 2)
    assert (ours["name"], ours["preset"], ours["questions_per_step"]) == ("meml_grpo", "published", 2)
    drawn = {one["arm"]: one["costs"]["sampled_tokens"] for one in found["cells"]}
    assert drawn["mef"] == 0 < drawn["grpo"]
    assert drawn["meml_grpo"] > 0
    assert {"torch", "transformers", "manyminds", "python"} <= found["versions"].keys()
    assert {"cpu", "cores", "gpu"} <= found["machine"].keys()
    assert found["seeds"] == [7]
    assert found["epochs"]["train"] == pytest.approx(4 / 6)
    assert not {"output", "seed"} & found["settings"].keys()
    (row,) = [line for line in done.output.splitlines() if line.startswith("| qwen2.5-math-1.5b_gsm8k |")]
    header = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").rstrip().splitlines()[-2]
    assert row.count("|") == header.count("|")
    assert "no GPU" in row
    # Started again it finds everything done, and says the same.
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 0
    assert json.loads(out.read_text(encoding="utf-8"))["cells"] == found["cells"]


def test_accuracies_are_averaged_over_seeds_and_intervals_are_those_of_one(load: Callable[[str], ModuleType]) -> None:
    paper = load("paper")
    cells = [
        {"metrics": {name: {"value": value + 0.1 * i, "low": 0.2, "high": 0.9} for name in ("best", "mean")}}
        for i, value in enumerate((0.5, 0.6))
    ]
    assert paper.accuracy(cells[:1]) == "50.0 [20.0, 90.0] / 50.0 [20.0, 90.0]"
    assert paper.accuracy(cells) == "60.0 / 60.0"


def test_mistakes_cost_a_sentence(load: Callable[[str], ModuleType], tmp_path: Path) -> None:
    paper = load("paper")
    app = paper.typer.Typer()
    app.command()(paper.main)
    recipe = str(RECIPES[0])
    for arguments, message in (
        ([str(tmp_path / "none.yaml")], "cannot be read"),
        ([recipe, "task.data=../nowhere"], "there is no folder '../nowhere'"),
        ([recipe, "--arms", "grop"], "grop"),
        ([recipe, f"task.data={FIXTURES / task_of(RECIPES[0])}", "warmup=null"], "has no `warmup` section"),
    ):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 2
        assert message in re.sub(r"\s+", " ", done.output)


def test_the_table_claims_no_run_that_is_not_there() -> None:
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    table = text[text.index("\n## The table") :]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    files = {path.stem for path in (ROOT / "benchmarks" / "results" / "paper").glob("*.json")}
    assert {row.split(" | ")[0].removeprefix("| ") for row in rows} == files
    assert ("No run of these recipes" in text) == (not files)
