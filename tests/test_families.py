"""Every family of models from a folder to a folder: check, warm-up, training, evaluation, export."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from families import FAMILIES, write
from manyminds.config import Recipe, parse
from manyminds.evaluate import on_test
from manyminds.export import checkpoint_of, export
from manyminds.loading import Loaded, load
from manyminds.preview import judged, preview
from manyminds.run import train
from manyminds.warmup import warmup

pytestmark = pytest.mark.usefixtures("quiet")

QUESTIONS = [
    {"id": f"q{i}", "question": f"What is {i}+1?", "answer": str(i + 1), "solution": f"{i}+1={i + 1}\n#### {i + 1}"}
    for i in range(10)
]
EXPERTS = [{"name": "brief", "system": "Be brief."}, {"name": "slow", "system": 'Be slow: say "why".\n\nThen #### it.'}]
LORA = {"rank": 2, "alpha": 4}
SETTINGS: dict[str, dict[str, Any]] = {
    "qwen2.5": {"lora": LORA},
    "qwen3": {"chat_template_kwargs": {"enable_thinking": False}, "engine": {"gradient_checkpointing": True}},
    "llama3": {"lora": LORA},
    "gemma3": {"engine": {"precision": "mixed"}},
    "smollm3": {"chat_template_kwargs": {"enable_thinking": False}},
    "gpt2": {"lora": LORA},
}
"""What a family's run has besides; every setting is on for one, adapters for more."""
TOLD = {"no system role", "no chat template", "writes its own", "today's date"}
"""Words of the notes about prompts."""


def recipe_of(name: str, place: Path) -> Recipe:
    """Ten questions, two experts; the weights lie in bfloat16, as families are published."""
    write(name, place / "model", torch.bfloat16)
    (place / "questions.jsonl").write_text("\n".join(map(json.dumps, QUESTIONS)))
    traces = [{"id": q["id"], "expert": e["name"], "solution": q["solution"]} for q in QUESTIONS for e in EXPERTS]
    (place / "experts.jsonl").write_text("\n".join(map(json.dumps, traces)))
    task = {"name": "jsonl", "questions": f"{place}/questions.jsonl", "experts_file": f"{place}/experts.jsonl"}
    data = {
        "name": name.replace(" ", "_"),
        "model": f"{place}/model",
        "output": f"{place}/runs",
        "task": {**task, "shares": {"warmup": 0.4, "train": 0.4, "validation": 0.1, "test": 0.1}},
        "experts": EXPERTS,
        "warmup": {"steps": 2, "rows_per_step": 4, "evaluate_every": 9, "optimizer": {"lr": 1e-3}},
        "method": {"name": "meml_grpo", "questions_per_step": 2, "answers_per_prompt": 2},
        "steps": 2,
        "sampling": {"max_tokens": 4},
        "optimizer": {"lr": 1e-3},
        "evaluation": {"every": 9, "samples": 2, "group": 1},
        **SETTINGS.get(name, {}),
    }
    return parse(data)


@pytest.mark.parametrize("name", FAMILIES)
def test_from_folder_to_folder(name: str, tmp_path: Path) -> None:
    """Check, warm-up, training, evaluation and export, with what the family has of its own."""
    recipe, family = recipe_of(name, tmp_path), FAMILIES[name]
    seen = preview(recipe)
    assert judged(seen)[1] == ()
    if family.begins:
        assert all(ids.count(seen.model.tokenizer.bos_token_id) == 1 for ids in seen.prompts.values())
    assert [name in " ".join(seen.notes) for name in TOLD] == [name in family.told for name in TOLD]
    warmup(recipe)
    train(recipe)
    source, resolved = checkpoint_of(recipe.folder)
    loaded = load(resolved, source)
    assert loaded.sampler.path == "shared prefix"
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert loaded.recipe.engine.precision == (recipe.engine.precision or "float32")
    assert recipe.lora is None or any(p.requires_grad and "lora" in key for key, p in loaded.model.named_parameters())
    lines = [json.loads(line) for line in (recipe.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert all(math.isfinite(line["grad_norm"]) for line in lines)
    assert set(on_test(loaded, 2)[1]["metrics"]) >= {"plain", "experts/brief", "experts/slow"}
    exported(recipe, loaded, tmp_path / "out")


def exported(recipe: Recipe, loaded: Loaded, out: Path) -> None:
    """In plain transformers: the same logits, the prompt that was trained on, ends where answers ended in training."""
    export(recipe.folder, out, expert="slow")
    model, words = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    for question in loaded.questions["train"]:
        asked = [{"role": "user", "content": question.text}]
        ids = words.apply_chat_template(asked, add_generation_prompt=True, tokenize=True, return_dict=False)
        assert tuple(ids) == question.prompt_ids["slow"]
    row = torch.tensor([ids])
    with torch.no_grad():
        assert torch.allclose(model(row).logits, loaded.model(row).logits, rtol=0, atol=1e-4)
    named = model.generation_config.eos_token_id
    ends = {named} if isinstance(named, int) else set(named)
    assert ends == set(loaded.sampler.ends)
    assert {question.solution_ids[-1] for question in loaded.questions["train"]} == {
        words.convert_tokens_to_ids(FAMILIES[family_of(recipe)].closes)
    }
    assert words.convert_tokens_to_ids(FAMILIES[family_of(recipe)].closes) in ends


def family_of(recipe: Recipe) -> str:
    return recipe.name.replace("_", " ")
