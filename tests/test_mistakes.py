"""Mistakes that would run on silently: each is refused in one sentence, or cannot happen."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import tiny
from manyminds.config import Recipe, load_recipe, parse
from manyminds.errors import UserError
from manyminds.evaluate import voted
from manyminds.loading import resolve, stop_ids
from manyminds.policy.hf_policy import HFPolicy
from manyminds.run import starting_model
from manyminds.sections import OptimizerConfig
from manyminds.shipped import quick_checkpoint

RECIPE: dict[str, Any] = {
    "name": "t",
    "model": "tiny",
    "task": {"name": "arithmetic", "validation": 20, "test": 20},
    "method": {"name": "meml_grpo"},
}


def recipe(**changes: Any) -> Recipe:
    return parse({**RECIPE, **changes})


def test_a_comparison_is_no_recipe() -> None:
    file = Path(__file__).parents[1] / "recipes" / "beyond_experts.yaml"
    with pytest.raises(
        UserError, match=r"this is a comparison of several arms; run it with `manyminds compare .*yaml`"
    ):
        load_recipe(file)


def test_a_student_that_is_no_expert_is_refused() -> None:
    with pytest.raises(UserError, match=r"method.student: there is no expert 'nobody'; known are concise"):
        resolve(recipe(method={"name": "rft", "student": "nobody"}))
    resolve(recipe(method={"name": "rft", "student": "concise"}))


def test_an_expert_named_twice_is_refused() -> None:
    with pytest.raises(UserError, match=r"method.experts: 'concise' is named twice"):
        resolve(recipe(method={"name": "meml_grpo", "experts": ["concise", "concise"]}))


@pytest.mark.parametrize("changes", [{"name": "../x"}, {"name": ".."}, {"arm": "a/b"}, {"arm": "warmup"}])
def test_a_name_that_would_leave_the_runs_folder_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(UserError, match="cannot name a run's folder; give a plain name"):
        recipe(**changes)


def test_betas_that_the_optimiser_would_refuse_are_refused_with_the_recipe() -> None:
    with pytest.raises(UserError, match=r"optimizer.betas.0: .* less than 1, not 1.9"):
        recipe(optimizer={"betas": [1.9, 0.95]})


def test_a_target_for_a_schedule_that_does_not_fall_there_is_refused() -> None:
    with pytest.raises(UserError, match=r"warmup: decay_at .* set optimizer.schedule.name to warmup_stable_decay"):
        recipe(warmup={"decay_at": 0.4})
    recipe(warmup={"decay_at": 0.4, "optimizer": {"schedule": {"name": "warmup_stable_decay"}}})


def test_a_warm_up_on_other_questions_is_refused(tmp_path: Path) -> None:
    shutil.copytree(quick_checkpoint(), tmp_path / "t" / "warmup")
    its = {"warmup": {}, "output": str(tmp_path)}
    same = resolve(recipe(**its, task={"name": "arithmetic", "test": 300}))
    assert Path(starting_model(same)).is_relative_to(tmp_path / "t" / "warmup")
    with pytest.raises(UserError, match="run with another `task`, so it may have learnt what this run is tested on"):
        starting_model(resolve(recipe(**its, task={"name": "arithmetic", "test": 300, "seed": 5})))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_leaves_the_weights(bad: float) -> None:
    model = tiny.model()
    policy = HFPolicy(model, OptimizerConfig(), steps=10)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.full_like(p, bad)
    with pytest.raises(UserError, match=r"the gradient's norm is (nan|inf), so no update was made"):
        policy.update(1.0)
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())


def test_the_vote_counts_what_was_judged_right_however_the_gold_answer_is_written() -> None:
    assert voted(["1/2", "1/2", "3"], [True, True, False]) == 1.0
    assert voted(["1/2", "3", "3"], [True, False, False]) == 0.0
    assert voted(["1/2", "3", None], [True, False, False]) == 0.5
    assert voted([None, None], [False, False]) == 0.0


@pytest.mark.parametrize(("named", "all_of_them"), [(None, (2,)), (2, (2,)), ([7, 2, 9], (2, 7, 9))])
def test_answers_end_where_the_models_own_settings_say_too(named: Any, all_of_them: tuple[int, ...]) -> None:
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=named))
    assert stop_ids(model, SimpleNamespace(eos_token_id=2, chat_template=None)) == all_of_them
