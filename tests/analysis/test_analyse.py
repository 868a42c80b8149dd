"""`analyse` as a user types it, on the shipped model and a short run from it; and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner, Result

from manyminds.analysis.analyse import answer_files, file_names
from manyminds.cli import app
from manyminds.config import load_recipe
from manyminds.loading import load_model, load_questions
from manyminds.run import train
from manyminds.shipped import HERE

pytestmark = pytest.mark.usefixtures("quiet")

DEMO = str(Path(__file__).parents[2] / "recipes" / "demo.yaml")
MODEL = HERE / "mef" / "checkpoints" / "step-001400" / "model"
SMALL = [f"model={MODEL}", "warmup=null", "steps=2", "method.questions_per_step=1", "method.answers_per_prompt=2"]
SMALL += ["task.warmup=40", "task.train=8", "task.validation=2", "task.test=4", "evaluation.samples=2"]
SMALL += ["evaluation.group=2", "checkpoint.every=1", "sampling.max_tokens=40"]
FEW = ["--questions", "3", "--samples", "4"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps, `runs/short/rl`, and beside it the warm-up that is shipped, `warm`."""
    folder = tmp_path_factory.mktemp("analyse")
    train(load_recipe(DEMO, [*SMALL, f"output={folder / 'runs'}", "name=short", "arm=rl"]))
    shutil.copytree(HERE / "mef", folder / "warm")
    return folder


def run(place: Path, *arguments: str) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        return CliRunner().invoke(app, ["analyse", *arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def both(place: Path) -> dict[str, Any]:
    """What --json prints of the short run's start beside its end."""
    done = run(place, "runs/short/rl@start", "runs/short/rl", *FEW, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_what_is_told(place: Path, both: dict[str, Any]) -> None:
    assert both["file"] == "runs/short/rl/analysis/test/analysis.json"
    kept = json.loads((place / both["file"]).read_text())
    assert kept == {key: value for key, value in both.items() if key != "file"}
    assert (both["questions"], both["samples"], both["k"], both["points"]) == (3, 4, 2, [1, 2])
    assert [(one["name"], one["step"]) for one in both["models"]] == [("rl@start", None), ("rl", 2)]
    assert len(both["unsolvable"]) == 3 * 4
    assert both["models"][1]["stages"]["why"] == "2 steps with entropy and accuracy; a split takes 20"


def samples_of(place: Path, both: dict[str, Any], which: int) -> list[dict[str, Any]]:
    file = place / "runs/short/rl/analysis/test" / both["models"][which]["samples"]
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_every_answer_is_kept_and_adds_up(place: Path, both: dict[str, Any]) -> None:
    rows = samples_of(place, both, 0)
    assert len(rows) == 3 * 3 * 4
    for name, its in both["models"][0]["pass_at"].items():
        mine = [row["correct"] for row in rows if name in (row["expert"], "mean", "together")]
        assert its["1"]["value"] == pytest.approx(sum(mine) / len(mine))
    entropies = sum(row["entropy"] * row["tokens"] for row in rows) / sum(row["tokens"] for row in rows)
    assert both["models"][0]["uncertainty"]["together"]["all"]["entropy"] == pytest.approx(entropies)


def test_uncertainty_is_that_of_the_model(place: Path, both: dict[str, Any]) -> None:
    """Against transformers alone, from the text of an answer."""
    model, words = load_model(MODEL, 0)
    row = next(row for row in samples_of(place, both, 0) if row["finish"] == "stop" and row["expert"] == "concise")
    recipe = load_recipe(place / "runs/short/rl/recipe.yaml")
    text = next(question.text for question in load_questions(recipe)[0].splits["test"] if question.id == row["id"])
    asked = [{"role": "system", "content": "You are the concise expert."}, {"role": "user", "content": text}]
    prompt = words.apply_chat_template(asked, add_generation_prompt=True)["input_ids"]
    ids = words(row["text"], add_special_tokens=False)["input_ids"] + [words.eos_token_id]
    assert len(ids) == row["tokens"]
    with torch.no_grad():
        said = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].double().log_softmax(-1)
    p = said.exp()
    assert row["entropy"] == pytest.approx(float(-(p * said).sum(-1).mean()), abs=1e-4)
    assert row["perplexity"] == pytest.approx(float(torch.exp(-said[range(len(ids)), ids].mean())), rel=1e-4)
    sizes = [int((its.sort(descending=True).values.cumsum(0) < 0.95).sum()) + 1 for its in p]
    assert row["branching"] == pytest.approx(sum(sizes) / len(sizes))


def test_the_same_seed_says_the_same_and_another_does_not(place: Path, both: dict[str, Any]) -> None:
    alone = run(place, "runs/short/rl", *FEW, "--json", "--out", "alone")
    assert alone.exit_code == 0, alone.output
    assert json.loads(alone.stdout)["models"][0] == both["models"][1]
    other = run(place, "runs/short/rl", *FEW, "--json", "--out", "other", "--seed", "1", "--expert", "concise")
    found = json.loads(other.stdout)
    assert found["prompts"] == ["concise"]
    assert found["models"][0]["uncertainty"]["concise"] != both["models"][1]["uncertainty"]["concise"]
    assert sorted(path.name for path in (place / "other").iterdir()) == ["analysis.json", "rl.jsonl"]


def test_tables(place: Path) -> None:
    done = run(place, "runs/short/rl@1", "runs/short/rl@2", "--samples", "2", "--out", "tables", "--set", "validation")
    assert done.exit_code == 0, done.output
    for words in ("2 validation questions, 2 answers", "(U_1)", "rl@1 → rl@2", "together", "no two stages"):
        assert words in done.stdout
    single = run(place, "runs/short/rl", "--questions", "2", "--samples", "2", "--expert", "plain", "--out", "single")
    assert single.exit_code == 0, single.output
    assert "solved again" in single.stdout
    assert "together" not in single.stdout


@pytest.mark.parametrize("what", ["test questions", "experts", "rewards"])
def test_runs_that_ask_otherwise_are_refused(place: Path, what: str) -> None:
    other = Path(shutil.copytree(place / "runs/short/rl", place / f"other {what}"))
    recipe = yaml.safe_load((other / "recipe.yaml").read_text())
    change = {
        "test questions": {"task": recipe["task"] | {"test": 9}},
        "experts": {"experts": [one | {"system": "+"} for one in recipe["experts"]]},
        "rewards": {"rewards": ["exact_answer"]},
    }[what]
    (other / "recipe.yaml").write_text(yaml.safe_dump(recipe | change))
    done = run(place, "runs/short/rl", other.name, *FEW)
    assert done.exit_code == 2
    assert f"error: {other.name}: its recipe has other {what} than that of runs/short/rl, so what" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "error: nowhere: there is no such folder"),
        (["runs"], "error: runs: is not the folder of a run"),
        (["warm@7"], "error: warm@7: there is no such checkpoint; known are @start, @best, @1400"),
        (["warm@best"], "error: warm: of its best step there is no checkpoint"),
        (["warm", "warm@1400"], "the same model is given twice"),
        (
            ["runs/short/rl", "--expert", "nobody"],
            "error: --expert: there is no expert 'nobody'; known are plain, concise",
        ),
        (["warm", "--out", "warm/recipe.yaml"], "error: warm/recipe.yaml: is a file; --out names a folder"),
    ],
)
def test_mistakes_are_one_sentence(place: Path, arguments: list[str], said: str) -> None:
    done = run(place, *arguments)
    assert done.exit_code == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_checkpoint_that_is_not_whole(place: Path) -> None:
    shutil.copytree(place / "runs/short/rl", place / "torn")
    (place / "torn/checkpoints/step-000001/model/config.json").unlink()
    done = run(place, "torn@1")
    assert done.exit_code == 2
    assert "error: torn@1: the checkpoint is not whole" in done.stderr


def test_files_of_answers_have_different_names() -> None:
    assert file_names(["../x/grpo", "x/grpo", "/x/grpo", "x-grpo", "X-GRPO", "..", "a"]) == [
        "x-grpo.jsonl", "x-grpo-2.jsonl", "x-grpo-3.jsonl", "x-grpo-4.jsonl", "X-GRPO-5.jsonl", "answers.jsonl",
        "a.jsonl",
    ]  # fmt: skip
    assert file_names(["m", "/m", "m-2"]) == ["m.jsonl", "m-2.jsonl", "m-2-2.jsonl"]


def test_another_analysis_in_the_same_place_leaves_no_answers_of_the_first(place: Path) -> None:
    few = ["--questions", "1", "--samples", "2", "--expert", "plain", "--out", "again"]
    shutil.copytree(place / "runs/short/rl", place / "x" / "rl")
    assert run(place, "runs/short/rl", "x/rl", *few).exit_code == 0
    (place / "again/mine.jsonl").write_text("")
    assert {path.name for path in (place / "again").iterdir()} == {
        "analysis.json", "mine.jsonl", "runs-short-rl.jsonl", "x-rl.jsonl",
    }  # fmt: skip
    assert run(place, "x/rl", *few).exit_code == 0
    assert {path.name for path in (place / "again").iterdir()} == {"analysis.json", "mine.jsonl", "rl.jsonl"}


def test_files_beside_an_analysis_are_only_its_own(tmp_path: Path) -> None:
    names = ["../out.jsonl", "/etc/x.jsonl", "recipe.yaml", "rl.jsonl"]
    (tmp_path / "analysis.json").write_text(json.dumps({"models": [{"samples": name} for name in names]}))
    assert answer_files(tmp_path) == {"rl.jsonl"}
    for broken in ("", "[]", '{"models": [1]}', '{"models": null}'):
        (tmp_path / "analysis.json").write_text(broken)
        assert answer_files(tmp_path) == set()
