"""The five tasks from end to end, on a small Qwen2 and a small Llama: load, warm-up, training, report, export."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from families import write
from manyminds.config import Recipe, load_recipe, parse
from manyminds.export import export
from manyminds.loading import load
from manyminds.preview import judged, preview
from manyminds.report import build
from manyminds.run import train
from manyminds.warmup import Traces, warmup

pytestmark = pytest.mark.usefixtures("quiet")

TASKS = ("gsm8k", "mathqa", "multiarith", "strategyqa", "svamp")
FIXTURES = Path(__file__).parent / "data"
SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"
LINES = {"train": 8, "dev": 4, "experts": 0}


def beginning(task: str, place: Path) -> Path:
    """The first lines of the real files, so that real text goes through; of our own, where there are none."""
    if not (SHARED / task).is_dir():
        return FIXTURES / task
    place.mkdir(parents=True)
    kept: set[str] = set()
    for name, count in LINES.items():
        with (SHARED / task / f"{name}.jsonl").open(encoding="utf-8") as file:
            lines = list(itertools.islice(file, count or None))
        if name == "experts":
            lines = [line for line in lines if json.loads(line)["id"] in kept]
        kept |= {json.loads(line)["id"] for line in lines if name == "train"}
        (place / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return place


def recipe_of(task: str, family: str, place: Path, data: Path) -> Recipe:
    return parse(
        {
            "name": f"{task}-{family}",
            "model": str(write(family, place / "model")),
            "task": {"name": task, "data": str(data), "validation": 1, "test": 2},
            "warmup": {
                "steps": 2,
                "rows_per_step": 4,
                "evaluate_every": 100,
                "optimizer": {"schedule": {"warmup_steps": 0, "decay_steps": 1}},
            },
            "method": {"name": "meml_grpo", "questions_per_step": 2, "answers_per_prompt": 2}
            | {"hard_wrong": 1, "hard_probability": 1.0, "hard_capacity": 4},
            "steps": 2,
            "sampling": {"max_tokens": 8},
            "evaluation": {"every": 100, "samples": 2, "group": 2},
            "output": str(place / "runs"),
        }
    )


@pytest.mark.parametrize("family", ["qwen2.5", "llama3"])
@pytest.mark.parametrize("task", TASKS)
def test_from_the_files_to_the_model_card(task: str, family: str, tmp_path: Path) -> None:
    recipe = recipe_of(task, family, tmp_path, beginning(task, tmp_path / "data"))
    seen = preview(recipe)
    shown, problems = judged(seen)
    assert problems == ()
    assert {one["what"]: one["reward"] for one in shown if one["reward"]} == {"gold answer": 1, "worked solution": 1}
    experts = seen.recipe.experts or ()
    assert len(experts) == 3
    for expert in experts:
        assert expert.system
        assert expert.system in seen.texts[expert.name]
    warmup(recipe)
    result = train(recipe)
    assert result.step == 2
    assert {f"experts/{expert.name}" for expert in experts} | {"plain", "vote", "oracle"} <= result.metrics.keys()
    steps = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    # A random model is always wrong: both questions of a step enter the buffer under every prompt, and it is learnt.
    assert [step["verifier/errors"] for step in steps] == [0, 0]
    assert any(step.get("hard_buffer/flushes") for step in steps)
    page = build(result.folder).read_text(encoding="utf-8")
    assert all(expert.name in page for expert in experts)
    made = export(result.folder, tmp_path / "export", expert=experts[0].name)
    card = (made.folder / "README.md").read_text(encoding="utf-8")
    assert seen.task.licence in card
    assert "Worked answers: " in seen.task.licence
    words = AutoTokenizer.from_pretrained(made.folder)
    asked = [{"role": "user", "content": seen.question.text}]
    text = words.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    assert experts[0].system in text


def test_only_right_worked_answers_reach_the_warm_up(tmp_path: Path) -> None:
    recipe = recipe_of("mathqa", "qwen2.5", tmp_path, FIXTURES / "mathqa")
    loaded = load(recipe, recipe.model)
    assert recipe.warmup is not None
    traces = Traces(loaded.questions["warmup"], recipe.warmup, [e.name for e in loaded.experts], 0)
    assert traces.rows
    for question, ids, _ in traces.rows:
        text = loaded.tokenizer.decode(list(ids), skip_special_tokens=True)
        assert loaded.judge.score(question, text) == 1.0
    assert any(note.startswith("No right worked answer") for note in loaded.notes)


def test_a_recipe_cannot_put_experts_into_its_task(tmp_path: Path) -> None:
    from manyminds.errors import UserError
    from manyminds.loading import load_questions

    path = tmp_path / "mine.yaml"
    text = "name: x\nmodel: tiny\ntask: {name: svamp, experts: [a]}\nmethod: {name: grpo}\n"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"task\.experts: experts are named at the top of a recipe"):
        load_questions(load_recipe(path))


def test_a_run_folder_loads_again_as_the_same_task(tmp_path: Path) -> None:
    from manyminds.config import dump
    from manyminds.loading import load_questions

    options: dict[str, Any] = {"name": "svamp", "data": str(FIXTURES / "svamp"), "styles": ["equation", "program"]}
    recipe = parse({"name": "x", "model": "tiny", "task": options, "method": {"name": "grpo"}})
    task, experts, resolved = load_questions(recipe)
    again, same, _ = load_questions(parse(dump(resolved)))
    assert [expert.name for expert in experts] == ["equation", "program"]
    assert same == experts
    assert again.splits == task.splits


def test_the_recipe_of_the_docs_runs_as_far_as_it_can_be_seen(tmp_path: Path) -> None:
    path = Path(__file__).parents[1] / "recipes" / "multiarith.yaml"
    there = [f"model={write('qwen2.5', tmp_path / 'model')}", f"task.data={FIXTURES / 'multiarith'}"]
    seen = preview(load_recipe(path, there))
    assert judged(seen)[1] == ()
    assert [expert.name for expert in seen.recipe.experts or ()] == ["equation", "steps", "program"]
