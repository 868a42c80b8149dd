"""A loss or gradient that is not finite: told by name, its rows saved, the run stopped or the step skipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from manyminds.config import Recipe
from manyminds.durable import read_jsonl
from manyminds.errors import NotFinite
from manyminds.methods.grpo import GRPO
from manyminds.policy.hf_policy import HFPolicy
from manyminds.records import Progress
from manyminds.run import Run, train
from manyminds.warmup import warmup
from test_resume import state, stopped_and_resumed, tiny


@pytest.fixture
def bad_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The third step finds log-probs that are infinite."""
    forward = HFPolicy.forward

    def broken(self: HFPolicy, *args: Any) -> Any:
        outputs = forward(self, *args)
        return type(outputs)(outputs.logprobs * torch.tensor(torch.inf)) if self.ticks == 2 else outputs

    monkeypatch.setattr(HFPolicy, "forward", broken)


@pytest.mark.usefixtures("bad_step")
@pytest.mark.parametrize("stage", [warmup, train])
def test_it_stops_with_the_terms_name_and_its_rows(tmp_path: Path, stage: Any) -> None:
    recipe = tiny(tmp_path, **({} if stage is warmup else {"warmup": None}))
    folder = recipe.warmup_folder if stage is warmup else recipe.folder
    with pytest.raises(
        NotFinite, match=r"step 3: the loss of the term '(trace|policy|hard)' is (-?inf|nan); the rows are"
    ):
        stage(recipe)
    saved = json.loads((folder / "not_finite" / "step-000003.json").read_text())
    assert saved["rows"]
    assert {"prompt_ids", "ids", "advantage", "group_id"} <= saved["rows"][0].keys()
    assert [line["step"] for line in read_jsonl(folder / "metrics.jsonl")] == [1, 2]


@pytest.mark.usefixtures("bad_step")
@pytest.mark.parametrize("stage", [warmup, train])
def test_it_is_skipped_and_counted_and_resumed_alike(tmp_path: Path, stage: Any) -> None:
    def recipe(name: str) -> Recipe:
        made = tiny(tmp_path / name, optimizer={"lr": 0.003, "on_not_finite": "skip"})
        assert made.warmup is not None
        its = made.warmup.model_copy(update={"optimizer": made.optimizer})
        return made.model_copy(update={"warmup": its if stage is warmup else None})

    whole, parts = recipe("whole"), recipe("parts")
    folders = [one.warmup_folder if stage is warmup else one.folder for one in (whole, parts)]
    stage(whole)
    skipped = [line["step"] for line in read_jsonl(folders[0] / "metrics.jsonl") if line.get("skipped_steps")]
    assert skipped == [3]
    assert any("step was skipped" in note["text"] for note in read_jsonl(folders[0] / "notes.jsonl"))
    stopped_and_resumed(stage, parts, 5)
    assert state(folders[1]) == state(folders[0])


@pytest.mark.usefixtures("bad_step")
def test_nothing_is_left_of_the_gradient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    skipped = Run.skipped

    def watching(self: Run, error: NotFinite) -> Any:
        metrics = skipped(self, error)
        seen.append(any(p.grad is not None for p in self.loaded.model.parameters()))
        return metrics

    monkeypatch.setattr(Run, "skipped", watching)
    train(tiny(tmp_path, warmup=None, optimizer={"lr": 0.003, "on_not_finite": "skip"}))
    assert seen == [False]


class Poor(GRPO):
    """Credit that is not a number, as a part of one's own may give."""

    name: str = "test_not_finite:Poor"

    def advantage(self, rewards: torch.Tensor, progress: Progress) -> torch.Tensor:
        return torch.full_like(rewards, torch.nan)


@pytest.mark.parametrize("on_not_finite", ["stop", "skip"])
def test_rows_with_credit_that_is_no_number_are_saved(tmp_path: Path, on_not_finite: str) -> None:
    method = {"name": "test_not_finite:Poor", "questions_per_step": 2, "answers_per_prompt": 3}
    made = tiny(tmp_path, warmup=None, method=method, steps=2, optimizer={"lr": 0.003, "on_not_finite": on_not_finite})
    if on_not_finite == "stop":
        with pytest.raises(NotFinite, match=r"step 1: the loss of the term 'policy' is nan; the rows are in"):
            train(made)
    else:
        train(made)
    saved = json.loads((made.folder / "not_finite" / "step-000001.json").read_text())
    assert {row["advantage"] for row in saved["rows"]} == {"nan"}
