"""`export`: a folder that transformers loads without us, and says what the run's model says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from manyminds import checkpoint
from manyminds.config import Recipe, load_recipe
from manyminds.errors import UserError
from manyminds.experts.rendering import Renderer
from manyminds.export import export
from manyminds.loading import load_model
from manyminds.records import PLAIN, Question
from manyminds.run import train

DEMO = str(Path(__file__).parents[1] / "recipes" / "demo.yaml")
SMALL = ["model=tiny", "warmup=null", "steps=2", "method.questions_per_step=2", "sampling.max_tokens=8"]
SMALL += ["task.warmup=40", "task.train=8", "task.validation=4", "task.test=5", "evaluation.samples=8"]
TOKENS = torch.tensor([[1, 5, 6, 14, 7]])


def trained(place: Path, *changes: str) -> Recipe:
    recipe = load_recipe(DEMO, [*SMALL, f"output={place}", "optimizer.lr=0.01", *changes])
    train(recipe)
    return recipe


@pytest.fixture(scope="module", params=["all weights", "adapters"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    if request.param == "adapters":
        pytest.importorskip("peft")
    return trained(tmp_path_factory.mktemp("run"), *(["lora={rank: 4, alpha: 8}"] * (request.param == "adapters")))


def said(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(TOKENS).logits
    return logits


def of_run(recipe: Recipe) -> Any:
    found, _ = checkpoint.latest(recipe.folder / "checkpoints")
    assert found is not None
    return load_model(found / "model", recipe.seed, base=recipe.model, lora=recipe.lora)[0]


def test_it_says_what_the_run_says(run: Recipe, tmp_path: Path) -> None:
    made = export(run.folder, tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(made.folder)
    assert torch.allclose(said(model), said(of_run(run)), rtol=0, atol=1e-4)
    assert made.difference < 1e-5
    assert not any("lora" in key for key in model.state_dict())
    assert not list(made.folder.glob("adapter*"))


def test_it_loads_without_this_package(run: Recipe, tmp_path: Path) -> None:
    made = export(run.folder, tmp_path / "model", expert="structured")
    code = (
        "import sys; from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        f"model = AutoModelForCausalLM.from_pretrained({str(made.folder)!r})\n"
        f"words = AutoTokenizer.from_pretrained({str(made.folder)!r})\n"
        "ask = [{'role': 'user', 'content': '12+34='}]\n"
        "ids = words.apply_chat_template(ask, add_generation_prompt=True, return_tensors='pt')['input_ids']\n"
        "print(words.decode(model.generate(ids, max_new_tokens=3)[0]))\n"
        "assert not any(name.startswith(('manyminds', 'peft')) for name in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "You are the structured expert." in done.stdout


def test_the_experts_message_is_baked_in(run: Recipe, tmp_path: Path) -> None:
    export(run.folder, tmp_path / "model", expert="deliberate")
    words = AutoTokenizer.from_pretrained(tmp_path / "model")
    plain = AutoTokenizer.from_pretrained(next(iter((run.folder / "checkpoints").glob("step-*/model"))))
    resolved = load_recipe(run.folder / "recipe.yaml")
    (expert,) = [one.record() for one in resolved.experts or () if one.name == "deliberate"]
    question = Question("q", "12+34", "")
    from manyminds.records import Expert

    assert Renderer(words, 256).prompt_ids(question, Expert(PLAIN)) == Renderer(plain, 256).prompt_ids(question, expert)


def test_half_precision_is_written_as_such(run: Recipe, tmp_path: Path) -> None:
    made = export(run.folder, tmp_path / "model", dtype="bfloat16")
    assert AutoModelForCausalLM.from_pretrained(made.folder).dtype == torch.bfloat16
    assert 1e-5 < made.difference < 0.05


def test_the_card_says_what_was_done(run: Recipe, tmp_path: Path) -> None:
    export(run.folder, tmp_path / "model", expert="concise")
    head, _, body = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")[4:].partition("\n---\n")
    named = yaml.safe_load(head)
    assert named["library_name"] == "transformers"
    assert {"manyminds", "rlvr", "meml_grpo"} <= set(named["tags"])
    after = json.loads((run.folder / "evaluation" / "after.json").read_text(encoding="utf-8"))
    plain = after["metrics"]["plain"]
    cell = f"{100 * plain['value']:.1f} [{100 * plain['low']:.1f}, {100 * plain['high']:.1f}]"
    (line,) = [line for line in body.splitlines() if line.startswith("| plain |")]
    assert line.endswith(f"| {cell} |")
    assert "on 5 questions" in body
    assert "| concise | You are the concise expert. |" in body
    assert "the expert **concise**" in body
    assert "Apache-2.0 (made by this package)" in body
    assert str(Path(run.output)) not in body
    assert ("adapters of rank 4, merged" in body) == (run.lora is not None)
    recipe = yaml.safe_load(body.partition("```yaml\n")[2].partition("```")[0])
    assert recipe["method"]["name"] == "meml_grpo"


# Mistakes.


def test_what_is_there_is_not_overwritten(run: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is there already"):
        export(run.folder, tmp_path)


def test_an_unknown_expert_is_named_with_the_known_and_nothing_is_left(run: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no expert 'brief'; known are concise, deliberate, structured"):
        export(run.folder, tmp_path / "model", expert="brief")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"it has no recipe\.yaml"):
        export(tmp_path, tmp_path / "model")


def test_a_run_without_a_checkpoint(tmp_path: Path, run: Recipe) -> None:
    (tmp_path / "recipe.yaml").write_text((run.folder / "recipe.yaml").read_text())
    with pytest.raises(UserError, match="holds no whole checkpoint"):
        export(tmp_path, tmp_path / "model")
