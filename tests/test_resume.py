"""A run that is stopped and resumed ends with the same weights, optimiser, memory and metrics, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from manyminds import checkpoint
from manyminds.config import Recipe, parse
from manyminds.durable import read_jsonl, sha256
from manyminds.errors import UserError
from manyminds.result import Result
from manyminds.run import train
from manyminds.warmup import warmup

WALL_CLOCK = ("step_time",)


class Stopped(Exception):
    """Stands for whatever ends a run."""


def tiny(output: Path, **changes: Any) -> Recipe:
    """A recipe of a few seconds whose hard-example buffer is partly filled when the run stops."""
    return parse(
        {
            "name": "tiny",
            "model": "tiny",
            "task": {"name": "arithmetic", "warmup": 40, "train": 5, "validation": 6, "test": 6},
            "warmup": {
                "steps": 8,
                "rows_per_step": 4,
                "plain_share": 0.25,
                "evaluate_every": 4,
                "optimizer": {
                    "name": "muon",
                    "lr": 0.004,
                    "schedule": {"name": "warmup_stable_decay", "decay_steps": 3},
                },
            },
            "method": {
                "name": "meml_grpo",
                "preset": "tuned",
                "questions_per_step": 2,
                "answers_per_prompt": 3,
                "hard_wrong": 1,
                "hard_capacity": 11,
                "hard_probability": 0.8,
            },
            "steps": 6,
            "sampling": {"max_tokens": 6},
            "optimizer": {"lr": 0.003},
            "evaluation": {"every": 3, "questions": 4, "samples": 2, "group": 2},
            "checkpoint": {"every": 2},
            "output": str(output),
            **changes,
        }
    )


def stop_at(wanted: int) -> Callable[[str, int, int, Mapping[str, Any]], None]:
    """A watcher that ends the run in the middle: after the step was logged, before it could be saved."""

    def watch(what: str, step: int, steps: int, data: Mapping[str, Any]) -> None:
        if what == "step" and step == wanted:
            raise Stopped

    return watch


def state(folder: Path) -> dict[str, Any]:
    """All that a run leaves behind, less the wall clock."""
    newest, skipped = checkpoint.latest(folder / "checkpoints")
    assert newest is not None
    assert not skipped
    saved = json.loads((newest / "state.json").read_text(encoding="utf-8"))
    saved.pop("seconds", None)
    saved.get("costs", {}).pop("seconds", None)
    saved["recipe"].pop("output")
    lines = [{k: v for k, v in line.items() if k not in WALL_CLOCK} for line in read_jsonl(folder / "metrics.jsonl")]
    tensors = {file.name: sha256(file) for file in sorted(newest.rglob("*.safetensors"))}
    after = json.loads((folder / "evaluation" / "after.json").read_text(encoding="utf-8"))
    return {
        "tensors": tensors,
        "state": saved,
        "metrics": lines,
        "evaluations": read_jsonl(folder / "evaluations.jsonl"),
        "after": after,
    }


def stopped_and_resumed(stage: Callable[..., Result], recipe: Recipe, step: int) -> None:
    with pytest.raises(Stopped):
        stage(recipe, watch=stop_at(step))
    stage(recipe, resume=True)


@pytest.mark.parametrize("step", [1, 5, 7])
def test_warmup_resumes_to_the_same_numbers(tmp_path: Path, step: int) -> None:
    whole, parts = tiny(tmp_path / "whole"), tiny(tmp_path / "parts")
    warmup(whole)
    stopped_and_resumed(warmup, parts, step)
    assert state(parts.warmup_folder) == state(whole.warmup_folder)


@pytest.mark.parametrize("step", [1, 3, 5])
def test_train_resumes_to_the_same_numbers(tmp_path: Path, step: int) -> None:
    whole, parts = tiny(tmp_path / "whole", warmup=None), tiny(tmp_path / "parts", warmup=None)
    train(whole)
    stopped_and_resumed(train, parts, step)
    found = state(parts.folder)
    assert found == state(whole.folder)
    assert found["state"]["memory"][0], "the buffer must be partly filled for this test to mean anything"
    assert any(line["hard_buffer/flushes"] for line in found["metrics"]), "the buffer must have been spent once"


def test_a_bound_on_what_is_told_may_change(tmp_path: Path) -> None:
    first = tiny(tmp_path, warmup=None)
    with pytest.raises(Stopped):
        train(first, watch=stop_at(3))
    train(tiny(tmp_path, warmup=None, sampling={"max_tokens": 6, "logp_difference_bound": 0.5}), resume=True)
    with pytest.raises(UserError, match="made with another `sampling`"):
        train(tiny(tmp_path, warmup=None, sampling={"max_tokens": 7}), resume=True)


@pytest.mark.parametrize("step", [1, 3])
def test_adapters_resume_to_the_same_numbers(tmp_path: Path, step: int) -> None:
    """Those of the warm-up are trained on; what is saved is the adapters, and not the model under them."""
    pytest.importorskip("peft")
    whole, parts = (tiny(tmp_path / name, lora={"rank": 4, "alpha": 8}) for name in ("whole", "parts"))
    warmup(whole)
    train(whole)
    stopped_and_resumed(warmup, parts, 5)
    stopped_and_resumed(train, parts, step)
    assert state(parts.warmup_folder)["tensors"] == state(whole.warmup_folder)["tensors"]
    found = state(parts.folder)
    assert found == state(whole.folder)
    assert "adapter_model.safetensors" in found["tensors"]
    assert "model.safetensors" not in found["tensors"]
    assert (
        found["tensors"]["adapter_model.safetensors"]
        != state(whole.warmup_folder)["tensors"]["adapter_model.safetensors"]
    )


def test_evaluating_more_often_changes_nothing(tmp_path: Path) -> None:
    seldom, often = tiny(tmp_path / "seldom", warmup=None), tiny(tmp_path / "often", warmup=None)
    often = often.model_copy(update={"evaluation": often.evaluation.model_copy(update={"every": 1})})
    train(seldom)
    train(often)
    assert state(often.folder)["tensors"] == state(seldom.folder)["tensors"]


def test_a_budget_of_tokens_ends_the_run(tmp_path: Path) -> None:
    recipe = tiny(tmp_path, warmup=None, sampled_tokens=100)
    result = train(recipe)
    lines = read_jsonl(recipe.folder / "metrics.jsonl")
    assert lines[-1]["num_tokens"] >= 100
    assert lines[-2]["num_tokens"] < 100
    assert result.step == len(lines) < 6
